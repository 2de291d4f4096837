"""`DeliverySink`: takes events of evaluations at the price of a deque's append, and has them delivered.

It owns a buffer and a thread that ships what is in it; see `buffer` for what holds events and `shipping` for what
becomes of them. One per process: a forked child is given a new one, and leaves its parent's alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from random import random

from flagmw.core.records import Exposure, Identity, Metric
from flagmw.events import EventWire, Record
from flagmw.events.batches import Encoder
from flagmw.events.bell import Bell
from flagmw.events.buffer import MemoryBuffer
from flagmw.events.shipping import Pace, Session, Shipper
from flagmw.lifecycle.threads import Background
from flagmw.once import LogOnce
from flagmw.status import EventCounts

logger = logging.getLogger("flagmw")

GRACE_S = 0.2
"""What closing keeps of its time for ending a request that the service does not answer."""


class DeliverySink:
    """Delivers events to a flag service in the background.

    Its methods may be called from any thread. Making one starts nothing; the first event starts the thread.

    Args:
        wire: how the service wants its events.
        connect: makes what requests are made with; called once, in the background.
        capacity: how many events may wait. When that many do, new ones are dropped and counted.
        flush_interval_s: how long an event waits for others to travel with; a full batch does not wait.
        wall_clock: gives Unix time.
        monotonic: the clock for everything that is measured.
        random: spreads the pauses between tries; gives a number in [0, 1).
    """

    def __init__(
        self,
        wire: EventWire,
        connect: Callable[[], Session],
        *,
        capacity: int = 10_000,
        flush_interval_s: float = 1.0,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random,
    ) -> None:
        pace = Pace(flush_interval_s=flush_interval_s, wall_clock=wall_clock, monotonic=monotonic, random=random)
        self._pid = os.getpid()
        self._wire = wire
        self._monotonic = monotonic
        self._log_once = LogOnce(logger)
        self._bell = Bell()
        self._buffer = MemoryBuffer(capacity, Encoder(wire, self._log_once))
        self._shipper = Shipper(wire, self._buffer, connect, self._bell, pace)
        self._starting = threading.RLock()
        self._background: Background | None = None
        self._is_closed = False
        self._is_taking = False

    # --- taking -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Nothing is shared with other processes."""

    def take_all(self, records: Sequence[Record]) -> None:
        """Take note of several events at once."""
        for record in records:
            if isinstance(record, Metric):
                self.track(record)
            else:
                self._take(record)

    def expose(self, exposure: Exposure) -> None:
        """Take note that a user was served a variation."""
        self._take(exposure)

    def track(self, metric: Metric) -> None:
        """Take note of something that a user did, unless the service would not take it."""
        try:
            refusal = self._wire.refusal(metric)
        except Exception as error:  # properties are the caller's, and may do anything while they are read
            refusal = f"reading it raised {type(error).__name__}"
        if refusal is None:
            self._take(metric)
            return
        self._log_once(logging.WARNING, ("refusal", refusal), "an event was not tracked: %s", refusal)
        if self._pid == os.getpid():
            self._shipper.count_refused()

    def identify(self, identity: Identity) -> None:
        """Take note of who a user is."""
        self._take(identity)

    def _take(self, record: Record) -> None:
        # Runs inside evaluations: no lock, no system call, unless something is the first or too much.
        if not self._is_taking and not self._may_take():
            return
        held = self._buffer.put(record)
        if held >= self._bell.level:
            if self._pid == os.getpid():
                self._bell.ring()
        elif not held and self._pid == os.getpid():
            self._shipper.count_overflow()

    def _may_take(self) -> bool:
        """Start the thread with the first event; count the events that come after closing."""
        if self._pid != os.getpid():
            return False
        if self._is_closed:
            self._shipper.count_refused()
            self._log_once(logging.WARNING, "closed", "events that come after closing are dropped")
            return False
        with self._starting:
            if self._is_taking or self._is_closed:
                return self._is_taking
            self._is_taking = True  # before starting, so that a signal's handler does not start another
            background = Background("flagmw-events", self._shipper.run, self._bell.ring)
            try:
                background.start()
            except RuntimeError as error:  # no more threads: the limit is reached, or the interpreter goes down
                self._is_taking = False
                self._shipper.count_refused()
                self._log_once(logging.ERROR, "start", "events are dropped: no thread can be started (%s)", error)
                return False
            self._background = background
            weakref.finalize(self, background.ask_to_stop).atexit = False
            return True

    # --- looking and stopping ---------------------------------------------------------------------------------

    def counts(self) -> EventCounts:
        """Tell what became of the events of this process; one that the service has no use for is not counted."""
        return self._shipper.counts() if self._pid == os.getpid() else EventCounts()

    def flush(self, timeout_s: float) -> bool:
        """Deliver what was taken before this call.

        Returns:
            Whether all of it was delivered; not when the time was over before, or the service refused some of it.
        """
        return self._shipper.flush(timeout_s) if self._pid == os.getpid() else True

    def close(self, timeout_s: float) -> bool:
        """Deliver what is there, then end the thread, within the time given. A second call does nothing.

        Returns:
            Whether nothing was left; what was left is lost.
        """
        if self._pid != os.getpid():
            return True
        with self._starting:
            self._is_closed = True
            self._is_taking = False
            background = self._background
        if background is not None:
            grace_s = min(GRACE_S, timeout_s / 4)
            self._shipper.finish_by(self._monotonic() + timeout_s - grace_s)
            if not background.stop(timeout_s - grace_s):
                self._shipper.interrupt()
                background.stop(grace_s)
        return self._shipper.end()
