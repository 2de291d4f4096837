"""The sink with a spool: what is delivered, by whom, and what stays."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flagmw.events.adoption import SCAN_INTERVAL_S
from flagmw.events.batches import Encoder
from flagmw.events.delivery import DeliverySink
from flagmw.events.posting import FIRST_PAUSE_S, Session
from flagmw.lifecycle import hooks, threads
from flagmw.lifecycle.places import StatePlace
from flagmw.once import LogOnce
from flagmw.status import EventCounts
from tests.unit.event_support import Answered, NamingWire, Posted, ScriptedSession, exposure, identity, metric
from tests.unit.shipping_support import FLUSH_INTERVAL_S, World
from tests.unit.spool_support import (
    NOW_S,
    adoption_in,
    descriptors_in,
    files_in,
    full_disk,
    in_child,
    left_behind,
    other_process,
    room_in,
    spool_in,
)
from tests.unit.support import until

FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
LONG_S = 3_600.0
"""A flush interval that no test waits for."""


def place_in(root: Path, identity: str = "secret") -> StatePlace:
    return StatePlace(root, "names", [identity])


def folder_of(root: Path) -> Path:
    """Give the environment's folder, made."""
    folder = place_in(root).open()
    assert folder is not None
    return folder


def sink_in(
    root: Path,
    session: Session,
    *,
    interval_s: float = LONG_S,
    capacity: int = 1_000,
    max_items: int = 50,
    identity: str = "secret",
    random: Callable[[], float] = lambda: 0.5,
) -> DeliverySink:
    return DeliverySink(
        NamingWire(max_items=max_items),
        lambda: session,
        flush_interval_s=interval_s,
        capacity=capacity,
        place=place_in(root, identity),
        random=random,
    )


@contextmanager
def closing(sink: DeliverySink) -> Iterator[DeliverySink]:
    try:
        yield sink
    finally:
        sink.close(5.0)


def expose(sink: DeliverySink, *names: str) -> None:
    for name in names:
        sink.expose(exposure(name))


def left_now(root: Path, *names: str, tail: bytes = b"") -> Path:
    """Write the file of a process that is gone since just now."""
    return left_behind(folder_of(root), "1-ab-1", *names, tail=tail, changed_s=time.time())


def event_threads() -> int:
    return sum(thread.name == "flagmw-events" for thread in threading.enumerate())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "state"


# --- one process ------------------------------------------------------------------------------------------------


def test_each_kind_of_event_is_delivered_in_order_and_nothing_stays(root: Path) -> None:
    session = ScriptedSession()
    with closing(sink_in(root, session)) as sink:
        sink.expose(exposure("a"))
        sink.take_all([metric("b"), identity("c"), exposure("d")])
        assert sink.counts().waiting == 4
        assert sink.counts().spool_bytes > 0
        assert sink.flush(5.0)
        assert sink.counts() == EventCounts(sent=4, spool_bytes=sink.counts().spool_bytes)
    assert session.names == ["a", "b", "c", "d"]
    assert os.listdir(folder_of(root)) == []


def test_making_and_opening_a_sink_starts_nothing_and_writes_no_event_file(root: Path) -> None:
    before = event_threads()
    sink = sink_in(root, ScriptedSession())
    assert not root.exists()
    sink.open()
    assert event_threads() == before
    assert os.listdir(folder_of(root)) == []
    assert sink.flush(1.0)
    assert sink.close(1.0)


def test_an_event_is_delivered_after_the_flush_interval(root: Path) -> None:
    with closing(sink_in(root, ScriptedSession(), interval_s=0.01)) as sink:
        expose(sink, "a")
        until(lambda: sink.counts().sent == 1)


def test_a_full_batch_is_delivered_without_waiting(root: Path) -> None:
    session = ScriptedSession()
    with closing(sink_in(root, session, max_items=3)) as sink:
        for turn in range(5):
            sink.take_all([exposure(name) for name in "abc"])
            until(lambda turn=turn: sink.counts().sent == 3 * turn + 3)  # type: ignore[misc]  # a bound loop variable
    assert session.bodies == [["a", "b", "c"]] * 5


def test_threads_that_have_the_first_events_at_once_share_one_file_and_one_thread(root: Path) -> None:
    session = ScriptedSession()
    before = event_threads()
    with closing(sink_in(root, session)) as sink:
        barrier = threading.Barrier(8)

        def produce(name: str) -> None:
            barrier.wait(10)
            expose(sink, name)

        producers = [threading.Thread(target=produce, args=(name,)) for name in "abcdefgh"]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join(10)
        assert event_threads() == before + 1
        assert len(files_in(folder_of(root))) == 1
        assert sink.flush(5.0)
    assert sorted(session.names) == list("abcdefgh")


def test_refused_metrics_of_a_request_take_no_other_event_with_them(root: Path) -> None:
    session = ScriptedSession()
    with closing(sink_in(root, session)) as sink:
        sink.take_all([exposure("a"), metric("refused"), metric("b")])
        assert sink.flush(5.0)
        counts = sink.counts()
    assert (counts.sent, counts.dropped) == (2, 1)
    assert session.names == ["a", "b"]


def test_an_outage_neither_loses_nor_reorders_events(root: Path) -> None:
    session = ScriptedSession(*["down"] * 3)
    names = [f"e{place}" for place in range(500)]
    with closing(sink_in(root, session, capacity=1)) as sink:
        expose(sink, *names)
        until(lambda: sink.flush(0.2))
        assert sink.counts().sent == 500
    assert list(dict.fromkeys(session.names)) == names
    assert len(session.names) == 500 + 3 * 50


def test_a_flush_does_not_call_delivered_what_made_room_for_others(root: Path) -> None:
    asked, may_go_on = threading.Event(), threading.Event()

    def hold(posted: Posted) -> Answered:
        asked.set()
        assert may_go_on.wait(20)
        return Answered()

    session = ScriptedSession(hold)
    sink = DeliverySink(
        NamingWire(max_items=10), lambda: session, place=place_in(root), max_spool_bytes=20_000, flush_interval_s=LONG_S
    )
    with closing(sink):
        expose(sink, *[f"a{place}" for place in range(100)])
        assert asked.wait(5)
        flushed: list[bool] = []
        flusher = threading.Thread(target=lambda: flushed.append(sink.flush(60.0)))
        flusher.start()
        until(lambda: sink._shipper is not None and sink._shipper._flushes)
        expose(sink, *[f"b{place}" for place in range(2_000)])
        may_go_on.set()
        flusher.join(20)
    assert flushed == [False]


def test_without_a_folder_events_wait_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    session = ScriptedSession()
    with closing(sink_in(tmp_path / "file" / "state", session, capacity=2)) as sink:
        expose(sink, "a", "b", "c")
        assert sink.counts() == EventCounts(waiting=2, dropped=1)
        assert sink.flush(5.0)
    assert session.names == ["a", "b"]
    assert "cannot be used" in caplog.text


def test_every_event_is_accounted_for_when_the_disk_is_full(root: Path) -> None:
    session = ScriptedSession(*["down"] * 1_000)
    with closing(sink_in(root, session, capacity=20)) as sink:
        expose(sink, *[f"a{place}" for place in range(30)])
        with full_disk():
            expose(sink, *[f"b{place}" for place in range(100)])
        expose(sink, *[f"c{place}" for place in range(30)])
        counts = sink.counts()
        assert (counts.waiting, counts.sent, counts.dropped) == (80, 0, 80)
        session.script.clear()
        assert sink.flush(5.0)
        counts = sink.counts()
        assert (counts.waiting, counts.sent, counts.dropped) == (0, 80, 80)
    assert session.names[-80:] == [
        *(f"a{place}" for place in range(30)),
        *(f"b{place}" for place in range(20)),
        *(f"c{place}" for place in range(30)),
    ]


def test_a_signal_in_the_midst_of_taking_does_no_harm(root: Path) -> None:
    session = ScriptedSession()
    with closing(sink_in(root, session, max_items=20)) as sink:
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
        assert sink.flush(30.0)
        assert session.names.count("a") == made
        assert sink.counts().sent == len(session.names)


def test_a_handler_that_has_events_while_the_sink_is_being_opened_uses_the_same_file_and_thread(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ScriptedSession()
    before = event_threads()
    with closing(sink_in(root, session)) as sink:
        make = sink._make

        def interrupted(room: Any) -> Any:
            parts = make(room)
            with monkeypatch.context() as patch:
                patch.setattr(sink, "_make", make)
                expose(sink, "handler")
            return parts

        monkeypatch.setattr(sink, "_make", interrupted)
        expose(sink, "a", "b")
        assert event_threads() == before + 1
        assert len(files_in(folder_of(root))) == 1
        assert sink.flush(5.0)
    assert session.names == ["handler", "a", "b"]


def test_without_a_thread_events_are_kept_and_nothing_is_raised(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    session = ScriptedSession()
    sink = sink_in(root, session)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        expose(sink, "a", "b")
    assert sink.counts().waiting == 2
    assert caplog.text.count("no thread can be started") == 1
    with closing(sink):
        expose(sink, "c")
        assert sink.flush(5.0)
    assert session.names == ["a", "b", "c"]


# --- the end ----------------------------------------------------------------------------------------------------


def test_what_is_not_delivered_in_time_stays_and_is_not_lost(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_in(root, ScriptedSession(*["down"] * 1_000))
    expose(sink, "a", "b")
    assert not sink.close(0.2)
    counts = sink.counts()
    assert (counts.waiting, counts.sent, counts.dropped) == (2, 0, 0)
    assert len(files_in(folder_of(root))) == 1
    assert "lost" not in caplog.text


def test_events_after_closing_are_kept(root: Path) -> None:
    session = ScriptedSession()
    sink = sink_in(root, session)
    expose(sink, "a")
    assert sink.close(5.0)
    expose(sink, "b")
    sink.take_all([metric("c")])
    counts = sink.counts()
    assert (counts.waiting, counts.sent, counts.dropped) == (2, 1, 0)
    assert session.names == ["a"]


def test_events_after_the_threads_were_stopped_are_kept(root: Path) -> None:
    session = ScriptedSession()
    sink = sink_in(root, session)
    expose(sink, "a")
    threads.stop_all(5.0)
    expose(sink, "b")
    counts = sink.counts()
    assert (counts.waiting, counts.sent, counts.dropped) == (1, 1, 0)


def test_what_a_closed_client_left_is_delivered_by_the_next_client_of_the_process(root: Path) -> None:
    first = sink_in(root, ScriptedSession(*["down"] * 1_000))
    expose(first, "a", "b")
    first.close(0.1)
    expose(first, "c")
    del first
    gc.collect()
    session = ScriptedSession()
    with closing(sink_in(root, session)) as second:
        second.open()
        until(lambda: second.counts().adopted == 3)
    assert session.names == ["a", "b", "c"]
    assert os.listdir(folder_of(root)) == []


def test_closing_what_was_never_used_is_harmless(root: Path) -> None:
    sink = sink_in(root, ScriptedSession())
    assert sink.close(1.0)
    expose(sink, "a")
    assert sink.counts().waiting == 1


def test_the_last_delivery_takes_no_longer_than_it_may(root: Path) -> None:
    sink = DeliverySink(
        NamingWire(),
        lambda: ScriptedSession(*["down"] * 1_000),
        place=place_in(root),
        exit_timeout_s=0.3,
        flush_interval_s=LONG_S,
    )
    expose(sink, "a")
    began = time.monotonic()
    threads.stop_all(5.0)
    assert 0.2 < time.monotonic() - began < 0.6
    assert sink.counts().waiting == 1


# --- forks ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["with hooks", "without hooks"])
def _forks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks that Python sees, and such as uWSGI's, which it does not."""
    if request.param == "without hooks":
        monkeypatch.setattr(hooks, "_in_child", [])


@FORKS
@pytest.mark.usefixtures("_forks")
def test_a_child_writes_nothing_for_its_parents_sink(root: Path) -> None:
    session = ScriptedSession()
    with closing(sink_in(root, session)) as sink:
        expose(sink, "a")

        def use() -> bool:
            expose(sink, "b")
            sink.take_all([exposure("c")])
            return sink.flush(1.0) and sink.close(1.0) and sink.counts() == EventCounts()

        assert in_child(use) == 0
        assert sink.flush(5.0)
    assert session.names == ["a"]


@FORKS
@pytest.mark.usefixtures("_forks")
def test_a_child_has_a_file_of_its_own_and_its_parents_stays_owned(root: Path) -> None:
    session = ScriptedSession()
    with closing(sink_in(root, session)) as sink:
        expose(sink, "a")
        folder = folder_of(root)

        def use() -> bool:
            own = sink_in(root, ScriptedSession(*["down"] * 1_000))
            own.open()
            expose(own, "b")
            return len(files_in(folder)) == 2 and len(descriptors_in(folder)) == 1 and own.counts().adopted == 0

        assert in_child(use) == 0
        with closing(sink_in(root, session)) as other:
            other.open()
            until(lambda: sink.counts().adopted + other.counts().adopted == 1)
            assert sink.flush(5.0)
    assert sorted(session.names) == ["a", "b"]


# --- what others have left --------------------------------------------------------------------------------------


def test_opening_delivers_what_was_left(root: Path) -> None:
    left_now(root, '"a"', '"b"')
    session = ScriptedSession()
    with closing(sink_in(root, session)) as sink:
        sink.open()
        until(lambda: sink.counts().sent == 2)
        until(lambda: os.listdir(folder_of(root)) == [])
        assert sink.counts() == EventCounts(sent=2, adopted=2)
    assert session.bodies == [["a", "b"]]


@FORKS
def test_opening_starts_no_thread_for_the_files_of_processes_that_live(root: Path) -> None:
    def begin() -> object:
        sink = sink_in(root, ScriptedSession(*["down"] * 1_000))
        expose(sink, "a")
        return sink

    before = event_threads()
    with other_process(begin), closing(sink_in(root, ScriptedSession())) as sink:
        sink.open()
        assert event_threads() == before


def test_another_environment_has_a_folder_of_its_own(root: Path) -> None:
    left_now(root, '"a"')
    session = ScriptedSession()
    with closing(sink_in(root, session, identity="another secret")) as sink:
        sink.open()
        expose(sink, "b")
        assert sink.flush(5.0)
    assert session.names == ["b"]
    assert len(files_in(folder_of(root))) == 1


def test_two_clients_of_one_process_deliver_their_own_events(root: Path) -> None:
    first_session, second_session = ScriptedSession(), ScriptedSession()
    with closing(sink_in(root, first_session)) as first, closing(sink_in(root, second_session)) as second:
        first.open()
        second.open()
        expose(first, "a")
        expose(second, "b")
        expose(first, "c")
        assert first.flush(5.0)
        assert second.flush(5.0)
    assert (first_session.names, second_session.names) == (["a", "c"], ["b"])


@FORKS
def test_opening_a_second_client_of_the_process_leaves_the_first_its_lock(root: Path) -> None:
    first_session, second_session = ScriptedSession(), ScriptedSession()
    with closing(sink_in(root, first_session)) as first, closing(sink_in(root, second_session)) as second:
        expose(first, "a")
        second.open()
        assert in_child(lambda: not adoption_in(folder_of(root)).scan()) == 0


def test_spoilt_lines_are_counted_among_the_dropped(root: Path) -> None:
    left_now(root, '"a"', tail=b"garbage\n")
    with closing(sink_in(root, ScriptedSession())) as sink:
        sink.open()
        until(lambda: sink.counts().dropped == 1)
        assert sink.counts() == EventCounts(sent=1, dropped=1, adopted=1)


def test_what_others_left_too_long_ago_is_counted_among_the_dropped(root: Path) -> None:
    left_behind(folder_of(root), "1-ab-1", '"a"', '"b"', changed_s=time.time() - 8 * 86_400)
    with closing(sink_in(root, ScriptedSession())) as sink:
        expose(sink, "c")
        until(lambda: sink.counts().dropped == 2)
        assert sink.flush(5.0)
        assert sink.counts().sent == 1


# --- turns, at a clock of the test's own ------------------------------------------------------------------------


def world_in(folder: Path, *script: int | str, max_items: int = 2) -> World:
    """A world with a spool in which others have left events `x0` to `x5`."""
    left_behind(folder, "1-ab-1", *(f'"x{place}"' for place in range(6)))
    session = ScriptedSession(*script)
    worlds: list[World] = []

    def clock() -> float:
        return worlds[0].now_s if worlds else 0.0

    room = room_in(folder)
    encode = Encoder(NamingWire(), LogOnce(logging.getLogger("flagmw")))
    spool = spool_in(folder, room=room, clock=clock, encode=encode)
    worlds.append(
        World(NamingWire(max_items=max_items), session, buffer=spool, left=adoption_in(folder, room=room, clock=clock))
    )
    return worlds[0]


def test_own_events_and_those_of_others_take_turns(tmp_path: Path) -> None:
    world = world_in(tmp_path).put("a", "b", "c", "d")
    world.events[0] = world.stopping.set
    world.run()
    assert world.session.bodies == [["a", "b"], ["x0", "x1"], ["c", "d"], ["x2", "x3"], ["x4", "x5"]]
    assert (world.counts.sent, world.counts.adopted) == (10, 6)


def test_events_of_others_that_cannot_be_delivered_do_not_hold_up_the_own_ones(tmp_path: Path) -> None:
    world = world_in(tmp_path)
    world.session.script += [lambda posted: Answered(status=500 if "x0" in posted.names else 200)] * 50
    world.events[0] = lambda: world.put("a", "b")
    world.events[3] = lambda: world.put("c", "d")
    world.events[6] = world.stopping.set
    world.run()
    own = [body for body in world.session.bodies if body[0][0] != "x"]
    assert own == [["a", "b"], ["c", "d"]]
    assert len(world.session.bodies) > len(own) + 2
    assert world.counts.waiting == 0


def test_events_of_others_are_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    world = world_in(tmp_path, 500, 500)
    world.events[2] = world.stopping.set
    world.run()
    assert world.waits[:2] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert (world.counts.sent, world.counts.adopted, world.counts.retried) == (6, 6, 2)
    assert files_in(tmp_path) == []


def test_a_batch_of_others_that_is_too_large_is_split(tmp_path: Path) -> None:
    world = world_in(tmp_path, max_items=6)

    def at_most_2(posted: Posted) -> Answered:
        return Answered(status=413 if len(posted.names) > 2 else 200)

    world.session.script += [at_most_2] * 20
    world.events[0] = world.stopping.set
    world.run()
    delivered = [name for body in world.session.bodies if len(body) <= 2 for name in body]
    assert delivered == [f"x{place}" for place in range(6)]
    assert files_in(tmp_path) == []


def test_events_of_others_that_the_service_refuses_are_dropped_and_counted(tmp_path: Path) -> None:
    world = world_in(tmp_path, 400)
    world.events[0] = world.stopping.set
    world.run()
    assert (world.counts.sent, world.counts.dropped) == (4, 2)


def test_a_process_that_stops_leaves_what_others_left_to_others(tmp_path: Path) -> None:
    world = world_in(tmp_path).put("a")
    world.stopping.set()
    world.run()
    assert world.session.bodies == [["a"]]
    assert len(files_in(tmp_path)) == 1


def test_an_idle_process_looks_for_what_others_leave(tmp_path: Path) -> None:
    world = world_in(tmp_path)

    def leave_more() -> None:
        left_behind(tmp_path, "2-ab-1", '"y"')

    world.events[0] = leave_more
    world.events[2] = world.stopping.set
    world.run()
    assert world.session.names[-1] == "y"
    assert all(wait is not None and wait <= SCAN_INTERVAL_S for wait in world.waits)


def test_the_bounds_are_kept_while_the_service_is_away(tmp_path: Path) -> None:
    world = world_in(tmp_path, *[500] * 30).put("a")
    dropped: list[int] = []

    def leave_old() -> None:
        left_behind(tmp_path, "2-ab-1", '"y"', '"z"', changed_s=NOW_S - 2e9)

    world.events[1] = leave_old
    world.events[9] = lambda: dropped.append(world.counts.dropped)
    world.events[10] = world.stopping.set
    world.run()
    assert dropped == [2]


def test_an_event_of_ones_own_waits_a_flush_interval_beside_those_of_others(tmp_path: Path) -> None:
    world = world_in(tmp_path).put("a")
    world.events[1] = world.stopping.set
    world.run()
    assert world.session.bodies == [["x0", "x1"], ["x2", "x3"], ["x4", "x5"], ["a"]]
    assert world.waits[0] == FLUSH_INTERVAL_S


def test_nothing_is_logged_while_all_is_well(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    left_now(root, '"a"')
    with caplog.at_level(logging.DEBUG, "flagmw"), closing(sink_in(root, ScriptedSession())) as sink:
        sink.open()
        expose(sink, "b")
        until(lambda: sink.counts().adopted == 1)
    assert caplog.records == []


def test_nothing_of_a_closed_sink_stays_open(root: Path) -> None:
    folder = folder_of(root)
    left_now(root, '"a"')
    sink = sink_in(root, ScriptedSession(), max_items=1)
    sink.open()
    expose(sink, *[f"e{place}" for place in range(100)])
    until(lambda: sink.counts().sent == 101)
    assert sink.close(5.0)
    assert descriptors_in(folder) == []
    assert sys.getrefcount(sink) < 10


@FORKS
def test_processes_that_were_forked_without_hooks_spread_their_waits_each_in_its_own_way() -> None:
    def first_draw() -> float:
        return DeliverySink(NamingWire(), ScriptedSession)._pace.random()

    read, write = os.pipe()
    state = random.getstate()

    def tell() -> bool:
        random.setstate(state)  # as a child inherits it
        return bool(os.write(write, f"{first_draw()}\n".encode()))

    assert [in_child(tell), in_child(tell)] == [0, 0]
    draws = os.read(read, 1_000).split()
    os.close(read)
    os.close(write)
    assert len(set(draws)) == 2
