"""Who does a thing for all processes of a host: the one that holds a lock, which ends with it however it ends.

POSIX record locks: a forked child does not inherit them, unlike those of `flock`, which a pool worker of a dead leader
would keep held. In return they know processes only. Two owners in one process exclude each other by a table of this
interpreter; those in two interpreters of one process do not, and whoever notices that steps down.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from flagmw.lifecycle.descriptors import close_file_in_children, forget_file
from flagmw.lifecycle.imports import import_optional

_taken: dict[str, Leadership] = {}
"""By path, who holds or tries a lock in this interpreter. Changed by single operations of a dict only."""


class Leadership:
    """A lock on a file. Making one opens nothing. Belongs to one thread.

    Args:
        path: of the file; its folder must be there.

    Attributes:
        owner: id of the process that tried last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.owner = 0
        self._descriptor: int | None = None
        self._file = (0, 0)

    @property
    def is_held(self) -> bool:
        """Whether this process was given the lock and has not let go."""
        return self._descriptor is not None and self.owner == os.getpid()

    def try_to_lead(self) -> bool:
        """Take the lock if it is free; never waits and never raises.

        Returns:
            Whether it is held now. False also where locks do not work.
        """
        if self.is_held:
            return True
        key = os.fspath(self._path)
        other = _taken.get(key)
        if other is not None and other.owner != os.getpid():
            self._forget_parents(key)
        self.owner = os.getpid()
        if _taken.setdefault(key, self) is not self:
            return False
        try:
            self._descriptor = self._lock()
        finally:
            if self._descriptor is None:
                _taken.pop(key, None)
        return self._descriptor is not None

    def _lock(self) -> int | None:
        fcntl: Any = import_optional("fcntl")
        if fcntl is None:
            return None
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            info = os.fstat(descriptor)
        except OSError:
            # Another process has it, and so this one has no lock that closing could end.
            os.close(descriptor)
            return None
        self._file = (info.st_dev, info.st_ino)
        close_file_in_children(descriptor)
        return descriptor

    def is_in_place(self) -> bool:
        """Tell whether the file that is locked is the one that others would lock."""
        try:
            info = os.stat(self._path)
        except OSError:
            return False
        return self.is_held and (info.st_dev, info.st_ino) == self._file

    def touch(self) -> None:
        """Give a sign of life; never raises."""
        if self._descriptor is not None and self.is_held:
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)

    def let_go(self) -> None:
        """Give the lock back; in a forked child, only forget it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self.owner == os.getpid():
            _taken.pop(os.fspath(self._path), None)
            forget_file(descriptor)
        # In a child, whoever closed all descriptors may have others in their place by now.
        with contextlib.suppress(OSError):
            info = os.fstat(descriptor)
            if (info.st_dev, info.st_ino) == self._file:
                os.close(descriptor)

    @staticmethod
    def touched_s(path: Path) -> float:
        """Tell when whoever holds a lock gave its last sign of life, in Unix time; 0 where nothing tells."""
        try:
            return os.stat(path).st_mtime
        except OSError:
            return 0.0

    @staticmethod
    def _forget_parents(key: str) -> None:
        parents = _taken.pop(key, None)
        if parents is None:
            return
        if parents.owner == os.getpid():  # another thread was quicker
            _taken.setdefault(key, parents)
        else:
            parents.let_go()
