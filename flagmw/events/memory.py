"""A sink that keeps events in memory: for tests, and for looking at what an application would send."""

from __future__ import annotations

from collections import deque

from flagmw.events.records import Exposure, Metric


class MemorySink:
    """Keeps the newest events.

    Args:
        capacity: how many of each kind are kept; older ones are dropped.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self.exposures: deque[Exposure] = deque(maxlen=capacity)
        self.metrics: deque[Metric] = deque(maxlen=capacity)

    def expose(self, exposure: Exposure) -> None:
        """Keep an exposure."""
        self.exposures.append(exposure)

    def track(self, metric: Metric) -> None:
        """Keep a metric."""
        self.metrics.append(metric)

    def flush(self, timeout_s: float) -> bool:
        """Nothing leaves the process, so nothing is left to deliver."""
        return True

    def close(self, timeout_s: float) -> bool:
        """Nothing to stop; the events stay readable."""
        return True
