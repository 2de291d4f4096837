"""What a client promises: it starts when it is used, answers always, and says how it is."""

from __future__ import annotations

import builtins
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw import Client, ConfigError, ErrorCode, Reason, State, UserContext, configure, get_client
from flagmw.providers import FlagFile, Static
from flagmw.registry import forget_client
from flagmw.testing import MemorySink
from tests.unit.support import flag, until

USER = UserContext("user-1", country="DE")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "on": flag(default="on"),
        "text": flag({"v": "hello"}, "v"),
        "whole": flag({"v": 10}, "v"),
        "half": flag({"v": 0.5}, "v"),
        "theme": flag({"v": {"colors": ["red"]}}, "v"),
        "german": flag(targeting={"if": [{"==": [{"var": "country"}, "DE"]}, "on", "off"]}),
        "undecided": flag(),
        "disabled": {**flag(default="on"), "state": "DISABLED"},
    },
    "metadata": {"flagSetId": "shop"},
}


def state(client: Client) -> State:
    return client.status.state


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(Static(DOCUMENT)) as made:
        yield made


def test_each_type_has_its_getter(client: Client) -> None:
    assert client.variation("text", USER) == "hello"
    assert client.is_enabled("on", USER)
    assert client.boolean("german", {"key": "u", "country": "DE"})
    assert client.string("text", USER, "d") == "hello"
    assert client.integer("whole", USER, 1) == 10
    assert client.number("whole", USER, 1.0) == 10.0
    assert client.number("half", USER, 1.0) == 0.5
    assert client.json("theme", USER) == {"colors": ["red"]}


def test_a_getter_gives_its_default_for_another_type(client: Client) -> None:
    assert client.is_enabled("text", USER) is False
    assert client.is_enabled("text", USER, default=True) is True
    assert client.boolean("whole", USER, default=True) is True
    assert client.string("on", USER, "d") == "d"
    assert client.integer("half", USER, 7) == 7
    assert client.number("text", USER, 1.5) == 1.5
    assert client.json("text", USER, []) == []
    assert client.variation_detail("text", USER, 5, "integer").error_code is ErrorCode.TYPE_MISMATCH


def test_a_detail_says_where_the_value_comes_from(client: Client) -> None:
    detail = client.variation_detail("german", USER, "default")
    assert (detail.flag_key, detail.value, detail.variation) == ("german", True, "on")
    assert (detail.reason, detail.error_code, detail.error_message) == (Reason.TARGETING_MATCH, None, None)
    assert detail.revision == client.status.revision != ""
    assert dict(detail.metadata) == {"flagSetId": "shop"}
    with pytest.raises(TypeError, match="read-only"):
        detail.metadata["flagSetId"] = "other"  # type: ignore[index]  # what a caller may try


@pytest.mark.parametrize(
    ("key", "reason", "code"),
    [
        ("undecided", Reason.DEFAULT, None),
        ("disabled", Reason.DISABLED, None),
        ("nowhere", Reason.ERROR, ErrorCode.FLAG_NOT_FOUND),
        (["unhashable"], Reason.ERROR, ErrorCode.GENERAL),
        (None, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND),
    ],
)
def test_the_default_comes_with_a_reason(client: Client, key: Any, reason: Reason, code: ErrorCode | None) -> None:
    default = object()
    detail = client.variation_detail(key, USER, default)
    assert (detail.value, detail.variation) == (default, None)
    assert (detail.reason, detail.error_code) == (reason, code)
    assert client.variation(key, USER, default) is default


@pytest.mark.parametrize("user", [None, 5, "user-1", {"key": 5}, {"attributes": 5}, object()])
def test_a_user_that_is_none_gives_the_default(client: Client, user: Any) -> None:
    detail = client.variation_detail("on", user, "default")
    assert (detail.value, detail.error_code) == ("default", ErrorCode.INVALID_CONTEXT)
    assert client.variation("on", user, "default") == "default"


def test_what_is_wrong_is_logged_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        client.variation("nowhere", USER)
        client.variation("on", {"key": 5, "email": "secret@example.org"})
        client.string("on", USER)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 3, warnings
    assert not any("secret" in warning for warning in warnings)


def test_what_a_caller_changes_stays_the_callers_own(client: Client) -> None:
    client.json("theme", USER)["colors"].append("blue")
    client.variation("theme", USER)["more"] = 1
    client.variation_detail("theme", USER).value.clear()
    client.all_variations(USER)["theme"].value.clear()
    assert client.variation("theme", USER) == {"colors": ["red"]}


def test_all_variations_are_evaluated_when_they_are_read() -> None:
    sink = MemorySink()
    with Client(Static(DOCUMENT, sink=sink)) as client:
        every = client.all_variations(USER)
        assert sorted(every) == sorted(DOCUMENT["flags"])
        assert len(every) == len(DOCUMENT["flags"])
        assert not sink.exposures
        assert every["on"].value is True
        assert every["undecided"].value is None
        assert [exposure.flag_key for exposure in sink.exposures] == ["on"]
        with pytest.raises(KeyError):
            every["nowhere"]


def test_exposures_and_metrics_reach_the_sink() -> None:
    sink = MemorySink()
    with Client(Static(DOCUMENT, sink=sink)) as client:
        client.variation("on", USER)
        client.variation("undecided", USER)
        client.variation("nowhere", USER)
        client.track(USER, "bought", 9.5, currency="EUR")
        client.track({"key": "u2"}, "seen")
        assert client.flush(1.0)
    (exposure,) = sink.exposures
    assert (exposure.flag_key, exposure.context, exposure.outcome.variation) == ("on", USER, "on")
    bought, seen = sink.metrics
    assert (bought.event, bought.value, bought.properties) == ("bought", 9.5, {"currency": "EUR"})
    assert (seen.context.key, seen.value) == ("u2", None)


@pytest.mark.parametrize(
    ("user", "event", "value"),
    [
        (USER, "", 1.0),
        (USER, None, 1.0),
        (USER, "e", float("nan")),
        (USER, "e", "1"),
        (USER, "e", True),
        (None, "e", 1.0),
    ],
)
def test_an_event_with_a_defect_is_dropped_with_a_word(
    user: Any, event: Any, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink = MemorySink()
    with Client(Static(DOCUMENT, sink=sink)) as client:
        client.track(user, event, value)
        client.track(user, event, value)
    assert not sink.metrics
    assert len([record for record in caplog.records if "not tracked" in record.getMessage()]) == 1


def test_constructing_and_looking_touch_no_file_and_start_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flags.json"
    before = threading.active_count()

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("constructing a client did I/O")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr("os.stat", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    client = Client(FlagFile(path))
    state = client.status.state
    shown = repr(client)
    closed = client.close()
    monkeypatch.undo()
    assert (state, closed) == (State.INITIALIZING, True)
    assert "FlagFile" in shown
    assert threading.active_count() == before


def test_offline_does_no_io_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {"on": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}')
    before = threading.active_count()
    client = Client(FlagFile(path), offline=True)
    client.start()
    detail = client.variation_detail("on", USER, "default")
    assert (detail.value, detail.error_code) == ("default", ErrorCode.PROVIDER_NOT_READY)
    assert "offline" in (detail.error_message or "")
    assert state(client) is State.OFF
    assert threading.active_count() == before
    held = Client(Static({"on": True}), offline=True)
    assert held.is_enabled("on", USER)
    assert held.status.state is State.OFF


def test_static_values_and_documents_can_be_replaced() -> None:
    provider = Static({"checkout": True, "limit": 5, "theme": {"a": 1}, "names": ["x"]})
    with Client(provider) as one, Client(provider) as two:
        told: list[frozenset[str]] = []
        one.on_change(told.append)
        assert (one.is_enabled("checkout", USER), one.integer("limit", USER)) == (True, 5)
        assert (one.json("theme", USER), one.json("names", USER)) == ({"a": 1}, ["x"])
        provider.update({"checkout": False, "limit": 5})
        assert [client.is_enabled("checkout", USER, default=True) for client in (one, two)] == [False, False]
        assert told == [frozenset({"checkout", "theme", "names"})]
        provider.update({"flags": {"checkout": {"state": "nonsense"}}})
        assert state(one) is State.INTERRUPTED
        assert one.is_enabled("checkout", USER, default=True) is False
        provider.update(DOCUMENT)
        assert state(one) is State.OK


@pytest.mark.parametrize("flags", [5, ["a"], "flags.yaml"])
def test_static_refuses_what_is_no_mapping(flags: Any) -> None:
    with pytest.raises(ConfigError, match="mapping"):
        Static(flags)


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_a_static_value_that_is_no_json_is_an_error_of_the_client_and_not_of_the_caller(value: Any) -> None:
    client = Client(Static({"odd": value, "on": True}))
    assert client.variation("on", USER, "default") == "default"
    assert "JSON" in (client.status.error or "")


def test_a_client_that_was_closed_serves_its_last_flags_and_can_start_again() -> None:
    provider = Static({"on": True})
    client = Client(provider)
    client.start()
    assert client.close()
    assert client.is_enabled("on", USER)
    assert state(client) is State.OFF
    client.start()
    client.start()
    assert state(client) is State.OK
    provider.update({"on": False})
    assert not client.is_enabled("on", USER)


def test_status_tells_revision_and_age(client: Client) -> None:
    status = client.status
    assert (status.state, status.error, status.flags) == (State.OK, None, len(DOCUMENT["flags"]))
    assert status.age_s is not None
    assert 0 <= status.age_s < 60
    assert abs(status.since - time.time()) < 60


def test_a_provider_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="provider"):
        Client("flags.yaml")


def test_the_same_configuration_gives_the_same_client() -> None:
    try:
        provider = FlagFile("flags.yaml")
        first = configure(provider)
        assert configure(FlagFile("flags.yaml")) is first is get_client()
        other = configure(FlagFile("flags.yaml"), name="other")
        assert other is not first
        assert get_client("other") is other
        assert configure(FlagFile("flags.yaml"), offline=True) is not first
    finally:
        forget_client()
        forget_client("other")
    with pytest.raises(ConfigError, match="configure"):
        get_client()


def test_many_threads_may_make_the_first_call_and_get_one_source(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {"on": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}')
    client = Client(FlagFile(path))
    barrier = threading.Barrier(8)
    answers: list[bool] = []

    def first_call() -> None:
        barrier.wait(5.0)
        answers.append(client.is_enabled("on", USER))

    callers = [threading.Thread(target=first_call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(5.0)
    assert answers == [True] * 8
    assert [thread.name for thread in threading.enumerate()].count("flagmw-source") == 1
    client.close(5.0)


def test_evaluating_goes_on_while_flags_change() -> None:
    provider = Static({"f": 0})
    client = Client(provider)
    stop = threading.Event()
    wrong: list[Any] = []

    def read() -> None:
        while not stop.is_set():
            value = client.variation("f", USER)
            if not isinstance(value, int):
                wrong.append(value)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(200):
        provider.update({"f": value})
    stop.set()
    for reader in readers:
        reader.join(5.0)
    assert not wrong
    until(lambda: client.variation("f", USER) == 199)
