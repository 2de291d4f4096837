"""The accessor of one request: lazy, stable, evaluated once, and never in the way."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import timeit
from typing import Any

import pytest

import flagmw
from flagmw import Client, ErrorCode, Reason, UserContext
from flagmw.accessor import Flags
from flagmw.binding import current_flags
from flagmw.http import AnonymousCookie, RequestFacts
from flagmw.providers import Static
from flagmw.testing import MemorySink, override_flags
from flagmw.users import Visitors
from tests.unit.support import flag, until

FACTS = RequestFacts(
    path="/cart",
    method="GET",
    host="shop.example",
    user_agent="Browser",
    accept_language="de-DE,de;q=0.9,en;q=0.5",
    client_address="192.0.2.1",
    is_secure=True,
    cookies="",
)


class Request:
    """A request that counts how often its user was asked for."""

    def __init__(self, user: Any = None) -> None:
        self.user = user
        self.asked = 0

    def build(self) -> Any:
        self.asked += 1
        if isinstance(self.user, Exception):
            raise self.user
        return self.user() if callable(self.user) else self.user


def flags_for(
    flags: Any, user: Any = None, *, anonymous: AnonymousCookie | bool = False, sink: MemorySink | None = None
) -> tuple[Flags, Request, Static]:
    provider = Static(flags, sink=sink)
    request = Request(user)
    visitors: Visitors[Request] = Visitors(Request.build, lambda _: FACTS, anonymous)
    return Flags(Client(provider), visitors, request), request, provider


def test_nothing_happens_before_the_first_read() -> None:
    flags, request, _ = flags_for({"f": True}, UserContext("u"))
    assert (request.asked, flags.visitor, flags.response_headers([])) == (0, None, [])
    assert "0 read" in repr(flags)
    assert flags.is_enabled("f")
    assert request.asked == 1
    assert flags.response_headers([]) == [("Vary", "Cookie")]


def test_a_flag_keeps_its_value_while_flags_change_and_refresh_takes_the_new_ones() -> None:
    flags, _, provider = flags_for({"f": 1, "g": 1})
    assert flags.variation("f") == 1
    provider.update({"f": 2, "g": 2})
    assert (flags.variation("f"), flags.variation("g"), flags.all()["g"].value) == (1, 1, 1)
    flags.refresh()
    assert (flags.variation("f"), flags.variation("g")) == (2, 2)


def test_a_flag_is_evaluated_once_for_all_threads_of_a_request() -> None:
    sink = MemorySink()
    flags, request, _ = flags_for({"f": True}, UserContext("u"), sink=sink)
    barrier = threading.Barrier(8)
    read: list[Any] = []

    def read_flag() -> None:
        barrier.wait(5.0)
        read.append(flags.variation("f"))

    readers = [threading.Thread(target=read_flag) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(5.0)
    assert read == [True] * 8
    assert request.asked == 1
    assert len(sink.exposures) == 1


def test_each_type_has_its_getter() -> None:
    flags, _, _ = flags_for({"b": True, "s": "x", "i": 5, "n": 0.5, "j": {"a": [1]}})
    assert (flags.boolean("b"), flags.string("s"), flags.integer("i"), flags.number("i"), flags.number("n")) == (
        True,
        "x",
        5,
        5.0,
        0.5,
    )
    assert flags.json("j") == {"a": [1]}
    assert (flags.string("b", "d"), flags.integer("n", 3), flags.is_enabled("s", default=True)) == ("d", 3, True)
    assert flags.variation_detail("s", 5, "integer").error_code is ErrorCode.TYPE_MISMATCH
    assert sorted(flags.read()) == ["b", "i", "j", "n", "s"]


def test_what_a_caller_changes_is_not_seen_by_the_next_reader() -> None:
    flags, _, _ = flags_for({"j": {"a": [1]}})
    flags.json("j")["a"].append(2)
    flags.variation("j").clear()
    assert flags.variation("j") == {"a": [1]}


@pytest.mark.parametrize(
    "user", [ValueError("secret@example.org"), lambda: {"key": b"bytes"}, lambda: 5, lambda: asyncio.sleep(0)]
)
def test_a_user_builder_that_fails_gives_defaults_a_reason_and_one_log_line(
    user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Static({"f": True})
    client = Client(provider)
    visitors: Visitors[Request] = Visitors(Request.build, lambda _: FACTS, AnonymousCookie(secret="s"))
    for _ in range(3):
        flags = Flags(client, visitors, Request(user))
        detail = flags.variation_detail("f", "default")
        assert (detail.value, detail.reason, detail.error_code) == ("default", Reason.ERROR, ErrorCode.INVALID_CONTEXT)
        assert flags.is_enabled("f") is False
        assert flags.user == UserContext()
        flags.track("event")
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1, errors
    assert "secret@example.org" not in caplog.text
    assert "test_accessor.py:" in errors[0] or "users.py:" in errors[0] or "context.py:" in errors[0]


def test_a_user_builder_that_reads_a_flag_gets_the_default_and_does_no_harm() -> None:
    found: list[Any] = []

    def read_a_flag() -> dict[str, str]:
        found.append(flags.variation("f", "none yet"))
        return {"key": "u"}

    flags, request, _ = flags_for({"f": True}, read_a_flag)
    assert flags.variation("f", "default") is True
    assert (found, request.asked, flags.user.key) == (["none yet"], 1, "u")


def test_a_user_builder_that_does_not_end_holds_up_no_other_thread_for_long() -> None:
    release = threading.Event()

    def slow_user() -> UserContext:
        assert release.wait(10.0)
        return UserContext("u")

    flags, request, _ = flags_for({"f": True}, slow_user)
    builder = threading.Thread(target=flags.variation, args=("f",))
    builder.start()
    until(lambda: request.asked == 1)
    detail = flags.variation_detail("f", "default")
    assert (detail.value, detail.error_code) == ("default", ErrorCode.INVALID_CONTEXT)
    release.set()
    builder.join(5.0)
    assert flags.variation("f", "default") is True


def test_identify_changes_the_user_and_keeps_the_moment() -> None:
    document = {"flags": {"vip": flag(targeting={"if": [{"==": [{"var": "plan"}, "vip"]}, "on", "off"]})}}
    flags, _, provider = flags_for(document, {"key": "u", "plan": "free"})
    assert flags.is_enabled("vip") is False
    provider.update({"vip": False})
    flags.identify({"key": "u", "plan": "vip"})
    assert flags.is_enabled("vip") is True
    flags.identify({"key": 5})
    assert flags.variation_detail("vip").error_code is ErrorCode.INVALID_CONTEXT


def test_identify_before_the_first_read_asks_no_builder() -> None:
    flags, request, _ = flags_for({"f": True}, UserContext("built"))
    flags.identify(UserContext("stated"))
    assert (flags.user.key, flags.is_enabled("f"), request.asked) == ("stated", True, 0)


def test_rules_can_read_the_request_and_it_never_leaves_the_process() -> None:
    flags, _, _ = flags_for({}, {"key": "u", "plan": "free"})
    assert flags.user.attributes["request"] == {
        "path": "/cart",
        "method": "GET",
        "host": "shop.example",
        "user_agent": "Browser",
        "language": "de-DE",
        "client_address": "192.0.2.1",
    }
    assert "request" in flags.user.private
    own, _, _ = flags_for({}, {"key": "u", "request": "mine"})
    assert own.user.attributes["request"] == "mine"


def test_an_anonymous_user_gets_one_id_for_the_request_and_a_cookie() -> None:
    flags, _, _ = flags_for({"f": True}, {"country": "DE"}, anonymous=AnonymousCookie(secret="s"))
    assert flags.is_enabled("f")
    key = flags.user.key
    assert key is not None
    assert len(key) == 22
    assert flags.user.country == "DE"
    (vary, cookie) = flags.response_headers(["Accept"])
    assert vary == ("Vary", "Cookie")
    assert cookie[1].startswith(f"flagmw_id={key}.")
    assert flags.response_headers(["Accept, cookie"]) == [cookie]
    assert flags.response_headers(["*"]) == [cookie]
    flags.identify(UserContext("login"))
    assert flags.response_headers(["Cookie"]) == [cookie]


def test_tracking_goes_to_the_sink_with_the_requests_user() -> None:
    sink = MemorySink()
    flags, _, _ = flags_for({"f": True}, UserContext("u"), sink=sink)
    flags.track("bought", 5, currency="EUR")
    (metric,) = sink.metrics
    assert (metric.event, metric.context.key, metric.value, dict(metric.properties)) == (
        "bought",
        "u",
        5.0,
        {"currency": "EUR"},
    )


def test_an_override_wins_at_once_and_is_taken_back_even_in_mid_request() -> None:
    flags, _, _ = flags_for({"f": 1, "new-checkout": False}, RuntimeError())
    healthy, _, _ = flags_for({"f": 1})
    assert healthy.variation("f") == 1
    with override_flags({"f": 2}, new_checkout=True):
        assert (healthy.variation("f"), healthy.is_enabled("new-checkout")) == (2, True)
        assert flags.variation("f") == 2
        with override_flags({"f": {"deep": 1}}):
            assert healthy.variation("f") == {"deep": 1}
        assert healthy.variation("f") == 2
        assert set(healthy.all()) >= {"f", "new-checkout"}
    assert (healthy.variation("f"), healthy.is_enabled("new-checkout")) == (1, False)


def test_the_proxy_is_the_current_requests_accessor() -> None:
    with pytest.raises(RuntimeError, match="outside a request"):
        flagmw.flags.variation("f")
    flags, _, _ = flags_for({"f": 1})

    def inside() -> Any:
        current_flags.set(flags)
        return flagmw.flags.variation("f")

    assert contextvars.copy_context().run(inside) == 1
    with pytest.raises(RuntimeError, match="outside a request"):
        flagmw.flags.variation("f")


def test_a_repeated_read_is_a_small_part_of_a_first_one() -> None:
    """A ratio within one run, wide enough that only a lost memo can break it."""
    flags, _, _ = flags_for({"f": True}, UserContext("u"))
    flags.variation("f")
    repeated = min(timeit.repeat(lambda: flags.variation("f"), number=1000, repeat=5))
    first = min(timeit.repeat(lambda: flags_for_read(flags).variation("f"), number=1000, repeat=5))
    assert repeated < first / 3


def flags_for_read(flags: Flags) -> Flags:
    return Flags(flags.client, flags._visitors, flags._request)


def test_override_flags_decorates_functions_and_classes() -> None:
    client = Client(Static({"f": 1}))

    @override_flags(f=5)
    def plain() -> Any:
        return client.variation("f", {"key": "u"})

    @override_flags(f=6)
    async def awaited() -> Any:
        await asyncio.sleep(0)
        return client.variation("f", {"key": "u"})

    @override_flags(f=7)
    class TestSomething:
        def test_it(self) -> Any:
            return client.variation("f", {"key": "u"})

        def helper(self) -> Any:
            return client.variation("f", {"key": "u"})

    assert (plain(), asyncio.run(awaited()), TestSomething().test_it(), TestSomething().helper()) == (5, 6, 7, 1)
    assert client.variation("f", {"key": "u"}) == 1


def test_overrides_end_in_any_order() -> None:
    client = Client(Static({"f": 1}))
    outer, inner = override_flags(f=2), override_flags(f=3)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__()
    assert client.variation("f", {"key": "u"}) == 3
    inner.__exit__()
    assert client.variation("f", {"key": "u"}) == 1
