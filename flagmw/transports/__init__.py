"""Transports: how documents arrive. They know nothing of what is in a document.

A source belongs to one process and one client. The client calls `open` once, in the thread of the first use,
and then, for a source with `background`, `run` in a thread of its own. What a service says on the wire (addresses,
greetings, pings) comes from its dialect, as a `StreamWire` or a `PollWire`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.errors import TransportError
from flagmw.status import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a source has at one moment.

    Attributes:
        documents: complete, in order of priority, the last one the strongest; or one message of a stream.
        kept: names of documents that cannot be read now and stay in force as they were.
        error: why something is missing, None when all is there. An `AuthError` says that the source has given up.
        is_message: the document is one message of a stream: a bad one is skipped, and the source is well all the same.
        is_stale: the document is of an earlier time, kept for the case that nothing newer can be had.
        asked_s: when it was asked for, by the monotonic clock; None says just now.
    """

    documents: Sequence[Document] = ()
    kept: Sequence[str] = ()
    error: TransportError | None = None
    is_message: bool = False
    is_stale: bool = False
    asked_s: float | None = field(default=None, compare=False)


class Receiver(Protocol):
    """Takes what a source brings. Called from one thread at a time; does not raise."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The flags in force, from which a source may resume."""
        ...

    def deliver(self, delivery: Delivery) -> bool:
        """Put a delivery in force.

        Returns:
            Whether its documents were taken without an error.
        """
        ...

    def dump(self) -> Iterable[bytes] | None:
        """Write the flags in force as one document that can be delivered elsewhere, in small pieces.

        Returns:
            The pieces, made as they are taken; None where there are no flags, or no such document.
        """
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

    @property
    def awaited(self) -> bool:
        """Whether the first documents may be on their way when `open` returns, so that waiting for them makes sense."""
        ...

    @property
    def role(self) -> Role:
        """How this process comes by its flags just now."""
        ...

    @property
    def heartbeat_s(self) -> float | None:
        """When the thread in `run` gave its last sign of life, on the monotonic clock; None before the first."""
        ...

    @property
    def agreed_s(self) -> float | None:
        """When what was delivered was last known to be the newest, on the monotonic clock, even without a delivery.

        None where only deliveries tell: one without an error says that nothing newer is there.
        """
        ...

    def open(self, receiver: Receiver) -> None:
        """Deliver what can be had at once; never raises and never waits for a network."""
        ...

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Deliver what can be had within that time, errors included, in the calling thread; instead of `open` and `run`.

        Starts no thread, and leaves nothing open.
        """
        ...

    def run(self, stopping: threading.Event) -> None:
        """Deliver every change until the event is set."""
        ...

    def wake(self) -> None:
        """End whatever `run` is waiting for, after the event was set. Any thread may call; never waits or raises."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A source that can go on from what another process's source has brought."""

    @property
    def resume_token(self) -> bytes | None:
        """What says from where, for the flags that were delivered so far; holds no secret. Any thread may look.

        It is altered after the delivery to which it belongs.
        """
        ...

    def resume(self, token: bytes) -> None:
        """Go on from there; to be called before `open`. One that is none is ignored."""
        ...


class StreamWire(Protocol):
    """What a service says and hears on a stream of messages. Made by its dialect."""

    @property
    def name(self) -> str:
        """What messages are called in logs, for example "FeatBit stream"."""
        ...

    @property
    def ping(self) -> str | None:
        """The message that asks for a sign of life; None when the service has none."""
        ...

    @property
    def refusal_codes(self) -> frozenset[int]:
        """The close codes by which the service says that trying again is useless."""
        ...

    def url(self) -> str:
        """Give the address of one attempt; it may hold a fresh token and is never logged."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one attempt; never logged."""
        ...

    def greeting(self, snapshot: Snapshot | None) -> str | None:
        """Give the message that asks for everything that is newer than the flags in force."""
        ...


class PollWire(Protocol):
    """What a service is asked when it is polled. Made by its dialect."""

    @property
    def name(self) -> str:
        """What answers are called in logs, for example "Hackle config"."""
        ...

    def url(self, snapshot: Snapshot | None) -> str:
        """Give the address of one request, which may ask for changes only; never logged."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one request; never logged."""
        ...
