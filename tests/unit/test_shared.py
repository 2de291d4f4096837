"""One connection for all: who leads, who follows, and what is done when nobody does."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flagmw.core.documents import Document
from flagmw.errors import AuthError, TransportError
from flagmw.lifecycle.leadership import Leadership
from flagmw.lifecycle.places import StatePlace
from flagmw.status import Role
from flagmw.transports import Delivery
from flagmw.transports.shared import LOCK, SharedSource
from flagmw.transports.snapshot_file import HEADER_BYTES, Mark, read, read_header
from flagmw.transports.snapshot_writer import SnapshotWriter
from tests.unit.shared_support import (
    CALM_S,
    DEADLINE_S,
    QUICK_S,
    Hub,
    HubSource,
    Numbers,
    file_in,
    member,
    pair,
    place_in,
    receiving,
    wait_for_number,
    wait_for_role,
)
from tests.unit.support import until

DOWN = TransportError("the hub is down")


def write(folder: Path, number: int, mark: Mark = Mark.BEATING, as_of_s: float | None = None) -> SnapshotWriter:
    """Write the file as another process would."""
    place_in(folder).open()
    writer = SnapshotWriter(file_in(folder))
    writer.replace([str(number).encode()], (), None, mark, time.time() if as_of_s is None else as_of_s)
    return writer


class Beating:
    """Another process that leads: it holds no lock, which nobody asks for as long as it beats."""

    def __init__(self, folder: Path, number: int, as_of_s: float | None = None) -> None:
        self.as_of_s = as_of_s
        self.writer = write(folder, number, as_of_s=as_of_s)
        self._ending = threading.Event()
        self._messages: list[bytes] = []
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> Beating:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def say(self, number: int) -> None:
        self._messages.append(str(number).encode())

    def _beat(self) -> None:
        while not self._ending.wait(QUICK_S / 4):
            messages, self._messages = self._messages, []
            as_of_s = time.time() if self.as_of_s is None else self.as_of_s
            self.writer.update(messages, None, Mark.BEATING, as_of_s)


def lead_elsewhere(folder: Path) -> Leadership:
    """Hold the lock in this process without beating, so that nobody else leads."""
    place_in(folder).open()
    lock = Leadership(place_in(folder).path() / LOCK)
    assert lock.try_to_lead()
    return lock


# --- one leads, the others follow ---------------------------------------------------------------------------------


def test_of_several_one_connects_and_all_have_its_flags(tmp_path: Path) -> None:
    hub = Hub(number=7)
    with member(hub, tmp_path) as first, member(hub, tmp_path) as second, member(hub, tmp_path) as third:
        members = [first, second, third]
        for one in members:
            wait_for_number(one, 7)
        until(lambda: sorted(one.source.role for one in members) == [Role.FOLLOWER, Role.FOLLOWER, Role.LEADER])
        assert hub.opened == 1


@pytest.mark.parametrize("pushes", [True, False])
def test_changes_reach_those_who_follow(tmp_path: Path, *, pushes: bool) -> None:
    hub = Hub(pushes=pushes)
    with pair(hub, tmp_path) as (_leader, follower):
        for number in range(2, 30):
            hub.put(number)
            wait_for_number(follower, number)
        assert follower.numbers.errors == []
        assert hub.opened == 1


def test_a_message_is_appended_and_a_document_written_anew(tmp_path: Path) -> None:
    for pushes in (True, False):
        hub = Hub(pushes=pushes)
        with member(hub, tmp_path / str(pushes)) as leader:
            wait_for_role(leader, Role.LEADER)
            until(file_in(tmp_path / str(pushes)).exists)
            before = read(file_in(tmp_path / str(pushes)), None)
            hub.put(2)
            until(lambda p=pushes, b=before: read(file_in(tmp_path / str(p)), None).position != b.position)  # type: ignore[misc]  # bound
            after = read(file_in(tmp_path / str(pushes)), None)
        assert list(after.messages) == ([b"2"] if pushes else [])
        assert (after.header.edition == before.header.edition) is pushes


def test_changes_that_outgrow_the_flags_are_put_together(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path) as (_leader, follower):
        wait_for_number(follower, 1)
        edition = read_header(file_in(tmp_path))[0].edition
        number = 1
        while read_header(file_in(tmp_path))[0].edition == edition:
            number += 1
            assert number < 20_000
            hub.put(10**4000 + number)
            wait_for_number(follower, hub.number)
        content = read(file_in(tmp_path), None)
        assert content.base == str(hub.number).encode()
        assert content.messages[-1] == content.base
        assert follower.numbers.errors == []


@pytest.fixture(autouse=True)
def _long_numbers() -> None:
    sys.set_int_max_str_digits(10_000)


def test_whoever_follows_confirms_at_each_beat(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path) as (_leader, follower):
        first_s = follower.source.agreed_s
        assert first_s is not None
        until(lambda: (follower.source.agreed_s or 0.0) > first_s + 2 * CALM_S)
        assert follower.numbers.deliveries[-1] == Delivery()
        heartbeat_s = follower.source.heartbeat_s
        assert heartbeat_s is not None
        assert time.monotonic() - heartbeat_s < 1.0


def test_a_leader_that_leaves_is_followed_by_another_at_once(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path, 2.0) as (first, second):
        first.stop()
        assert until(lambda: second.source.role is Role.LEADER) < 0.4  # sooner than it would try anyway
        hub.put(2)
        wait_for_number(second, 2)


def test_the_next_leader_goes_on_with_the_file(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path) as (first, second):
        before = read_header(file_in(tmp_path))[0]
        first.stop()
        until(lambda: read_header(file_in(tmp_path))[0].leader != before.leader)
        wait_for_role(second, Role.LEADER)
        hub.put(2)
        until(lambda: list(read(file_in(tmp_path), None).messages) == [b"2"])
        assert read_header(file_in(tmp_path))[0].edition == before.edition


def test_stopping_takes_no_time_and_leaves_no_connection(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path) as (leader, follower):
        for one in (follower, leader):
            began = time.monotonic()
            one.stop()
            assert time.monotonic() - began < 0.3
        assert hub.connections == 0
    assert not any(thread.name == "flagmw-upstream" for thread in threading.enumerate())


def test_whoever_has_no_flags_waits_for_a_leader_that_is_getting_them(tmp_path: Path) -> None:
    hub = Hub(delay_s=10 * QUICK_S)
    with (
        member(hub, tmp_path, period_s=QUICK_S) as first,
        member(hub, tmp_path, period_s=QUICK_S) as second,
    ):
        for one in (first, second):
            wait_for_number(one, 1)
        assert hub.opened == 1


# --- first flags --------------------------------------------------------------------------------------------------


def opened(hub: Hub, folder: Path, numbers: Numbers) -> SharedSource:
    source = SharedSource(hub.source, place_in(folder), pushes=True, period_s=QUICK_S)
    source.open(numbers)
    return source


def test_the_first_flags_are_those_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, 5)
    numbers = Numbers()
    opened(Hub(), tmp_path, numbers)
    assert numbers.number == 5
    assert numbers.snapshot is not None
    assert not numbers.snapshot.is_stale


@pytest.mark.parametrize("how", ["nobody beats", "resigned", "silent"])
def test_flags_that_nobody_keeps_current_are_stale(tmp_path: Path, how: str) -> None:
    write(tmp_path, 5, Mark.RESIGNED if how == "resigned" else Mark.SILENT if how == "silent" else Mark.BEATING)
    if how == "nobody beats":
        os.utime(file_in(tmp_path), (time.time() - 10.0, time.time() - 10.0))
    numbers = Numbers()
    opened(Hub(), tmp_path, numbers)
    assert numbers.number == 5
    assert numbers.snapshot is not None
    assert numbers.snapshot.is_stale


def test_a_child_does_not_read_what_its_parent_had_read(tmp_path: Path) -> None:
    write(tmp_path, 5)
    numbers = Numbers()
    opened(Hub(), tmp_path, numbers)
    child = Numbers()
    child.snapshot = numbers.snapshot
    opened(Hub(), tmp_path, child)
    assert [delivery for delivery in child.deliveries if delivery.documents] == []
    assert child.number == 5


def test_a_child_reads_what_came_after_its_parent(tmp_path: Path) -> None:
    writer = write(tmp_path, 5)
    numbers = Numbers()
    opened(Hub(), tmp_path, numbers)
    writer.update([b"6"], None, Mark.BEATING, time.time())
    child = Numbers()
    child.snapshot = numbers.snapshot
    opened(Hub(), tmp_path, child)
    assert [delivery.is_message for delivery in child.deliveries if delivery.documents] == [True]
    assert child.number == 6


def test_a_child_does_not_take_a_file_that_is_older_than_what_it_inherits(tmp_path: Path) -> None:
    parent = Numbers()
    SharedSource(Hub(number=8).source, place_in(tmp_path), pushes=True).fetch(parent, 1.0)
    assert parent.number == 8
    write(tmp_path, 5, as_of_s=time.time() - 60.0)
    child = Numbers()
    child.snapshot = parent.snapshot
    opened(Hub(), tmp_path, child)
    assert child.deliveries == []


def test_current_flags_of_unknown_time_are_not_replaced_by_a_file_that_nobody_keeps(tmp_path: Path) -> None:
    write(tmp_path, 5, Mark.RESIGNED)
    numbers = Numbers(8)
    opened(Hub(), tmp_path, numbers)
    assert numbers.number == 8


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


# --- once ---------------------------------------------------------------------------------------------------------


def test_fetching_takes_what_is_kept_current(tmp_path: Path) -> None:
    write(tmp_path, 5)
    hub, numbers = Hub(number=9), Numbers()
    SharedSource(hub.source, place_in(tmp_path), pushes=True).fetch(numbers, 1.0)
    assert (numbers.number, hub.opened) == (5, 0)


def test_fetching_asks_the_service_where_nobody_keeps_flags_current(tmp_path: Path) -> None:
    write(tmp_path, 5, Mark.RESIGNED)
    hub, numbers = Hub(number=9), Numbers()
    before = threading.active_count()
    SharedSource(hub.source, place_in(tmp_path), pushes=True).fetch(numbers, 1.0)
    assert (numbers.seen, hub.opened, threading.active_count()) == ([5, 9], 1, before)


def test_fetching_has_the_stale_flags_where_nobody_answers(tmp_path: Path) -> None:
    write(tmp_path, 5, Mark.RESIGNED)
    numbers = Numbers()
    SharedSource(Hub(error=DOWN).source, place_in(tmp_path), pushes=True).fetch(numbers, 1.0)
    assert (numbers.number, numbers.errors) == (5, [DOWN])


# --- going on where another stopped -------------------------------------------------------------------------------


class ResumableSource(HubSource):
    """A source that says from where another can go on: from the number that it brought last."""

    def __init__(self, hub: Hub, resumed: list[bytes | None]) -> None:
        super().__init__(hub)
        self._number = hub.number
        self._resumed = resumed
        self._token: bytes | None = None

    @property
    def resume_token(self) -> bytes | None:
        return b"after " + str(self._number).encode()

    def resume(self, token: bytes) -> None:
        self._token = token

    def run(self, stopping: threading.Event) -> None:
        self._resumed.append(self._token)
        super().run(stopping)


def resumable(hub: Hub, folder: Path, resumed: list[bytes | None]) -> SharedSource:
    return SharedSource(lambda: ResumableSource(hub, resumed), place_in(folder), pushes=hub.pushes, period_s=QUICK_S)


def test_the_next_leader_is_told_from_where_to_go_on(tmp_path: Path) -> None:
    hub = Hub(number=7, pushes=False)
    resumed: list[bytes | None] = []
    for count in (1, 2):
        numbers = Numbers(has_versions=False)
        with receiving(resumable(hub, tmp_path, resumed), numbers):
            until(lambda: hub.opened == count and file_in(tmp_path).exists())  # noqa: B023  # at once
            until(lambda: read(file_in(tmp_path), None).resume is not None)
    assert resumed == [None, b"after 7"]


def test_nobody_goes_on_from_a_place_that_its_own_source_has_left(tmp_path: Path) -> None:
    hub = Hub(number=9, pushes=False)
    resumed: list[bytes | None] = []
    place_in(tmp_path).open()
    SnapshotWriter(file_in(tmp_path)).replace([b"5"], (), b"after 5", Mark.RESIGNED, time.time())
    numbers = Numbers(has_versions=False)
    source = resumable(hub, tmp_path, resumed)
    with receiving(source, numbers):
        until(lambda: numbers.number == 9)
        hub.end()
        until(lambda: hub.opened == 2)
    assert resumed == [b"after 5", None]


def test_a_place_shows_nothing_of_its_identity(tmp_path: Path) -> None:
    source = SharedSource(Hub().source, StatePlace(tmp_path, "hub", ["very secret"]), pushes=True)
    assert "secret" not in repr(source)


def test_a_message_that_is_no_number_is_skipped_by_all(tmp_path: Path) -> None:
    hub = Hub()
    with pair(hub, tmp_path) as (leader, follower):
        upstream = leader.source._upstream  # what a service says cannot be had otherwise
        assert upstream is not None
        document = Document(name="hub", content=b"no number")
        upstream.deliver(Delivery(documents=(document,), is_message=True))
        hub.put(2)
        wait_for_number(follower, 2)
        assert leader.source.role is Role.LEADER
