"""A sink that keeps events in memory: for tests, and for looking at what an application would send."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from flagmw.core.records import Exposure, Identity, Metric
from flagmw.events import Record
from flagmw.status import EventCounts


class MemorySink:
    """Keeps the newest events.

    Args:
        capacity: how many of each kind are kept; older ones are dropped.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self.exposures: deque[Exposure] = deque(maxlen=capacity)
        self.metrics: deque[Metric] = deque(maxlen=capacity)
        self.identities: deque[Identity] = deque(maxlen=capacity)

    def open(self) -> None:
        """Nothing is shared with other processes."""

    def take_all(self, records: Sequence[Record]) -> None:
        """Keep several events."""
        for record in records:
            if isinstance(record, Exposure):
                self.expose(record)
            elif isinstance(record, Metric):
                self.track(record)
            else:
                self.identify(record)

    def expose(self, exposure: Exposure) -> None:
        """Keep an exposure."""
        self.exposures.append(exposure)

    def track(self, metric: Metric) -> None:
        """Keep a metric."""
        self.metrics.append(metric)

    def identify(self, identity: Identity) -> None:
        """Keep who a user is."""
        self.identities.append(identity)

    def counts(self) -> EventCounts | None:
        """Nothing is sent, so there is nothing to count."""
        return None

    def flush(self, timeout_s: float) -> bool:
        """Nothing leaves the process, so nothing is left to deliver."""
        return True

    def close(self, timeout_s: float) -> bool:
        """Nothing to stop; the events stay readable."""
        return True
