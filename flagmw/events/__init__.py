"""Events: how exposures and metrics leave the process. A sink knows delivery, never flags or frameworks."""

from __future__ import annotations

from typing import Protocol

from flagmw.events.records import Exposure, Metric


class Sink(Protocol):
    """Takes events. Its methods may be called from any thread and never raise into the caller."""

    def expose(self, exposure: Exposure) -> None:
        """Take note that a user was served a variation; does not block."""
        ...

    def track(self, metric: Metric) -> None:
        """Take note of something that a user did; does not block."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Deliver what is there; True when nothing is left."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Deliver what is there and stop; True when nothing was left."""
        ...


__all__ = ["Exposure", "Metric", "Sink"]
