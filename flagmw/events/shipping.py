"""`Shipper`: brings what a buffer holds to the service, in the background, in order, and until it is there.

It makes batches, posts them, and judges the answers: what passes is tried again with the same bytes, what the
service will never take is dropped and counted. An event leaves the buffer when its fate is known, not before. It
knows neither where events come from nor how a request is made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import random
from typing import Protocol

from flagmw.errors import TransportError
from flagmw.events import EventWire
from flagmw.events.batches import Batch, Verdict, asked_pause_s, verdict_of
from flagmw.events.bell import NEVER, Bell
from flagmw.events.buffer import Buffer, Entry
from flagmw.lifecycle.backoff import Backoff
from flagmw.lifecycle.threads import EXIT_TIMEOUT_S
from flagmw.once import LogOnce
from flagmw.status import EventCounts

logger = logging.getLogger("flagmw")

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
"""Pauses between tries grow from the one to the other, see `Backoff`."""

REFUSED_PAUSE_S = 60.0
"""How long to wait while the service refuses our secret; it takes a person to change that."""

CLOSING_PAUSE_S = 0.1
"""The bound of pauses while somebody waits for the last delivery."""

LEAVING_S = 0.8 * EXIT_TIMEOUT_S
"""For how long the last events are shipped when the process leaves without closing."""

MAX_ANSWER_BYTES = 65_536
"""Nothing in an answer's body is looked at."""


class Answer(Protocol):
    """What a service answered to a request."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...


class Session(Protocol):
    """Makes requests, one at a time, all from one thread."""

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int) -> Answer:
        """Make a request and wait for its answer.

        Raises:
            TransportError: there is none; its text holds no secret.
        """
        ...

    def interrupt(self) -> None:
        """End the request under way, from any thread, and let none follow; never waits and never raises."""
        ...

    def close(self) -> None:
        """Close what is open; the thread that makes the requests calls this."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When things are done.

    Args:
        flush_interval_s: how long an event waits for others to travel with.
        wall_clock: Unix time.
        monotonic: for all that is measured.
        random: spreads the pauses between tries; gives a number in [0, 1).
    """

    flush_interval_s: float = 1.0
    wall_clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random


class Shipper:
    """Ships what a buffer holds. `run` is a thread's body, the rest may be called from any thread.

    Args:
        wire: the service's format.
        buffer: what holds the events.
        connect: makes the session; called in the thread, before the first request.
        bell: wakes the thread.
        pace: when things are done.
    """

    def __init__(self, wire: EventWire, buffer: Buffer, connect: Callable[[], Session], bell: Bell, pace: Pace) -> None:
        self._wire = wire
        self._buffer = buffer
        self._connect = connect
        self._bell = bell
        self._pace = pace
        self._session: Session | None = None
        self._log_once = LogOnce(logger)
        # The thread's own.
        self._batch = Batch()
        self._carry: Entry = None
        self._has_carry = False
        self._flush_at_s = 0.0
        self._failures = 0
        self._backoff = Backoff(first_s=FIRST_PAUSE_S, max_s=MAX_PAUSE_S, random=pace.random)
        self._takes_gzip = wire.takes_gzip
        self._stopping = threading.Event()
        self._has_told = False
        self._overflown_before = 0
        # Shared, under the lock of the condition; counts are of events.
        self._changed = threading.Condition(threading.RLock())
        self._settled = 0
        self._sent = 0
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

    def count_refused(self) -> None:
        """Count an event that was not taken."""
        with self._changed:
            self._refused += 1

    def counts(self) -> EventCounts:
        """Tell what became of the events."""
        with self._changed:
            held = len(self._buffer)
            return EventCounts(
                waiting=0 if self._is_over else held,
                sent=self._sent,
                retried=self._retried + (0 if self._is_over else self._retrying),
                dropped=self._lost + self._overflown + self._refused + (held if self._is_over else 0),
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until what is held now is delivered; True when it is, False when it is not or was dropped."""
        with self._changed:
            target = self._settled + len(self._buffer)
            lost = self._lost
            if target == self._settled:
                return True
            self._flush_to = max(self._flush_to, target)
            self._flushes += 1
            self._bell.ring()
            self._changed.wait_for(lambda: self._settled >= target or self._is_over, max(timeout_s, 0.0))
            return self._settled >= target and self._lost == lost

    def finish_by(self, deadline_s: float) -> None:
        """Say until when, on the monotonic clock, the last events may be shipped once the thread is to stop."""
        self._deadline_s = deadline_s

    def interrupt(self) -> None:
        """End a request under way; only when the time of shipping is over."""
        session = self._session
        if session is not None:
            session.interrupt()

    def end(self) -> bool:
        """Give up what is still held, and tell how much that is, once. Nothing is shipped any more.

        Returns:
            Whether nothing was left.
        """
        with self._changed:
            left = len(self._buffer)
            if self._is_over:
                return not left
            self._is_over = True
            self._changed.notify_all()
        if left:
            logger.error("%d events were not delivered in time and are lost", left)
        self._tell_drained()
        return not left

    # --- the thread -------------------------------------------------------------------------------------------

    def run(self, stopping: threading.Event) -> None:
        """Ship until told to stop, then ship what is left as long as there is time."""
        self._stopping = stopping
        self._flush_at_s = self._pace.monotonic() + self._pace.flush_interval_s
        try:
            is_last = False
            while self._ship() and not is_last:
                self._rest()
                is_last = stopping.is_set()
        finally:
            self.end()
            if self._session is not None:
                self._session.close()

    def _ship(self) -> bool:
        """Ship full batches, and the last one as well when it is time; False when the time of shipping is over."""
        while True:
            self._fill()
            self._tell_overflow()
            is_full = self._has_carry or len(self._batch.items) >= self._wire.max_items
            if not self._batch.entries or not (is_full or self._is_due()):
                return True
            batch, self._batch = self._batch, Batch()
            if not self._deliver(batch):
                return False
            if not is_full:
                self._flush_at_s = self._pace.monotonic() + self._pace.flush_interval_s

    def _fill(self) -> None:
        batch, max_items = self._batch, self._wire.max_items
        try:
            while len(batch.items) < max_items:
                entry = self._carry if self._has_carry else self._buffer.take()
                self._has_carry = not batch.has_room_for(entry, max_items)
                if self._has_carry:
                    self._carry = entry
                    return
                batch.add(entry)
        except IndexError:
            return

    def _is_due(self) -> bool:
        if self._stopping.is_set() or self._flush_to > self._settled:
            return True
        return self._pace.monotonic() >= self._flush_at_s

    def _rest(self) -> None:
        """Wait until a batch may be full or it is time for what is there; for ever when nothing is."""
        self._tell_drained()
        entries = len(self._batch.entries)
        is_idle = not entries
        level = 1 if is_idle else entries + self._wire.max_items - len(self._batch.items)
        self._bell.level = level
        if len(self._buffer) < level and not self._is_due_or_idle(is_idle):
            self._bell.wait(None if is_idle else self._flush_at_s - self._pace.monotonic())
        self._bell.level = NEVER
        if is_idle:
            self._flush_at_s = self._pace.monotonic() + self._pace.flush_interval_s

    def _is_due_or_idle(self, is_idle: bool) -> bool:
        return self._stopping.is_set() if is_idle else self._is_due()

    # --- one batch --------------------------------------------------------------------------------------------

    def _deliver(self, batch: Batch) -> bool:
        """Ship a batch, in parts if it must be; False when the time was over before its fate was known."""
        parts = deque([batch])
        while parts:
            part = parts.popleft()
            verdict = self._post_until_settled(part) if part.items else Verdict.SENT
            if verdict is None:
                return False
            halves = part.halves() if verdict is Verdict.SPLIT else None
            if halves is not None:
                parts.extendleft(reversed(halves))
                continue
            self._settle(part, is_sent=verdict is Verdict.SENT)
        return True

    def _post_until_settled(self, batch: Batch) -> Verdict | None:
        while not self._is_late():
            flushes = self._flushes
            verdict, pause_s = self._post(batch)
            if verdict is Verdict.PLAIN:
                continue
            if verdict is Verdict.SENT:
                self._note_success()
                return verdict
            if verdict in {Verdict.SPLIT, Verdict.REFUSED}:
                return verdict
            self._note_retry(batch)
            if (verdict is Verdict.RETRY_SLOWLY and self._stopping.is_set()) or not self._pause(pause_s, flushes):
                return None
        return None

    def _post(self, batch: Batch) -> tuple[Verdict, float]:
        """Try once; give what that means, and for how long to wait before the next try."""
        try:
            body, was_compressed = batch.body(self._wire, may_compress=self._takes_gzip)
        except Exception as error:  # a defect of ours in a format must not end the thread
            logger.error("a batch of %d events could not be put together: %s", batch.events, type(error).__name__)  # noqa: TRY400  # a trace could show what events hold
            return Verdict.REFUSED, 0.0
        try:
            session = self._session = self._session or self._connect()
            if self._is_late():  # whoever closes could not interrupt what was not there yet
                return Verdict.RETRY, 0.0
            headers = dict(self._wire.headers())
            if was_compressed:
                headers["Content-Encoding"] = "gzip"
            answer = session.request("POST", self._wire.url, headers, body, MAX_ANSWER_BYTES)
        except TransportError as error:
            return self._failed(str(error), 0.0)
        except Exception as error:  # whatever a session raises, events wait for a better time
            return self._failed(f"the request raised {type(error).__name__}", 0.0)
        verdict = verdict_of(answer.status, was_compressed=was_compressed)
        if verdict is Verdict.PLAIN:
            self._takes_gzip = False
            logger.info("the service takes no compressed events (status %d); they go uncompressed now", answer.status)
        elif verdict is Verdict.RETRY:
            asked_s = asked_pause_s(answer.headers, self._pace.wall_clock())
            return self._failed(f"the service answered with status {answer.status}", asked_s)
        elif verdict is Verdict.RETRY_SLOWLY:
            self._log_once(
                logging.ERROR,
                "refused",
                "the service refuses our events (status %d); they wait, and are dropped when the queue is full",
                answer.status,
            )
            return verdict, REFUSED_PAUSE_S
        elif verdict is Verdict.REFUSED or (verdict is Verdict.SPLIT and batch.events < 2):
            logger.error("the service does not take %d events (status %d); they are lost", batch.events, answer.status)
        return verdict, 0.0

    def _failed(self, reason: str, asked_s: float) -> tuple[Verdict, float]:
        if not self._failures and not self._stopping.is_set():
            logger.warning("events cannot be delivered, they wait and are tried again: %s", reason)
        self._failures += 1
        pause_s = self._backoff.next_s()
        return Verdict.RETRY, asked_s or pause_s

    def _note_success(self) -> None:
        self._log_once.forget("refused")
        if self._failures:
            logger.info("events are delivered again after %d tries that failed", self._failures)
            self._failures = 0
            self._backoff.reset()

    def _note_retry(self, batch: Batch) -> None:
        if not batch.was_retried:
            batch.was_retried = True
            with self._changed:
                self._retrying += batch.events

    def _pause(self, pause_s: float, flushes: int) -> bool:
        """Wait before the next try, or less when somebody asks for delivery; False when the time is over."""
        was_stopping = self._stopping.is_set()
        if was_stopping:
            pause_s = min(pause_s, CLOSING_PAUSE_S)
        until_s = self._pace.monotonic() + pause_s
        while not self._is_late():
            self._tell_overflow()
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
            self._deadline_s = now_s + LEAVING_S
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
