"""Importing optional libraries at the first use, without harm to a fork at the same moment.

A child that is forked while another thread imports a module inherits that module's lock, held for ever, and hangs
when it imports the module itself (seen with CPython 3.11). So a fork waits for an import that is under way here.
"""

from __future__ import annotations

import importlib
import os
import threading
from types import ModuleType

FORK_WAIT_S = 2.0
"""A fork is not held up for longer than this, whatever an import is waiting for."""


class _Gate:
    """A lock that forks take too. Installed with the first import, so that importing flagmw registers nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_installed = False
        self._fork_holds = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if not self._is_installed:
            self._is_installed = True
            os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _before(self) -> None:
        self._fork_holds = self._lock.acquire(timeout=FORK_WAIT_S)

    def _after(self) -> None:
        if self._fork_holds:
            self._fork_holds = False
            self._lock.release()

    def _in_child(self) -> None:
        self._lock = threading.Lock()
        self._fork_holds = False


_gate = _Gate()


def import_optional(name: str) -> ModuleType | None:
    """Import a library that need not be there.

    Returns:
        The module, None when it is not installed.
    """
    with _gate:
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
