"""`Bell`: tells the shipping thread that there is something to do, at a price that evaluations can pay."""

from __future__ import annotations

import queue
import sys

NEVER = sys.maxsize


class Bell:
    """Wakes one waiting thread.

    A queue rather than an event: putting takes no lock that is ours, so it is safe in a signal handler and in
    code that the garbage collector runs, which an event is not.

    Attributes:
        level: with how many events held a producer has to ring; the waiting thread sets it.
    """

    __slots__ = ("_tokens", "level")

    def __init__(self) -> None:
        self.level = NEVER
        # Through the module: gevent may have put another in its place since this module was imported.
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Wake the thread, or keep it from falling asleep the next time."""
        self.level = NEVER
        self._tokens.put(None)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until the bell rings, at most that long; rings of before count as one."""
        try:
            self._tokens.get(timeout=None if timeout_s is None else max(timeout_s, 0.0))
            while True:
                self._tokens.get_nowait()
        except queue.Empty:
            return
