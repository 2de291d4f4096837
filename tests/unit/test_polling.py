"""The polling source: what it asks, when, and what it makes of the answers."""

from __future__ import annotations

import gzip
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from flagmw.core.snapshot import Snapshot
from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.network import Network
from flagmw.transports import Delivery
from flagmw.transports.polling import PollingSource
from tests.services.blackhole import BlackHole
from tests.unit.network_support import (
    PATIENT,
    QUICK,
    SECRET,
    Memory,
    Peer,
    Question,
    RawServer,
    descriptors,
    free_port,
    running,
)
from tests.unit.support import compiled, document, until

Step = Callable[[Peer], object]


def polling(server: RawServer, network: Network = PATIENT, interval_s: float = 0.02, **options: Any) -> PollingSource:
    return PollingSource(Question(f"http://{server.peer}/{SECRET}"), network, interval_s=interval_s, **options)


def answer(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> Step:
    return lambda peer: peer.answer(body, status, **headers)


class Script:
    """Answers requests one after another, the last in the same way for ever.

    Attributes:
        requests: what was asked.
        times: when.
    """

    def __init__(self, *steps: Step) -> None:
        self.requests: list[str] = []
        self.times: list[float] = []
        self._steps = steps
        self._lock = threading.Lock()

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.read_request()
            with self._lock:
                step = self._steps[min(len(self.requests), len(self._steps) - 1)]
                self.times.append(time.monotonic())
                self.requests.append(request)
            step(peer)

    def headers(self, place: int, *names: str) -> list[str]:
        """Give some headers of one request."""
        lines = self.requests[place].split("\r\n")[1:]
        return [line for line in lines if line.partition(":")[0] in names]


CONDITIONS = ("If-None-Match", "If-Modified-Since")


# --- asking ---------------------------------------------------------------------------------------------------


def test_the_document_is_asked_for_at_once_with_the_headers_of_the_wire() -> None:
    script = Script(answer(b'{"a":1}'))
    memory = Memory()
    with RawServer(script) as server, running(polling(server, interval_s=60.0), memory):
        assert until(lambda: memory.texts) < 2.0
    assert memory.texts == ['{"a":1}']
    assert script.requests[0].startswith(f"GET /{SECRET} HTTP/1.1\r\n")
    assert f"Authorization: {SECRET}" in script.requests[0]
    (document_,) = memory.deliveries[0].documents
    assert (document_.name, memory.deliveries[0].is_message) == ("Test config", False)


def test_the_document_is_asked_for_again_over_the_same_connection() -> None:
    script = Script(answer(b"1"), answer(b"2"), answer(b"3"))
    memory = Memory()
    with RawServer(script) as server, running(polling(server), memory):
        until(lambda: memory.texts[:3] == ["1", "2", "3"])
        assert server.accepted == 1


def test_the_wire_is_told_the_flags_in_force() -> None:
    memory = Memory()
    memory.snapshot = compiled(document({}))
    script = Script(answer())
    with RawServer(script) as server, running(polling(server), memory):
        until(lambda: script.requests)
    assert script.requests[0].split(" ")[1] == f"/{SECRET}?since={memory.snapshot.revision}"


def test_a_compressed_document_is_unpacked() -> None:
    memory = Memory()
    packed = gzip.compress(b"document")
    with RawServer(Script(answer(packed, Content_Encoding="gzip"))) as server, running(polling(server), memory):
        until(lambda: memory.texts[:1] == ["document"])


@pytest.mark.parametrize(("random", "expected"), [(0.0, 0.95), (0.5, 1.0), (1.0, 1.05)])
def test_requests_are_off_their_time_by_a_twentieth_at_most(random: float, expected: float) -> None:
    waits = _waits(answer(), random=random, count=2, interval_s=10.0)
    assert waits[0] == pytest.approx(10.0 * expected)


def _waits(*steps: Step, random: float = 0.5, count: int = 1, interval_s: float = 10.0) -> list[float]:
    """Give how long a source waits after each of its requests, at a clock that stands still meanwhile."""
    waits: list[float] = []
    now = [1000.0]

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waits.append(timeout)
            now[0] += timeout
            if len(waits) == count:
                self.set()
            return super().wait(0)

    with RawServer(Script(*steps)) as server:
        source = polling(server, interval_s=interval_s, monotonic=lambda: now[0], random=lambda: random)
        source.open(Memory())
        source.run(Stopping())
    return waits


@pytest.mark.parametrize(("took_s", "expected"), [(4.0, [1000.0, 1010.0, 1020.0]), (25.0, [1000.0, 1030.0, 1040.0])])
def test_requests_keep_their_rate_whatever_one_takes_and_none_is_made_up_for(
    took_s: float, expected: list[float]
) -> None:
    now = [1000.0]
    asked: list[float] = []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            if len(asked) == 3:
                self.set()
            return super().wait(0)

    def step(peer: Peer) -> None:
        asked.append(now[0])
        now[0] += took_s if len(asked) == 1 else 0.0
        peer.answer()

    with RawServer(Script(step)) as server:
        network = Network(proxy="", connect_timeout_s=1e6, read_timeout_s=1e6)
        source = polling(server, network, interval_s=10.0, monotonic=lambda: now[0], random=lambda: 0.5)
        source.open(Memory())
        source.run(Stopping())
    assert asked == expected


# --- conditions -----------------------------------------------------------------------------------------------


def test_validators_go_back_as_they_came() -> None:
    script = Script(answer(ETag='W/"v 1"', Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT"), answer(status="304 No"))
    with RawServer(script) as server, running(polling(server)):
        until(lambda: len(script.requests) >= 4)
    assert script.headers(0, *CONDITIONS) == []
    for place in (1, 2, 3):
        assert sorted(script.headers(place, *CONDITIONS)) == [
            "If-Modified-Since: Wed, 21 Oct 2015 07:28:00 GMT",
            'If-None-Match: W/"v 1"',
        ]


def test_a_validator_that_is_not_sent_any_more_is_forgotten() -> None:
    script = Script(answer(ETag='"1"'), answer(b"new", Last_Modified="now"), answer())
    with RawServer(script) as server, running(polling(server)):
        until(lambda: len(script.requests) >= 4)
    assert script.headers(2, *CONDITIONS) == ["If-Modified-Since: now"]
    assert script.headers(3, *CONDITIONS) == []


def test_a_document_that_was_refused_is_asked_for_without_a_condition() -> None:
    memory = Memory()
    memory.takes = False
    script = Script(answer(ETag='"1"', Last_Modified="now"))
    with RawServer(script) as server, running(polling(server), memory):
        until(lambda: len(script.requests) >= 3)
    assert [script.headers(place, *CONDITIONS) for place in range(3)] == [[], [], []]


def test_a_refused_document_makes_the_validators_of_the_one_before_forgotten() -> None:
    class Picky(Memory):
        def deliver(self, delivery: Delivery) -> bool:
            super().deliver(delivery)
            return self.texts[-1] != "bad"

    script = Script(answer(b"good", ETag='"1"'), answer(b"bad", ETag='"2"'), answer(b"good"))
    with RawServer(script) as server, running(polling(server), Picky()):
        until(lambda: len(script.requests) >= 3)
    assert script.headers(1, *CONDITIONS) == ['If-None-Match: "1"']
    assert script.headers(2, *CONDITIONS) == []


def test_validators_are_for_the_address_that_they_came_from() -> None:
    snapshots: list[Snapshot | None] = [None, None, compiled(document({}))]

    class Moving(Memory):
        def deliver(self, delivery: Delivery) -> bool:
            self.snapshot = snapshots[min(len(script.requests), 2)]
            return super().deliver(delivery)

    script = Script(answer(ETag='"1"'))
    with RawServer(script) as server, running(polling(server), Moving()):
        until(lambda: len(script.requests) >= 4)
    assert [script.headers(place, *CONDITIONS) for place in range(4)] == [
        [],
        ['If-None-Match: "1"'],
        [],
        ['If-None-Match: "1"'],
    ]


@pytest.mark.parametrize(
    "unchanged", [answer(b"", "304 Not Modified"), answer(b""), answer(b" \r\n"), answer(b"", "204 No Content")]
)
def test_an_answer_without_a_document_says_that_nothing_changed(unchanged: Step) -> None:
    script = Script(answer(ETag='"1"'), unchanged)
    memory = Memory()
    with RawServer(script) as server, running(polling(server), memory):
        until(lambda: len(memory.deliveries) >= 3)
    assert memory.deliveries[1:3] == [Delivery(), Delivery()]
    assert script.headers(2, *CONDITIONS) == ['If-None-Match: "1"']


# --- failing and coming back ----------------------------------------------------------------------------------


def failure(step: Step, network: Network = PATIENT, **options: Any) -> TransportError:
    """Give the error of a first request that fails, and see that the source then comes back."""
    memory = Memory()
    with RawServer(Script(step, answer(b"back"))) as server:
        with running(polling(server, network, random=lambda: 0.0, **options), memory):
            until(lambda: memory.texts[-1:] == ["back"])
        assert SECRET not in str(memory.errors[0])
        assert str(memory.errors[0]).startswith(f"Test config: {server.peer} ")
    assert str(memory.errors[0]).endswith("; trying again")
    return memory.errors[0]


def told(error: TransportError) -> str:
    """Give an error's text without name, address and ending."""
    return str(error).split(" ", 3)[3].removesuffix("; trying again")


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 502, 503])
def test_another_status_is_tried_again(status: int) -> None:
    assert told(failure(answer(status=f"{status} No"))) == f"answered HTTP {status}"


def test_a_reset_is_tried_again() -> None:
    assert told(failure(Peer.reset)) == "reset the connection"


def test_an_answer_that_breaks_off_is_tried_again() -> None:
    def torn(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        peer.socket.shutdown(1)
        peer.hold()

    assert told(failure(torn)) == "broke its answer off"


@pytest.mark.parametrize("garbage", [b"this is no HTTP\r\n\r\n", b"\0" * 100])
def test_garbage_is_a_protocol_error_and_tried_again(garbage: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.send(garbage)
        peer.socket.shutdown(1)
        peer.hold()

    assert isinstance(failure(serve), ProtocolError)


def test_a_giant_document_is_a_protocol_error_and_tried_again() -> None:
    def giant(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8589934592\r\n\r\nxxx")
        peer.hold()

    error = failure(giant, max_document_bytes=1000)
    assert isinstance(error, ProtocolError)
    assert told(error) == "answered with more than 1000 bytes"


def test_an_answer_that_stalls_is_given_up_in_time_and_tried_again() -> None:
    assert told(failure(Peer.hold, QUICK)) == "did not answer in time"


def test_an_answer_that_drips_is_given_up_in_time_and_tried_again() -> None:
    def drip(peer: Peer) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Header: x\r\n" * 50:
            peer.send(bytes([byte]))
            time.sleep(0.02)  # the misbehaviour itself

    assert told(failure(drip, QUICK)) == "did not answer in time"


def test_a_server_that_is_down_is_asked_again() -> None:
    memory = Memory()
    wire = Question(f"http://127.0.0.1:{free_port()}/{SECRET}")
    with running(PollingSource(wire, PATIENT, interval_s=0.01, random=lambda: 0.0), memory):
        until(lambda: len(memory.errors) >= 2)
    assert "refused the connection; trying again" in str(memory.errors[1])


def test_an_error_of_the_wire_is_told_without_its_text_and_tried_again() -> None:
    class Broken(Question):
        def url(self, snapshot: Snapshot | None) -> str:
            raise ValueError(SECRET)

    memory = Memory()
    with running(PollingSource(Broken(""), PATIENT, interval_s=0.01, random=lambda: 0.0), memory):
        until(lambda: len(memory.errors) >= 2)
    assert str(memory.errors[0]) == "Test config: unexpected ValueError; trying again"


def test_waits_after_failures_grow_but_are_never_shorter_than_the_interval() -> None:
    waits = _waits(answer(status="500 No"), random=0.0, count=7, interval_s=3.0)
    assert waits == [3.0, 3.0, 3.0, 4.0, 8.0, 16.0, 30.0]


def test_waits_after_failures_of_a_whole_fleet_are_spread() -> None:
    assert _waits(answer(status="500 No"), random=1.0, count=1, interval_s=10.0) == [10.5]


def test_after_a_success_waits_are_the_interval_again() -> None:
    steps = [answer(status="500 No"), answer(status="500 No"), answer(), answer(status="500 No")]
    assert _waits(*steps, random=1.0, count=4, interval_s=0.1) == [1.0, 2.0, pytest.approx(0.105), 1.0]


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(("asked", "expected"), [("120", 120.0), ("86400", 300.0), ("1", 10.0)])
def test_a_pause_that_the_service_asks_for_is_observed_up_to_five_minutes(
    status: str, asked: str, expected: float
) -> None:
    assert _waits(answer(status=status, Retry_After=asked), random=0.0, interval_s=10.0) == [expected]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_secret_ends_the_attempts(status: int) -> None:
    script = Script(answer(SECRET.encode(), f"{status} No"))
    memory = Memory()
    with RawServer(script) as server, running(polling(server), memory) as source:
        until(lambda: source.has_ended)
    assert len(script.requests) == 1
    assert [type(error) for error in memory.errors] == [AuthError]
    assert str(memory.errors[0]) == f"Test config: {server.peer} refuses our secret (HTTP {status}); not trying again"


# --- another process's conditions -----------------------------------------------------------------------------


def test_a_source_goes_on_with_the_validators_of_another() -> None:
    script = Script(answer(ETag='"v1"', Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT"), answer(status="304 No"))
    with RawServer(script) as server:
        first, second = polling(server), polling(server)
        assert first.resume_token is None
        with running(first):
            until(lambda: first.resume_token is not None)
        asked = len(script.requests)
        token = first.resume_token
        assert token is not None
        assert SECRET.encode() not in token
        second.resume(token)
        with running(second):
            until(lambda: len(script.requests) > asked)
    assert sorted(script.headers(asked, *CONDITIONS)) == [
        "If-Modified-Since: Wed, 21 Oct 2015 07:28:00 GMT",
        'If-None-Match: "v1"',
    ]


def test_validators_of_another_address_are_not_used() -> None:
    with RawServer(Script(answer(ETag='"v1"'))) as server, running(source := polling(server)):
        until(lambda: source.resume_token is not None)
        token = source.resume_token
    script = Script(answer())
    with RawServer(script) as server:
        other = polling(server)
        assert token is not None
        other.resume(token)
        with running(other):
            until(lambda: script.requests)
    assert script.headers(0, *CONDITIONS) == []


@pytest.mark.parametrize("token", [b"", b"{", b"[]", b"7", b'{"place": 1, "more": 2}', b"\xff"])
def test_a_token_that_is_none_is_ignored(token: bytes) -> None:
    script = Script(answer(b"document"))
    with RawServer(script) as server:
        source = polling(server)
        source.resume(token)
        with running(source) as one:
            until(lambda: one.memory.texts[:1] == ["document"])
    assert script.headers(0, *CONDITIONS) == []


# --- stopping -------------------------------------------------------------------------------------------------


def stalling_after(data: bytes) -> Step:
    def step(peer: Peer) -> None:
        peer.send(data)
        peer.hold()

    return step


STATES = [
    pytest.param(Peer.hold, id="while it waits for an answer"),
    pytest.param(stalling_after(b"HTTP/1.1 200"), id="in the middle of the head"),
    pytest.param(stalling_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), id="in the middle of the body"),
    pytest.param(answer(), id="between requests"),
    pytest.param(answer(status="500 No"), id="between attempts"),
]


@pytest.mark.parametrize("step", STATES)
def test_stopping_takes_less_than_a_second(step: Step) -> None:
    script = Script(step)
    with RawServer(script) as server, running(polling(server, interval_s=60.0)) as source:
        until(lambda: script.requests)
        assert source.stop() < 1.0


def test_stopping_takes_less_than_a_second_while_it_connects() -> None:
    with BlackHole() as hole, running(PollingSource(Question(hole.url), PATIENT, interval_s=60.0)) as source:
        assert source.stop() < 1.0


def test_a_source_that_is_stopped_before_it_runs_does_not_connect() -> None:
    with RawServer(Peer.hold) as server:
        source = polling(server)
        source.open(Memory())
        stopping = threading.Event()
        source.wake()
        source.run(stopping)
        assert server.accepted == 0


def test_a_source_that_was_never_opened_ends_at_once() -> None:
    PollingSource(Question("http://flags.example"), PATIENT, interval_s=1.0).run(threading.Event())


def test_a_source_leaves_no_descriptor_open() -> None:
    script = Script(answer())
    with RawServer(script) as server:
        before = descriptors()
        for count in range(1, 4):
            with running(polling(server, interval_s=60.0)) as source:
                until(partial(_has_asked, script, count))
                source.stop()
        until(lambda: descriptors() <= before)


def _has_asked(script: Script, count: int) -> bool:
    return len(script.requests) == count


class Counting(Memory):
    """A receiver that keeps nothing, so that what is kept is the source's."""

    count = 0

    def deliver(self, delivery: Delivery) -> bool:
        self.count += delivery.error is not None
        return True


def test_a_thousand_failures_leave_nothing_behind() -> None:
    memory = Counting()
    wire = Question("")
    source = PollingSource(wire, PATIENT, interval_s=0.0001, first_retry_delay_s=0.0001, max_retry_delay_s=0.0001)
    with RawServer(Peer.reset) as server, ExitStack() as stack:
        wire.address = f"http://{server.peer}"
        stack.enter_context(running(source, memory))
        until(lambda: memory.count >= 100, 30.0)
        tracemalloc.start()
        try:
            until(lambda: memory.count >= 200, 30.0)
            before = (_own_bytes(), threading.active_count())
            until(lambda: memory.count >= 1000, 60.0)
            after = (_own_bytes(), threading.active_count())
        finally:
            tracemalloc.stop()
    assert after[0] - before[0] < 50_000
    assert after[1] - before[1] < 5  # those of the server


def _own_bytes() -> int:
    """Count what our own files hold in memory."""
    files = tracemalloc.Filter(inclusive=True, filename_pattern="*/flagmw/*")
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([files]).traces)


def test_nothing_that_is_logged_shows_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failure(answer(SECRET.encode(), "500 No"))
    assert caplog.records
    assert SECRET not in caplog.text
