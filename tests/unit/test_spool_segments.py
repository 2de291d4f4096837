"""The files of a spool: who has one, how far it was shipped, when it is closed."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from flagmw.events.segments import CHUNK_BYTES, Appender, Segment, Taken, drop_inherited, open_files, parts_of
from tests.unit.spool_support import descriptors_in, files_in, in_child, left_behind, line, other_process

FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def created(folder: Path, *names: str) -> Segment:
    segment = Segment.create(folder / "events-1-ab-1.spool")
    os.write(segment.fd, b"".join(map(line, names)))
    return segment


def names_in(segment: Segment) -> list[str | None]:
    names: list[str | None] = []
    while (found := segment.read()) is not None:
        names.append(None if found[1] is None else found[1][0][1].decode())
    return names


def is_free(path: Path) -> bool:
    """Tell, in another process, whether a file has no owner."""
    try:
        Segment.adopt(path).close()
    except Taken:
        return False
    return True


# --- names ------------------------------------------------------------------------------------------------------


def test_a_name_tells_the_process_and_the_place_of_the_file_among_its_others() -> None:
    assert parts_of("events-12-0a1b-3.spool") == (12, "0a1b", 3)


@pytest.mark.parametrize("name", ["flags", "events-12-0a1b-3.offset", "events-x-0a1b-3.spool", "events-1-0a-3.spool~"])
def test_other_files_are_not_taken_for_a_spool(name: str) -> None:
    assert parts_of(name) is None


# --- owners -----------------------------------------------------------------------------------------------------


def test_a_file_is_for_its_user_alone_and_not_for_programs_that_are_started(tmp_path: Path) -> None:
    segment = created(tmp_path)
    assert stat.S_IMODE(os.stat(segment.path).st_mode) == 0o600
    assert not os.get_inheritable(segment.fd)


@FORKS
def test_a_file_has_an_owner_as_long_as_its_process_has_it_open(tmp_path: Path) -> None:
    segment = created(tmp_path)
    assert in_child(lambda: not is_free(segment.path)) == 0
    segment.close()
    assert in_child(lambda: is_free(segment.path)) == 0


@FORKS
def test_a_file_has_no_owner_when_its_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "events-1-ab-1.spool"
    with other_process(lambda: Segment.create(path)):
        assert not is_free(path)
    assert is_free(path)


@FORKS
def test_a_child_that_closes_what_it_inherited_does_not_free_its_parents_file(tmp_path: Path) -> None:
    segment = created(tmp_path)

    def close_all() -> bool:
        drop_inherited()
        return descriptors_in(tmp_path) == []

    assert in_child(close_all) == 0
    assert in_child(lambda: not is_free(segment.path)) == 0


@FORKS
def test_a_child_that_drops_its_parents_objects_closes_no_number_that_has_come_to_mean_something_else(
    tmp_path: Path,
) -> None:
    kept = [created(tmp_path)]
    number = kept[0].fd

    def replace_and_drop() -> bool:
        os.dup2(os.open(tmp_path, os.O_RDONLY), number)
        kept.clear()
        drop_inherited()
        return stat.S_ISDIR(os.fstat(number).st_mode)

    assert in_child(replace_and_drop) == 0


def test_closing_twice_closes_no_number_that_has_come_to_mean_something_else(tmp_path: Path) -> None:
    segment = created(tmp_path)
    number = segment.fd
    segment.close()
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        assert other == number
        segment.close()
        segment.remove()
        os.fstat(other)
    finally:
        os.close(other)


@FORKS
def test_a_second_client_of_the_same_process_does_not_take_over_what_the_first_has(tmp_path: Path) -> None:
    path = left_behind(tmp_path, "1-ab-1", "a")
    first = Segment.adopt(path)
    with pytest.raises(Taken):
        Segment.adopt(path)
    # Its descriptor was closed, which frees the record lock of both.
    assert in_child(lambda: not is_free(path)) == 0
    assert names_in(first) == ["a"]


def test_a_file_that_was_removed_meanwhile_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left_behind(tmp_path, "1-ab-1", "a")
    lock = fcntl.lockf

    def lock_late(fd: int, operation: int) -> None:
        os.unlink(path)
        left_behind(tmp_path, "1-ab-1", "b")
        lock(fd, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", lock_late)
        with pytest.raises(Taken):
            Segment.adopt(path)
    assert names_in(Segment.adopt(path)) == ["b"]


def test_a_new_file_that_an_adopter_removes_before_it_is_locked_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events-1-ab-1.spool"
    lock = fcntl.lockf

    def lock_late(fd: int, operation: int) -> None:
        os.unlink(path)
        lock(fd, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", lock_late)
        with pytest.raises(FileExistsError):
            Segment.create(path)
    assert descriptors_in(tmp_path) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = left_behind(tmp_path, "1-ab-1", "a")
    link = tmp_path / "events-2-ab-1.spool"
    link.symlink_to(target)
    with pytest.raises(OSError):
        Segment.adopt(link)


def test_what_is_no_file_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "events-1-ab-1.spool"
    os.mkfifo(path)
    with pytest.raises(Taken):
        Segment.adopt(path)
    assert descriptors_in(tmp_path) == []


def test_a_name_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = left_behind(tmp_path, "1-ab-1", "a")
    with pytest.raises(FileExistsError):
        Segment.create(path)
    assert path.read_bytes() == line("a")
    assert descriptors_in(tmp_path) == []


def test_the_files_that_are_open_are_known_whoever_opened_them(tmp_path: Path) -> None:
    segment = created(tmp_path)
    assert segment.identity in open_files()
    segment.close()
    assert segment.identity not in open_files()


# --- reading ----------------------------------------------------------------------------------------------------


def test_lines_are_read_in_order_whatever_they_measure(tmp_path: Path) -> None:
    names = ["a", "b" * CHUNK_BYTES, "c" * (3 * CHUNK_BYTES), "d", *(str(place) * 99 for place in range(5_000))]
    segment = created(tmp_path, *names)
    assert names_in(segment) == names


def test_a_line_without_its_end_is_kept_for_later(tmp_path: Path) -> None:
    segment = created(tmp_path, "a")
    os.write(segment.fd, line("b")[:5])
    assert names_in(segment) == ["a"]
    os.write(segment.fd, line("b")[5:])
    assert names_in(segment) == ["b"]


def test_a_spoilt_line_is_skipped_and_seen(tmp_path: Path) -> None:
    segment = created(tmp_path, "a")
    os.write(segment.fd, b"garbage\n" + line("b"))
    assert names_in(segment) == ["a", None, "b"]


def test_the_lines_that_were_not_read_are_counted(tmp_path: Path) -> None:
    segment = created(tmp_path, "a", "b", "c")
    assert segment.unread() == 3
    segment.read()
    os.write(segment.fd, line("d") + line("e")[:5])
    assert segment.unread() == 3


# --- how far it was shipped -------------------------------------------------------------------------------------


def test_who_takes_a_file_over_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    segment = created(tmp_path, "a", "b", "c")
    for _ in range(2):
        found = segment.read()
        assert found is not None
        segment.settle(found[0])
    segment.close()
    assert names_in(Segment.adopt(segment.path)) == ["c"]


@pytest.mark.parametrize("text", [b"", b"x", b"-1", b"99999999", b"\0" * 21])
def test_an_offset_that_cannot_be_right_means_the_start(tmp_path: Path, text: bytes) -> None:
    path = left_behind(tmp_path, "1-ab-1", "a")
    path.with_suffix(".offset").write_bytes(text)
    assert names_in(Segment.adopt(path)) == ["a"]


def test_removing_a_file_removes_its_offset(tmp_path: Path) -> None:
    segment = created(tmp_path, "a")
    segment.settle(5)
    assert files_in(tmp_path, ".offset") == ["events-1-ab-1.offset"]
    segment.remove()
    assert os.listdir(tmp_path) == []
    assert descriptors_in(tmp_path) == []


def test_another_file_of_the_same_name_is_not_removed(tmp_path: Path) -> None:
    segment = created(tmp_path, "a")
    os.unlink(segment.path)
    other = left_behind(tmp_path, "1-ab-1", "b")
    segment.remove()
    assert other.exists()


# --- the writing side -------------------------------------------------------------------------------------------


def test_a_file_is_sealed_when_the_last_who_writes_has_let_go(tmp_path: Path) -> None:
    segment = created(tmp_path)
    rings: list[int] = []
    appender = Appender(segment, lambda: rings.append(1))
    writers = [appender, appender]
    del appender
    writers.pop()
    assert not segment.is_sealed
    writers.pop()
    assert segment.is_sealed
    assert rings == [1]


@FORKS
def test_a_child_that_lets_go_seals_nothing_of_its_parents(tmp_path: Path) -> None:
    segment = created(tmp_path)
    appenders = [Appender(segment, lambda: None)]

    def let_go() -> bool:
        appenders.clear()
        return not segment.is_sealed

    assert in_child(let_go) == 0
