"""Events: how exposures and metrics leave the process. A sink knows delivery, never flags or frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from flagmw.core.records import Exposure, Identity, Metric, Record
from flagmw.status import EventCounts

Item = tuple[str, bytes]
"""One event as a service wants it: its kind, by which a body may group items, and its text, in JSON on one line."""


class EventWire(Protocol):
    """How one service wants its events. Made by the service's dialect; pure, so it may be called from any thread."""

    @property
    def url(self) -> str:
        """Where bodies are posted."""
        ...

    @property
    def max_items(self) -> int:
        """How many items a body may have."""
        ...

    @property
    def takes_gzip(self) -> bool:
        """Whether the service takes compressed bodies."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one post, made anew for each."""
        ...

    def exposure(self, exposure: Exposure) -> Sequence[Item]:
        """Encode an exposure; it may be several items, or none."""
        ...

    def metric(self, metric: Metric) -> Sequence[Item]:
        """Encode a metric."""
        ...

    def identity(self, identity: Identity) -> Sequence[Item]:
        """Encode who a user is; nothing for services that do not take that."""
        ...

    def refusal(self, metric: Metric) -> str | None:
        """Say why the service would not take a metric, None when it would; holds nothing of the user."""
        ...

    def body(self, items: Sequence[Item]) -> bytes:
        """Put items together to one request's body."""
        ...


class Sink(Protocol):
    """Takes events. Its methods may be called from any thread and never raise into the caller."""

    def open(self) -> None:
        """Begin in this process, called once at its first use of the client: take over what others have left."""
        ...

    def take_all(self, records: Sequence[Record]) -> None:
        """Take note of several events at once, such as those of one request; as `expose` and its kin, in order."""
        ...

    def expose(self, exposure: Exposure) -> None:
        """Take note that a user was served a variation; does not block."""
        ...

    def track(self, metric: Metric) -> None:
        """Take note of something that a user did; does not block."""
        ...

    def identify(self, identity: Identity) -> None:
        """Take note of who a user is; does not block."""
        ...

    def counts(self) -> EventCounts | None:
        """Tell how many events waited, were sent, and so on; None where that means nothing."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Deliver what is there; True when nothing is left."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Deliver what is there and stop; True when nothing was left."""
        ...


__all__ = ["EventWire", "Exposure", "Identity", "Item", "Metric", "Record", "Sink"]
