"""One connection for all: who leads, who follows, and what is done when nobody does."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flagmw.core.documents import Document
from flagmw.lifecycle.places import StatePlace
from flagmw.status import Role
from flagmw.transports import Delivery
from flagmw.transports.shared import SharedSource
from flagmw.transports.snapshot_file import Mark, read, read_header
from flagmw.transports.snapshot_writer import SnapshotWriter
from tests.unit.shared_support import (
    CALM_S,
    DOWN,
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
    write,
)
from tests.unit.support import until

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
def _long_numbers() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(10_000)
    yield
    sys.set_int_max_str_digits(before)


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
        until(lambda: second.source._try_s > 0.0)  # it has tried for the first time, and will again after 1.5 s
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
    assert child.deliveries == [Delivery()]  # which says that they are current
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
    numbers = Numbers(8, has_versions=False)
    opened(Hub(), tmp_path, numbers)
    assert numbers.number == 8


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
