"""Importing optional libraries at the first use, without harm to a fork at the same moment.

A child that is forked while another thread imports a module inherits that module's lock, held for ever, and hangs
when it imports the module itself (seen with CPython 3.11). So a fork waits for an import that is under way here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator
from types import ModuleType

FORK_WAIT_S = 2.0
"""A fork is not held up for longer than this, whatever an import is waiting for."""


class _Gate:
    """A lock that forks take too. Installed with the first import, so that importing flagmw registers nothing.

    There is one lock per process, and another one once gevent has replaced the kind: a lock from before would stop
    all greenlets. It may be taken again by the thread that has it, since what is imported may import more.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[int, object], threading.RLock] = {}
        self._held_by_forks: dict[int, threading.RLock] = {}
        self._is_installed = False

    def lock(self) -> threading.RLock:
        """Give the lock of this process."""
        if not self._is_installed:
            self._is_installed = True
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)
        return self._locks.setdefault((os.getpid(), threading.Lock), threading.RLock())

    def _before(self) -> None:
        lock = self.lock()
        if lock.acquire(timeout=FORK_WAIT_S):
            self._held_by_forks[threading.get_ident()] = lock

    def _after(self) -> None:
        lock = self._held_by_forks.pop(threading.get_ident(), None)
        if lock is not None:
            lock.release()

    def _in_child(self) -> None:
        self._locks = {}
        self._held_by_forks = {}


_gate = _Gate()


def import_optional(name: str) -> ModuleType | None:
    """Import a library that need not be there.

    Returns:
        The module, None when it is not installed.
    """
    with _gate.lock():
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


@contextlib.contextmanager
def hold_forks() -> Iterator[None]:
    """Have forks wait, for `FORK_WAIT_S` at most, while a library is used whose locks a child must not inherit taken.

    SQLite's are such. What is done inside must be short; a thread may nest it, and import inside.
    """
    with _gate.lock():
        yield
