"""Events over real sockets, to a server that misbehaves: nothing is lost, the counts are right, closing is in time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flagmw.events.delivery import DeliverySink
from flagmw.network import Network
from flagmw.session import HttpSession
from flagmw.status import EventCounts
from tests.e2e.event_server import EventServer
from tests.services.blackhole import BlackHole
from tests.services.faults import (
    At,
    Drip,
    Endpoint,
    Fault,
    Garbage,
    Giant,
    HalfClose,
    Hangup,
    Reset,
    Side,
    Stall,
    Status,
)
from tests.unit.event_support import exposure
from tests.unit.support import until

ROOT = Path(__file__).parents[2]
NETWORK = Network(proxy="")
IMPATIENT = Network(connect_timeout_s=0.5, read_timeout_s=0.5, proxy="")
"""For faults that only a time-out ends. On a busy machine it may end a good request, too: events then come twice."""

SILENT = (Stall, Drip, HalfClose)

UNHANDLED: dict[str, Fault] = {
    "500": Status(code=500),
    "503": Status(code=503, retry_after="0"),
    "429": Status(code=429, retry_after="0"),
    "408": Status(code=408),
    "401": Status(code=401),
    "reset after the request": Reset(),
    "hangup after the request": Hangup(),
    "silence after the request": Stall(),
}
"""Faults by which a post does not reach the server."""

UNCONFIRMED: dict[str, Fault] = {
    "reset in the head": Reset(at=At.HEAD, after_bytes=5),
    "hangup in the head": Hangup(at=At.HEAD, after_bytes=5),
    "silence instead of an answer": Stall(at=At.HEAD),
    "silence in the head": Stall(at=At.HEAD, after_bytes=20),
    "a head that drips": Drip(at=At.HEAD, interval_s=0.05),
    "a half-closed connection": HalfClose(at=At.HEAD, side=Side.SEND),
}
"""Faults by which a post reaches the server, and its answer is lost: the same events come again."""

CONFIRMED: dict[str, Fault] = {
    "garbage as an answer": Garbage(),
    "an answer that drips and ends": Drip(at=At.BODY, interval_s=0.001),
}
"""Faults of which a post takes no harm."""


@pytest.fixture
def server() -> Iterator[EventServer]:
    with EventServer() as running:
        yield running


@contextmanager
def sink_to(
    server: EventServer,
    *,
    capacity: int = 10_000,
    max_items: int = 50,
    flush_interval_s: float = 0.02,
    padding: int = 0,
    network: Network = NETWORK,
) -> Iterator[DeliverySink]:
    sink = DeliverySink(
        server.wire(max_items=max_items, padding=padding),
        lambda: HttpSession(network),
        capacity=capacity,
        flush_interval_s=flush_interval_s,
        random=lambda: 0.0,
    )
    try:
        yield sink
    finally:
        sink.close(2.0)


def names_of(count: int, prefix: str = "e") -> list[str]:
    return [f"{prefix}{place}" for place in range(count)]


def put(sink: DeliverySink, names: list[str]) -> None:
    for name in names:
        sink.expose(exposure(name))


def until_delivered(sink: DeliverySink, timeout_s: float = 20.0) -> None:
    """Flush until all is delivered: each flush ends a pause between tries."""
    deadline = time.monotonic() + timeout_s
    while not sink.flush(0.2):
        assert time.monotonic() < deadline, f"not delivered in time: {sink.counts()}"


# --- nothing is lost --------------------------------------------------------------------------------------------


def test_all_events_arrive_once_and_in_order(server: EventServer) -> None:
    names = names_of(1_234)
    with sink_to(server) as sink:
        put(sink, names)
        assert sink.flush(10.0)
        assert sink.counts() == EventCounts(sent=1_234)
    assert server.names == names


@pytest.mark.parametrize("fault", UNHANDLED.values(), ids=UNHANDLED)
def test_events_that_did_not_get_through_arrive_later_once_and_in_order(server: EventServer, fault: Fault) -> None:
    names = names_of(120)
    server.misbehave(fault, on=Endpoint.EVENTS, times=3)
    is_silent = isinstance(fault, SILENT)
    with sink_to(server, network=IMPATIENT if is_silent else NETWORK) as sink:
        put(sink, names)
        until_delivered(sink)
        counts = sink.counts()
    assert (list(dict.fromkeys(server.names)) if is_silent else server.names) == names
    assert (counts.waiting, counts.sent, counts.dropped) == (0, 120, 0)
    assert counts.retried > 0
    assert server.faults_struck == 3


@pytest.mark.parametrize("fault", UNCONFIRMED.values(), ids=UNCONFIRMED)
def test_events_whose_answer_was_lost_come_again_as_the_same_bytes(server: EventServer, fault: Fault) -> None:
    names = names_of(40)
    server.misbehave(fault, on=Endpoint.EVENTS, times=2)
    with sink_to(server, network=IMPATIENT if isinstance(fault, SILENT) else NETWORK) as sink:
        put(sink, names)
        until_delivered(sink)
        counts = sink.counts()
    assert list(dict.fromkeys(server.names)) == names
    assert len({request.body for request in server.requests_to(Endpoint.EVENTS)}) < len(
        server.requests_to(Endpoint.EVENTS)
    )
    assert (counts.sent, counts.dropped) == (40, 0)


@pytest.mark.parametrize("fault", CONFIRMED.values(), ids=CONFIRMED)
def test_the_body_of_an_answer_does_not_matter(server: EventServer, fault: Fault) -> None:
    server.misbehave(fault, on=Endpoint.EVENTS, times=2)
    with sink_to(server, max_items=10) as sink:
        put(sink, names_of(40))
        until_delivered(sink)
        assert sink.counts() == EventCounts(sent=40)
    assert Counter(server.names).most_common(1)[0][1] == 1


def test_a_giant_answer_neither_fills_the_memory_nor_loses_events(server: EventServer) -> None:
    server.misbehave(Giant(declared_bytes=2**26, sent_bytes=2**26), on=Endpoint.EVENTS, times=2)
    with sink_to(server) as sink:
        put(sink, names_of(10))
        tracemalloc.start()
        try:
            until_delivered(sink)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sink.counts().sent == 10
    assert peak_bytes < 2**24
    assert set(server.names) == set(names_of(10))


def test_events_survive_restarts_of_the_server(server: EventServer) -> None:
    names: list[str] = []
    with sink_to(server, max_items=7) as sink:
        for turn in range(5):
            batch = names_of(40, f"t{turn}.")
            names += batch
            put(sink, batch[:20])
            # Python 3.13 leaks a connection that it accepts while its listener is being closed.
            server.wait_for(lambda s: s.tcp_open == 1)
            server.refuse()
            put(sink, batch[20:])
            sink.flush(0.05)
            server.listen()
            until_delivered(sink)
        counts = sink.counts()
    assert list(dict.fromkeys(server.names)) == names
    assert (counts.waiting, counts.sent, counts.dropped) == (0, 200, 0)


def test_events_of_an_outage_arrive_without_being_asked_for(server: EventServer) -> None:
    server.misbehave(Status(code=503), on=Endpoint.EVENTS, times=2)
    with sink_to(server) as sink:
        put(sink, names_of(5))
        until(lambda: sink.counts().sent == 5, timeout_s=10)
    assert server.names == names_of(5)


def test_a_service_that_asks_for_a_pause_is_given_it(server: EventServer) -> None:
    server.misbehave(Status(code=429, retry_after="1"), on=Endpoint.EVENTS, times=1)
    with sink_to(server) as sink:
        put(sink, ["a"])
        until(lambda: sink.counts().sent == 1)
    first, second = server.requests_to(Endpoint.EVENTS)
    assert 0.95 < second.at_s - first.at_s < 3.0


def test_a_connection_is_kept_between_batches(server: EventServer) -> None:
    with sink_to(server, max_items=10) as sink:
        put(sink, names_of(200))
        assert sink.flush(10.0)
    assert server.tcp_accepted == 1


# --- compression and size ---------------------------------------------------------------------------------------


def test_large_bodies_travel_compressed(server: EventServer) -> None:
    with sink_to(server, padding=100) as sink:
        put(sink, names_of(50))
        assert sink.flush(5.0)
    (request,) = server.requests
    assert request.headers["content-encoding"] == "gzip"
    assert len(request.body) < 1_000
    assert server.names == names_of(50)


def test_a_service_that_takes_no_compressed_bodies_gets_plain_ones(server: EventServer) -> None:
    server.takes_gzip = False
    with sink_to(server, padding=100) as sink:
        put(sink, names_of(150))
        assert sink.flush(5.0)
        assert sink.counts() == EventCounts(sent=150)
    assert server.names == names_of(150)
    assert [request.headers.get("content-encoding") for request in server.requests] == ["gzip", None, None, None]


# --- a queue that is full ---------------------------------------------------------------------------------------


def test_memory_is_bounded_while_the_service_is_down(server: EventServer) -> None:
    server.refuse()
    with sink_to(server, capacity=1_000, max_items=100) as sink:
        put(sink, names_of(2_000))
        tracemalloc.start()
        try:
            put(sink, names_of(100_000))
            grown_bytes = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert grown_bytes < 2**20
        counts = sink.counts()
        assert (counts.waiting, counts.sent, counts.dropped) == (1_000, 0, 101_000)
        server.listen()
        until_delivered(sink)
        assert sink.counts().sent == 1_000
    assert server.names == names_of(1_000)


def test_every_event_of_many_threads_is_accounted_for(server: EventServer) -> None:
    server.delay_s = 0.01
    per_thread = 6_250
    with sink_to(server, capacity=2_000, max_items=500) as sink:
        stop = threading.Event()
        wrong: list[EventCounts] = []

        def watch() -> None:
            last = EventCounts()
            while not stop.is_set():
                counts = sink.counts()
                if counts.sent < last.sent or counts.dropped < last.dropped or not 0 <= counts.waiting <= 2_008:
                    wrong.append(counts)
                last = counts

        def produce(name: str) -> None:
            for place in range(per_thread):
                sink.expose(exposure(f"{name}{place}"))
                if place % 500 == 0:
                    sink.flush(0.02)

        watcher = threading.Thread(target=watch)
        producers = [threading.Thread(target=produce, args=(name,)) for name in "abcdefgh"]
        for thread in (watcher, *producers):
            thread.start()
        for thread in producers:
            thread.join(60)
        counts = sink.counts()
        assert counts.sent + counts.dropped + counts.waiting == 50_000
        assert sink.flush(20.0)
        stop.set()
        watcher.join(10)
        counts = sink.counts()
    assert wrong == []
    assert counts.waiting == 0
    assert counts.sent + counts.dropped == 50_000
    assert counts.sent == len(server.names)
    assert_each_once_and_in_order(server.names)


def assert_each_once_and_in_order(names: list[str]) -> None:
    """Check that no event came twice, and that those of each thread came in its order."""
    places: dict[str, int] = {}
    for name in names:
        assert places.get(name[0], -1) < int(name[1:]), f"{name} came twice or too late"
        places[name[0]] = int(name[1:])


def test_many_threads_lose_nothing_over_a_service_that_fails_now_and_then(server: EventServer) -> None:
    for fault in (Status(code=500), Reset(), Status(code=503, retry_after="0"), Hangup()):
        server.misbehave(fault, on=Endpoint.EVENTS, times=2)
    with sink_to(server, max_items=100) as sink:

        def produce(name: str) -> None:
            for place in range(500):
                sink.expose(exposure(f"{name}{place}"))

        producers = [threading.Thread(target=produce, args=(name,)) for name in "abcdefgh"]
        for thread in producers:
            thread.start()
        for thread in producers:
            thread.join(30)
        until_delivered(sink)
        counts = sink.counts()
    assert (counts.waiting, counts.sent, counts.dropped) == (0, 4_000, 0)
    assert_each_once_and_in_order(server.names)
    assert len(server.names) == 4_000


# --- flushing and closing ---------------------------------------------------------------------------------------

HOPELESS: dict[str, Fault] = {
    **UNHANDLED,
    **{name: fault for name, fault in UNCONFIRMED.items() if not name.startswith("a head")},
    "silence from the start": Stall(at=At.ACCEPT),
    "a reset at once": Reset(at=At.ACCEPT),
    "an answer that never ends": Drip(at=At.HEAD, interval_s=0.3),
}
PATIENT = Network(connect_timeout_s=30.0, read_timeout_s=30.0, proxy="")


@pytest.mark.parametrize("fault", HOPELESS.values(), ids=HOPELESS)
def test_flushing_and_closing_are_in_time_whatever_the_service_does(server: EventServer, fault: Fault) -> None:
    server.misbehave(fault, on=Endpoint.ANY if fault.at is At.ACCEPT else Endpoint.EVENTS)
    with sink_to(server, network=PATIENT) as sink:
        put(sink, names_of(10))
        began = time.monotonic()
        assert not sink.flush(0.2)
        assert time.monotonic() - began < 0.5
        began = time.monotonic()
        assert not sink.close(0.5)
        assert time.monotonic() - began < 0.75
        assert sink.counts() == EventCounts(dropped=10)
    until(lambda: not any(thread.name == "flagmw-events" for thread in threading.enumerate()))


def test_closing_is_in_time_while_a_connection_is_being_made() -> None:
    with BlackHole() as nowhere, EventServer() as server:
        wire = server.wire()
        wire.url = f"{nowhere.url}/events"
        sink = DeliverySink(wire, lambda: HttpSession(PATIENT), flush_interval_s=0.01)
        put(sink, ["a"])
        assert not sink.flush(0.2)
        began = time.monotonic()
        assert not sink.close(0.5)
        assert time.monotonic() - began < 0.75
    until(lambda: not any(thread.name == "flagmw-events" for thread in threading.enumerate()))


def test_closing_while_the_port_is_closed_tries_until_the_time_is_over(server: EventServer) -> None:
    server.refuse()
    with sink_to(server) as sink:
        put(sink, ["a"])
        began = time.monotonic()
        assert not sink.close(0.5)
        assert 0.3 < time.monotonic() - began < 0.75
        assert sink.counts() == EventCounts(dropped=1)


def test_closing_delivers_to_a_server_that_comes_back_in_time(server: EventServer) -> None:
    server.refuse()
    with sink_to(server) as sink:
        put(sink, names_of(100))
        closed: list[bool] = []
        closer = threading.Thread(target=lambda: closed.append(sink.close(10.0)))
        closer.start()
        until(lambda: sink.counts().retried)
        server.listen()
        closer.join(15)
        assert closed == [True]
        assert sink.counts() == EventCounts(sent=100, retried=sink.counts().retried)
    assert server.names == names_of(100)


def test_closing_delivers_what_was_just_taken(server: EventServer) -> None:
    with sink_to(server, flush_interval_s=3_600.0) as sink:
        put(sink, names_of(333))
        assert sink.close(5.0)
    assert server.names == names_of(333)
    until(lambda: server.tcp_open == 0)


# --- leaving ----------------------------------------------------------------------------------------------------

PROGRAM = """
import logging, requests, sys  # requests now: a busy machine may need long for it, and leaving is bounded
sys.path.insert(0, sys.argv[2])
from flagmw.events.delivery import DeliverySink
from flagmw.network import Network
from flagmw.session import HttpSession
from tests.unit.event_support import NamingWire, exposure

logging.basicConfig(format="%(levelname)s")
sink = DeliverySink(NamingWire(url=sys.argv[1]), lambda: HttpSession(Network(proxy="")), flush_interval_s=3600.0)
for place in range(120):
    sink.expose(exposure(f"e{place}"))
"""


def leave(url: str) -> tuple[float, str]:
    """Run a program that takes events and leaves without closing; give how long it took, and what it said."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, str(ROOT)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began, done.stdout + done.stderr


def test_a_program_that_leaves_without_closing_has_its_events_delivered(server: EventServer) -> None:
    assert leave(f"{server.url}/events")[1] == ""
    assert server.names == names_of(120)


def test_a_program_leaves_in_time_while_the_service_is_down(server: EventServer) -> None:
    server.refuse()
    took_s, said = leave(f"{server.url}/events")
    assert took_s < 5.0, "most of which is the start of the interpreter"
    assert "ERROR" in said, "what is lost is told"
    assert "Traceback" not in said


def test_a_program_leaves_in_time_while_the_service_is_silent(server: EventServer) -> None:
    server.misbehave(Stall(), on=Endpoint.EVENTS)
    took_s, said = leave(f"{server.url}/events")
    assert took_s < 5.0
    assert "Traceback" not in said
