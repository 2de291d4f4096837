"""Waking a thread that waits for a socket, from another thread.

A wait on a socket of our own besides the one that matters ends at once, needs no second thread and no time slices,
and works where threads are greenlets.
"""

from __future__ import annotations

import socket
import threading

from flagmw.lifecycle.descriptors import close_in_children


class Waker:
    """Ends the waits of one thread for good. Making one opens nothing.

    Attributes:
        woken: whether `wake` was called.
    """

    def __init__(self) -> None:
        self.woken = False
        self._lock = threading.Lock()
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def wake(self) -> None:
        """End the wait under way and all that follow. Any thread may call; never waits and never raises."""
        self.woken = True
        # Whoever holds the lock is waking as well, or looks at `woken` next.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._ends is not None:
                self._ends[1].send(b"!")
        except OSError:
            pass  # the buffer is full of calls like this one
        finally:
            self._lock.release()

    def fileno(self) -> int:
        """Give what becomes readable when the thread is to wake; the thread then looks at `woken`."""
        with self._lock:
            if self._ends is None:
                self._ends = socket.socketpair()
                for end in self._ends:
                    end.settimeout(0)
                    close_in_children(end)
            return self._ends[0].fileno()

    def close(self) -> None:
        """Free the sockets. The thread that waited calls this, when it will not wait again."""
        with self._lock:
            ends, self._ends = self._ends, None
            for end in ends or ():
                end.close()
