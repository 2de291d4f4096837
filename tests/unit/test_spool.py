"""The spool of one process: what is written when, what happens when it cannot be, and what becomes of the files."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from flagmw.events.room import MIN_SEGMENT_BYTES, TELL_INTERVAL_S
from flagmw.events.spool import BEGIN_INTERVAL_S, TIDY_INTERVAL_S, SpoolBuffer
from tests.unit.event_support import exposure
from tests.unit.spool_support import (
    NOW_S,
    Clock,
    adoption_in,
    descriptors_in,
    drained,
    files_in,
    full_disk,
    in_child,
    line,
    name_of,
    room_in,
    spool_in,
)

FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def put(spool: SpoolBuffer, *names: str) -> None:
    for name in names:
        spool.put(exposure(name))


def names_of(count: int, prefix: str = "e") -> list[str]:
    return [f"{prefix}{place}" for place in range(count)]


def content_of(folder: Path) -> bytes:
    """Give what is in the files of one process, in their order."""
    paths = sorted(folder.glob("*.spool"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return b"".join(path.read_bytes() for path in paths)


# --- writing ----------------------------------------------------------------------------------------------------


def test_making_a_spool_touches_nothing(tmp_path: Path) -> None:
    spool_in(tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_event_is_in_the_file_before_it_is_taken_for_held(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    assert spool.put(exposure("a")) >= 1
    assert content_of(tmp_path) == line("a")
    assert len(spool) == 1


def test_the_events_of_a_request_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    sizes: list[int] = []
    write = os.write

    def noting(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", noting)
        spool.put_all([exposure(name) for name in "bcd"])
    assert sizes == [len(line("b") * 3)]
    assert drained(spool) == ["a", "b", "c", "d"]


def test_an_event_that_the_service_has_no_use_for_is_not_written(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "none")
    assert os.listdir(tmp_path) == []
    assert (len(spool), spool.dropped()) == (0, 0)


def test_an_event_that_cannot_be_encoded_is_counted_and_takes_no_other_with_it(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.put_all([exposure("a"), exposure("bad"), exposure("b")])
    assert drained(spool) == ["a", "b"]
    assert spool.dropped() == 1


def test_an_event_whose_text_would_break_the_format_is_counted_and_told_without_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = spool_in(tmp_path)
    put(spool, "secret\nof the user", "b")
    assert drained(spool) == ["b"]
    assert spool.dropped() == 1
    assert "must be on one line" in caplog.text
    assert "secret" not in caplog.text


def test_what_is_held_says_how_many_may_be_taken(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    held = [spool.put(exposure(name)) for name in "abc"]
    assert held == [1, 2, 3]
    drained(spool)
    assert spool.put(exposure("d")) == 1
    assert spool.put(exposure("none")) == 1


# --- reading ----------------------------------------------------------------------------------------------------


def test_events_are_held_until_they_are_settled(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a", "b", "c")
    assert [name_of(spool.take()), name_of(spool.take())] == ["a", "b"]
    assert len(spool) == 3
    spool.settle(1)
    assert len(spool) == 2
    assert name_of(spool.take()) == "c"
    with pytest.raises(IndexError):
        spool.take()


def test_it_is_known_whether_there_is_more_to_take(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    assert not spool.has_more()
    put(spool, "a")
    assert spool.has_more()
    spool.take()
    assert not spool.has_more()


@FORKS
def test_what_was_not_settled_is_left_to_the_next_process_when_this_one_is_killed(tmp_path: Path) -> None:
    def begin() -> bool:
        spool = spool_in(tmp_path)
        put(spool, "a", "b", "c")
        spool.take()
        spool.take()
        spool.settle(1)
        os.kill(os.getpid(), signal.SIGKILL)
        return False

    assert in_child(begin) == -signal.SIGKILL
    adoption = adoption_in(tmp_path)
    assert adoption.scan()
    assert drained(adoption) == ["b", "c"]


# --- files ------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_when_it_is_large_enough(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, room=room_in(tmp_path, max_bytes=16_000))
    names = names_of(700)
    put(spool, *names)
    assert len(files_in(tmp_path)) == 3
    assert drained(spool) == names
    assert len(files_in(tmp_path)) == 1


def test_a_quiet_process_keeps_a_small_file_only(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, *(["x" * 1_000] * (MIN_SEGMENT_BYTES // 1_000 + 2)))
    assert spool.size_bytes() > MIN_SEGMENT_BYTES
    drained(spool)
    assert spool.size_bytes() == 0
    assert len(descriptors_in(tmp_path)) <= 2


def test_a_full_disk_has_room_again_when_all_is_shipped(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    with full_disk():
        put(spool, "b")
    assert drained(spool) == ["a", "b"]
    assert spool.size_bytes() == 0


def test_nothing_is_left_at_the_end_when_all_is_shipped(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a", "b")
    drained(spool)
    spool.end()
    assert os.listdir(tmp_path) == []
    assert descriptors_in(tmp_path) == []


def test_what_is_left_at_the_end_stays_in_the_file_and_counts_as_held(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a", "b")
    spool.take()
    spool.end()
    assert len(spool) == 2
    assert content_of(tmp_path) == line("a") + line("b")


def test_events_after_the_end_are_kept_for_others(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.end()
    put(spool, "a")
    assert len(spool) == 1
    assert content_of(tmp_path) == line("a")


def test_a_writer_that_was_held_up_still_writes_to_its_own_file(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    appender = spool._appender  # as a writer has it between reading it and writing
    assert appender is not None
    drained(spool)
    spool._replace(appender)
    put(spool, "c")
    with pytest.raises(IndexError):
        spool.take()  # the other file is not begun before this one is done
    os.write(appender.fd, line("b"))
    del appender
    assert drained(spool) == ["b", "c"]
    assert len(files_in(tmp_path)) == 1


def test_who_waits_for_a_writer_that_was_held_up_is_woken(tmp_path: Path) -> None:
    rings: list[int] = []
    spool = spool_in(tmp_path, ring=lambda: rings.append(1))
    put(spool, "a")
    appender = spool._appender
    assert appender is not None
    spool._replace(appender)
    assert rings == []
    del appender
    assert rings == [1]


@pytest.mark.parametrize("turn", range(3))
def test_nothing_is_lost_or_doubled_while_threads_write_and_files_come_and_go(tmp_path: Path, turn: int) -> None:
    spool = spool_in(tmp_path, room=room_in(tmp_path, max_bytes=2**26), capacity=0)
    spool._segment_bytes = 500
    spool._make_room = lambda: None  # type: ignore[method-assign]  # which would choose another size
    per_thread, threads = 1_500, 8
    taken: list[str | None] = []
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def produce(prefix: str) -> None:
        for place in range(0, per_thread, 3):
            spool.put_all([exposure(f"{prefix}{place + step}") for step in range(3)])

    try:
        producers = [threading.Thread(target=produce, args=(chr(97 + number),)) for number in range(threads)]
        for producer in producers:
            producer.start()
        deadline = time.monotonic() + 60
        while len(taken) < per_thread * threads:
            assert time.monotonic() < deadline, f"{len(taken)} events came"
            taken += drained(spool, 97)
            appender = spool._appender
            if appender is not None:
                spool._replace(appender)  # as threads do that write, or when all is shipped
            del appender
        for producer in producers:
            producer.join(10)
    finally:
        sys.setswitchinterval(interval_s)
    assert spool._number > 50, "files came and went"
    for number in range(threads):
        prefix = chr(97 + number)
        assert [name for name in taken if name is not None and name[0] == prefix] == names_of(per_thread, prefix)
    assert (len(spool), spool.dropped()) == (0, 0)
    spool.end()
    assert os.listdir(tmp_path) == []
    assert descriptors_in(tmp_path) == []


def test_a_file_that_somebody_removed_is_replaced_and_its_events_are_delivered(tmp_path: Path) -> None:
    clock = Clock()
    folder = tmp_path / "folder"
    folder.mkdir()
    spool = spool_in(folder, clock=clock)
    put(spool, "a")
    for name in os.listdir(folder):
        os.unlink(folder / name)
    folder.rmdir()
    clock.now_s += TIDY_INTERVAL_S
    spool.tidy()
    put(spool, "b")
    assert content_of(folder) == line("b")
    assert drained(spool) == ["a", "b"]


def test_when_somebody_closes_all_descriptors_events_go_into_a_new_file(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    assert spool._appender is not None
    os.close(spool._appender.fd)
    put(spool, "b", "c")
    assert line("c") in content_of(tmp_path)
    assert drained(spool) == ["b", "c"], "the first is left to whoever adopts the file"
    assert spool.dropped() == 0
    assert drained_by_another(tmp_path) == ["a"]


def drained_by_another(folder: Path) -> list[str | None]:
    adoption = adoption_in(folder)
    return drained(adoption) if adoption.scan() else []


def test_a_spool_that_is_dropped_frees_its_files(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    del spool
    assert descriptors_in(tmp_path) == []
    assert drained_by_another(tmp_path) == ["a"]


# --- disks that are full or broken ------------------------------------------------------------------------------


def test_what_cannot_be_written_waits_in_memory_and_keeps_its_order(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    with full_disk():
        put(spool, "b", "c")
    put(spool, "d")
    with full_disk():
        put(spool, "e")
    put(spool, "f")
    assert len(spool) == 6
    assert drained(spool) == ["a", "b", "c", "d", "e", "f"]
    assert (len(spool), spool.dropped()) == (0, 0)


def test_the_order_is_kept_over_files_too(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, room=room_in(tmp_path, max_bytes=4_000))
    names = names_of(40)
    for turn in range(8):
        put(spool, *names[5 * turn : 5 * turn + 3])
        with full_disk():
            put(spool, *names[5 * turn + 3 : 5 * turn + 5])
    assert drained(spool) == names


@pytest.mark.parametrize("kept_bytes", range(0, 3 * len(line("b")) + 1, 5))
def test_a_write_that_was_cut_short_is_made_whole_from_memory(tmp_path: Path, kept_bytes: int) -> None:
    spool = spool_in(tmp_path)
    put(spool, "a")
    with full_disk(len(line("a")) + kept_bytes):
        spool.put_all([exposure(name) for name in "bcd"])
    assert content_of(tmp_path) == (line("a") + line("b") + line("c") + line("d"))[: len(line("a")) + kept_bytes]
    put(spool, "e")
    assert len(spool) == 5
    assert drained(spool) == ["a", "b", "c", "d", "e"]
    assert spool.dropped() == 0


def test_what_finds_no_room_in_memory_is_dropped_and_counted(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, capacity=3)
    put(spool, "a")
    with full_disk():
        put(spool, *names_of(10))
    put(spool, "z")
    assert (len(spool), spool.dropped()) == (5, 7)
    assert drained(spool) == ["a", "e0", "e1", "e2", "z"]
    assert spool.dropped() == 7


def test_memory_has_room_again_when_events_were_settled(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, capacity=2)
    with full_disk():
        put(spool, "a", "b")
        assert drained(spool) == ["a", "b"]
        put(spool, "c")
        assert drained(spool) == ["c"]
    assert spool.dropped() == 0


def test_a_folder_in_which_no_file_can_be_made_keeps_events_in_memory(tmp_path: Path) -> None:
    clock = Clock()
    spool = spool_in(tmp_path / "missing", clock=clock)
    put(spool, "a", "b")
    (tmp_path / "missing").mkdir()
    clock.now_s += BEGIN_INTERVAL_S
    put(spool, "c")
    assert content_of(tmp_path / "missing") == line("c")
    assert drained(spool) == ["a", "b", "c"]


def test_a_file_that_reaches_a_limit_of_the_process_is_replaced(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, capacity=20)
    names = names_of(100)
    with full_disk(120):
        put(spool, *names)
    assert len(files_in(tmp_path)) > 5
    assert spool.dropped() == 0
    assert drained(spool) == names


def test_after_a_file_could_not_be_made_it_is_not_tried_for_each_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    spool = spool_in(tmp_path / "missing", clock=clock)
    opened: list[object] = []

    def noting(path: object, *_: object) -> int:
        opened.append(path)
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", noting)
        put(spool, *names_of(100))
        clock.now_s += BEGIN_INTERVAL_S
        put(spool, *names_of(100))
    assert len(opened) == 2


def test_what_waits_in_memory_is_written_at_the_end_if_it_can_be(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    with full_disk():
        put(spool, "a", "b")
    spool.take()
    spool.end()
    assert content_of(tmp_path) == line("a") + line("b")
    assert (len(spool), spool.dropped()) == (2, 0)


def test_what_cannot_be_written_at_the_end_is_dropped_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = spool_in(tmp_path)
    with full_disk():
        put(spool, "a", "b")
        spool.take()
        spool.end()
    assert (len(spool), spool.dropped()) == (0, 2)
    assert "2 events are dropped" in caplog.text


def test_a_full_disk_is_told_once_a_minute_with_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    spool = spool_in(tmp_path, clock=clock)
    with full_disk():
        put(spool, *names_of(100))
        clock.now_s += TELL_INTERVAL_S
        put(spool, "a")
    counts = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert counts == [1, 100]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_what_is_dropped_is_told_once_a_minute_with_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    spool = spool_in(tmp_path, clock=clock, capacity=0)
    with full_disk():
        put(spool, *names_of(100))
    clock.now_s += TELL_INTERVAL_S
    spool.tidy()
    lost = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.args[0] for record in lost if isinstance(record.args, tuple)] == [1, 99]


# --- bounds -----------------------------------------------------------------------------------------------------


def test_the_oldest_events_make_room_for_newer_ones_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rings: list[int] = []
    spool = spool_in(tmp_path, room=room_in(tmp_path, max_bytes=20_000), ring=lambda: rings.append(1))
    names = names_of(3_000)
    most_bytes = 0
    for name in names:
        put(spool, name)
        most_bytes = max(most_bytes, spool.size_bytes())
    assert 10_000 < most_bytes <= 20_000
    assert len(spool) + spool.dropped() == 3_000
    assert spool.evicted() == spool.dropped()
    assert len(rings) > spool._number, "the thread is woken, which tells of it"
    spool.tidy()
    assert "there is no room for more" in caplog.text
    left = drained(spool)
    assert left == names[-len(left) :]
    assert len(left) == 3_000 - spool.dropped()


def test_what_is_under_way_while_it_makes_room_is_settled_all_the_same(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, room=room_in(tmp_path, max_bytes=20_000))
    put(spool, *names_of(100))
    taken = [name_of(spool.take()) for _ in range(10)]
    put(spool, *names_of(3_000, "f"))
    assert taken == names_of(10)
    assert len(spool) + spool.dropped() == 3_100
    spool.settle(10)
    assert len(spool) + spool.dropped() + 10 == 3_100
    assert len(drained(spool)) == 3_100 - spool.dropped() - 10
    spool.end()
    assert os.listdir(tmp_path) == []


def test_events_that_are_too_old_are_dropped_and_counted(tmp_path: Path) -> None:
    clock = Clock()
    room = room_in(tmp_path, max_age_s=800.0, now_s=NOW_S + 801.0)
    spool = spool_in(tmp_path, room=room, clock=clock)
    put(spool, "a", "b")
    clock.now_s += 101.0  # an eighth of the bound: a new file is begun
    spool.tidy()
    put(spool, "c")
    for name in files_in(tmp_path):
        os.utime(tmp_path / name, (NOW_S, NOW_S))
    clock.now_s += TIDY_INTERVAL_S
    spool.tidy()
    assert spool.dropped() == 2
    assert drained(spool) == ["c"], "the newest file is never dropped"
