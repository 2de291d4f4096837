"""`DeliverySink`: takes events at the price of one write to a file, or of a deque's append, and has them delivered.

It owns a buffer and a thread that ships what is in it; see `spool` and `buffer` for what holds events, `shipping` for
what becomes of them, and `adoption` for the events of processes that are gone. One per process: a forked child is given
a new one, and leaves its parent's alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from flagmw.core.records import Exposure, Identity, Metric
from flagmw.events import EventWire, Record
from flagmw.events.adoption import Adoption, is_something_left
from flagmw.events.batches import Encoder
from flagmw.events.bell import Bell
from flagmw.events.buffer import MemoryBuffer
from flagmw.events.posting import Pace, Session
from flagmw.events.room import Room
from flagmw.events.segments import IS_SUPPORTED
from flagmw.events.shipping import Shipper
from flagmw.events.spool import SpoolBuffer
from flagmw.lifecycle.chance import chance
from flagmw.lifecycle.places import StatePlace
from flagmw.lifecycle.threads import Background
from flagmw.once import LogOnce
from flagmw.status import EventCounts

logger = logging.getLogger("flagmw")

GRACE_S = 0.2
"""What closing keeps of its time for ending a request that the service does not answer."""


class DeliverySink:
    """Delivers events to a flag service in the background.

    Its methods may be called from any thread. Making one starts nothing; the first event starts the thread, or `open`
    when processes that are gone have left events.

    Args:
        wire: how the service wants its events.
        connect: makes what requests are made with; called once, in the background.
        capacity: how many events may wait in memory. When that many do, new ones are dropped and counted.
        flush_interval_s: how long an event waits for others to travel with; a full batch does not wait.
        place: the folder in which events are kept until they are delivered; None keeps them in memory, as does a
            folder that cannot be used.
        max_spool_bytes: how much the events of all processes may take there.
        max_spool_age_s: how long events are kept there.
        exit_timeout_s: how long the process's end may be held up by the last delivery.
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
        place: StatePlace | None = None,
        max_spool_bytes: int = 64 * 1024 * 1024,
        max_spool_age_s: float = 7 * 86_400.0,
        exit_timeout_s: float = 1.0,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance,
    ) -> None:
        self._pid = os.getpid()
        self._wire = wire
        self._connect = connect
        self._capacity = capacity
        self._place = place
        self._max_spool_bytes = max_spool_bytes
        self._max_spool_age_s = max_spool_age_s
        self._pace = Pace(
            flush_interval_s=flush_interval_s,
            exit_timeout_s=exit_timeout_s,
            wall_clock=wall_clock,
            monotonic=monotonic,
            random=random,
        )
        self._log_once = LogOnce(logger)
        self._bell = Bell()
        self._starting = threading.RLock()
        self._parts: dict[str, tuple[MemoryBuffer | SpoolBuffer, SpoolBuffer | None, Shipper]] = {}
        self._buffer: MemoryBuffer | SpoolBuffer | None = None
        self._spool: SpoolBuffer | None = None
        self._shipper: Shipper | None = None
        self._background: Background | None = None
        self._is_closed = False
        self._is_taking = False

    # --- taking -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin in this process: find the folder, and take over what others have left."""
        if self._pid != os.getpid():
            return
        with self._starting:
            if self._shipper is not None:
                return
            place = self._place if IS_SUPPORTED else None
            folder = place.open() if place is not None else None
            room = None
            if place is not None and folder is not None:
                room = Room(
                    folder,
                    place.open,
                    max_bytes=self._max_spool_bytes,
                    max_age_s=self._max_spool_age_s,
                    wall_clock=self._pace.wall_clock,
                )
            # Whoever comes in between, such as a signal's handler, is given the same parts.
            self._buffer, self._spool, self._shipper = self._parts.setdefault("parts", self._make(room))
            if room is not None and not self._is_closed and is_something_left(room):
                self._start(self._shipper)

    def _make(self, room: Room | None) -> tuple[MemoryBuffer | SpoolBuffer, SpoolBuffer | None, Shipper]:
        pace, encode = self._pace, Encoder(self._wire, self._log_once)
        if room is None:
            memory = MemoryBuffer(self._capacity, encode)
            return memory, None, Shipper(self._wire, memory, self._connect, self._bell, pace)
        spool = SpoolBuffer(
            room, encode=encode, ring=self._bell.ring, capacity=self._capacity, monotonic=pace.monotonic
        )
        left = Adoption(room, monotonic=pace.monotonic, random=pace.random)
        return spool, spool, Shipper(self._wire, spool, self._connect, self._bell, pace, left)

    def take_all(self, records: Sequence[Record]) -> None:
        """Take note of several events at once."""
        records = [record for record in records if not isinstance(record, Metric) or self._may_track(record)]
        if self._spool is None:
            for record in records:
                self._take(record)
            return
        if not records or self._pid != os.getpid() or not (self._is_taking or self._may_take(len(records))):
            return
        if self._spool.put_all(records) >= self._bell.level:
            self._bell.ring()

    def expose(self, exposure: Exposure) -> None:
        """Take note that a user was served a variation."""
        self._take(exposure)

    def track(self, metric: Metric) -> None:
        """Take note of something that a user did, unless the service would not take it."""
        if self._may_track(metric):
            self._take(metric)

    def _may_track(self, metric: Metric) -> bool:
        try:
            refusal = self._wire.refusal(metric)
        except Exception as error:  # properties are the caller's, and may do anything while they are read
            refusal = f"reading it raised {type(error).__name__}"
        if refusal is None:
            return True
        self._log_once(logging.WARNING, ("refusal", refusal), "an event was not tracked: %s", refusal)
        self._refuse(1)
        return False

    def identify(self, identity: Identity) -> None:
        """Take note of who a user is."""
        self._take(identity)

    def _take(self, record: Record) -> None:
        # May run inside evaluations: no lock, and but for the spool's write no system call, unless something is the
        # first or too much.
        if not self._is_taking and not self._may_take(1):
            return
        buffer = self._buffer
        if buffer is None or (self._spool is not None and self._pid != os.getpid()):
            return
        held = buffer.put(record)
        if held >= self._bell.level:
            if self._pid == os.getpid():
                self._bell.ring()
        elif not held and self._pid == os.getpid() and self._shipper is not None:
            self._shipper.count_overflow()

    def _refuse(self, count: int) -> None:
        if self._pid == os.getpid():
            self.open()
            if self._shipper is not None:
                self._shipper.count_refused(count)

    def _may_take(self, count: int) -> bool:
        """Start the thread with the first event; count the events that come after closing and cannot be kept."""
        if self._pid != os.getpid():
            return False
        with self._starting:
            self.open()
            if self._is_taking or self._shipper is None:
                return self._is_taking
            if self._is_closed:
                if self._spool is None:
                    self._refuse(count)
                    self._log_once(logging.WARNING, "closed", "events that come after closing are dropped")
                return self._spool is not None
            if not self._start(self._shipper) and self._spool is None:
                self._refuse(count)
                return False
            return True

    def _start(self, shipper: Shipper) -> bool:
        if self._is_taking:
            return True
        self._is_taking = True  # before starting, so that a signal's handler does not start another
        background = Background("flagmw-events", shipper.run, self._bell.ring, exit_timeout_s=self._pace.exit_timeout_s)
        problem: object = "the interpreter goes down"
        try:
            is_started = background.start()
        except RuntimeError as error:  # no more threads
            is_started, problem = False, error
        if not is_started:
            self._is_taking = False
            what = "are dropped" if self._spool is None else "are kept for another process"
            self._log_once(logging.ERROR, "start", "events %s: no thread can be started (%s)", what, problem)
            return False
        self._background = background
        weakref.finalize(self, background.ask_to_stop).atexit = False
        return True

    # --- looking and stopping ---------------------------------------------------------------------------------

    def counts(self) -> EventCounts:
        """Tell what became of the events of this process; one that the service has no use for is not counted."""
        shipper = self._shipper
        return shipper.counts() if shipper is not None and self._pid == os.getpid() else EventCounts()

    def flush(self, timeout_s: float) -> bool:
        """Deliver what was taken before this call.

        Returns:
            Whether all of it was delivered; not when the time was over before, or the service refused some of it.
        """
        shipper = self._shipper
        return shipper.flush(timeout_s) if shipper is not None and self._pid == os.getpid() else True

    def close(self, timeout_s: float) -> bool:
        """Deliver what is there, then end the thread, within the time given. A second call does nothing.

        Returns:
            Whether nothing was left. What was left is lost, unless there is a spool: then another process delivers it,
            as well as what comes after closing.
        """
        if self._pid != os.getpid():
            return True
        with self._starting:
            self._is_closed = True
            self._is_taking = False
            background, shipper = self._background, self._shipper
        if shipper is None:
            return True
        if background is not None:
            grace_s = min(GRACE_S, timeout_s / 4)
            shipper.finish_by(self._pace.monotonic() + timeout_s - grace_s)
            if not background.stop(timeout_s - grace_s):
                shipper.interrupt()
                background.stop(grace_s)
        return shipper.end()
