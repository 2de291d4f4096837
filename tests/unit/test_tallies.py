"""Counting evaluations: each once, whatever threads do, within bounds, and never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from flagmw import Client, Reason, UserContext
from flagmw.accessor import Flags
from flagmw.core.evaluating import NOT_READY
from flagmw.core.snapshot import Outcome, decided
from flagmw.dialects import Dialect
from flagmw.dialects.hackle import HackleDialect
from flagmw.http import RequestFacts
from flagmw.providers import Static
from flagmw.tallies import (
    MAX_COMBINATIONS,
    MAX_FLAGS,
    MAX_KEY_CHARS,
    MAX_OTHERS,
    MAX_PER_FLAG,
    NOT_FOUND,
    Combination,
    Tallies,
    short_json,
)
from flagmw.testing import MemorySink, override_flags
from flagmw.transports import Source
from flagmw.transports.memory import MemoryChannel, MemorySource
from flagmw.users import Visitors
from tests.unit import hackle_support
from tests.unit.support import flag

USER = UserContext("user-1")
DOCUMENT = {
    "flags": {
        "banner": flag({"old": "old", "new": "new"}, "old"),
        "beta": flag(default="off"),
        "off": flag(default="on", state="DISABLED"),
        "rule": flag(default="off", targeting={"if": [{"===": [{"var": "targetingKey"}, "ann"]}, "on", "off"]}),
        "theme": flag({"dark": {"colour": "black"}}, "dark"),
    }
}

Ask = Callable[[Client], object]


def counting(flags: Any = None, sink: MemorySink | None = None) -> tuple[Client, Tallies]:
    client = Client(Static(DOCUMENT if flags is None else flags, sink=sink))
    return client, client.tally(lambda: None)


def requests_of(client: Client, user: Any = USER) -> Flags:
    facts = RequestFacts(
        path="/",
        method="GET",
        host="shop.example",
        user_agent="",
        accept_language="",
        client_address="192.0.2.1",
        is_secure=True,
        cookies="",
    )
    return Flags(client, Visitors(lambda _: user, lambda _: facts, anonymous=False), object())


def counts(tallies: Tallies) -> dict[tuple[Any, ...], int]:
    return {tuple(combination): number for combination, number in tallies.read().items() if number}


# --- what counts ----------------------------------------------------------------------------------------------

BETA = ("beta", "off", "STATIC", "false")
ASKING: dict[str, tuple[Ask, tuple[Any, ...]]] = {
    "variation": (lambda client: client.variation("beta", USER), BETA),
    "variation of a mapping": (
        lambda client: client.variation("theme", {"key": "u"}),
        ("theme", "dark", "STATIC", None),
    ),
    "variation_detail": (lambda client: client.variation_detail("beta", USER), BETA),
    "is_enabled": (lambda client: client.is_enabled("beta", USER), BETA),
    "is_enabled for a mapping": (lambda client: client.is_enabled("beta", {"key": "u"}), BETA),
    "is_enabled_detail": (lambda client: client.is_enabled_detail("beta", USER), BETA),
    "boolean": (lambda client: client.boolean("beta", USER), BETA),
    "string": (lambda client: client.string("banner", USER), ("banner", "old", "STATIC", '"old"')),
    "string of a boolean": (lambda client: client.string("beta", USER), BETA),
    "json": (lambda client: client.json("theme", USER), ("theme", "dark", "STATIC", None)),
    "config": (lambda client: client.config("banner", USER), ("banner", "old", "STATIC", '"old"')),
    "config_detail": (lambda client: client.config_detail("beta", USER), BETA),
    "all_variations": (lambda client: client.all_variations(USER)["beta"], BETA),
    "a rule": (
        lambda client: client.variation("rule", UserContext("ann")),
        ("rule", "on", "TARGETING_MATCH", "true"),
    ),
    "a disabled flag": (lambda client: client.variation("off", USER, 5), ("off", None, "DISABLED", None)),
    "an unknown flag": (lambda client: client.variation("gone", USER, 5), ("gone", None, NOT_FOUND, None)),
    "an unknown flag's is_enabled": (lambda client: client.is_enabled("gone", USER), ("gone", None, NOT_FOUND, None)),
    "an unknown number": (lambda client: client.variation(7, USER), ("7", None, NOT_FOUND, None)),
    "a user who cannot be read": (lambda client: client.variation("beta", 5), ("beta", None, "ERROR", None)),  # type: ignore[arg-type]  # the mistake
}


@pytest.mark.parametrize("sink", [None, MemorySink()], ids=["without a sink", "with a sink"])
@pytest.mark.parametrize(("ask", "expected"), ASKING.values(), ids=ASKING.keys())
def test_each_call_through_a_client_counts_once(ask: Ask, expected: tuple[Any, ...], sink: MemorySink | None) -> None:
    client, tallies = counting(sink=sink)
    for _ in range(3):
        ask(client)
    assert counts(tallies) == {expected: 3}


@pytest.mark.parametrize("name", ["variation", "is_enabled", "string", "json", "config", "variation_detail"])
def test_a_request_counts_a_flag_once_however_often_it_reads_it(name: str) -> None:
    client, tallies = counting()
    flags = requests_of(client)
    for _ in range(3):
        getattr(flags, name)("banner")
    assert counts(tallies) == {("banner", "old", "STATIC", '"old"'): 1}


def test_each_request_counts() -> None:
    client, tallies = counting()
    for _ in range(4):
        requests_of(client).is_enabled("beta")
    assert counts(tallies) == {BETA: 4}


def test_a_request_of_somebody_who_cannot_be_read_counts_an_error() -> None:
    client, tallies = counting()
    requests_of(client, user=5).is_enabled("beta")
    assert counts(tallies) == {("beta", None, "ERROR", None): 1}


def test_an_unknown_flag_of_a_request_counts_as_such() -> None:
    client, tallies = counting()
    requests_of(client).is_enabled("gone")
    assert counts(tallies) == {("gone", None, NOT_FOUND, None): 1}


def test_flags_that_have_not_arrived_count_as_errors() -> None:
    client = Client(Static(DOCUMENT))
    tallies = client.tally(lambda: None)
    client.count(None, "beta", NOT_READY, "variations")
    client.variation("beta", USER)
    assert counts(tallies) == {("beta", None, "ERROR", None): 1, BETA: 1}


def test_a_flag_that_goes_after_an_error_counts_as_unknown() -> None:
    provider = Static({"beta": True})
    client = Client(provider)
    tallies = client.tally(lambda: None)
    client.variation("beta", {"key": 5})
    provider.update({})
    client.variation("beta", {"key": 5})
    client.variation("beta", USER)
    assert counts(tallies) == {("beta", None, "ERROR", None): 1, ("beta", None, NOT_FOUND, None): 2}


def test_a_flag_that_comes_after_it_was_asked_for_counts_as_one() -> None:
    provider = Static({})
    client = Client(provider)
    tallies = client.tally(lambda: None)
    client.variation("beta", USER)
    provider.update({"beta": True})
    client.variation("beta", {"key": 5})
    assert counts(tallies) == {("beta", None, NOT_FOUND, None): 1, ("beta", None, "ERROR", None): 1}


def test_what_a_test_overrides_does_not_count() -> None:
    client, tallies = counting()
    with override_flags({"beta": True, "unheard-of": True}):
        client.is_enabled("beta", USER)
        client.variation("unheard-of", USER)
        requests_of(client).is_enabled("beta")
        client.variation("banner", USER)
    assert counts(tallies) == {("banner", "old", "STATIC", '"old"'): 1}


def test_nothing_is_counted_before_somebody_wants_to_know() -> None:
    client = Client(Static(DOCUMENT))
    client.variation("beta", USER)
    assert client.tallies is None
    assert counts(client.tally(lambda: None)) == {}


def test_whoever_asks_is_given_the_same_tallies() -> None:
    client, tallies = counting()
    assert client.tally(lambda: None) is tallies


def test_a_process_that_begins_to_use_the_client_is_told_of() -> None:
    told: list[str] = []
    client = Client(Static(DOCUMENT))

    def touch() -> None:
        told.append("here")

    client.tally(touch)
    client.tally(touch)
    client.variation("beta", USER)
    client.variation("beta", USER)
    assert told == ["here"]


# --- values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ("grün", '"grün"'),
        (5, "5"),
        (1.5, "1.5"),
        ("", '""'),
        ("x" * 198, '"' + "x" * 198 + '"'),
        ("x" * 199, None),
        (10**300, None),
        pytest.param(10**5000, None, id="too many digits"),
        (float("nan"), None),
        (None, None),
        ({"a": 1}, None),
        ([1], None),
    ],
)
def test_short_values_are_kept_as_json(value: Any, text: str | None) -> None:
    assert short_json(value) == text


def test_a_variation_whose_value_has_changed_is_counted_apart_after_renewing() -> None:
    provider = Static({"flags": {"banner": flag({"old": "red"}, "old")}})
    client = Client(provider)
    tallies = client.tally(lambda: None)
    client.variation("banner", USER)
    provider.update({"flags": {"banner": flag({"old": "blue"}, "old")}})
    tallies.renew()
    client.variation("banner", USER)
    client.variation("banner", USER)
    assert counts(tallies) == {("banner", "old", "STATIC", '"red"'): 1, ("banner", "old", "STATIC", '"blue"'): 2}


def test_renewing_loses_no_count() -> None:
    client, tallies = counting()
    for _ in range(5):
        client.is_enabled("beta", USER)
        tallies.renew()
    assert counts(tallies) == {BETA: 5}


# --- services whose flags have several spaces -----------------------------------------------------------------


class Workspace:
    """Hackle's flags, from memory."""

    def __init__(self, workspace: Any) -> None:
        self._channel = MemoryChannel(hackle_support.document(workspace))

    def dialect(self) -> Dialect:
        return HackleDialect()

    def source(self) -> Source:
        return MemorySource(self._channel)

    def sink(self) -> None:
        """Nobody is told."""

    def cache(self) -> None:
        """Nothing is kept."""

    def place(self) -> None:
        """Nothing is shared."""


def test_flags_that_share_a_number_are_counted_apart() -> None:
    tests, flags = [hackle_support.ab_test(1, 5)], [hackle_support.feature_flag(2, 5)]
    client = Client(Workspace({"experiments": tests, "featureFlags": flags}))
    tallies = client.tally(lambda: None)
    client.variation(5, USER, "A")
    client.is_enabled(5, USER)
    requests_of(client).variation(5, "A")
    assert {(key, number) for (key, *_), number in counts(tallies).items()} == {("ab_test/5", 2), ("feature_flag/5", 1)}


@pytest.mark.parametrize(
    "read",
    [
        lambda client: client.variation(5, USER, "B"),
        lambda client: client.variation_detail(5, USER, "B"),
        lambda client: requests_of(client).variation(5, "B"),
    ],
)
def test_an_outcome_that_depends_on_the_callers_default_counts_as_it_was_served(read: Ask) -> None:
    client = Client(Workspace({"experiments": [hackle_support.ab_test(1, 5, status="PAUSED")]}))
    tallies = client.tally(lambda: None)
    read(client)
    ((combination, number),) = counts(tallies).items()
    assert (combination[:2], number) == (("ab_test/5", "B"), 1)


def test_an_unknown_number_of_such_a_service_is_unknown() -> None:
    client = Client(Workspace({}))
    tallies = client.tally(lambda: None)
    client.is_enabled(6, USER)
    client.config("no-such", USER, 5)
    assert counts(tallies) == {("6", None, NOT_FOUND, None): 1, ("no-such", None, NOT_FOUND, None): 1}


# --- the short way --------------------------------------------------------------------------------------------


def test_what_was_counted_before_is_counted_the_short_way() -> None:
    client, tallies = counting()
    client.variation("beta", USER)
    counter = tallies.counters["variations", "beta", "off", Reason.STATIC]
    steps: list[int] = []

    def step() -> int:
        steps.append(counter())
        return 0

    tallies.counters["variations", "beta", "off", Reason.STATIC] = step
    for _ in range(3):
        client.variation("beta", USER)
        requests_of(client).variation("beta")
    assert len(steps) == 6
    assert counts(tallies) == {BETA: 7}


# --- threads and readers --------------------------------------------------------------------------------------


def test_threads_that_count_at_once_lose_nothing_while_others_read() -> None:
    client, tallies = counting()
    threads, each = 8, 3_000
    is_over = threading.Event()
    seen: list[int] = []

    def evaluate() -> None:
        for number in range(each):
            client.variation("beta", USER)
            if number % 500 == 0:
                tallies.renew()

    def read() -> None:
        while not is_over.is_set():
            seen.append(sum(tallies.read().values()))

    readers = [threading.Thread(target=read) for _ in range(2)]
    workers = [threading.Thread(target=evaluate) for _ in range(threads)]
    for thread in [*readers, *workers]:
        thread.start()
    for thread in workers:
        thread.join()
    is_over.set()
    for thread in readers:
        thread.join()
    assert counts(tallies) == {BETA: threads * each}


def test_reading_changes_nothing_for_other_readers() -> None:
    client, tallies = counting()
    client.variation("beta", USER)
    assert [counts(tallies) for _ in range(3)] == [{BETA: 1}] * 3
    client.variation("beta", USER)
    assert counts(tallies) == {BETA: 2}


def test_a_child_begins_at_zero() -> None:
    client, tallies = counting()
    client.variation("beta", USER)
    tallies.forget()
    assert counts(tallies) == {}
    client.variation("beta", USER)
    assert counts(tallies) == {BETA: 1}


# --- bounds and odd keys --------------------------------------------------------------------------------------

SERVED = decided(value=True, variation="on", reason=Reason.STATIC)


def test_keys_that_come_from_anywhere_do_not_grow_the_memory() -> None:
    client, tallies = counting()
    for number in range(2 * MAX_OTHERS):
        client.variation(f"garbage-{number}", USER)
    client.variation("beta", USER)
    assert len(counts(tallies)) == MAX_OTHERS + 1
    assert counts(tallies)[BETA] == 1


def test_keys_asked_for_before_flags_arrive_do_not_take_their_room() -> None:
    tallies = Tallies()
    for number in range(2 * MAX_OTHERS):
        tallies.add("variations", f"garbage-{number}", None, "ERROR", NOT_READY)
    assert len(tallies.read()) == MAX_OTHERS


def test_long_keys_are_cut() -> None:
    client, tallies = counting()
    client.variation("x" * 10_000, USER)
    client.variation(10**4000, USER)
    assert {len(key) for key, *_ in counts(tallies)} == {MAX_KEY_CHARS}


def test_flags_beyond_the_limit_are_not_counted() -> None:
    tallies = Tallies()
    for number in range(MAX_FLAGS + 5):
        tallies.add("variations", f"flag-{number}", f"flag-{number}", "STATIC", SERVED)
    assert len(tallies.read()) == MAX_FLAGS


def test_variations_beyond_the_limit_are_not_counted() -> None:
    tallies = Tallies()
    for number in range(2 * MAX_PER_FLAG):
        served = decided(value=number, variation=f"v{number}", reason=Reason.STATIC)
        tallies.add("variations", "flag", "flag", "STATIC", served)
    assert len(tallies.read()) == MAX_PER_FLAG


def test_there_is_a_limit_for_all_together() -> None:
    tallies = Tallies()
    outcomes = [decided(value=number, variation=f"v{number}", reason=Reason.STATIC) for number in range(MAX_PER_FLAG)]
    for number in range(MAX_COMBINATIONS // MAX_PER_FLAG + 1):
        for outcome in outcomes:
            tallies.add("variations", f"flag-{number}", f"flag-{number}", "STATIC", outcome)
    assert len(tallies.read()) == MAX_COMBINATIONS


class Unhashable(str):
    """A key that raises."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("not today")


class Keys(str, Enum):  # noqa: UP042  # how programs of before wrote it
    BETA = "beta"
    GONE = "gone"


ODD: list[Any] = [True, 1.0, None, [], {}, Unhashable("beta"), b"beta", object()]


@pytest.mark.parametrize("key", ODD, ids=repr)
@pytest.mark.parametrize("ask", ["variation", "is_enabled", "config"])
def test_what_is_no_key_is_not_counted_and_does_no_harm(key: Any, ask: str) -> None:
    client, tallies = counting()
    getattr(client, ask)(key, USER)
    getattr(requests_of(client), ask)(key)
    assert counts(tallies) == {}


def test_a_member_of_an_enumeration_counts_as_its_text() -> None:
    client, tallies = counting()
    client.variation(Keys.BETA, USER)
    client.variation(Keys.GONE, USER)
    assert counts(tallies) == {BETA: 1, ("gone", None, NOT_FOUND, None): 1}


def test_an_outcome_with_the_callers_default_has_no_value() -> None:
    tallies = Tallies()
    outcome = Outcome(reason=Reason.DISABLED, value="of nobody", uses_default=True)
    tallies.add("variations", "flag", "flag", "DISABLED", outcome)
    assert list(tallies.read()) == [Combination("flag", None, "DISABLED", None)]
