"""`Shipper`: brings what buffers hold to the service, in the background, in order, and until it is there.

It makes batches, posts them, and judges the answers: what passes is tried again with the same bytes, what the
service will never take is dropped and counted. An event leaves its buffer when its fate is known, not before. It
knows neither where events come from nor how a request is made.

The process's own events have a lane, and what processes that are gone have left has another. They take turns, a batch
each. A batch of the other lane is tried once a turn, so that it never holds up the own events.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from flagmw.events import EventWire
from flagmw.events.batches import Batch, Verdict
from flagmw.events.bell import NEVER, Bell
from flagmw.events.buffer import Buffer
from flagmw.events.lanes import Lane, Left
from flagmw.events.posting import Outage, Pace, Poster, Session
from flagmw.status import EventCounts

logger = logging.getLogger("flagmw")

CLOSING_PAUSE_S = 0.1
"""The bound of pauses while somebody waits for the last delivery."""

BEGIN_S = 0.02
"""Whoever has started the thread, a request perhaps, goes on before the thread does."""

LEAVING_RATIO = 0.8
"""Which part of the time that a process has for leaving goes to the last events."""


class Shipper:
    """Ships what a buffer holds. `run` is a thread's body, the rest may be called from any thread.

    Args:
        wire: the service's format.
        buffer: what holds the events.
        connect: makes the session; called in the thread, before the first request.
        bell: wakes the thread.
        pace: when things are done.
        left: what others have left; None where that cannot be.
    """

    def __init__(
        self,
        wire: EventWire,
        buffer: Buffer,
        connect: Callable[[], Session],
        bell: Bell,
        pace: Pace,
        left: Left | None = None,
    ) -> None:
        self._buffer = buffer
        self._bell = bell
        self._pace = pace
        self._poster = Poster(wire, connect, pace.wall_clock)
        # The thread's own.
        self._own = Lane(buffer, wire.max_items, Outage(pace.random))
        self._left = left
        self._others = Lane(left, wire.max_items, Outage(pace.random)) if left is not None else None
        self._flush_at_s = 0.0
        self._stopping = threading.Event()
        self._has_told = False
        self._overflown_before = 0
        # Shared, under the lock of the condition; counts are of events.
        self._changed = threading.Condition(threading.RLock())
        self._settled = 0
        self._sent = 0
        self._adopted = 0
        self._retried = 0
        self._retrying = 0
        self._lost = 0
        self._overflown = 0
        self._is_overflowing = False
        self._refused = 0
        self._flush_to = 0
        self._flushes = 0
        self._deadline_s: float | None = None
        self._is_over = False

    # --- what producers and their owner call ------------------------------------------------------------------

    def count_overflow(self) -> None:
        """Count an event that found no room; the thread tells of it."""
        with self._changed:
            self._overflown += 1
            is_first, self._is_overflowing = not self._is_overflowing, True
        if is_first:
            self._bell.ring()

    def count_refused(self, count: int) -> None:
        """Count events that were not taken."""
        with self._changed:
            self._refused += count

    def counts(self) -> EventCounts:
        """Tell what became of the events."""
        with self._changed:
            held, is_given_up = len(self._buffer), self._is_over and not self._buffer.is_lasting
            return EventCounts(
                waiting=0 if is_given_up else held,
                sent=self._sent,
                retried=self._retried + (0 if self._is_over else self._retrying),
                dropped=self._lost
                + self._overflown
                + self._refused
                + self._buffer.dropped()
                + (self._left.dropped() if self._left is not None else 0)
                + (held if is_given_up else 0),
                adopted=self._adopted,
                spool_bytes=self._buffer.size_bytes(),
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until what is held now is delivered; True when it is, False when it is not or was dropped."""
        with self._changed:
            lost, evicted = self._lost, self._buffer.evicted()
            target = self._settled + evicted + len(self._buffer)
            if target == self._done():
                return True
            self._flush_to = max(self._flush_to, target)
            self._flushes += 1
            self._bell.ring()
            self._changed.wait_for(lambda: self._done() >= target or self._is_over, max(timeout_s, 0.0))
            return self._done() >= target and (self._lost, self._buffer.evicted()) == (lost, evicted)

    def _done(self) -> int:
        """Count the events that are not held any more, whatever became of them."""
        return self._settled + self._buffer.evicted()

    def finish_by(self, deadline_s: float) -> None:
        """Say until when, on the monotonic clock, the last events may be shipped once the thread is to stop."""
        self._deadline_s = deadline_s

    def interrupt(self) -> None:
        """End a request under way; only when the time of shipping is over."""
        self._poster.interrupt()

    def end(self) -> bool:
        """Ship nothing any more, give up what does not last, and tell how much that is, once.

        Returns:
            Whether nothing was left.
        """
        with self._changed:
            if self._is_over:
                return not len(self._buffer)
            self._is_over = True
            self._changed.notify_all()
        self._buffer.end()
        left = len(self._buffer)
        if left and not self._buffer.is_lasting:
            logger.error("%d events were not delivered in time and are lost", left)
        self._tell_drained()
        return not left

    # --- the thread -------------------------------------------------------------------------------------------

    def run(self, stopping: threading.Event) -> None:
        """Ship until told to stop, then ship what is left as long as there is time."""
        self._stopping = stopping
        stopping.wait(BEGIN_S)
        self._flush_at_s = self._pace.monotonic() + self._pace.flush_interval_s
        try:
            is_last = False
            while self._ship() and not is_last:
                self._rest()
                is_last = stopping.is_set()
        finally:
            self.end()
            if self._left is not None:
                self._left.end()
            self._poster.close()

    def _ship(self) -> bool:
        """Ship full batches, and the last one as well when it is time; False when the time of shipping is over."""
        while True:
            is_full = self._own.fill()
            self._look_after()
            is_due = bool(self._own.batch.entries) and (is_full or self._is_due())
            if is_due:
                if not self._deliver(self._own.close_batch()):
                    return False
                if not is_full:
                    self._flush_at_s = self._pace.monotonic() + self._pace.flush_interval_s
            if not self._deliver_for_others() and not is_due:
                return True

    def _is_due(self) -> bool:
        if self._stopping.is_set() or self._flush_to > self._done():
            return True
        return self._pace.monotonic() >= self._flush_at_s

    def _rest(self) -> None:
        """Wait until a batch may be full or it is time for what is there; for ever when nothing is."""
        self._tell_drained()
        entries = len(self._own.batch.entries)
        is_idle = not entries
        self._bell.level = 1 if is_idle else entries + self._own.room
        if not self._buffer.has_more() and not (self._stopping.is_set() if is_idle else self._is_due()):
            self._bell.wait(self._rest_s(is_idle=is_idle))
        self._bell.level = NEVER
        if is_idle:
            self._flush_at_s = self._pace.monotonic() + self._pace.flush_interval_s

    def _rest_s(self, *, is_idle: bool) -> float | None:
        times_s = [] if is_idle else [self._flush_at_s]
        if self._others is not None and self._left is not None:
            times_s.append(self._others.try_at_s if self._others.parts else self._left.next_scan_s)
        return max(min(times_s) - self._pace.monotonic(), 0.0) if times_s else None

    # --- one batch --------------------------------------------------------------------------------------------

    def _deliver(self, batch: Batch) -> bool:
        """Ship a batch, in parts if it must be; False when the time was over before its fate was known."""
        parts = deque([batch])
        while parts:
            part = parts.popleft()
            verdict = self._post_until_settled(part) if part.items else Verdict.SENT
            if verdict is None:
                return False
            if not self._split(parts, part, verdict):
                self._settle(part, is_sent=verdict is Verdict.SENT)
        return True

    def _split(self, parts: deque[Batch], part: Batch, verdict: Verdict) -> bool:
        halves = part.halves() if verdict is Verdict.SPLIT else None
        parts.extendleft(reversed(halves or ()))
        return halves is not None

    def _post_until_settled(self, batch: Batch) -> Verdict | None:
        while not self._is_late():
            flushes = self._flushes
            verdict, pause_s = self._post(batch, self._own.outage)
            if verdict is Verdict.PLAIN:
                continue
            if verdict in {Verdict.SENT, Verdict.SPLIT, Verdict.REFUSED}:
                return verdict
            if not batch.was_retried:
                batch.was_retried = True
                with self._changed:
                    self._retrying += batch.events
            if (verdict is Verdict.RETRY_SLOWLY and self._stopping.is_set()) or not self._pause(pause_s, flushes):
                return None
        return None

    def _post(self, batch: Batch, outage: Outage) -> tuple[Verdict, float]:
        return self._poster.post(batch, outage, lambda: not self._is_late(), is_told=not self._stopping.is_set())

    def _deliver_for_others(self) -> bool:
        """Try one batch of what others have left, unless there is no time for that; whether to go on at once."""
        lane, left = self._others, self._left
        if lane is None or left is None or self._stopping.is_set():
            return False
        if not lane.parts:
            while not lane.batch.entries and left.scan():
                lane.fill()
            if not lane.batch.entries:
                return False
            lane.parts.append(lane.close_batch())
        if self._pace.monotonic() < lane.try_at_s:
            return False
        part = lane.parts.popleft()
        verdict, pause_s = self._post(part, lane.outage) if part.items else (Verdict.SENT, 0.0)
        if verdict in {Verdict.RETRY, Verdict.RETRY_SLOWLY}:
            part.was_retried = True
            lane.try_at_s = self._pace.monotonic() + pause_s
        if verdict in {Verdict.RETRY, Verdict.RETRY_SLOWLY, Verdict.PLAIN}:
            lane.parts.appendleft(part)
        elif not self._split(lane.parts, part, verdict):
            self._settle_for_others(part, is_sent=verdict is Verdict.SENT)
        return True

    def _pause(self, pause_s: float, flushes: int) -> bool:
        """Wait before the next try, or less when somebody asks for delivery; False when the time is over."""
        was_stopping = self._stopping.is_set()
        if was_stopping:
            pause_s = min(pause_s, CLOSING_PAUSE_S)
        until_s = self._pace.monotonic() + pause_s
        while not self._is_late():
            self._look_after()
            left_s = until_s - self._pace.monotonic()
            if left_s <= 0 or self._flushes != flushes or self._stopping.is_set() is not was_stopping:
                return True
            self._bell.wait(left_s)
        return False

    def _is_late(self) -> bool:
        """Tell whether there is no time left to ship anything."""
        if not self._stopping.is_set():
            return self._is_over
        now_s = self._pace.monotonic()
        if self._deadline_s is None:
            self._deadline_s = now_s + LEAVING_RATIO * self._pace.exit_timeout_s
        return self._is_over or now_s >= self._deadline_s

    def _settle(self, batch: Batch, *, is_sent: bool) -> None:
        """Let go of events whose fate is known."""
        lost = batch.broken + (0 if is_sent else batch.events)
        with self._changed:
            if self._is_over:
                return  # they were counted when the time was over
            self._buffer.settle(len(batch.entries))
            self._settled += len(batch.entries)
            self._lost += lost
            if is_sent:
                self._sent += batch.events
            if batch.was_retried:
                self._retrying -= batch.events
                self._retried += batch.events if is_sent else 0
            self._changed.notify_all()

    def _settle_for_others(self, batch: Batch, *, is_sent: bool) -> None:
        if self._left is not None:
            self._left.settle(len(batch.entries))
        with self._changed:
            self._lost += batch.broken + (0 if is_sent else batch.events)
            if is_sent:
                self._sent += batch.events
                self._adopted += batch.events
                self._retried += batch.events if batch.was_retried else 0

    def _look_after(self) -> None:
        """Do what has to be done now and then, also while the service is away."""
        self._tell_overflow()
        self._buffer.tidy()
        if self._left is not None and not self._stopping.is_set():
            self._left.scan()

    # --- the queue that was full ------------------------------------------------------------------------------

    def _tell_overflow(self) -> None:
        if self._is_overflowing and not self._has_told:
            self._has_told = True
            logger.warning("the queue of events is full (%d wait): new events are dropped", len(self._buffer))

    def _tell_drained(self) -> None:
        if not self._is_overflowing:
            return
        with self._changed:
            self._is_overflowing = self._has_told = False
            dropped, self._overflown_before = self._overflown - self._overflown_before, self._overflown
        logger.warning("the queue of events has room again; %d events were dropped meanwhile", dropped)
