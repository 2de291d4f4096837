"""Transports: how documents arrive. They know nothing of what is in a document.

A source belongs to one process and one client. The client calls `open` once, in the thread of the first use,
and then, for a source with `background`, `run` in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flagmw.core.documents import Document
from flagmw.errors import TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """All that a source has at one moment.

    Attributes:
        documents: complete, in order of priority, the last one the strongest.
        kept: names of documents that cannot be read now and stay in force as they were.
        error: why something is missing, None when all is there.
    """

    documents: Sequence[Document]
    kept: Sequence[str] = ()
    error: TransportError | None = None


class Receiver(Protocol):
    """Takes what a source brings. Called from one thread at a time; does not raise."""

    def deliver(self, delivery: Delivery) -> None:
        """Put a delivery in force."""
        ...


class Source(Protocol):
    """Brings documents from one place."""

    @property
    def background(self) -> bool:
        """Whether `run` is to be called in a thread."""
        ...

    @property
    def local(self) -> bool:
        """Whether it does no I/O at all, and so may be used offline."""
        ...

    def open(self, receiver: Receiver) -> None:
        """Deliver what can be had at once; never raises and never waits for a network."""
        ...

    def run(self, stopping: threading.Event) -> None:
        """Deliver every change until the event is set."""
        ...
