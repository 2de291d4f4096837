"""What a client makes of what a source brings over a network: states, messages, stale flags, waiting for the first ones."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from flagmw import AuthError, Client, Reason, State, TransportError, UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.dialects import Compilation
from flagmw.dialects.flagd import FlagdDialect
from flagmw.events import Sink
from flagmw.runtime import Runtime
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver

USER = UserContext("u1")


class Dialect(FlagdDialect):
    """flagd documents that can be kept on disk."""

    def dump(self, snapshot: Snapshot) -> Iterable[bytes]:  # type: ignore[override]  # flagd's own gives none
        yield b'{"flags": '
        yield json.dumps({key: flag("on") for key in snapshot.flags}).encode() + b"}"


class Lines:
    """A provider whose source the test plays; it keeps each process's receiver."""

    def __init__(self, kept: bytes | None = None, problem: TransportError | None = None) -> None:
        self.receivers: list[Receiver] = []
        self.kept = kept
        self.saved: list[bytes] = []
        self.problem = problem

    background = False
    local = False
    awaited = True
    role = Role.ALONE
    heartbeat_s: float | None = None
    agreed_s: float | None = None

    def dialect(self) -> Dialect:
        return Dialect(fractional="v2", wall_clock=lambda: 0.0)

    def source(self) -> Lines:
        return self

    def sink(self) -> Sink | None:
        return None

    def place(self) -> None:
        return None

    def cache(self) -> Lines:
        return self

    def load(self) -> bytes | None:
        return self.kept

    def save(self, pieces: Iterable[bytes]) -> None:
        if self.problem is not None:
            raise self.problem
        self.saved.append(b"".join(pieces))

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        self.receivers.append(receiver)

    def run(self, stopping: threading.Event) -> None:
        raise AssertionError("has no background")

    def wake(self) -> None:
        return None

    def bring(self, flags: dict[str, Any] | None = None, **more: Any) -> bool:
        documents = () if flags is None else (document({"flags": flags}),)
        return self.receivers[-1].deliver(Delivery(documents=documents, **more))


def flag(value: Any) -> dict[str, Any]:
    return {"state": "ENABLED", "variants": {"only": value}, "defaultVariant": "only"}


def document(content: Any) -> Document:
    return Document(name="lines", content=json.dumps(content).encode())


def messages(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_a_source_that_brings_nothing_yet_leaves_the_client_initializing() -> None:
    lines = Lines()
    with Client(lines) as client:
        assert (client.status.state, client.variation("f", USER, "default")) == (State.INITIALIZING, "default")
        lines.bring({"f": flag("on")})
        assert (client.status.state, client.variation("f", USER, "default")) == (State.OK, "on")


def test_a_failing_source_interrupts_and_a_delivery_without_news_confirms_the_flags() -> None:
    lines = Lines()
    with Client(lines) as client:
        lines.bring({"f": flag("on")})
        lines.bring(error=TransportError("host.example: gone; retrying"))
        assert (client.status.state, client.status.error) == (State.INTERRUPTED, "host.example: gone; retrying")
        assert client.variation("f", USER, "default") == "on"
        lines.bring()
        assert (client.status.state, client.status.error) == (State.OK, None)


def test_an_episode_of_failures_is_warned_of_once_and_counted_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flagmw")
    lines = Lines()
    with Client(lines):
        lines.bring({"f": flag("on")})
        caplog.clear()
        for reason in ("refused", "timed out", "refused"):
            lines.bring(error=TransportError(reason))
        assert messages(caplog) == ["refused; the last good flags stay in force"]
        lines.bring()
        assert messages(caplog)[1:] == [
            f"flags are in sync again after 3 failures: revision {lines.receivers[-1].snapshot.revision}"  # type: ignore[union-attr]  # there
        ]


def test_a_refusal_switches_off_with_one_error_and_keeps_the_flags(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()
    with Client(lines) as client:
        lines.bring({"f": flag("on")})
        lines.bring(error=AuthError("host.example refuses the secret"))
        assert (client.status.state, client.status.error) == (State.OFF, "host.example refuses the secret")
        assert client.variation("f", USER, "default") == "on"
        assert len(messages(caplog, logging.ERROR)) == 1


def test_a_bad_message_is_logged_once_and_skipped(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()
    with Client(lines) as client:
        lines.bring({"f": flag("on")})
        bad = Delivery(documents=(Document(name="lines", content=b"{"),), is_message=True)
        assert [lines.receivers[-1].deliver(bad) for _ in range(3)] == [False] * 3
        assert (client.status.state, client.variation("f", USER)) == (State.OK, "on")
        assert len(messages(caplog, logging.ERROR)) == 1


# --- flags kept on disk -------------------------------------------------------------------------------------


def test_kept_flags_are_served_at_once_as_stale_until_the_service_answers() -> None:
    lines = Lines(kept=json.dumps({"flags": {"f": flag("kept")}}).encode())
    with Client(lines) as client:
        assert client.status.state is State.INTERRUPTED
        detail = client.variation_detail("f", USER, "default")
        assert (detail.value, detail.reason) == ("kept", Reason.STALE)
        lines.bring({"f": flag("kept")})
        detail = client.variation_detail("f", USER, "default")
        assert (client.status.state, detail.value, detail.reason) == (State.OK, "kept", Reason.STATIC)


def test_kept_flags_that_the_service_confirms_are_not_stale_any_more() -> None:
    lines = Lines(kept=json.dumps({"flags": {"f": flag("kept")}}).encode())
    with Client(lines) as client:
        lines.bring(error=TransportError("refused"))
        assert client.variation_detail("f", USER).reason is Reason.STALE
        lines.bring()
        assert client.variation_detail("f", USER).reason is Reason.STATIC


def test_a_default_is_not_called_stale() -> None:
    with Client(Lines(kept=json.dumps({"flags": {"f": flag("kept")}}).encode())) as client:
        assert client.variation_detail("nowhere", USER).reason is Reason.ERROR


def test_kept_flags_that_cannot_be_read_are_reported_and_leave_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    with Client(Lines(kept=b"{")) as client:
        assert client.variation("f", USER, "default") == "default"
        assert client.status.state is State.INITIALIZING
    assert "the flags kept on disk" in messages(caplog, logging.ERROR)[0]


def test_flags_are_kept_when_they_arrive_and_again_on_closing_but_not_for_each_change() -> None:
    lines = Lines()
    client = Client(lines)
    client.start()
    for number in range(5):
        lines.bring({f"f{number}": flag("on")})
    assert len(lines.saved) == 1
    client.close()
    assert [json.loads(saved)["flags"].keys() for saved in lines.saved] == [{"f0"}, {"f4"}]


def test_stale_flags_are_not_kept_again() -> None:
    lines = Lines(kept=json.dumps({"flags": {"f": flag("kept")}}).encode())
    with Client(lines):
        lines.bring(error=TransportError("refused"))
    assert lines.saved == []


def test_a_full_disk_is_warned_of_once_and_changes_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines(problem=TransportError("/var/flags: No space left on device"))
    with Client(lines) as client:
        lines.bring({"f": flag("on")})
        assert (client.status.state, client.variation("f", USER)) == (State.OK, "on")
    assert messages(caplog, logging.WARNING) == [
        "the flags are not kept for the next start: /var/flags: No space left on device"
    ]


# --- waiting for the first flags ----------------------------------------------------------------------------


def test_the_time_for_waiting_runs_once_per_process() -> None:
    with Client(Lines()) as client:
        first = client.hold(60.0)
        assert 59.0 < first <= 60.0
        assert client.hold(120.0) <= first


@pytest.mark.parametrize("end", ["flags", "refusal"])
def test_nothing_is_waited_for_once_flags_are_there_or_will_not_come(end: str) -> None:
    lines = Lines()
    with Client(lines) as client:
        assert client.hold(60.0) > 0
        if end == "flags":
            lines.bring({"f": flag("on")})
        else:
            lines.bring(error=AuthError("refused"))
        assert client.hold(60.0) == 0
        client.wait_settled(60.0)


def test_kept_flags_are_reason_enough_not_to_wait() -> None:
    with Client(Lines(kept=json.dumps({"flags": {"f": flag("kept")}}).encode())) as client:
        assert client.hold(60.0) == 0


def test_a_source_that_is_not_awaited_holds_nothing_up() -> None:
    lines = Lines()
    lines.awaited = False
    with Client(lines) as client:
        assert client.hold(60.0) == 0


def test_changes_are_told_by_their_keys() -> None:
    lines = Lines()
    told: list[frozenset[str]] = []
    with Client(lines) as client:
        client.on_change(told.append)
        lines.bring({"a": flag(1), "b": flag(2)})
        lines.bring({"a": flag(1), "b": flag(3)})
        lines.bring({"a": flag(1), "b": flag(3)})
        lines.bring({"a": flag(1)})
    assert told == [{"a", "b"}, {"b"}, {"b"}]


def test_a_dialect_that_raises_leaves_the_last_good_flags() -> None:
    class Broken(Dialect):
        def compile(self, *arguments: Any) -> Compilation:
            if broken.is_set():
                raise RuntimeError("a defect")
            return super().compile(*arguments)

    class Provider(Lines):
        def dialect(self) -> Dialect:
            return Broken(fractional="v2", wall_clock=lambda: 0.0)

    broken = threading.Event()
    lines = Provider()
    with Client(lines) as client:
        lines.bring({"f": flag("on")})
        broken.set()
        assert lines.bring({"f": flag("off")}) is False
        assert (client.status.state, client.variation("f", USER)) == (State.INTERRUPTED, "on")


# --- processes and endings ----------------------------------------------------------------------------------


def test_a_process_that_inherits_flags_is_ready_before_its_own_source_has_said_anything() -> None:
    parent = Lines()
    with Client(parent) as client:
        parent.bring({"f": flag("on")})
        inherited = client.snapshot()
    child = Runtime(Lines(), inherited, [], active=True)
    assert child.ready.is_set()
    assert child.hold(60.0) == 0


def test_a_source_that_does_not_stop_leaves_the_last_events_their_part_of_the_time() -> None:
    class Stuck(Lines):
        background = True
        given_s = 0.0
        release = threading.Event()

        def sink(self) -> Stuck:  # type: ignore[override]  # plays the sink, too
            return self

        def run(self, stopping: threading.Event) -> None:
            self.release.wait(30.0)

        def open(self, receiver: Receiver | None = None) -> None:
            """As source and as sink: there is nothing to do."""

        def counts(self) -> None:
            return None

        def close(self, timeout_s: float) -> bool:
            self.given_s = timeout_s
            return True

    stuck = Stuck()
    client = Client(stuck)  # type: ignore[arg-type]  # as much of a sink as closing needs
    client.start()
    assert client.close(0.4) is False
    stuck.release.set()
    assert stuck.given_s > 0.1
