"""`Guard`: a lock for what a signal's handler or a finalizer may come back to at any moment. Needs nothing of flagmw."""

from __future__ import annotations

import threading


class Guard:
    """A lock that its holder may enter again, and that can tell."""

    __slots__ = ("_depth", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()

    def enter_alone(self) -> bool:
        """Enter unless somebody is inside, be it this same thread; whether that was done."""
        if not self._lock.acquire(blocking=False):
            return False
        if self._depth:
            self._lock.release()
            return False
        self._depth = 1
        return True
