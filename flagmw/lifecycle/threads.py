"""Background threads: named, daemon, stopped by an event and joined with a bound.

A thread that is still inside a library written in another language when the interpreter goes down can abort
the process, so every thread that lives at exit is stopped then, once and bounded.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from flagmw.lifecycle import hooks
from flagmw.lifecycle.living import Living

logger = logging.getLogger("flagmw")

EXIT_TIMEOUT_S = 1.0
"""How long leaving the process may be held up by threads that do not stop, unless one asks for more."""

_NOBODY = 0


class Background:
    """One background thread.

    Args:
        name: at most 15 bytes, as far as an operating system shows it; begins with `flagmw-`.
        run: the thread's body; it returns soon after the event it is given is set.
        wake: ends whatever `run` is waiting for besides the event, such as a socket; called after the event was
            set, from any thread. It does not wait.
        exit_timeout_s: how long the process may be held up for this thread when it leaves.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[threading.Event], None],
        wake: Callable[[], None] | None = None,
        *,
        exit_timeout_s: float = EXIT_TIMEOUT_S,
    ) -> None:
        self._run = run
        self._wake = wake
        self._owner = os.getpid()
        self._generation = hooks.generation()
        self.exit_timeout_s = exit_timeout_s
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> bool:
        """Start the thread, and see to it that it is stopped before the interpreter goes.

        Returns:
            Whether it was started; not when the interpreter goes down already, and not in uWSGI's master, which
            serves nothing and whose workers it would hang.

        Raises:
            RuntimeError: the operating system gives no more threads.
        """
        if hooks.is_over() or hooks.forks_blindly():
            return False
        hooks.install()
        _living.add(self)
        self._thread.start()
        return True

    def _guarded(self) -> None:
        try:
            self._run(self.stopping)
        except Exception:  # the top of a thread: nobody else would hear of it
            logger.exception("the thread %s ended by an error; flags stay as they are", self._thread.name)

    @property
    def is_mine(self) -> bool:
        """Whether it is this process's; a forked child has no thread of its parent's."""
        return self._owner == os.getpid()

    def disown(self) -> None:
        """Never touch the thread again if it is another process's, even one that had this one's id."""
        if self._generation != hooks.generation():
            self._owner = _NOBODY

    def ask_to_stop(self) -> None:
        """Ask the thread to stop, without waiting."""
        if self.is_mine:
            self._end()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to stop and wait for it.

        Returns:
            Whether it has ended; a call from the thread itself does not wait. In a forked child the thread is
            the parent's, and nothing of it is touched: its locks may be held for ever.
        """
        if not self.is_mine:
            return True
        self._end()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(max(timeout_s, 0.0))
        return not self._thread.is_alive()

    def _end(self) -> None:
        self.stopping.set()
        if self._wake is None:
            return
        try:
            self._wake()
        except Exception:  # stopping goes on with the other threads, and is called while the process leaves
            logger.exception("waking the thread %s raised an error", self._thread.name)


_living: Living[Background] = Living()
_leaving = (_NOBODY, 0.0)  # a process, and how long it has been held up


def stop_all(timeout_s: float) -> None:
    """Stop every thread of this process within one deadline."""
    deadline = time.monotonic() + timeout_s
    living = _living.items()
    for background in living:
        background.ask_to_stop()
    for background in living:
        background.stop(deadline - time.monotonic())


@hooks.on_leave
def _leave(timeout_s: float | None) -> None:
    """Stop every thread of this process, within one bound for all calls."""
    global _leaving  # noqa: PLW0603  # one bound per process
    pid, spent_s = _leaving
    if pid != os.getpid():
        spent_s = 0.0
    if timeout_s is None:
        timeout_s = max((one.exit_timeout_s for one in _living.items() if one.is_mine), default=0.0)
    began_s = time.monotonic()
    try:
        stop_all(timeout_s - spent_s)
    finally:
        _leaving = os.getpid(), spent_s + time.monotonic() - began_s


@hooks.in_child
def _disown_all() -> None:
    global _leaving  # noqa: PLW0603  # a new process has not begun to leave
    _leaving = _NOBODY, 0.0
    living = _living.items()
    _living.clear()
    for background in living:
        background.disown()
        if background.is_mine:  # an earlier hook of this same fork has started it
            _living.add(background)
