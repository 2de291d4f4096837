"""`Upstream`: a source of one's own that can be started, watched and dropped again while the process goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from flagmw.core.snapshot import Snapshot
from flagmw.errors import AuthError
from flagmw.lifecycle.threads import Background
from flagmw.transports import Delivery, Receiver, Resumable, Source

CUT_WAIT_S = 0.5
"""How long cutting off a source waits for a delivery under way."""


STUCK_S = 5.0
"""A thread that is overdue for this long does not bring what the service says: a callback of the app may hold it."""


class Upstream:
    """A source, its thread, and what it has brought so far. Is the source's receiver.

    Args:
        source: a fresh one.
        receiver: takes what it brings, as long as it is not cut off.
        monotonic: the clock.
        notify: called after each delivery, and when the source has ended, from any thread.

    Attributes:
        agrees: whether the service was well at the last delivery.
        agreed_s: when the service was asked that agreed last, by the monotonic clock; None before.
        newest_s: up to when what was brought may be the newest: when it changed last, or was first agreed with, whichever
            came later.
        has_failed: there was an error, or the source has ended.
        is_refused: the service refuses us, and the source has given up.
        has_ended: nothing more will come.
        has_brought: flags came that were not in force before.
    """

    def __init__(
        self, source: Source, receiver: Receiver, monotonic: Callable[[], float], notify: Callable[[], None]
    ) -> None:
        self.source = source
        self.agrees = False
        self.agreed_s: float | None = None
        self.newest_s: float | None = None
        self.has_failed = False
        self.is_refused = False
        self.has_ended = False
        self.has_brought = False
        self._receiver = receiver
        self._monotonic = monotonic
        self._notify = notify
        self._delivering = threading.Lock()
        self._is_cut = False
        self._changes: deque[bytes | None] = deque()
        self._background: Background | None = None

    # --- as a receiver ----------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot | None:
        """The flags in force."""
        return self._receiver.snapshot

    def dump(self) -> Iterable[bytes] | None:
        """Write the flags in force."""
        return self._receiver.dump()

    def deliver(self, delivery: Delivery) -> bool:
        """Hand a delivery on, and take note of what it did."""
        with self._delivering:
            if self._is_cut:
                return False
            arrived_s = self._monotonic()
            before = self._receiver.snapshot
            is_taken = self._receiver.deliver(delivery)
            after = self._receiver.snapshot
            if after is not None and (before is None or after.origin is not before.origin or _differ(before, after)):
                self.has_brought = True
                self.newest_s = arrived_s
                self._changes.append(_message_of(delivery))
            self._note(delivery, arrived_s, is_taken=is_taken)
        self._notify()
        return is_taken

    def _note(self, delivery: Delivery, arrived_s: float, *, is_taken: bool) -> None:
        if isinstance(delivery.error, AuthError):
            self.is_refused = True
        if delivery.error is not None or not (is_taken or delivery.is_message):
            self.agrees = False
            self.has_failed = True
        elif is_taken and not delivery.is_stale and self._receiver.snapshot is not None:
            self.agrees = True
            self.agreed_s = arrived_s if delivery.asked_s is None else delivery.asked_s
            self.newest_s = arrived_s if self.newest_s is None else self.newest_s

    # --- life -------------------------------------------------------------------------------------------------

    def start(self, resume: bytes | None) -> None:
        """Open the source, and run it in a thread if it needs one.

        Args:
            resume: what another process's source said of the flags that are in force; None if nothing.
        """
        if resume is not None and isinstance(self.source, Resumable):
            self.source.resume(resume)
        self.source.open(self)
        if self.source.background:
            self._background = Background("flagmw-upstream", self._run, self.source.wake)
            self._background.start()

    def _run(self, stopping: threading.Event) -> None:
        try:
            self.source.run(stopping)
        finally:
            self.has_ended = self.has_failed = True
            self._notify()

    def stop(self, timeout_s: float) -> bool:
        """Take nothing more, and wait a little for the thread to end.

        Returns:
            Whether no delivery was under way any more, so that all changes are known.
        """
        is_idle = self._delivering.acquire(timeout=min(timeout_s, CUT_WAIT_S))
        self._is_cut = True
        if is_idle:
            self._delivering.release()
        if self._background is not None:
            self._background.stop(timeout_s)
            self._background = None
        return is_idle

    @property
    def resume_token(self) -> bytes | None:
        """From where another process's source may go on, see `Resumable`.

        To be read before the changes are taken: it holds for all that was delivered before.
        """
        return self.source.resume_token if isinstance(self.source, Resumable) else None

    def is_stuck(self, now: float) -> bool:
        """Tell whether the source's thread is overdue with a sign of life."""
        heartbeat_s = self.source.heartbeat_s
        return heartbeat_s is not None and now - heartbeat_s > STUCK_S

    def take_changes(self) -> list[bytes | None]:
        """Give what has changed since the last call: messages of a stream, and None for what was no message."""
        # One by one: the source's thread may add another at any moment.
        return [self._changes.popleft() for _ in range(len(self._changes))]


def _differ(before: Snapshot, after: Snapshot) -> bool:
    return before.revision != after.revision


def _message_of(delivery: Delivery) -> bytes | None:
    if not delivery.is_message or len(delivery.documents) != 1:
        return None
    content = delivery.documents[0].content
    return content if isinstance(content, bytes) else None
