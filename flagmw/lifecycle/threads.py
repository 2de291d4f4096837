"""Background threads: named, daemon, stopped by an event and joined with a bound.

A thread that is still inside a library written in another language when the interpreter goes down can abort
the process, so every thread that lives at exit is stopped then, once and bounded.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

logger = logging.getLogger("flagmw")

EXIT_TIMEOUT_S = 1.0
"""How long leaving the process may be held up by threads that do not stop."""

_living: weakref.WeakSet[Background] = weakref.WeakSet()
_hooked_in = 0


class Background:
    """One background thread.

    Args:
        name: at most 15 bytes, as far as an operating system shows it; begins with `flagmw-`.
        run: the thread's body; it returns soon after the event it is given is set.
        wake: ends whatever `run` is waiting for besides the event, such as a socket; called after the event was
            set, from any thread. It does not wait.
    """

    def __init__(
        self, name: str, run: Callable[[threading.Event], None], wake: Callable[[], None] | None = None
    ) -> None:
        self._run = run
        self._wake = wake
        self._owner = os.getpid()
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, and see to it that it is stopped before the interpreter goes."""
        global _hooked_in  # noqa: PLW0603  # one exit hook per process; a fork may have emptied the table
        if _hooked_in != os.getpid():
            _hooked_in = os.getpid()
            atexit.register(stop_all, EXIT_TIMEOUT_S)
        _living.add(self)
        self._thread.start()

    def _guarded(self) -> None:
        try:
            self._run(self.stopping)
        except Exception:  # the top of a thread: nobody else would hear of it
            logger.exception("the thread %s ended by an error; flags stay as they are", self._thread.name)

    def ask_to_stop(self) -> None:
        """Ask the thread to stop, without waiting."""
        if self._owner == os.getpid():
            self._end()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to stop and wait for it.

        Returns:
            Whether it has ended; a call from the thread itself does not wait. In a forked child the thread is
            the parent's, and nothing of it is touched: its locks may be held for ever.
        """
        if self._owner != os.getpid():
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


def stop_all(timeout_s: float) -> None:
    """Stop every thread of this process within one deadline."""
    deadline = time.monotonic() + timeout_s
    living = list(_living)
    for background in living:
        background.ask_to_stop()
    for background in living:
        background.stop(deadline - time.monotonic())
