"""The file in which one process keeps the flags for the others."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from flagmw.transports.snapshot_file import (
    HEADER_BYTES,
    Content,
    DamagedError,
    Kind,
    Mark,
    Position,
    pack_record,
    read,
    read_header,
)
from flagmw.transports.snapshot_writer import AlteredError, DisplacedError, SnapshotWriter

BASE = b"all the flags"
AS_OF_S = 1_700_000_000.25


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags"


@pytest.fixture
def writer(path: Path) -> SnapshotWriter:
    """A writer that has written its file."""
    writer = SnapshotWriter(path)
    writer.replace([BASE[:3], BASE[3:]], (), None, Mark.SILENT, AS_OF_S)
    return writer


def messages_of(content: Content) -> list[bytes]:
    return list(content.messages)


def test_what_was_written_is_read(writer: SnapshotWriter, path: Path) -> None:
    content = read(path, None)
    assert (content.base, messages_of(content), content.resume, content.is_whole) == (BASE, [], None, True)
    assert (content.header.mark, content.header.as_of_s) == (Mark.SILENT, AS_OF_S)
    assert content.position == writer.position


def test_the_file_is_for_its_owner_only(writer: SnapshotWriter, path: Path) -> None:
    assert writer.has_file
    assert path.stat().st_mode & 0o777 == 0o600


def test_changes_are_read_by_whoever_knows_what_was_there_before(writer: SnapshotWriter, path: Path) -> None:
    first = read(path, None)
    writer.update([b"one", b"two"], None, Mark.BEATING, AS_OF_S + 1)
    more = read(path, first.position)
    assert (more.base, messages_of(more)) == (None, [b"one", b"two"])
    writer.update([b"three"], b"token", Mark.BEATING, AS_OF_S + 2)
    last = read(path, more.position)
    assert (last.base, messages_of(last), last.resume) == (None, [b"three"], b"token")
    assert last.header.as_of_s == AS_OF_S + 2


def test_whoever_knows_nothing_reads_all_of_it(writer: SnapshotWriter, path: Path) -> None:
    writer.update([b"one"], b"old", Mark.BEATING, AS_OF_S)
    writer.update([b"two"], b"new", Mark.BEATING, AS_OF_S)
    content = read(path, Position(edition=b"another", offset=10**6))
    assert (content.base, messages_of(content), content.resume) == (BASE, [b"one", b"two"], b"new")


def test_each_update_moves_beat_and_time(writer: SnapshotWriter, path: Path) -> None:
    beats = {read_header(path)[0].beat}
    for count in range(3):
        writer.update((), None, Mark.BEATING, AS_OF_S + count)
        header, written_s = read_header(path)
        assert (header.mark, header.as_of_s) == (Mark.BEATING, AS_OF_S + count)
        assert written_s == path.stat().st_mtime
        beats.add(header.beat)
    writer.replace([BASE], (), None, Mark.BEATING, AS_OF_S)
    beats.add(read_header(path)[0].beat)
    assert len(beats) == 5


def test_an_update_may_leave_the_time_as_it_was(writer: SnapshotWriter, path: Path) -> None:
    writer.update((), None, Mark.RESIGNED, None)
    header, _ = read_header(path)
    assert (header.mark, header.as_of_s) == (Mark.RESIGNED, AS_OF_S)


def test_a_torn_tail_is_left_for_later(writer: SnapshotWriter, path: Path) -> None:
    known = read(path, None).position
    record = pack_record(Kind.MESSAGE, b"one") + pack_record(Kind.MESSAGE, b"two")
    for size in range(1, len(record)):
        os.truncate(path, known.offset)
        append(path, record[:size])
        content = read(path, known)
        assert messages_of(content) == ([b"one"] if size >= len(record) // 2 else [])
        assert content.is_whole is (size == len(record) // 2)
    append(path, record[-1:])
    assert messages_of(read(path, content.position)) == [b"two"]
    assert writer.has_file


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def test_a_damaged_byte_is_noticed_wherever_it_is(writer: SnapshotWriter, path: Path) -> None:
    writer.update([b"one"], None, Mark.BEATING, AS_OF_S)
    good = path.read_bytes()
    length_of_the_record = range(HEADER_BYTES + len(BASE), HEADER_BYTES + len(BASE) + 4)
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        if place in length_of_the_record:
            content = None
            try:
                content = read(path, None)
            except DamagedError:
                continue
            assert not content.is_whole
            assert messages_of(content) == []
            continue
        with pytest.raises(DamagedError):
            read(path, None)


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + len(BASE) - 1])
def test_a_short_file_is_noticed(writer: SnapshotWriter, path: Path, size: int) -> None:
    assert writer.has_file
    os.truncate(path, size)
    with pytest.raises(DamagedError):
        read(path, None)


def test_a_file_that_is_shorter_than_what_was_read_of_it_is_noticed(writer: SnapshotWriter, path: Path) -> None:
    writer.update([b"one"], None, Mark.BEATING, AS_OF_S)
    known = read(path, None).position
    os.truncate(path, known.offset - 1)
    with pytest.raises(DamagedError):
        read(path, known)


def test_another_format_is_not_read(writer: SnapshotWriter, path: Path) -> None:
    assert writer.has_file
    data = bytearray(path.read_bytes())
    data[8:10] = struct.pack("!H", 2)
    data[HEADER_BYTES - 4 : HEADER_BYTES] = struct.pack("!I", zlib.crc32(data[: HEADER_BYTES - 4]))
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="another format"):
        read_header(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedError, match="no regular file"):
        read_header(tmp_path / "pipe")


def test_a_file_that_is_renamed_over_while_it_is_read_is_read_to_its_end(writer: SnapshotWriter, path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    before = os.pread(descriptor, 10**6, 0)
    writer.replace([b"other flags"], (), None, Mark.BEATING, AS_OF_S)
    assert os.pread(descriptor, 10**6, 0) == before
    os.close(descriptor)
    assert read(path, None).base == b"other flags"


def test_a_new_file_may_repeat_the_last_messages(writer: SnapshotWriter, path: Path) -> None:
    known = read(path, None).position
    writer.replace([b"more flags"], [b"one"], b"token", Mark.BEATING, AS_OF_S)
    content = read(path, known)
    assert (content.base, messages_of(content), content.resume) == (b"more flags", [b"one"], b"token")
    assert content.position == writer.position
    assert writer.tail_bytes > len(b"one") + len(b"token")


def test_a_writer_sees_that_another_has_replaced_the_file(writer: SnapshotWriter, path: Path) -> None:
    SnapshotWriter(path).replace([b"other flags"], (), None, Mark.BEATING, AS_OF_S)
    other = path.read_bytes()
    with pytest.raises(DisplacedError):
        writer.update([b"one"], None, Mark.BEATING, AS_OF_S)
    assert path.read_bytes() == other


def test_a_writer_sees_that_another_has_adopted_the_file(writer: SnapshotWriter, path: Path) -> None:
    adopt(path).update((), None, Mark.BEATING, AS_OF_S)
    with pytest.raises(DisplacedError):
        writer.update([b"one"], None, Mark.BEATING, AS_OF_S)


def adopt(path: Path) -> SnapshotWriter:
    other = SnapshotWriter(path)
    content = read(path, None)
    assert other.adopt(content.header, content.position.offset)
    return other


def test_whoever_adopts_a_file_goes_on_with_it(writer: SnapshotWriter, path: Path) -> None:
    known = read(path, None).position
    other = adopt(path)
    other.update([b"one"], None, Mark.BEATING, AS_OF_S)
    content = read(path, known)
    assert (content.base, messages_of(content)) == (None, [b"one"])
    assert writer.position == known


def test_a_file_that_has_grown_is_not_adopted(writer: SnapshotWriter, path: Path) -> None:
    content = read(path, None)
    writer.update([b"one"], None, Mark.BEATING, AS_OF_S)
    assert not SnapshotWriter(path).adopt(content.header, content.position.offset)


@pytest.mark.parametrize("harm", ["remove", "damage the header", "damage a flag", "append", "truncate"])
def test_a_writer_sees_that_its_file_was_altered(writer: SnapshotWriter, path: Path, harm: str) -> None:
    if harm == "remove":
        path.unlink()
    elif harm == "append":
        append(path, b"x")
    elif harm == "truncate":
        os.truncate(path, HEADER_BYTES)
    else:
        with open(path, "r+b") as file:
            file.seek(5 if harm == "damage the header" else HEADER_BYTES + 1)
            file.write(b"x")
        os.utime(path, ns=(1, 1))  # as if some time had passed
    with pytest.raises(AlteredError):
        writer.update([b"one"], None, Mark.BEATING, AS_OF_S)


def test_a_file_that_cannot_be_written_leaves_the_one_before(writer: SnapshotWriter, path: Path) -> None:
    def failing() -> object:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        writer.replace(failing(), (), None, Mark.BEATING, AS_OF_S)  # type: ignore[arg-type]  # a generator is iterable
    assert read(path, None).base == BASE
    assert os.listdir(path.parent) == ["flags"]
    assert not writer.has_file


def test_what_a_dead_writer_left_is_removed_when_it_is_old(writer: SnapshotWriter, path: Path) -> None:
    for name in (".flags.1.ab.tmp", ".flags.2.cd.tmp", "events.tmp"):
        (path.parent / name).touch()
    os.utime(path.parent / ".flags.1.ab.tmp", (1000.0, 1000.0))
    writer.tidy_up(1000.0)
    assert sorted(os.listdir(path.parent)) == [".flags.1.ab.tmp", ".flags.2.cd.tmp", "events.tmp", "flags"]
    writer.tidy_up(1061.0)
    assert sorted(os.listdir(path.parent)) == [".flags.2.cd.tmp", "events.tmp", "flags"]
