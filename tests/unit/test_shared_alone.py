"""Flags of one's own: what is done where nobody leads, or the file cannot be believed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flagmw.core.documents import Document
from flagmw.errors import AuthError
from flagmw.status import Role
from flagmw.transports import Delivery
from flagmw.transports.shared import LOCK, SharedSource
from flagmw.transports.snapshot_file import HEADER_BYTES, Mark, read, read_header
from flagmw.transports.upstream import Upstream
from tests.unit.shared_support import (
    DEADLINE_S,
    DOWN,
    QUICK_S,
    Beating,
    Hub,
    Numbers,
    file_in,
    lead_elsewhere,
    member,
    pair,
    place_in,
    receiving,
    wait_for_number,
    wait_for_role,
)
from tests.unit.support import until

# --- alone --------------------------------------------------------------------------------------------------------


def test_without_a_beat_each_one_connects_and_goes_back_when_the_beat_does(tmp_path: Path) -> None:
    hub = Hub(number=9)
    lock = lead_elsewhere(tmp_path)
    with Beating(tmp_path, 5) as leader, member(hub, tmp_path, period_s=QUICK_S) as one:
        wait_for_role(one, Role.FOLLOWER)
        assert hub.opened == 0
        leader.stop()
        wait_for_number(one, 9)
        assert one.source.role is Role.ALONE
        with Beating(tmp_path, 10):
            wait_for_role(one, Role.FOLLOWER)
            wait_for_number(one, 10)
            until(lambda: hub.connections == 0)
    assert one.numbers.seen == [5, 9, 10]
    lock.let_go()


def test_whoever_is_alone_does_not_go_back_to_older_flags(tmp_path: Path) -> None:
    hub = Hub(number=9)
    lock = lead_elsewhere(tmp_path)
    old_s = time.time()
    with member(hub, tmp_path, period_s=QUICK_S) as one:
        wait_for_number(one, 9)
        with Beating(tmp_path, 5, as_of_s=old_s) as leader:
            beat = read_header(file_in(tmp_path))[0].beat
            until(lambda: read_header(file_in(tmp_path))[0].beat > beat + 10)
            assert (one.source.role, one.numbers.number) == (Role.ALONE, 9)
            hub.put(10)
            wait_for_number(one, 10)
            leader.say(11)
            leader.as_of_s = None
            wait_for_role(one, Role.FOLLOWER)
            wait_for_number(one, 11)
    assert 5 not in one.numbers.seen
    lock.let_go()


def test_whoever_is_alone_keeps_no_changes_for_others(tmp_path: Path) -> None:
    hub = Hub()
    lock = lead_elsewhere(tmp_path)
    with member(hub, tmp_path, period_s=QUICK_S) as one:
        wait_for_role(one, Role.ALONE)
        for number in range(2, 20):
            hub.put(number)
            wait_for_number(one, number)
        upstream = one.source._upstream
        assert upstream is not None
        until(lambda: not upstream._changes)
    lock.let_go()


def test_a_leader_whose_connection_is_broken_does_not_beat(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path, QUICK_S) as (leader, follower):
        hub.fail(DOWN)
        wait_for_role(follower, Role.ALONE)
        until(lambda: follower.numbers.errors == [DOWN])
        assert leader.source.role is Role.LEADER
        hub.number = 2
        hub.fail(None)
        wait_for_number(follower, 2)
        wait_for_role(follower, Role.FOLLOWER)
        until(lambda: hub.connections == 1)


def test_a_leader_whose_thread_is_held_up_does_not_beat(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path, QUICK_S) as (_, follower):
        (source,) = hub.sources
        source.heartbeat_s = time.monotonic() - 10.0
        wait_for_role(follower, Role.ALONE)
        source.heartbeat_s = None
        wait_for_role(follower, Role.FOLLOWER)


def test_a_lock_that_was_removed_is_taken_anew(tmp_path: Path) -> None:
    with pair(Hub(), tmp_path, QUICK_S) as members:
        lock = place_in(tmp_path).path() / LOCK
        lock.unlink()
        until(lock.exists)
        until(lambda: sorted(one.source.role for one in members) == [Role.FOLLOWER, Role.LEADER])


def test_a_refused_secret_is_refused_to_each_one_and_nobody_beats(tmp_path: Path) -> None:
    hub = Hub(error=AuthError("the hub refuses our secret"))
    with member(hub, tmp_path) as first, member(hub, tmp_path) as second:
        for one in (first, second):
            until(lambda one=one: [type(error) for error in one.numbers.errors] == [AuthError])  # type: ignore[misc]  # bound
        until(lambda: hub.connections == 0)
        assert hub.opened == 2
    assert not file_in(tmp_path).exists()


def test_all_connect_where_the_folder_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    hub = Hub()
    with member(hub, tmp_path, period_s=QUICK_S) as first, member(hub, tmp_path, period_s=QUICK_S) as second:
        for one in (first, second):
            wait_for_number(one, 1)
            assert one.source.role is Role.ALONE
        hub.put(2)
        for one in (first, second):
            wait_for_number(one, 2)
        (tmp_path / "state").unlink()
        until(lambda: hub.connections == 1, DEADLINE_S)
        hub.put(3)
        for one in (first, second):
            wait_for_number(one, 3)


def test_all_connect_where_the_folder_is_read_only(tmp_path: Path) -> None:
    folder = place_in(tmp_path).open()
    assert folder is not None
    (folder / LOCK).mkdir()  # no file can be locked there, not even by root, who may write anywhere
    hub = Hub()
    with member(hub, tmp_path, period_s=QUICK_S) as first, member(hub, tmp_path, period_s=QUICK_S) as second:
        for one in (first, second):
            wait_for_number(one, 1)
            assert one.source.role is Role.ALONE
        assert hub.opened == 2


def test_a_file_that_cannot_be_replaced_leaves_each_one_its_own_connection(tmp_path: Path) -> None:
    folder = place_in(tmp_path).open()
    assert folder is not None
    (folder / "flags").mkdir()  # nothing can be renamed over a folder
    (folder / "flags" / "in the way").touch()
    hub = Hub()
    with member(hub, tmp_path, period_s=QUICK_S) as first, member(hub, tmp_path, period_s=QUICK_S) as second:
        for one in (first, second):
            wait_for_number(one, 1)
        hub.put(2)
        for one in (first, second):
            wait_for_number(one, 2)
        shutil.rmtree(folder / "flags")
        until(lambda: hub.connections == 1, DEADLINE_S)


@pytest.mark.parametrize("harm", ["header", "base", "cut", "garbage", "gone", "folder gone"])
def test_what_happens_to_the_file_is_mended_and_never_believed(tmp_path: Path, harm: str) -> None:
    hub = Hub(number=1)
    with pair(hub, tmp_path, QUICK_S) as (leader, follower):
        for number in range(2, 6):
            path = file_in(tmp_path)
            spoil(path, harm)
            hub.put(number)
            wait_for_number(follower, number)
            wait_for_number(leader, number)
            members = [leader, follower]
            until(lambda: sorted(one.source.role for one in members) == [Role.FOLLOWER, Role.LEADER])  # noqa: B023  # at once
            until(lambda: hub.connections == 1)
        assert [error for error in follower.numbers.errors if error is not DOWN] == []
        assert follower.numbers.seen == sorted(follower.numbers.seen)


def spoil(path: Path, harm: str) -> None:
    if harm == "gone":
        path.unlink()
    elif harm == "folder gone":
        shutil.rmtree(path.parent)
    elif harm == "garbage":
        path.write_bytes(os.urandom(300))
    elif harm == "cut":
        os.truncate(path, path.stat().st_size - 1)
    else:
        header, _ = read_header(path)
        with open(path, "r+b") as file:
            file.seek(30 if harm == "header" else HEADER_BYTES + header.base_bytes - 1)
            file.write(b"\xff")


def test_flags_that_cannot_be_compiled_leave_a_process_its_own_connection(tmp_path: Path) -> None:
    hub = Hub(number=9)
    lock = lead_elsewhere(tmp_path)
    with Beating(tmp_path, 5) as leader:
        leader.writer.replace([b"no number"], (), None, Mark.BEATING, time.time())
        with member(hub, tmp_path, period_s=QUICK_S) as one:
            wait_for_number(one, 9)
            assert one.source.role is Role.ALONE
            assert one.numbers.errors == []
    lock.let_go()


def test_two_leaders_of_one_process_end_as_one(tmp_path: Path) -> None:
    hub = Hub()
    with member(hub, tmp_path, period_s=QUICK_S) as leader:
        wait_for_role(leader, Role.LEADER)
        until(file_in(tmp_path).exists)
        with Beating(tmp_path, 1):  # as one in another interpreter, which the lock does not keep away
            wait_for_role(leader, Role.FOLLOWER)
            until(lambda: hub.connections == 0)
        wait_for_role(leader, Role.LEADER)
        hub.put(2)
        wait_for_number(leader, 2)


# --- standing still -----------------------------------------------------------------------------------------------


class Clock:
    """Time that can be made to jump."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def test_a_leader_that_stood_still_connects_anew_before_it_beats(tmp_path: Path) -> None:
    hub, clock = Hub(), Clock()
    source = SharedSource(
        hub.source, place_in(tmp_path), pushes=True, period_s=QUICK_S, monotonic=clock.monotonic, wall_clock=time.time
    )
    with receiving(source, Numbers()):
        until(lambda: hub.opened == 1 and file_in(tmp_path).exists())
        clock.ahead_s += 3 * QUICK_S
        until(lambda: hub.opened == 2)
        until(lambda: hub.connections == 1)
        assert source.role is Role.LEADER


def test_what_came_just_before_a_leader_connects_anew_is_in_the_file_when_it_beats(tmp_path: Path) -> None:
    hub, clock, numbers = Hub(pushes=False), Clock(), Numbers(has_versions=False)
    with by_hand(hub, tmp_path, clock, numbers) as tick:
        until(lambda: tick() and in_file(tmp_path) == b"1")
        hub.put(2)
        until(lambda: numbers.number == 2)
        clock.ahead_s += 2.0
        tick()
        until(lambda: hub.opened == 2)
        until(lambda: tick() and beats(tmp_path))
        assert in_file(tmp_path) == b"2"


def test_a_leader_that_was_busy_keeps_its_connection(tmp_path: Path) -> None:
    hub, clock = Hub(), Clock()
    with by_hand(hub, tmp_path, clock, Numbers()) as tick:
        until(lambda: tick() and in_file(tmp_path) == b"1")
        clock.ahead_s += 1.0
        ending_s = time.process_time() + 0.5
        while time.process_time() < ending_s:
            pass
        tick()
        hub.put(2)
        until(lambda: tick() and list(read(file_in(tmp_path), None).messages) == [b"2"])
        assert hub.opened == 1


@contextmanager
def by_hand(hub: Hub, folder: Path, clock: Clock, numbers: Numbers) -> Iterator[Callable[[], bool]]:
    """Run a shared source step by step; gives the function that makes one."""
    source = SharedSource(
        hub.source, place_in(folder), pushes=hub.pushes, monotonic=clock.monotonic, wall_clock=time.time
    )
    source.open(numbers)

    def tick() -> bool:
        source._tick(numbers)
        return True

    try:
        yield tick
    finally:
        stopping = threading.Event()
        stopping.set()
        source.run(stopping)


def in_file(folder: Path) -> bytes | None:
    return read(file_in(folder), None).base if file_in(folder).exists() else None


def beats(folder: Path) -> bool:
    """Tell whether a file says that it is current by the clock that was put forward."""
    header, _ = read_header(file_in(folder))
    return header.mark is Mark.BEATING and header.beat > 2


# --- a source that is dropped -----------------------------------------------------------------------------------


def test_a_source_that_was_dropped_brings_nothing_more(tmp_path: Path) -> None:
    numbers = Numbers()
    upstream = Upstream(Hub().source(), numbers, time.monotonic, lambda: None)
    assert upstream.deliver(Delivery(documents=(Document(name="hub", content=b"1"),)))
    assert upstream.stop(1.0)
    assert not upstream.deliver(Delivery(documents=(Document(name="hub", content=b"2"),)))
    assert numbers.seen == [1]
