"""A shipper at a clock of the test's own, for looking at what is posted when."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flagmw.events.batches import Encoder
from flagmw.events.bell import Bell
from flagmw.events.buffer import Buffer, MemoryBuffer
from flagmw.events.lanes import Left
from flagmw.events.posting import Pace
from flagmw.events.shipping import Shipper
from flagmw.once import LogOnce
from flagmw.status import EventCounts
from tests.unit.event_support import NamingWire, ScriptedSession, exposure

FLUSH_INTERVAL_S = 1.0
MAX_STEPS = 100


class World(Bell):
    """A shipper whose waiting takes no time: each wait moves the clock, and is noted.

    Attributes:
        waits: the timeouts of all waits; None is for ever.
        events: what happens during a wait, by its number; the world ends when there is nothing left to wait for.
    """

    def __init__(
        self,
        wire: NamingWire,
        session: ScriptedSession,
        *,
        share: float = 1.0,
        capacity: int = 1_000,
        kind: type[MemoryBuffer] = MemoryBuffer,
        buffer: Buffer | None = None,
        left: Left | None = None,
    ) -> None:
        super().__init__()
        self.now_s = 0.0
        self.waits: list[float | None] = []
        self.events: dict[int, Callable[[], object]] = {}
        self.stopping = threading.Event()
        self.session = session
        self.buffer: Buffer = buffer or kind(capacity, Encoder(wire, LogOnce(logging.getLogger("flagmw"))))
        pace = Pace(
            flush_interval_s=FLUSH_INTERVAL_S,
            wall_clock=lambda: 1_700_000_000.0 + self.now_s,
            monotonic=lambda: self.now_s,
            random=lambda: share,
        )
        self.shipper = Shipper(wire, self.buffer, session, self, pace, left)

    def wait(self, timeout_s: float | None) -> None:
        event = self.events.pop(len(self.waits), None)
        self.waits.append(timeout_s)
        assert len(self.waits) < MAX_STEPS, "the shipper goes round and round"
        if event is not None:
            event()
        elif timeout_s is None:
            self.stopping.set()
        else:
            self.now_s += timeout_s

    def put(self, *names: str) -> World:
        for name in names:
            if not self.buffer.put(exposure(name)):
                self.shipper.count_overflow()
        return self

    def run(self) -> World:
        """Ship until there is nothing left to wait for."""
        self.shipper.run(self.stopping)
        return self

    @property
    def counts(self) -> EventCounts:
        return self.shipper.counts()
