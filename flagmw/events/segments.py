"""Segments: the files of a spool, with the lock that tells whether their owner lives, and how far each was shipped.

A process writes into a file of its own, `events-<pid>-<random>-<n>.spool`, through one descriptor that also holds a
POSIX record lock and is read from: such a lock goes with its process, is not inherited by a fork, and is lost as soon
as the process closes any descriptor of the file. So a file of this process is never opened a second time.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from flagmw.events import Item
from flagmw.events.lines import END, items_of
from flagmw.lifecycle import hooks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # looked at before it is used

IS_SUPPORTED = fcntl is not None and hasattr(os, "pread")
"""Whether this platform has what a spool needs."""

SUFFIX = ".spool"
OFFSET_SUFFIX = ".offset"
CHUNK_BYTES = 64 * 1024
"""How much is read at once; a longer line is read at once, too."""

_NAME = re.compile(r"events-([0-9]+)-([0-9a-f]+)-([0-9]+)\.spool")
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_HAS_SEPARATE_LOCKS = sys.platform == "linux"
"""Whether the locks of `flock` exclude other descriptors of this process, and are not the same as record locks."""

Identity = tuple[int, int]
"""Device and inode of a file."""

# The descriptors that this process has open, by number, and the process. A child that was forked has them as well, and
# must close them: as numbers, each once, and only while they are what they were.
_open: dict[int, Identity] = {}
_owner_pid = 0


class Taken(Exception):  # control flow
    """The file has an owner, or is another one by now."""


@hooks.in_child
def drop_inherited() -> None:
    """Close what the process that this one was forked from had open; any process may call this at any time.

    That is harmless to the parent's locks. Where no hook tells of the fork, it is done at the first use.
    """
    global _owner_pid  # noqa: PLW0603  # of the process, as the descriptors are
    pid = os.getpid()
    if _owner_pid != pid:
        for fd, identity in list(_open.items()):
            _close(fd, identity)
        _owner_pid = pid


def _keep(fd: int) -> Identity:
    drop_inherited()
    info = os.fstat(fd)
    _open[fd] = (info.st_dev, info.st_ino)
    return info.st_dev, info.st_ino


def _close(fd: int, identity: Identity) -> None:
    """Close a descriptor, unless that was done already or its number has come to mean something else."""
    if _open.get(fd) != identity:
        return
    _open.pop(fd, None)
    with contextlib.suppress(OSError):
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) == identity:
            os.close(fd)


def parts_of(name: str) -> tuple[int, str, int] | None:
    """Read the name of a spool file: its owner's process id, what is random, and its number; None for other files."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), match[2], int(match[3])) if match is not None else None


class Segment:
    """One file of a spool, open and locked. All but `fd` is for one thread at a time.

    Attributes:
        path: where it is.
        fd: for reading and, by its owner, writing.
        identity: device and inode.
        is_sealed: whether nothing is written any more.
        is_open: whether it was not closed yet.
        next_bytes: where the next line to be read begins.
        given: how many lines were read.
        settled_bytes: where the first line begins whose fate is not known.
    """

    __slots__ = (
        "_chunk", "_counted_bytes", "_lines", "_offset", "_pid", "_place",
        "fd", "given", "identity", "is_open", "is_sealed", "next_bytes", "path", "settled_bytes",
    )  # fmt: skip

    def __init__(self, path: Path, fd: int, identity: Identity) -> None:
        self.path = path
        self.fd = fd
        self.identity = identity
        self.is_sealed = False
        self.is_open = True
        self.next_bytes = 0
        self.given = 0
        self.settled_bytes = 0
        self._chunk = b""
        self._place = 0
        self._counted_bytes = 0
        self._lines = 0
        self._offset: tuple[int, Identity] | None = None
        self._pid = os.getpid()

    @classmethod
    def create(cls, path: Path) -> Segment:
        """Make a new file and lock it.

        Raises:
            OSError: that cannot be done; FileExistsError where somebody else was quicker.
        """
        fd = os.open(path, _FLAGS | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        identity = _keep(fd)
        try:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileExistsError from None  # an adopter found it before it was locked, and removes it
            if identity_at(path) != identity:
                raise FileExistsError
        except OSError as error:
            if not isinstance(error, FileExistsError):
                with contextlib.suppress(OSError):
                    os.unlink(path)
            _close(fd, identity)
            raise
        return cls(path, fd, identity)

    @classmethod
    def adopt(cls, path: Path) -> Segment:
        """Open and lock the file of a process that is gone, and go to where it was shipped to.

        The caller has seen that this process has it not open.

        Raises:
            Taken: it has an owner, or is gone.
            OSError: it cannot be opened.
        """
        fd = os.open(path, _FLAGS)
        segment = cls(path, fd, _keep(fd))
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
                raise Taken
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A record lock does not stop another client of this process that was just as quick, this one does.
            if _HAS_SEPARATE_LOCKS:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not segment.is_in_place():
                raise Taken
            segment.next_bytes = segment.settled_bytes = segment._counted_bytes = _saved_offset(path, info.st_size)
        except (OSError, Taken):
            segment.close()
            raise Taken from None
        segment.is_sealed = True
        return segment

    # --- reading ----------------------------------------------------------------------------------------------

    def has_line(self) -> bool:
        """Tell whether there is a whole line.

        Raises:
            OSError: as for `read`.
        """
        return self._line() is not None

    def peek(self) -> int | None:
        """Tell where the event of the next line begins; None when there is no whole line.

        Raises:
            OSError: as for `read`.
        """
        line = self._line()
        return None if line is None else self.next_bytes + items_of(line)[0]

    def read(self) -> tuple[int, list[Item] | None] | None:
        """Read the next line.

        Returns:
            Where it ends, and its items, None for what is no event; None altogether when there is no whole line.

        Raises:
            OSError: the file cannot be read.
        """
        line = self._line()
        if line is None:
            return None
        items = items_of(line)[1]
        self._place += len(line) + 1
        self.next_bytes += len(line) + 1
        self.given += 1
        return self.next_bytes, None if items is None else list(items)

    def _line(self) -> bytes | None:
        end = self._chunk.find(END, self._place)
        size_bytes = CHUNK_BYTES
        while end < 0:
            self._chunk = os.pread(self.fd, size_bytes, self.next_bytes)
            self._place = 0
            end = self._chunk.find(END)
            if end < 0 and len(self._chunk) < size_bytes:
                return None
            size_bytes *= 2
        return self._chunk[self._place : end]

    def unread(self) -> int:
        """Count the lines that were not read yet, as far as they can be."""
        with contextlib.suppress(OSError):
            while chunk := os.pread(self.fd, 16 * CHUNK_BYTES, self._counted_bytes):
                self._lines += chunk.count(END)
                self._counted_bytes += len(chunk)
        return max(self._lines - self.given, 0)

    def size_bytes(self) -> int:
        """Tell how large the file is; 0 when that cannot be told."""
        try:
            return os.fstat(self.fd).st_size
        except OSError:
            return 0

    # --- how far it is ----------------------------------------------------------------------------------------

    def settle(self, end_bytes: int) -> None:
        """Note that all up to there needs not be shipped again, whoever has the file next."""
        self.settled_bytes = end_bytes
        if not self.is_open:
            return
        try:
            if self._offset is None:
                fd = os.open(_offset_path(self.path), _FLAGS | os.O_CREAT, 0o600)
                self._offset = (fd, _keep(fd))
            os.pwrite(self._offset[0], b"%020d\n" % end_bytes, 0)
        except OSError:
            return  # a full disk: whoever has the file next ships again what was shipped since

    def is_mine(self) -> bool:
        """Tell whether this process has opened it, and nobody else has closed it."""
        try:
            info = os.fstat(self.fd)
        except OSError:
            return False
        return self._pid == os.getpid() and (info.st_dev, info.st_ino) == self.identity

    def is_in_place(self) -> bool:
        """Tell whether the file is still where it was."""
        return identity_at(self.path) == self.identity

    def remove(self) -> None:
        """Remove the file, while it is locked, and close it."""
        if self.is_open and self.is_in_place():
            for path in (self.path, _offset_path(self.path)):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self.close()

    def close(self) -> None:
        """Close the file, which leaves it to others."""
        drop_inherited()
        # Numbers of descriptors and of files come back together, so what was closed is never looked at again.
        was_open, self.is_open = self.is_open, False
        if not was_open or self._pid != os.getpid():
            return
        _close(self.fd, self.identity)
        if self._offset is not None:
            _close(*self._offset)
            self._offset = None

    def __del__(self) -> None:
        """Close it, also in a child that drops what its parent had."""
        with contextlib.suppress(Exception):  # the interpreter may be half gone
            self.close()


class Appender:
    """The writing side of a segment. Whoever writes holds a reference, and its end says that nobody writes any more.

    So no lock is needed between the threads that write and the one that closes the file when all is shipped.

    Attributes:
        fd: what is written to.
        written_bytes: about how much was written.
    """

    __slots__ = ("_pid", "_segment", "_tell", "fd", "written_bytes")

    def __init__(self, segment: Segment, tell: Callable[[], None]) -> None:
        self._segment = segment
        self._tell = tell
        self._pid = os.getpid()
        self.fd = segment.fd
        self.written_bytes = 0

    def __del__(self) -> None:
        """Seal the segment."""
        with contextlib.suppress(Exception):  # the interpreter may be half gone
            if self._pid == os.getpid():
                self._segment.is_sealed = True
                self._tell()


def open_files() -> set[Identity]:
    """Give the identities of all files that this process has open, whoever opened them."""
    found = set()
    for fd in _open_fds():
        with contextlib.suppress(OSError):
            info = os.fstat(fd)
            found.add((info.st_dev, info.st_ino))
    return found


def _open_fds() -> Iterator[int]:
    for place in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError, ValueError):
            yield from [int(name) for name in os.listdir(place)]
            return
    yield from range(4096)


def identity_at(path: Path) -> Identity | None:
    """Give the identity of the file at a path; None where there is none."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _offset_path(path: Path) -> Path:
    return path.with_suffix(OFFSET_SUFFIX)


def _saved_offset(path: Path, size_bytes: int) -> int:
    """Read how far a file was shipped; 0 when that is not known."""
    try:
        fd = os.open(_offset_path(path), os.O_RDONLY | (_FLAGS & ~os.O_RDWR))
    except OSError:
        return 0
    try:
        text = os.pread(fd, 64, 0)
    except OSError:
        return 0
    finally:
        os.close(fd)
    offset = int(text) if text.strip().isdigit() else 0
    return offset if offset <= size_bytes else 0
