"""The flags of one environment in a file which one process writes and the others of the host read.

A header of fixed size is written in place at every beat; a base document follows, which is written once, and then what
has changed since, message by message. Everything carries a checksum. A new base is a new file, renamed over the old.
Nothing is synced to the disk: the file is for processes that live, and a torn one is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
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


class DisplacedError(Exception):
    """Somebody else writes the file."""


class AlteredError(Exception):
    """The file is gone, or is not as this writer left it."""


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
        position: up to where this goes.
        is_whole: nothing incomplete was left at the end.
    """

    header: Header
    base: bytes | None = field(repr=False)
    messages: Sequence[bytes] = field(repr=False)
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
            if _digest_of(base) != header.base_digest:
                raise DamagedError("the flags are damaged")
        else:
            end = known.offset
        size = os.fstat(descriptor).st_size
        if size < end or size > MAX_BYTES:
            raise DamagedError("the file has another length than it should have")
        messages, used = _records(_read_up_to(descriptor, size - end, end))
        position = Position(edition=header.edition, offset=end + used)
        return Content(header=header, base=base, messages=messages, position=position, is_whole=position.offset == size)


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


def _records(data: bytes) -> tuple[list[bytes], int]:
    """Split into messages; the last one may still be on its way, and is left for later."""
    messages = []
    at = 0
    while len(data) - at >= _RECORD.size:
        size, check, kind = _RECORD.unpack_from(data, at)
        begin = at + _RECORD.size
        if size > MAX_BYTES:
            raise DamagedError("a change is damaged")
        if len(data) - begin < size:
            break
        message = data[begin : begin + size]
        if zlib.crc32(message, kind) != check:
            raise DamagedError("a change is damaged")
        if kind == Kind.MESSAGE:
            messages.append(message)
        at = begin + size
    return messages, at


def _digest_of(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _record(kind: Kind, data: bytes) -> bytes:
    return _RECORD.pack(len(data), zlib.crc32(data, kind), kind) + data


class SnapshotWriter:
    """Writes the file, as long as nobody else does. Keeps no descriptor open. Belongs to one thread.

    Args:
        path: of the file; its folder must be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leader = secrets.token_bytes(16)
        self._header: Header | None = None
        self._file = (0, 0)
        self._end = 0
        self._modified_ns = 0

    @property
    def has_file(self) -> bool:
        """Whether a file was written that is still this writer's, as far as it knows."""
        return self._header is not None

    @property
    def position(self) -> Position | None:
        """What the file holds."""
        return Position(edition=self._header.edition, offset=self._end) if self._header is not None else None

    @property
    def base_bytes(self) -> int:
        """The length of the base document."""
        return self._header.base_bytes if self._header is not None else 0

    @property
    def tail_bytes(self) -> int:
        """How long the changes are that have gathered."""
        return self._end - HEADER_BYTES - self._header.base_bytes if self._header is not None else 0

    def forget(self) -> None:
        """Write a new file next time."""
        self._header = None

    def replace(self, pieces: Iterable[bytes], messages: Sequence[bytes], mark: Mark, as_of_s: float) -> None:
        """Write a new file.

        Args:
            pieces: the base document.
            messages: the last ones, for readers who take the base for something that they know.
            mark: see `Header`.
            as_of_s: see `Header`.

        Raises:
            OSError: it cannot be written; the one before stays.
        """
        self.forget()
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                digest, size = hashlib.blake2b(digest_size=16), 0
                file.write(b"\0" * HEADER_BYTES)
                for piece in pieces:
                    digest.update(piece)
                    size += file.write(piece)
                file.writelines(_record(Kind.MESSAGE, message) for message in messages)
                end = file.tell()
                header = Header(
                    leader=self._leader,
                    edition=secrets.token_bytes(16),
                    mark=mark,
                    beat=1,
                    as_of_s=as_of_s,
                    base_bytes=size,
                    base_digest=digest.digest(),
                )
                file.seek(0)
                file.write(header.pack())
                file.flush()
                info = os.fstat(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._header, self._file, self._end = header, (info.st_dev, info.st_ino), end
        self._modified_ns = info.st_mtime_ns

    def update(self, messages: Sequence[bytes], mark: Mark, as_of_s: float | None) -> None:
        """Add messages, then beat.

        Args:
            messages: what has changed.
            mark: see `Header`.
            as_of_s: see `Header`; None leaves it as it was.

        Raises:
            DisplacedError: the file is another writer's.
            AlteredError: the file is gone, or is not as it was left.
            OSError: it cannot be written.
        """
        if self._header is None:
            raise AlteredError
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise AlteredError from None
        try:
            self._check(descriptor)
            if messages:
                data = b"".join(_record(Kind.MESSAGE, message) for message in messages)
                _write_all(descriptor, data, self._end)
                self._end += len(data)
            as_of_s = self._header.as_of_s if as_of_s is None else as_of_s
            self._header = replace(self._header, mark=mark, beat=self._header.beat + 1, as_of_s=as_of_s)
            _write_all(descriptor, self._header.pack(), 0)
            self._modified_ns = os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)

    def _check(self, descriptor: int) -> None:
        """See that the file is as it was left."""
        info = os.fstat(descriptor)
        left = (*self._file, self._end, self._modified_ns)
        if (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns) == left:
            return
        try:
            header = Header.unpack(os.pread(descriptor, HEADER_BYTES, 0))
        except DamagedError:
            raise AlteredError from None
        raise AlteredError if header.leader == self._leader else DisplacedError

    def tidy_up(self, now_s: float) -> None:
        """Remove what processes left that died while they wrote."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._path.parent):
                if name.startswith(f".{self._path.name}.") and name.endswith(".tmp"):
                    place = self._path.with_name(name)
                    with contextlib.suppress(OSError):
                        if now_s - os.stat(place).st_mtime > _ABANDONED_S:
                            os.unlink(place)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written
