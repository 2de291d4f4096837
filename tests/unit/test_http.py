"""What is read of a request, and the anonymous cookie."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from itsdangerous import Signer

from flagmw.errors import ConfigError
from flagmw.http import AnonymousCookie, AnonymousIds, facts_of_environ, facts_of_scope

ENVIRON = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "/shop",
    "PATH_INFO": "/caf\u00c3\u00a9",
    "HTTP_HOST": "shop.example",
    "HTTP_USER_AGENT": "Browser/1",
    "HTTP_ACCEPT_LANGUAGE": "fr;q=0.4, de",
    "REMOTE_ADDR": "10.0.0.1",
    "HTTP_X_FORWARDED_FOR": "198.51.100.7, 192.0.2.9",
    "HTTP_X_FORWARDED_PROTO": "https",
    "wsgi.url_scheme": "http",
    "HTTP_COOKIE": "a=b",
}
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/shop/caf\u00e9",
    "scheme": "http",
    "client": ("10.0.0.1", 5000),
    "headers": [
        (b"host", b"shop.example"),
        (b"User-Agent", b"Browser/1"),
        (b"accept-language", b"fr;q=0.4, de"),
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"x-forwarded-for", b"192.0.2.9"),
        (b"x-forwarded-proto", b"https"),
        (b"cookie", b"a=b"),
    ],
}


@pytest.mark.parametrize("facts", [facts_of_environ(ENVIRON), facts_of_scope(SCOPE)], ids=["wsgi", "asgi"])
def test_both_protocols_say_the_same(facts: Any) -> None:
    assert facts.attributes() == {
        "path": "/shop/caf\u00e9",
        "method": "POST",
        "host": "shop.example",
        "user_agent": "Browser/1",
        "language": "de",
        "client_address": "10.0.0.1",
    }
    assert (facts.cookies, facts.is_secure) == ("a=b", False)


@pytest.mark.parametrize("read", [lambda n: facts_of_environ(ENVIRON, n), lambda n: facts_of_scope(SCOPE, n)])
@pytest.mark.parametrize(
    ("proxies", "address", "secure"),
    [(0, "10.0.0.1", False), (1, "192.0.2.9", True), (2, "198.51.100.7", False), (3, "10.0.0.1", False)],
)
def test_forwarded_headers_count_as_far_as_proxies_are_trusted(
    read: Any, proxies: int, address: str, secure: bool
) -> None:
    facts = read(proxies)
    assert (facts.client_address, facts.is_secure) == (address, secure)


@pytest.mark.parametrize("facts", [facts_of_environ({}), facts_of_scope({"type": "websocket"})])
def test_a_request_that_says_nothing_is_read_all_the_same(facts: Any) -> None:
    assert facts.attributes()["language"] == ""
    assert facts.client_address == ""


def test_an_id_is_recognised_and_a_changed_one_is_not() -> None:
    ids = AnonymousIds(AnonymousCookie(secret="secret"))
    anonymous_id = ids.new()
    cookie = ids.signed(anonymous_id)
    assert ids.read(f"x=1; flagmw_id={cookie}; y=2") == anonymous_id
    changed = ("B" if cookie[0] == "A" else "A") + cookie[1:]
    foreign = AnonymousIds(AnonymousCookie(secret="other")).signed(anonymous_id)
    signed_but_odd = Signer("secret", salt="flagmw.anonymous", key_derivation="hmac").sign("x" * 50).decode()
    for bad in (
        changed,
        cookie[:-1],
        foreign,
        signed_but_odd,
        "",
        "x" * 100_000,
        "caf\u00e9." + cookie,
        anonymous_id,
        "..",
    ):
        assert ids.read(f"flagmw_id={bad}") is None, bad
    assert ids.read(f"flagmw_id={changed}; flagmw_id={cookie}") == anonymous_id


def test_secrets_rotate() -> None:
    old = AnonymousIds(AnonymousCookie(secret="old")).signed("A" * 22)
    rotated = AnonymousIds(AnonymousCookie(secret=["old", "new"]))
    assert rotated.read(f"flagmw_id={old}") == "A" * 22
    assert AnonymousIds(AnonymousCookie(secret="new")).read(f"flagmw_id={rotated.signed('A' * 22)}") == "A" * 22


def test_without_a_secret_ids_still_work_and_a_warning_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAGMW_SECRET", raising=False)
    monkeypatch.setattr("flagmw.http._log_once", __import__("flagmw.once").once.LogOnce(logging.getLogger("flagmw")))
    one, two = AnonymousIds(AnonymousCookie()), AnonymousIds(AnonymousCookie())
    cookie = one.signed(one.new())
    assert two.read(f"flagmw_id={cookie}")
    two.new()
    assert [record.getMessage() for record in caplog.records if "FLAGMW_SECRET" in record.getMessage()] != []
    assert len(caplog.records) == 1
    monkeypatch.setenv("FLAGMW_SECRET", "from the environment")
    assert AnonymousIds(AnonymousCookie()).read(f"flagmw_id={cookie}") is None


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    ids = AnonymousIds(AnonymousCookie(secret="s"))
    plain, secure = ids.header("A" * 22, is_secure=False), ids.header("A" * 22, is_secure=True)
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=31536000"} <= set(plain.split("; "))
    assert "Secure" not in plain.split("; ")
    assert "Secure" in secure.split("; ")
    own = AnonymousCookie(
        secret="s", name="shop", path="/a", domain="example.org", secure=True, same_site="Strict", max_age_s=60
    )
    attributes = set(AnonymousIds(own).header("A" * 22, is_secure=False).split("; "))
    assert {"Secure", "SameSite=Strict", "Path=/a", "Domain=example.org", "Max-Age=60"} <= attributes


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "a b"},
        {"name": ""},
        {"max_age_s": 0},
        {"max_age_s": "1"},
        {"secure": "yes"},
        {"same_site": "lax"},
        {"path": "a"},
        {"domain": 5},
        {"secret": 5},
        {"secret": [5]},
    ],
)
def test_a_wrong_cookie_setting_is_refused_by_name(settings: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        AnonymousCookie(**settings)


def test_the_secret_is_in_no_repr() -> None:
    assert "hush" not in repr(AnonymousCookie(secret="hush"))
