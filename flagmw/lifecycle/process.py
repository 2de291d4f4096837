"""State that belongs to one process: built on first use, built anew after a fork.

Servers fork in ways that run no hook of Python's (uWSGI forks in C), so every use compares the owner's process
id. Hooks would only make the rebuilding earlier.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Holds what `build` makes, once per process.

    A forked child drops its parent's object without touching it: threads, locks and sockets in it are the
    parent's.

    Args:
        build: makes the object, given the one of before (the parent's, after a fork). It is published only when
            complete. It must not use the holder itself.

    Attributes:
        state: the owner's process id and the object, None before the first use. For readers in a hurry; it is the
            parent's after a fork.
    """

    __slots__ = ("_build", "_locks", "state")

    def __init__(self, build: Callable[[T | None], T]) -> None:
        self._build = build
        self._locks: dict[int, threading.Lock] = {}
        self.state: tuple[int, T] | None = None

    def get(self) -> T:
        """Give this process's object, building it first if this process has none."""
        state = self.state
        if state is not None and state[0] == os.getpid():
            return state[1]
        return self._boot()

    def peek(self) -> T | None:
        """Give this process's object if there is one."""
        state = self.state
        return state[1] if state is not None and state[0] == os.getpid() else None

    def rebuild(self) -> T:
        """Build this process's object anew."""
        return self._boot(anew=True)

    def _boot(self, *, anew: bool = False) -> T:
        pid = os.getpid()
        # A lock per process id: an inherited one may be held by a thread that the child does not have.
        with self._locks.setdefault(pid, threading.Lock()):
            state = self.state
            if state is not None and state[0] == pid and not anew:
                return state[1]
            value = self._build(state[1] if state is not None else None)
            self.state = (pid, value)
            for other in [known for known in self._locks if known != pid]:
                self._locks.pop(other, None)
            return value
