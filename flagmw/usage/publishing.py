"""`Publishing`: one publisher at work in one process: its thread, its turns, and its end."""

from __future__ import annotations

import logging
import math
import threading
import time

from flagmw.lifecycle.threads import Background
from flagmw.usage.functions import CodeBase
from flagmw.usage.known_code import KnownCode, ScanAbandoned
from flagmw.usage.ledger import Ledger
from flagmw.usage.seams import Interval, Publisher

logger = logging.getLogger("flagmw")

START_WAIT_S = 0.1
"""Before a thread does anything: a child may be forked only to execute another program."""

MAX_REST_S = 0.1
"""For how long a scan rests at most at a time."""

MIN_DELAY_S = 0.01
"""Whatever a publisher asks for, its thread does not spin."""

FAILURE_DELAY_S = 60.0
"""After an error that no publisher should raise."""


class Publishing:
    """Runs one publisher, and is what it works with (a `Turn`). Making one starts nothing.

    Args:
        publisher: carries away what ran.
        number: the publisher's in the ledger.
        ledger: says what ran.
        known: says what exists.
    """

    def __init__(self, publisher: Publisher, number: int, ledger: Ledger, known: KnownCode) -> None:
        self.publisher = publisher
        self._number = number
        self._ledger = ledger
        self._known = known
        self._finish_timeout_s = publisher.exit_timeout_s
        self._deadline_s: float | None = None
        self._background: Background | None = None
        self._ended = threading.Event()
        self._is_done = True
        self._has_just_finished = False
        self._is_told = False

    # --- the thread -------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the thread has been started and has not ended."""
        return self._background is not None and not self._ended.is_set()

    def start(self) -> bool:
        """Start the thread if none runs.

        Returns:
            Whether it runs; not where a process may have no thread.

        Raises:
            RuntimeError: the operating system gives no more threads.
        """
        if self.is_running:
            return True
        self._ended.clear()
        self._deadline_s = None
        self._finish_timeout_s = self.publisher.exit_timeout_s
        background = Background(
            self.publisher.thread_name, self._run, self.publisher.wake, exit_timeout_s=self.publisher.exit_timeout_s
        )
        self._background = background
        try:
            started = background.start()
        except RuntimeError:
            self._background = None
            raise
        if not started:
            self._background = None
        return started

    def ask_to_stop(self, timeout_s: float) -> None:
        """Ask for the last publication, within this time, without waiting."""
        self._finish_timeout_s = timeout_s
        if self._background is not None:
            self._background.ask_to_stop()

    def stop(self, timeout_s: float) -> bool:
        """Wait for the last publication; it is made here where no thread is left to make it.

        Returns:
            Whether all was carried away.
        """
        if self._background is not None and self.is_running:
            return self._background.stop(timeout_s) and self._is_done
        return self.finish(timeout_s)

    def _run(self, stopping: threading.Event) -> None:
        try:
            delay_s = START_WAIT_S
            while not stopping.wait(None if math.isinf(delay_s) else delay_s):
                delay_s = max(self._take_turn(), MIN_DELAY_S)
            self.finish(self._finish_timeout_s)
            self._has_just_finished = True
        finally:
            self._ended.set()

    def _take_turn(self) -> float:
        try:
            return self.publisher.run(self)
        except ScanAbandoned:  # the process leaves; what is left is for `finish`
            return MIN_DELAY_S
        except Exception:  # a publisher's defect must not be the end of it
            logger.exception("publishing usage raised an error; it is tried again later")
            return FAILURE_DELAY_S

    def finish(self, timeout_s: float) -> bool:
        """Make the last publication in the calling thread."""
        now_s = time.monotonic()
        if self._deadline_s is None:
            self._deadline_s = now_s + timeout_s
        try:
            self._is_done = self.publisher.finish(self, max(self._deadline_s - now_s, 0.0))
        except ScanAbandoned:
            self._tell_what_is_lost()
            self._is_done = False
        except Exception:  # a publisher's defect must not keep a process from leaving
            logger.exception("the last publication of usage raised an error")
            self._is_done = False
        finally:
            self._deadline_s = None
        return self._is_done

    def finish_left(self, timeout_s: float) -> None:
        """Make the last publication in the calling thread, unless the thread does it or has just done it."""
        if self.is_running:  # it was not ready in time
            if self._known.code_base is None:
                self._tell_what_is_lost()
            return
        if self._has_just_finished:
            self._has_just_finished = False
        else:
            self.finish(timeout_s)

    def _tell_what_is_lost(self) -> None:
        if not self._is_told:
            self._is_told = True
            logger.warning("this process leaves before its code base was read; what ran in it is not reported")

    # --- what the publisher works with ------------------------------------------------------------------------

    @property
    def monotonic_s(self) -> float:
        """Now, for distances."""
        return time.monotonic()

    @property
    def wall_s(self) -> float:
        """Now, for dates."""
        return time.time()

    def code_base(self) -> CodeBase:
        """Give the code base as it is now."""
        return self._known.current(self._rest)

    def take(self) -> Interval:
        """Give what ran since the last time."""
        return self._ledger.take(self._number, self._rest)

    def _rest(self, spent_s: float) -> None:
        """Leave the processor to the application for as long as was just worked; not while the process leaves.

        Raises:
            ScanAbandoned: the process has waited for long enough.
        """
        stopping = self._background.stopping if self._background is not None else None
        if self._deadline_s is None and stopping is not None and stopping.is_set() and self.is_running:
            self._deadline_s = time.monotonic() + self._finish_timeout_s
        if self._deadline_s is not None:
            if time.monotonic() > self._deadline_s:
                raise ScanAbandoned
        elif stopping is not None:
            stopping.wait(min(max(spent_s, 0.0), MAX_REST_S))
