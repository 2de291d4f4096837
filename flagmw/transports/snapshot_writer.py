"""Writing the file of `snapshot_file`: by one process, as long as nobody else does.

Nothing is synced to the disk: the file is for processes that live, and a torn one is noticed. No descriptor is kept
open, which a forked child would inherit.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flagmw.transports.snapshot_file import (
    HEADER_BYTES,
    DamagedError,
    Header,
    Kind,
    Mark,
    Position,
    new_digest,
    pack_record,
)

_ABANDONED_S = 60.0
"""A temporary file of this age was left by a process that died while it wrote."""


class DisplacedError(Exception):
    """Somebody else writes the file."""


class AlteredError(Exception):
    """The file is gone, or is not as this writer left it."""


class SnapshotWriter:
    """Writes the file, as long as nobody else does. Belongs to one thread.

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
        self._beats = 0

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

    def adopt(self, header: Header, size: int) -> bool:
        """Go on with the file that another writer left.

        Args:
            header: of the file.
            size: of all of it, every record complete.

        Returns:
            Whether it is there and still as it was read.
        """
        try:
            info = os.lstat(self._path)
        except OSError:
            return False
        if info.st_size != size:
            return False
        # Whoever reads it sees at the next beat that it is another's.
        self._header = replace(header, leader=self._leader)
        self._file, self._end, self._modified_ns = (info.st_dev, info.st_ino), size, info.st_mtime_ns
        return True

    def forget(self) -> None:
        """Write a new file next time."""
        self._header = None

    def replace(
        self, pieces: Iterable[bytes], messages: Sequence[bytes], resume: bytes | None, mark: Mark, as_of_s: float
    ) -> None:
        """Write a new file.

        Args:
            pieces: the base document.
            messages: the last ones, for readers who take the base for something that they know.
            resume: see `Content`.
            mark: see `Header`.
            as_of_s: see `Header`.

        Raises:
            OSError: it cannot be written; the one before stays.
        """
        self.forget()
        self._beats += 1
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                digest, size = new_digest(), 0
                file.write(b"\0" * HEADER_BYTES)
                for piece in pieces:
                    digest.update(piece)
                    size += file.write(piece)
                file.write(_records(messages, resume))
                end = file.tell()
                header = Header(
                    leader=self._leader,
                    edition=secrets.token_bytes(16),
                    mark=mark,
                    beat=self._beats,
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

    def update(self, messages: Sequence[bytes], resume: bytes | None, mark: Mark, as_of_s: float | None) -> None:
        """Add messages, then beat.

        Args:
            messages: what has changed.
            resume: see `Content`; None says nothing new of it.
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
            data = _records(messages, resume)
            _write_all(descriptor, data, self._end)
            self._end += len(data)
            self._beats += 1
            as_of_s = self._header.as_of_s if as_of_s is None else as_of_s
            self._header = replace(self._header, mark=mark, beat=self._beats, as_of_s=as_of_s)
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


def _records(messages: Sequence[bytes], resume: bytes | None) -> bytes:
    records = [pack_record(Kind.MESSAGE, message) for message in messages]
    if resume is not None:
        records.append(pack_record(Kind.RESUME, resume))
    return b"".join(records)
