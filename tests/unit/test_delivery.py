"""The sink that delivers events, with its thread, and a session that follows a script."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest

from flagmw.errors import TransportError
from flagmw.events.delivery import DeliverySink
from flagmw.events.posting import Session
from flagmw.lifecycle import threads
from flagmw.status import EventCounts
from tests.unit.event_support import Answered, NamingWire, Posted, ScriptedSession, exposure, identity, metric
from tests.unit.support import until

LONG_S = 3_600.0
"""A flush interval that no test waits for."""


class HangingSession(ScriptedSession):
    """Does not answer until it is interrupted or released."""

    def __init__(self) -> None:
        super().__init__(*[self._hang] * 1_000)
        self.asked = threading.Event()
        self._may_go_on = threading.Event()

    def release(self) -> None:
        self.script.clear()
        self._may_go_on.set()

    def interrupt(self) -> None:
        super().interrupt()
        self._may_go_on.set()

    def _hang(self, posted: Posted) -> Answered:
        self.asked.set()
        assert self._may_go_on.wait(30)
        if self.interrupted.is_set():
            raise TransportError("interrupted")
        return Answered()


def sink_to(
    session: Session, *, interval_s: float = LONG_S, capacity: int = 10_000, max_items: int = 50
) -> DeliverySink:
    return DeliverySink(
        NamingWire(max_items=max_items),
        lambda: session,
        flush_interval_s=interval_s,
        capacity=capacity,
        random=lambda: 0.5,
    )


def event_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flagmw-events"]


def is_waiting_for_a_lock(thread: threading.Thread) -> bool:
    """Tell whether a thread has reached the lock around the start of the background thread."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "_may_take"


@contextmanager
def holding(*locks: AbstractContextManager[Any]) -> Iterator[None]:
    """Have another thread hold locks."""
    held, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            may_go_on.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    try:
        yield
    finally:
        may_go_on.set()
        holder.join(5)


@contextmanager
def closing(sink: DeliverySink) -> Iterator[DeliverySink]:
    try:
        yield sink
    finally:
        sink.close(5.0)


# --- taking -----------------------------------------------------------------------------------------------------


def test_each_kind_of_event_is_delivered_in_the_order_in_which_it_came() -> None:
    session = ScriptedSession()
    with closing(sink_to(session)) as sink:
        sink.expose(exposure("a"))
        sink.track(metric("b"))
        sink.identify(identity("c"))
        assert sink.flush(5.0)
    assert session.names == ["a", "b", "c"]


def test_making_a_sink_starts_no_thread_and_makes_no_session() -> None:
    def connect() -> Session:
        raise AssertionError("a session was made")

    before = len(event_threads())
    sink = DeliverySink(NamingWire(), connect)
    assert sink.flush(1.0)
    assert sink.counts() == EventCounts()
    assert sink.close(1.0)
    assert len(event_threads()) == before


def test_the_first_event_starts_one_thread_whichever_thread_has_it() -> None:
    with closing(sink_to(ScriptedSession())) as sink:
        before = len(event_threads())
        barrier = threading.Barrier(9)

        def produce() -> None:
            barrier.wait(10)
            sink.expose(exposure("a"))

        producers = [threading.Thread(target=produce) for _ in range(8)]
        for thread in producers:
            thread.start()
        with sink._starting:  # all of them find that there is no thread yet
            barrier.wait(10)
            until(lambda: sum(is_waiting_for_a_lock(thread) for thread in producers) == 8)
        for thread in producers:
            thread.join(10)
        assert len(event_threads()) - before == 1
        assert sink.counts().waiting == 8


def test_an_event_is_delivered_after_the_flush_interval() -> None:
    session = ScriptedSession()
    with closing(sink_to(session, interval_s=0.01)) as sink:
        sink.expose(exposure("a"))
        until(lambda: sink.counts().sent == 1)


def test_a_full_batch_is_delivered_without_waiting() -> None:
    session = ScriptedSession()
    with closing(sink_to(session, max_items=3)) as sink:
        for name in "abcd":
            sink.expose(exposure(name))
        until(lambda: sink.counts().sent >= 3)
        assert session.bodies[0] == ["a", "b", "c"]


def test_a_batch_that_fills_up_later_is_delivered_without_waiting() -> None:
    session = ScriptedSession()
    with closing(sink_to(session, max_items=3)) as sink:
        for turn in range(20):
            for name in "abc":
                sink.expose(exposure(name))
            until(lambda turn=turn: sink.counts().sent == 3 * turn + 3)  # type: ignore[misc]  # a bound loop variable


def test_a_metric_that_the_service_would_refuse_is_not_sent_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    session = ScriptedSession()
    with closing(sink_to(session)) as sink:
        sink.track(metric("refused"))
        sink.track(metric("refused as well"))
        assert sink.flush(5.0)
        assert sink.counts() == EventCounts(dropped=2)
    assert session.posted == []
    assert [record.getMessage() for record in caplog.records] == [
        "an event was not tracked: the value must be above 0",
    ]


def test_a_metric_whose_reading_raises_does_not_raise_into_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    with closing(sink_to(ScriptedSession())) as sink:
        sink.track(metric("explosive"))
        assert sink.counts() == EventCounts(dropped=1)
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_taking_an_event_does_not_wait_for_a_service_that_hangs() -> None:
    session = HangingSession()
    with closing(sink_to(session, max_items=1, capacity=100)) as sink:
        sink.expose(exposure("a"))
        assert session.asked.wait(5)
        began = time.monotonic()
        for _ in range(1_000):
            sink.expose(exposure("b"))
        assert time.monotonic() - began < 1.0
        assert sink.counts() == EventCounts(waiting=100, dropped=901)
        session.release()


def test_events_that_find_no_room_are_told_of_while_the_service_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    session = ScriptedSession(401)
    with closing(sink_to(session, max_items=1, capacity=1)) as sink:
        sink.expose(exposure("a"))
        until(lambda: session.posted)
        sink.expose(exposure("b"))
        until(lambda: "the queue of events is full" in caplog.text)


def test_without_a_thread_events_are_dropped_and_nothing_is_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sink = sink_to(ScriptedSession())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        sink.expose(exposure("a"))
        sink.expose(exposure("b"))
    assert sink.counts() == EventCounts(dropped=2)
    assert caplog.text.count("no thread can be started") == 1
    with closing(sink):
        sink.expose(exposure("c"))
        assert sink.flush(5.0)


def test_a_signal_in_the_midst_of_taking_does_no_harm() -> None:
    session = ScriptedSession()
    with closing(sink_to(session, capacity=100, max_items=1)) as sink:
        previous = signal.signal(signal.SIGALRM, lambda *_: sink.expose(exposure("signal")))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            deadline = time.monotonic() + 0.5
            made = 0
            while time.monotonic() < deadline:
                sink.expose(exposure("a"))
                made += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert sink.flush(20.0)
        counts = sink.counts()
    assert counts.sent == len(session.names)
    assert counts.sent + counts.dropped > made


# --- flushing ---------------------------------------------------------------------------------------------------


def test_several_threads_may_flush_at_once() -> None:
    session = ScriptedSession()
    results: list[bool] = []
    with closing(sink_to(session)) as sink:

        def produce(name: str) -> None:
            for place in range(20):
                sink.expose(exposure(f"{name}{place}"))
                flushed = sink.flush(10.0)
                results.append(flushed and f"{name}{place}" in session.names)

        producers = [threading.Thread(target=produce, args=(name,)) for name in "abcd"]
        for thread in producers:
            thread.start()
        for thread in producers:
            thread.join(30)
    assert results == [True] * 80


def test_a_flush_gives_up_in_time() -> None:
    session = HangingSession()
    with closing(sink_to(session)) as sink:
        sink.expose(exposure("a"))
        began = time.monotonic()
        assert not sink.flush(0.1)
        assert 0.09 < time.monotonic() - began < 1.0
        session.release()


def test_a_flush_does_not_call_delivered_what_the_service_refused() -> None:
    with closing(sink_to(ScriptedSession(400))) as sink:
        sink.expose(exposure("a"))
        assert not sink.flush(5.0)
        assert sink.flush(5.0), "nothing is left"


def test_a_flush_does_not_wait_for_what_comes_after_it() -> None:
    session = ScriptedSession()
    with closing(sink_to(session, max_items=1)) as sink:
        finished = threading.Event()

        def take_another(posted: Posted) -> Answered:
            sink.expose(exposure("b"))
            return Answered()

        def hang(posted: Posted) -> Answered:
            finished.wait(10)
            return Answered()

        session.script += [take_another, hang]
        sink.expose(exposure("a"))
        assert sink.flush(5.0)
        finished.set()


def test_a_flush_of_what_cannot_be_delivered_ends_when_the_sink_is_closed() -> None:
    session = HangingSession()
    sink = sink_to(session)
    sink.expose(exposure("a"))
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(sink.flush(60.0)))
    waiter.start()
    assert session.asked.wait(5)
    sink.close(0.2)
    waiter.join(5)
    assert results == [False]


# --- closing ----------------------------------------------------------------------------------------------------


def test_closing_delivers_what_is_there_and_ends_the_thread_and_its_session() -> None:
    session = ScriptedSession()
    before = len(event_threads())
    sink = sink_to(session, max_items=2)
    for name in "abc":
        sink.expose(exposure(name))
    assert sink.close(5.0)
    assert session.names == ["a", "b", "c"]
    assert session.closed.is_set()
    assert len(event_threads()) == before


def test_closing_twice_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_to(HangingSession())
    sink.expose(exposure("a"))
    assert [sink.close(0.1), sink.close(0.1)] == [False, False]
    assert caplog.text.count("are lost") == 1


def test_closing_ends_a_request_that_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    session = HangingSession()
    sink = sink_to(session)
    sink.expose(exposure("a"))
    sink.expose(exposure("b"))
    began = time.monotonic()
    assert not sink.close(0.4)
    assert time.monotonic() - began < 0.6
    assert session.interrupted.is_set()
    assert session.closed.is_set()
    assert sink.counts() == EventCounts(dropped=2)
    assert [record.getMessage() for record in caplog.records] == ["2 events were not delivered in time and are lost"]


def test_closing_returns_in_time_when_a_request_cannot_be_ended() -> None:
    class Deaf(HangingSession):
        def interrupt(self) -> None:
            """Cannot be interrupted."""

    session = Deaf()
    sink = sink_to(session, max_items=1)
    sink.expose(exposure("a"))
    sink.expose(exposure("b"))
    assert session.asked.wait(5)
    began = time.monotonic()
    assert not sink.close(0.3)
    assert time.monotonic() - began < 0.6
    counts = sink.counts()
    session.release()
    until(session.closed.is_set)
    assert sink.counts() == counts == EventCounts(dropped=2)
    assert session.names == ["a"]


def test_closing_without_time_returns_at_once() -> None:
    sink = sink_to(HangingSession())
    sink.expose(exposure("a"))
    began = time.monotonic()
    assert not sink.close(0.0)
    assert time.monotonic() - began < 0.3


def test_closing_waits_for_a_service_that_recovers_in_time() -> None:
    session = ScriptedSession("down", 500, 503)
    sink = sink_to(session)
    sink.expose(exposure("a"))
    assert sink.close(5.0)
    assert sink.counts() == EventCounts(sent=1, retried=1)


def test_events_after_closing_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    session = ScriptedSession()
    sink = sink_to(session)
    sink.expose(exposure("a"))
    sink.close(5.0)
    sink.expose(exposure("b"))
    sink.track(metric("c"))
    assert sink.counts() == EventCounts(sent=1, dropped=2)
    assert caplog.text.count("after closing") == 1


def test_closing_what_was_never_used_is_harmless() -> None:
    sink = sink_to(ScriptedSession())
    assert sink.close(1.0)
    sink.expose(exposure("a"))
    assert sink.counts() == EventCounts(dropped=1)


def test_a_dropped_sink_delivers_what_it_has_and_ends_its_thread() -> None:
    session = ScriptedSession()
    before = len(event_threads())
    sink = sink_to(session)
    sink.expose(exposure("a"))
    until(lambda: len(event_threads()) > before)
    gone = weakref.ref(sink)
    del sink
    gc.collect()
    assert gone() is None
    until(lambda: len(event_threads()) == before)
    assert session.names == ["a"]


def test_a_process_that_leaves_without_closing_delivers_what_is_there() -> None:
    session = ScriptedSession()
    with closing(sink_to(session)) as sink:
        sink.expose(exposure("a"))
        threads.stop_all(5.0)  # what happens when the interpreter leaves
        assert session.names == ["a"]
        sink.expose(exposure("b"))
        assert sink.counts() == EventCounts(sent=1, dropped=1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # forking with threads is what this is about
def test_a_child_process_touches_nothing_of_its_parents() -> None:
    session = ScriptedSession()
    with closing(sink_to(session, capacity=2)) as sink:
        sink.expose(exposure("a"))
        assert sink._shipper is not None
        with holding(sink._shipper._changed, sink._starting):  # by a thread that the child does not have
            child = os.fork()
            if child == 0:
                try:
                    signal.alarm(10)
                    sink.expose(exposure("b"))
                    sink.expose(exposure("c"))
                    sink.expose(exposure("d"))
                    sink.track(metric("refused"))
                    is_well = sink.flush(1.0) and sink.close(1.0) and sink.counts() == EventCounts()
                    os._exit(0 if is_well else 1)
                except BaseException as error:
                    sys.stderr.write(repr(error))
                    os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sink.flush(5.0)
    assert session.names == ["a"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # forking with threads is what this is about
def test_a_child_process_does_not_start_a_thread_for_its_parents_sink() -> None:
    session = ScriptedSession()
    with closing(sink_to(session)) as sink:
        child = os.fork()
        if child == 0:
            sink.expose(exposure("a"))
            os._exit(len(event_threads()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_is_logged_while_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "flagmw"), closing(sink_to(ScriptedSession())) as sink:
        sink.expose(exposure("a"))
        sink.flush(5.0)
        sink.close(5.0)
    assert caplog.text == ""
