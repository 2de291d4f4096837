"""The moments at which a process begins after a fork, and at which it ends.

Servers tell of them in ways of their own; here they are brought together. Nothing is registered with anybody at
import: the children of multiprocessing lose what was registered before them, so it is done at the first use in each
process. No hook is ever needed for anything to be right, they make things earlier; none is a signal handler.

What is to be done at these moments is said by those who have something to do, with `in_child`, `on_begin`, `on_leave`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

logger = logging.getLogger("flagmw")

LAST_OF_FINALIZERS = -100
"""Among multiprocessing's finalizers ours comes after those that wait for queues, which may still track events."""

ForkAction = Callable[[], None]
LeaveAction = Callable[[float | None], None]

_in_child: list[ForkAction] = []
_on_begin: list[ForkAction] = []
_on_leave: list[LeaveAction] = []


class _Anchor:
    """What multiprocessing hangs a callback on."""


class _Installed:
    """What was registered in this interpreter, and for which process.

    Attributes:
        generation: counts forks that were seen coming; tells what was built since the last one.
        pid: of the process that used flags last.
        over: the process whose interpreter goes down.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.pid = 0
        self.over = 0
        self.has_fork = False
        self.exit_pid = 0
        self.finalizer: Any = None
        self.anchor: _Anchor | None = None
        self.has_celery = False


_installed = _Installed()


# --- saying what is to be done --------------------------------------------------------------------------------


def in_child(action: ForkAction) -> ForkAction:
    """Have something done in each forked child, before its first use of flags: it starts nothing and logs nothing."""
    _in_child.append(action)
    return action


def on_begin(action: ForkAction) -> ForkAction:
    """Have something done when a server says that a worker has begun to work."""
    _on_begin.append(action)
    return action


def on_leave(action: LeaveAction) -> LeaveAction:
    """Have something done when a process leaves; it is given the bound that `leave` was given."""
    _on_leave.append(action)
    return action


# --- the moments ----------------------------------------------------------------------------------------------


def generation() -> int:
    """Give a number that is another one after a fork, where forks can be seen."""
    return _installed.generation


def is_over() -> bool:
    """Tell whether this process's interpreter goes down: no thread may be started any more."""
    return _installed.over == os.getpid()


def forks_blindly() -> bool:
    """Tell whether this process is about to fork uWSGI's workers, which its own threads would hang.

    It forks them without Python: a thread that runs at that moment keeps the interpreter's lock in the child, for
    ever (seen in 15 of 300 starts with a thread that woke every 20 ms). That is the master; without one it is the
    process that imports the app, which then becomes the first worker.
    """
    uwsgi: Any = _uwsgi()
    if uwsgi is None:
        return False
    master = uwsgi.masterpid()
    return bool(master == os.getpid() if master else uwsgi.worker_id() == 0)


def begin() -> None:
    """Do at once what the first use in this process would do; never raises. For hooks of servers."""
    for action in _on_begin:
        try:
            action()
        except Exception:  # the server's worker has to go on
            logger.exception("starting early raised an error; the first use tries again")


def leave(timeout_s: float | None = None) -> None:
    """Stop all threads of this process, with a last delivery of events, since it is about to leave; never raises.

    Evaluating goes on. Further calls in the same process wait for what is new only, within what is left of the time.

    Args:
        timeout_s: how long that may take; None is the longest time that a thread has asked for.
    """
    for action in _on_leave:
        try:
            action(timeout_s)
        except Exception:  # the process leaves all the same
            logger.exception("leaving raised an error")


def forked() -> None:
    """Let go of what this process has inherited; for hooks that run in a child that was forked just now."""
    for action in _in_child:
        with contextlib.suppress(Exception):  # nothing is logged here: the log's locks may be in any state
            action()


def _before_fork() -> None:
    _installed.generation += 1


def _at_exit() -> None:
    """Leave, as the last that this interpreter does."""
    _installed.over = os.getpid()
    leave()


# --- registering ----------------------------------------------------------------------------------------------


def install() -> None:
    """See to it that this process hears of its moments. Cheap; called whenever something is started."""
    pid = os.getpid()
    _installed.pid = pid
    if not _installed.has_fork:
        _installed.has_fork = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before_fork, after_in_child=forked)
    if _installed.exit_pid != pid:
        _installed.exit_pid = pid
        atexit.unregister(_at_exit)  # a parent's, which would be called all the same, but not first
        atexit.register(_at_exit)
    _hook_multiprocessing(pid)
    _hook_uwsgi()
    _hook_celery()


def _loaded(name: str, *needed: str) -> ModuleType | None:
    """Give a module if it was imported by somebody, and completely."""
    module = sys.modules.get(name)
    return module if module is not None and all(hasattr(module, attribute) for attribute in needed) else None


def _hook_multiprocessing(pid: int) -> None:
    """Its children end without `atexit` before Python 3.13, and each forgets what was registered before it began."""
    util: Any = _loaded("multiprocessing.util", "Finalize", "register_after_fork")
    if util is None:
        return
    if _installed.anchor is None:
        _installed.anchor = _Anchor()
        util.register_after_fork(_installed.anchor, _register_again)
    finalizer = _installed.finalizer
    if finalizer is None or finalizer[0] != pid or not finalizer[1].still_active():
        _installed.finalizer = pid, util.Finalize(None, _at_exit, exitpriority=LAST_OF_FINALIZERS)


def _register_again(anchor: _Anchor) -> None:
    """Register what multiprocessing has just thrown away in a child that was quick to use flags."""
    if _installed.pid == os.getpid():
        _installed.exit_pid = 0
        install()


def _uwsgi() -> ModuleType | None:
    """Give uWSGI's own module `uwsgi`, which has no file; a project's `uwsgi.py` is not meant."""
    uwsgi = _loaded("uwsgi", "masterpid")
    return uwsgi if getattr(uwsgi, "__file__", None) is None else None


def _hook_uwsgi() -> None:
    uwsgi = _uwsgi()
    if uwsgi is not None:
        _chain(uwsgi, "post_fork_hook", before=_after_uwsgi_fork)
        _chain(uwsgi, "atexit", after=_at_exit)


def _after_uwsgi_fork() -> None:
    """Do for a fork that Python did not see; without a master it is also called in the process of before."""
    if _installed.pid != os.getpid():
        _before_fork()
        forked()


def _chain(module: ModuleType, name: str, before: ForkAction | None = None, after: ForkAction | None = None) -> None:
    """Put something before or after the one function that a module calls."""
    previous = getattr(module, name, None)
    if getattr(previous, "is_of_flagmw", False):
        return

    def chained(*args: Any) -> Any:
        try:
            if before is not None:
                before()
            return previous(*args) if callable(previous) else None
        finally:
            if after is not None:
                after()

    chained.is_of_flagmw = True  # type: ignore[attr-defined]  # so that it is not chained twice
    setattr(module, name, chained)


def _hook_celery() -> None:
    """The children of a Celery worker end with this signal and nothing else."""
    signals: Any = None if _installed.has_celery else _loaded("celery.signals", "worker_process_shutdown")
    if signals is None:
        return
    _installed.has_celery = True
    signals.worker_process_init.connect(_on_celery_init, weak=False, dispatch_uid="flagmw")
    signals.worker_process_shutdown.connect(_on_celery_shutdown, weak=False, dispatch_uid="flagmw")


def _on_celery_init(**_: object) -> None:
    begin()


def _on_celery_shutdown(**_: object) -> None:
    leave()
