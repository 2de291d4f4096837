"""State that belongs to one process: built on first use, built anew after a fork.

Servers fork in ways that run no hook of Python's (uWSGI forks in C), so every use compares the owner's process
id. Where hooks do run, they also tell a process from a dead one that had the same id.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from flagmw.lifecycle import hooks
from flagmw.lifecycle.living import Living

logger = logging.getLogger("flagmw")

T = TypeVar("T")

NOBODY = 0
"""The owner of a state whose process is gone; no process has this id."""


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

    __slots__ = ("__weakref__", "_build", "_early", "_generation", "_locks", "state")

    def __init__(self, build: Callable[[T | None], T]) -> None:
        self._build = build
        self._locks: dict[int, threading.Lock] = {}
        self._generation = 0
        self._early = NOBODY
        self.state: tuple[int, T] | None = None
        _holders.add(self)

    def get(self) -> T:
        """Give this process's object, building it first if this process has none."""
        state = self.state
        if state is not None and state[0] == os.getpid():
            return state[1]
        return self._boot()

    def peek(self) -> T | None:
        """Give this process's object if there is one."""
        state = self.state
        is_mine = state is not None and (state[0] == os.getpid() or self._is_early(os.getpid()))
        return state[1] if state is not None and is_mine else None

    def _is_early(self, pid: int) -> bool:
        """Tell whether the object was built by a process that is about to fork, for itself, without threads.

        uWSGI's first worker may have been that process, and must build anew without having another id.
        """
        return self._early == pid and hooks.forks_blindly()

    def rebuild(self) -> T:
        """Build this process's object anew."""
        return self._boot(anew=True)

    def disown(self) -> None:
        """Leave to nobody what was built before this process was forked; called in the child, which is alone then."""
        self._locks = {}
        state = self.state
        # What an earlier hook of this same fork has built is this process's own.
        if state is not None and self._generation != hooks.generation():
            self.state = (NOBODY, state[1])

    def _boot(self, *, anew: bool = False) -> T:
        hooks.install()
        pid = os.getpid()
        # A lock per process id: an inherited one may be held by a thread that the child does not have.
        with self._locks.setdefault(pid, threading.Lock()):
            state = self.state
            if state is not None and (state[0] == pid or self._is_early(pid)) and not anew:
                return state[1]
            value = self._build(state[1] if state is not None else None)
            self._generation = hooks.generation()
            is_early = hooks.forks_blindly()
            self._early = pid if is_early else NOBODY
            self.state = (NOBODY if is_early else pid, value)
            for other in [known for known in list(self._locks) if known != pid]:
                self._locks.pop(other, None)
            return value


_holders: Living[PerProcess[Any]] = Living()


def build_all() -> None:
    """Build the objects of all holders in this process now, rather than at their first use; never raises."""
    for holder in _holders.items():
        _build(holder)


@hooks.on_begin
def _build_inherited() -> None:
    """Build what the process that forked this one had; what it never used is left alone."""
    for holder in _holders.items():
        if holder.state is not None:
            _build(holder)


def _build(holder: PerProcess[Any]) -> None:
    try:
        holder.get()
    except Exception:  # the server's worker has to go on, and the next holder has nothing to do with it
        logger.exception("starting early raised an error; the first use tries again")


@hooks.in_child
def _disown_all() -> None:
    for holder in _holders.items():
        holder.disown()
