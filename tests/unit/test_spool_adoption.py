"""Taking over what processes that are gone have left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flagmw.events.adoption import SCAN_INTERVAL_S
from flagmw.events.segments import Segment
from tests.unit.event_support import exposure
from tests.unit.spool_support import (
    NOW_S,
    Clock,
    adoption_in,
    descriptors_in,
    drained,
    files_in,
    in_child,
    left_behind,
    line,
    name_of,
    other_process,
    room_in,
    spool_in,
)

FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def names_left(folder: Path) -> list[str | None]:
    """Give all that can be taken over."""
    clock = Clock()
    adoption = adoption_in(folder, clock=clock)
    names: list[str | None] = []
    while adoption.scan():
        names += drained(adoption)
    adoption.end()
    return names


def test_a_folder_that_is_empty_or_missing_has_nothing_to_take(tmp_path: Path) -> None:
    assert names_left(tmp_path) == []
    assert names_left(tmp_path / "missing") == []


def test_what_was_left_is_given_in_order_and_its_file_removed(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a", "b", "c")
    assert names_left(tmp_path) == ["a", "b", "c"]
    assert os.listdir(tmp_path) == []
    assert descriptors_in(tmp_path) == []


def test_the_files_of_one_process_come_in_their_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        left_behind(tmp_path, f"1-ab-{number}", f"e{number}", changed_s=NOW_S - number)
    assert names_left(tmp_path) == ["e1", "e2", "e10"]
    assert os.listdir(tmp_path) == []


def test_the_longest_dead_comes_first(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "young", changed_s=NOW_S - 1)
    left_behind(tmp_path, "2-ab-1", "old", changed_s=NOW_S - 2)
    assert names_left(tmp_path) == ["old", "young"]


def test_a_torn_end_is_no_event_and_is_not_counted(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a", tail=line("b")[:-3])
    assert names_left(tmp_path) == ["a"]
    assert os.listdir(tmp_path) == []


def test_spoilt_lines_are_given_as_events_that_cannot_be_sent(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a", tail=b"garbage\n" + b"\0" * 100 + b"\n" + line("b"))
    assert names_left(tmp_path) == ["a", None, None, "b"]


def test_an_empty_file_is_removed(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1")
    assert names_left(tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_what_was_taken_and_not_settled_stays_for_the_next(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a", "b", "c")
    adoption = adoption_in(tmp_path)
    assert adoption.scan()
    assert [name_of(adoption.take()) for _ in range(3)] == ["a", "b", "c"]
    adoption.settle(1)
    adoption.end()
    assert names_left(tmp_path) == ["b", "c"]


def test_a_file_is_not_removed_before_all_in_it_is_settled(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a")
    adoption = adoption_in(tmp_path)
    assert adoption.scan()
    adoption.take()
    with pytest.raises(IndexError):
        adoption.take()
    assert len(files_in(tmp_path)) == 1
    adoption.settle(1)
    with pytest.raises(IndexError):
        adoption.take()
    assert files_in(tmp_path) == []


def test_it_is_looked_for_more_now_and_then(tmp_path: Path) -> None:
    clock = Clock()
    adoption = adoption_in(tmp_path, clock=clock)
    assert not adoption.scan()
    left_behind(tmp_path, "1-ab-1", "a")
    assert not adoption.scan()
    clock.now_s += SCAN_INTERVAL_S
    assert adoption.scan()
    adoption.end()


# --- owners -----------------------------------------------------------------------------------------------------


@FORKS
def test_the_file_of_a_process_that_lives_is_left_alone(tmp_path: Path) -> None:
    def begin() -> object:
        spool = spool_in(tmp_path)
        spool.put(exposure("a"))
        return spool

    with other_process(begin):
        assert names_left(tmp_path) == []
        assert len(files_in(tmp_path)) == 1
    assert names_left(tmp_path) == ["a"]


def test_the_own_file_is_left_alone(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.put(exposure("a"))
    assert names_left(tmp_path) == []
    assert drained(spool) == ["a"]


@FORKS
def test_looking_at_the_own_file_does_not_free_its_lock(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.put(exposure("a"))
    names_left(tmp_path)
    assert in_child(lambda: names_left(tmp_path) == []) == 0


def test_the_file_of_a_dead_process_with_this_ones_id_is_taken_over(tmp_path: Path) -> None:
    left_behind(tmp_path, f"{os.getpid()}-ab-1", "a")
    assert names_left(tmp_path) == ["a"]


def test_two_clients_of_one_process_do_not_take_over_the_same_file(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a", "b")
    first, second = adoption_in(tmp_path), adoption_in(tmp_path)
    assert first.scan()
    assert not second.scan()
    assert drained(first) == ["a", "b"]


@FORKS
def test_two_clients_of_one_process_that_are_just_as_quick_take_a_file_over_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_behind(tmp_path, "1-ab-1", "a", "b")
    first, second = adoption_in(tmp_path), adoption_in(tmp_path)
    assert first.scan()
    with monkeypatch.context() as patch:
        patch.setattr("flagmw.events.adoption.open_files", set)  # as if the first had opened it just after
        assert not second.scan()
    assert in_child(lambda: names_left(tmp_path) == []) == 0  # the lock was not freed by the second
    assert drained(first) == ["a", "b"]
    with pytest.raises(IndexError):
        first.take()
    assert not path.exists()


@FORKS
def test_several_processes_that_look_at_once_take_each_event_over_once(tmp_path: Path) -> None:
    for process in range(20):
        for number in range(1, 4):
            left_behind(tmp_path, f"{process}-ab-{number}", *(f"{process}.{number}.{place}" for place in range(10)))
    found = tmp_path / "found"
    found.mkdir()
    children = []
    for adopter in range(4):
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(30)
                names: list[str | None] = []
                while files_in(tmp_path):
                    names += names_left(tmp_path)
                (found / str(adopter)).write_text(" ".join(map(str, names)))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    adopted = [name for path in found.iterdir() for name in path.read_text().split()]
    assert sorted(adopted) == sorted(
        f"{process}.{number}.{place}" for process in range(20) for number in range(1, 4) for place in range(10)
    )


@FORKS
def test_an_adopter_that_is_killed_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    left_behind(tmp_path, "1-ab-1", "a", "b", "c")

    def begin() -> object:
        adoption = adoption_in(tmp_path)
        adoption.scan()
        adoption.take()
        adoption.settle(1)
        return adoption

    with other_process(begin):
        assert names_left(tmp_path) == []
    assert names_left(tmp_path) == ["b", "c"]


@FORKS
def test_the_second_file_of_a_process_waits_for_who_has_the_first(tmp_path: Path) -> None:
    first = left_behind(tmp_path, "1-ab-1", "a")
    left_behind(tmp_path, "1-ab-2", "b")

    def begin() -> Segment:
        return Segment.adopt(first)

    with other_process(begin):
        assert names_left(tmp_path) == []
    assert names_left(tmp_path) == ["a", "b"]


# --- bounds -----------------------------------------------------------------------------------------------------


def test_what_is_too_old_is_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left_behind(tmp_path, "1-ab-1", "a", "b", changed_s=NOW_S - 101)
    left_behind(tmp_path, "2-ab-1", "c", changed_s=NOW_S - 99)
    adoption = adoption_in(tmp_path, room=room_in(tmp_path, max_age_s=100))
    assert adoption.scan()
    assert drained(adoption) == ["c"]
    assert adoption.dropped() == 2
    assert "2 events of processes that are gone are dropped" in caplog.text
    adoption.end()


def test_what_is_too_much_is_dropped_the_oldest_first_and_what_was_shipped_of_it_is_not_counted(
    tmp_path: Path,
) -> None:
    oldest = left_behind(tmp_path, "1-ab-1", "a" * 400, "b" * 400, changed_s=NOW_S - 2)
    oldest.with_suffix(".offset").write_text(str(len(line("a" * 400))))
    left_behind(tmp_path, "2-ab-1", "c" * 400, changed_s=NOW_S - 1)
    adoption = adoption_in(tmp_path, room=room_in(tmp_path, max_bytes=1_000))
    assert adoption.scan()
    assert drained(adoption) == ["c" * 400]
    assert adoption.dropped() == 1
    adoption.end()
    assert os.listdir(tmp_path) == []


@FORKS
def test_what_a_process_that_lives_has_is_not_dropped_by_others(tmp_path: Path) -> None:
    def begin() -> object:
        spool = spool_in(tmp_path)
        spool.put(exposure("a" * 2_000))
        return spool

    with other_process(begin):
        adoption = adoption_in(tmp_path, room=room_in(tmp_path, max_bytes=1_000))
        assert not adoption.scan()
        assert adoption.dropped() == 0
        assert len(files_in(tmp_path)) == 1
