"""The flags of one environment in a file which one process writes and the others of the host read.

A header of fixed size is written in place at every beat; a base document follows, which is written once, and then
records: what has changed since, message by message. Everything carries a checksum. A new base is a new file, renamed
over the old. Here are the format and how it is read; `snapshot_writer` writes it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

MAX_BYTES = 256 * 1024 * 1024
"""A larger file is not read."""

FORMAT = 1
_MAGIC = b"flagmw\0s"
_HEADER = struct.Struct("!8sH B x I 16s 16s Q d Q 16s")
_CHECK = struct.Struct("!I")
HEADER_BYTES = _HEADER.size + _CHECK.size
_RECORD = struct.Struct("!IIB")

_ABANDONED_S = 60.0
"""A temporary file of this age was left by a process that died while it wrote."""


class DamagedError(ValueError):
    """What is in the file cannot be used."""


class Mark(IntEnum):
    """What the process that leads says of itself."""

    SILENT = 0
    """It does not know yet whether the service agrees."""
    BEATING = 1
    """The service agreed at the time that is given."""
    RESIGNED = 2
    """It has gone; another process is to lead."""


class Kind(IntEnum):
    """What a record is."""

    MESSAGE = 1
    """A message of a stream, as it was delivered."""
    RESUME = 2
    """From where a source goes on that has all that comes before, see `Resumable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the first bytes say.

    Attributes:
        leader: random, names the writer.
        edition: random, names the base document.
        mark: see `Mark`.
        beat: differs from that of the beat before.
        as_of_s: Unix time at which the service was last known to agree with the flags.
        base_bytes: length of the base document.
        base_digest: of the base document.
    """

    leader: bytes
    edition: bytes
    mark: Mark
    beat: int
    as_of_s: float
    base_bytes: int
    base_digest: bytes

    def pack(self) -> bytes:
        """Write it."""
        packed = _HEADER.pack(
            _MAGIC,
            FORMAT,
            self.mark,
            0,
            self.leader,
            self.edition,
            self.beat,
            self.as_of_s,
            self.base_bytes,
            self.base_digest,
        )
        return packed + _CHECK.pack(zlib.crc32(packed))

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read it.

        Raises:
            DamagedError: it is none of this format.
        """
        if len(data) != HEADER_BYTES or _CHECK.unpack(data[_HEADER.size :])[0] != zlib.crc32(data[: _HEADER.size]):
            raise DamagedError("the header is damaged")
        magic, version, mark, _, leader, edition, beat, as_of_s, base_bytes, digest = _HEADER.unpack(
            data[: _HEADER.size]
        )
        if magic != _MAGIC or version != FORMAT or mark not in tuple(Mark) or base_bytes > MAX_BYTES:
            raise DamagedError("the header is of another format")
        return cls(
            leader=leader,
            edition=edition,
            mark=Mark(mark),
            beat=beat,
            as_of_s=as_of_s,
            base_bytes=base_bytes,
            base_digest=digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Up to where a file was read; equal positions hold equal flags.

    Attributes:
        edition: see `Header`.
        offset: of the first byte that was not read.
    """

    edition: bytes
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was read.

    Attributes:
        header: as it was before the rest was read.
        base: the base document; None when what follows belongs to a position that was known.
        messages: what has changed since.
        resume: from where a source goes on that has all of it; None where nothing was said of that.
        position: up to where this goes.
        is_whole: nothing incomplete was left at the end.
    """

    header: Header
    base: bytes | None = field(repr=False)
    messages: Sequence[bytes] = field(repr=False)
    resume: bytes | None = field(repr=False)
    position: Position
    is_whole: bool


def read_header(path: Path) -> tuple[Header, float]:
    """Read the header alone.

    Returns:
        It, and when the file was last written, in Unix time.

    Raises:
        DamagedError: the file cannot be used.
        OSError: it cannot be read.
    """
    descriptor = _open_to_read(path)
    try:
        return Header.unpack(os.pread(descriptor, HEADER_BYTES, 0)), os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def read(path: Path, known: Position | None) -> Content:
    """Read what is new.

    Args:
        path: of the file.
        known: up to where it was read before.

    Raises:
        DamagedError: the file cannot be used.
        OSError: it cannot be read.
    """
    descriptor = _open_to_read(path)
    with open(descriptor, "rb", buffering=0) as file:
        header = Header.unpack(_read_up_to(file.fileno(), HEADER_BYTES, 0))
        end = HEADER_BYTES + header.base_bytes
        base = None
        if known is None or known.edition != header.edition:
            base = _read_up_to(descriptor, header.base_bytes, HEADER_BYTES)
            if new_digest(base).digest() != header.base_digest:
                raise DamagedError("the flags are damaged")
        else:
            end = known.offset
        size = os.fstat(descriptor).st_size
        if size < end or size > MAX_BYTES:
            raise DamagedError("the file has another length than it should have")
        records, used = _records(_read_up_to(descriptor, size - end, end))
        position = Position(edition=header.edition, offset=end + used)
        return Content(
            header=header,
            base=base,
            messages=[data for kind, data in records if kind == Kind.MESSAGE],
            resume=next((data for kind, data in reversed(records) if kind == Kind.RESUME), None),
            position=position,
            is_whole=position.offset == size,
        )


def _open_to_read(path: Path) -> int:
    # Not blocking, should somebody have put a pipe there.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedError("it is no regular file")
    return descriptor


def _read_up_to(descriptor: int, size: int, offset: int) -> bytes:
    pieces = []
    while size > 0 and (piece := os.pread(descriptor, min(size, 1 << 24), offset)):
        pieces.append(piece)
        size -= len(piece)
        offset += len(piece)
    return b"".join(pieces)


def _records(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Split into records; the last one may still be on its way, and is left for later."""
    records = []
    at = 0
    while len(data) - at >= _RECORD.size:
        size, check, kind = _RECORD.unpack_from(data, at)
        begin = at + _RECORD.size
        if size > MAX_BYTES:
            raise DamagedError("a change is damaged")
        if len(data) - begin < size:
            break
        content = data[begin : begin + size]
        if zlib.crc32(content, kind) != check:
            raise DamagedError("a change is damaged")
        records.append((kind, content))
        at = begin + size
    return records, at


def pack_record(kind: Kind, data: bytes) -> bytes:
    """Write a record."""
    return _RECORD.pack(len(data), zlib.crc32(data, kind), kind) + data


def new_digest(data: bytes = b"") -> hashlib.blake2b:
    """Begin the checksum of a base document."""
    return hashlib.blake2b(data, digest_size=16)
