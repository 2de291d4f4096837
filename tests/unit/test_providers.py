"""Providers of flag services: what they take, what they refuse, and what they never show."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flagmw import Client, ConfigError, State, configure
from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.providers import EventOptions, FeatBit, FeatureFlagCo, FlagFile, Hackle, Network, Static, StreamOptions
from flagmw.registry import forget_client
from flagmw.transports import Delivery
from tests.leaks import remember
from tests.services.tokens import featureflag_co_secret

FEATBIT = remember("v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w")
FEATUREFLAG_CO = remember(featureflag_co_secret())
HACKLE = remember("hackle-key-that-nobody-may-see")
PASSWORD = remember("a-password-in-an-address")

Make = Callable[..., Any]
SERVICES: dict[str, tuple[Make, str]] = {
    "featbit": (FeatBit, FEATBIT),
    "featureflag.co": (FeatureFlagCo, FEATUREFLAG_CO),
    "hackle": (Hackle, HACKLE),
}
URLS = [
    (FeatBit, FEATBIT, "streaming_url"),
    (FeatBit, FEATBIT, "event_url"),
    (FeatureFlagCo, FEATUREFLAG_CO, "streaming_uri"),
    (FeatureFlagCo, FEATUREFLAG_CO, "base_uri"),
    (Hackle, HACKLE, "sdk_url"),
    (Hackle, HACKLE, "event_url"),
]

each_service = pytest.mark.parametrize(("make", "secret"), list(SERVICES.values()), ids=list(SERVICES))
each_url = pytest.mark.parametrize(("make", "secret", "option"), URLS, ids=[f"{m.__name__}-{o}" for m, _, o in URLS])


def refusal_of(make: Make, *arguments: Any, **options: Any) -> str:
    """Give the message with which a provider is refused, with everything that a traceback would show of it."""
    try:
        make(*arguments, **options)
    except ConfigError as error:
        shown = "".join(traceback.format_exception(error))
        for secret in (FEATBIT, FEATUREFLAG_CO, HACKLE, PASSWORD):
            assert secret not in shown
        return str(error)
    pytest.fail("it was not refused")


# --- defaults -----------------------------------------------------------------------------------------------


def test_a_secret_is_all_that_a_service_needs() -> None:
    featbit = FeatBit(FEATBIT)
    assert (featbit.streaming_url, featbit.event_url) == ("wss://app-eval.featbit.co", "https://app-eval.featbit.co")
    assert (featbit.polling, featbit.poll_interval_s) == (False, 30.0)
    older = FeatureFlagCo(FEATUREFLAG_CO)
    assert (older.streaming_uri, older.base_uri) == ("wss://api.featureflag.co", "https://api.featureflag.co")
    hackle = Hackle(HACKLE)
    assert (hackle.sdk_url, hackle.event_url) == ("https://sdk.hackle.io", "https://event.hackle.io")
    assert hackle.poll_interval_s == 10.0


@each_service
def test_a_provider_is_a_value(make: Make, secret: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "bootstrap": {"featureFlags": []},
        "cache_dir": tmp_path,
        "events": EventOptions(capacity=5),
        "network": Network(proxy=f"http://user:{PASSWORD}@proxy.example:3128"),
    }
    assert make(secret, **options) == make(secret, **options)
    assert len({make(secret, **options), make(secret, **options)}) == 1
    for name, value in {"events": False, "network": Network(), "cache_dir": None, "bootstrap": None}.items():
        assert make(secret, **{**options, name: value}) != make(secret, **options), name
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(secret).options = None


@each_service
def test_the_same_provider_gives_the_same_client(make: Make, secret: str) -> None:
    try:
        assert configure(make(secret), name="same") is configure(make(secret), name="same")
        assert configure(make(secret, events=False), name="same") is not configure(make(secret), name="same")
    finally:
        forget_client("same")


@each_service
def test_no_secret_is_in_a_repr(make: Make, secret: str) -> None:
    provider = make(
        secret,
        network=Network(proxy=f"http://user:{PASSWORD}@proxy.example:3128"),
        bootstrap={"featureFlags": [{"key": "a-flag-of-the-bootstrap"}]},
    )
    for shown in (repr(provider), repr(Client(provider)), str(Client(provider).status), f"{provider}"):
        assert secret not in shown
        assert PASSWORD not in shown
        assert "a-flag-of-the-bootstrap" not in shown
    assert type(provider).__name__ in repr(provider)


def test_later_changes_of_a_bootstrap_mapping_do_not_count() -> None:
    document = {"featureFlags": [{"key": "a"}], "segments": []}
    provider = FeatBit(FEATBIT, bootstrap=document)
    document["featureFlags"].clear()
    assert provider == FeatBit(FEATBIT, bootstrap={"featureFlags": [{"key": "a"}], "segments": []})


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "secret"),
    [
        (FeatBit, ""),
        (FeatBit, None),
        (FeatBit, FEATBIT.encode()),
        (FeatBit, FEATBIT + "é"),
        (FeatBit, FEATBIT + "\n"),
        (FeatureFlagCo, ""),
        (FeatureFlagCo, None),
        (FeatureFlagCo, "not base64: " + FEATUREFLAG_CO),
        (FeatureFlagCo, "YWJjX19kZWY="),
        (Hackle, ""),
        (Hackle, 5),
        (Hackle, "a key with blanks"),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_without_showing_it(make: Make, secret: Any) -> None:
    message = refusal_of(make, secret)
    assert message.startswith("sdk_key" if make is Hackle else "env_secret")
    assert not isinstance(secret, str) or not secret or secret not in message


@each_url
@pytest.mark.parametrize(
    "url",
    [
        "flags.example.com",
        "ftp://flags.example.com",
        "https://",
        "https:flags.example.com",
        "https://flags.example.com:port",
        "https://flags.example.com:0",
        "https://flags.example.com:70000",
        f"https://user:{PASSWORD}@flags.example.com",
        f"https://{PASSWORD}@flags.example.com",
        f"https://flags.example.com/?token={PASSWORD}",
        "https://flags.example.com/#there",
        "https://flags .example.com",
        "https://flags.example.com\r\nX-Header: 1",
        "https://" + "x" * 3000,
        "https://[::1",
        "",
        None,
        5,
    ],
)
def test_a_url_that_is_none_is_refused_without_showing_it(make: Make, secret: str, option: str, url: Any) -> None:
    message = refusal_of(make, secret, **{option: url})
    assert message.startswith(f"{option} must be the URL of a server")
    assert "flags.example.com\r" not in message
    assert PASSWORD not in message


@each_url
def test_a_url_may_be_written_with_any_scheme_and_a_slash(make: Make, secret: str, option: str) -> None:
    urls = {
        getattr(make(secret, **{option: f"{scheme}://flags.example.com:8443/flags/"}), option)
        for scheme in ("https", "wss", "HTTPS", "Wss")
    }
    assert urls in ({"https://flags.example.com:8443/flags"}, {"wss://flags.example.com:8443/flags"})
    plain = getattr(make(secret, **{option: "http://[::1]:80//"}), option)
    assert plain in ("http://[::1]:80", "ws://[::1]:80")
    assert plain.startswith("ws") is option.startswith("streaming")


@each_service
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offline": "yes"}, "offline must be True or False, got str"),
        ({"events": "no"}, "events must be True, False or EventOptions, got str"),
        ({"network": {"verify": False}}, "network must be a Network, got dict"),
        ({"cache_dir": 5}, "cache_dir must be the path of a folder, got int"),
        ({"cache_dir": ""}, "cache_dir must be a path that is not empty"),
        ({"cache_dir": "a\0b"}, "cache_dir must be a path"),
        ({"bootstrap": 5}, "bootstrap must be a mapping or the path of a JSON file"),
        ({"bootstrap": '{"featureFlags": []}'}, "json.loads"),
        ({"bootstrap": ""}, "bootstrap must be a path that is not empty"),
        ({"bootstrap": {"featureFlags": {1, 2}}}, "bootstrap must be a document of JSON values"),
        ({"bootstrap": {"featureFlags": float("nan")}}, "bootstrap must be a document of JSON values"),
        ({"ofline": True}, "'ofline' is no option; did you mean 'offline'?"),
        ({"cachedir": "x"}, "did you mean 'cache_dir'?"),
        ({"zzzz": True}, "an option is unknown; the options are "),
    ],
)
def test_an_option_that_is_not_what_it_should_be_is_named(
    make: Make, secret: str, options: dict[str, Any], message: str
) -> None:
    assert message in refusal_of(make, secret, **options)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "5", None, True])
def test_seconds_are_numbers_above_0(value: Any) -> None:
    message = "must be a number of seconds above 0"
    assert f"poll_interval_s {message}" in refusal_of(FeatBit, FEATBIT, poll_interval_s=value)
    assert f"poll_interval_s {message}" in refusal_of(Hackle, HACKLE, poll_interval_s=value)
    assert f"ping_interval_s {message}" in refusal_of(StreamOptions, ping_interval_s=value)
    assert f"max_retry_delay_s {message}" in refusal_of(StreamOptions, max_retry_delay_s=value)
    if value is not None:
        assert f"flush_interval_s {message}" in refusal_of(EventOptions, flush_interval_s=value)


def test_the_longest_wait_is_not_shorter_than_the_first() -> None:
    message = refusal_of(StreamOptions, first_retry_delay_s=5, max_retry_delay_s=1)
    assert message == "max_retry_delay_s must not be below first_retry_delay_s=5, got 1"


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None])
def test_a_capacity_is_an_int_above_0(value: Any) -> None:
    assert "capacity must be an int above 0" in refusal_of(EventOptions, capacity=value)


def test_options_of_one_service_are_refused_by_another() -> None:
    assert "'stream' is no option" not in refusal_of(FeatBit, FEATBIT, stream=5)
    assert refusal_of(FeatBit, FEATBIT, stream=5) == "stream must be a StreamOptions, got int"
    assert refusal_of(FeatBit, FEATBIT, polling=1) == "polling must be True or False, got int"
    assert "no option" in refusal_of(Hackle, HACKLE, streaming=True) or "unknown" in refusal_of(
        Hackle, HACKLE, streaming=True
    )
    assert "did you mean 'base_uri'" in refusal_of(FeatureFlagCo, FEATUREFLAG_CO, base_url="https://x.example")


# --- constructing -------------------------------------------------------------------------------------------

PROBE = """
import sys, threading
heavy = ("requests", "websocket", "urllib3", "ssl")
import flagmw, flagmw.providers
assert not [name for name in heavy if name in sys.modules], "importing flagmw"
assert not [name for name in sys.modules if name.startswith("flagmw.dialects.") and ".flagd" not in name]
import os
from flagmw.providers import FeatBit, FeatureFlagCo, Hackle, provider_from_dsn
clients = [flagmw.Client(FeatBit("x", cache_dir="never", bootstrap="never.json")),
           flagmw.Client(FeatureFlagCo(sys.argv[1])), flagmw.Client("hackle://key")]
assert [client.status.state for client in clients] == ["INITIALIZING"] * 3
assert not [name for name in heavy if name in sys.modules], "constructing a client"
assert threading.active_count() == 1 and not os.path.exists("never")
"""


def test_importing_and_constructing_start_and_load_nothing(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", PROBE, FEATUREFLAG_CO], cwd=tmp_path, check=True, timeout=60, capture_output=True
    )


def test_the_providers_can_be_listed_and_imported_by_name() -> None:
    import flagmw.providers

    for name in flagmw.providers.__all__:
        assert getattr(flagmw.providers, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        flagmw.providers.Nothing  # noqa: B018  # reading it is the test


# --- what the parts are made of -----------------------------------------------------------------------------


class Inbox:
    """A receiver that takes what a source brings."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot
        self.deliveries: list[Delivery] = []

    def dump(self) -> None:
        return None

    def deliver(self, delivery: Delivery) -> bool:
        self.deliveries.append(delivery)
        return True


@each_service
def test_offline_there_is_no_sink_no_cache_and_a_source_without_a_thread(
    make: Make, secret: str, tmp_path: Path
) -> None:
    provider = make(secret, offline=True, cache_dir=tmp_path)
    assert provider.sink() is None
    assert provider.cache() is None
    source = provider.source()
    assert (source.local, source.background, source.awaited) == (True, False, False)


@each_service
def test_without_events_there_is_no_sink(make: Make, secret: str) -> None:
    assert make(secret, events=False).sink() is None
    assert make(secret).sink() is not None


@each_service
def test_the_cache_is_named_by_service_and_a_hash_of_the_secret(make: Make, secret: str, tmp_path: Path) -> None:
    assert make(secret).cache() is None
    cache = make(secret, cache_dir=tmp_path / "kept").cache()
    assert not (tmp_path / "kept").exists()
    cache.save([b"{}"])
    (kept,) = (tmp_path / "kept").iterdir()
    assert secret not in kept.name
    assert kept.name.startswith(type(make(secret)).__name__.lower()[:4])


def test_a_path_counts_from_where_the_provider_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provider = FeatBit(FEATBIT, bootstrap="first.json", cache_dir="kept")
    monkeypatch.chdir("/")
    assert provider.options.bootstrap == tmp_path / "first.json"
    assert provider.options.cache_dir == tmp_path / "kept"


def test_a_secret_may_be_left_out_offline_where_it_means_nothing() -> None:
    for make in (FeatBit, Hackle):
        assert make("", offline=True).options.offline
    assert "env_secret" in refusal_of(FeatureFlagCo, "", offline=True)


@each_service
def test_offline_without_a_document_says_so(make: Make, secret: str) -> None:
    with Client(make(secret, offline=True)) as client:
        assert client.variation("anything", {"key": "u", "name": "u", "id": "u"}, "mine") == "mine"
        assert "no bootstrap document" in str(client.status.error)
        assert client.status.state is State.INITIALIZING


def test_a_bootstrap_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Client(FeatBit("", offline=True, bootstrap=tmp_path / "nowhere.json")) as client:
        assert client.variation("anything", {"key": "u", "name": "u"}, "mine") == "mine"
        assert "nowhere.json: No such file or directory" in str(client.status.error)


def test_a_bootstrap_document_comes_before_the_service_unless_flags_are_there(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    empty = {"eventType": "full", "featureFlags": [], "segments": []}
    path.write_text(json.dumps({"messageType": "data-sync", "data": empty}))
    provider = FeatBit(FEATBIT, bootstrap=path)
    fresh = Inbox()
    provider.source().open(fresh)
    (delivery,) = fresh.deliveries
    assert delivery.is_stale
    assert delivery.documents == (Document(name=str(path), content=path.read_bytes()),)
    compiled = provider.dialect().compile(delivery.documents, (), None).snapshot
    later = Inbox(compiled)
    provider.source().open(later)
    assert later.deliveries == []


def test_the_other_providers_are_still_there() -> None:
    assert FlagFile("flags.yaml") == FlagFile("flags.yaml")
    assert repr(Static({})) == "Static(...)"
