"""How much room events may take, and which of them go first."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from flagmw.events.room import MAX_SEGMENT_BYTES, TELL_INTERVAL_S, Room, Trouble
from tests.unit.spool_support import NOW_S, Clock, left_behind, room_in


def sized(folder: Path, stem: str, size_bytes: int, age_s: float = 0.0) -> Path:
    path = left_behind(folder, stem, tail=b"x" * size_bytes, changed_s=NOW_S - age_s)
    assert path.stat().st_size == size_bytes
    return path


def doomed(room: Room, stem: str | None = None) -> list[str]:
    return [file.path.stem.removeprefix("events-") for file in room.doomed(room.look(), stem)]


def test_files_are_found_the_oldest_first_and_others_are_not(tmp_path: Path) -> None:
    sized(tmp_path, "1-ab-1", 10, age_s=1)
    sized(tmp_path, "2-ab-1", 10, age_s=3)
    (tmp_path / "flags").write_text("{}")
    files = room_in(tmp_path).look()
    assert [(file.stem, file.number, file.size_bytes) for file in files] == [
        ("events-2-ab", 1, 10),
        ("events-1-ab", 1, 10),
    ]


def test_a_folder_that_is_missing_has_no_files(tmp_path: Path) -> None:
    assert room_in(tmp_path / "missing").look() == []


def test_an_offset_without_its_file_is_removed(tmp_path: Path) -> None:
    path = sized(tmp_path, "1-ab-1", 10)
    path.with_suffix(".offset").write_text("0")
    (tmp_path / "events-2-ab-1.offset").write_text("0")
    room_in(tmp_path).look()
    assert sorted(os.listdir(tmp_path)) == ["events-1-ab-1.offset", "events-1-ab-1.spool"]


def test_nothing_is_dropped_within_the_bounds(tmp_path: Path) -> None:
    sized(tmp_path, "1-ab-1", 700)
    assert doomed(room_in(tmp_path, max_bytes=1_000)) == []


def test_the_oldest_files_are_dropped_until_there_is_room_for_what_processes_may_yet_write(tmp_path: Path) -> None:
    for number, age_s in ((1, 30), (2, 20), (3, 10)):
        sized(tmp_path, f"1-ab-{number}", 300, age_s)
    assert doomed(room_in(tmp_path, max_bytes=1_000)) == ["1-ab-1"]


def test_when_the_bound_is_reached_nobody_waits_for_others(tmp_path: Path) -> None:
    sized(tmp_path, "1-ab-1", 900, age_s=30)
    sized(tmp_path, "2-ab-1", 900, age_s=20)
    sized(tmp_path, "2-ab-2", 100, age_s=10)
    room = room_in(tmp_path, max_bytes=1_000)
    assert doomed(room, "events-2-ab") == ["2-ab-1", "2-ab-2"]
    assert doomed(room) == ["1-ab-1", "2-ab-1"]


def test_files_that_are_too_old_are_dropped(tmp_path: Path) -> None:
    sized(tmp_path, "1-ab-1", 1, age_s=101)
    sized(tmp_path, "2-ab-1", 1, age_s=99)
    assert doomed(room_in(tmp_path, max_age_s=100)) == ["1-ab-1"]


def test_the_newest_files_of_all_processes_together_take_a_quarter_of_the_room(tmp_path: Path) -> None:
    for process in range(8):
        sized(tmp_path, f"{process}-ab-1", 10)
    room = room_in(tmp_path, max_bytes=2**26)
    assert 8 * room.segment_bytes(room.look()) == 2**24
    assert room_in(tmp_path, max_bytes=2**40).segment_bytes([]) == MAX_SEGMENT_BYTES


def test_trouble_is_told_at_once_then_once_a_minute_with_what_was_not_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    trouble = Trouble(logging.ERROR, "%d events: %s", clock)
    for count in (1, 2, 3):
        trouble.note(count, "full")
    clock.now_s += TELL_INTERVAL_S
    trouble.tell()
    trouble.tell()
    trouble.note(4, "broken")
    trouble.tell(is_last=True)
    assert [record.getMessage() for record in caplog.records] == [
        "1 events: full",
        "5 events: full",
        "4 events: broken",
    ]
