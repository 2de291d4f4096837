"""Flags from a document at hand: all there are when a provider is offline, else the first ones until the service answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.errors import TransportError
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver, Source

NAME = "the bootstrap document"


class OfflineSource:
    """Brings a bootstrap document and nothing else, ever.

    Args:
        bootstrap: its text, or the JSON file that holds it; None says that there is none.
    """

    background = False
    local = True
    awaited = False
    role = Role.ALONE
    heartbeat_s: float | None = None

    def __init__(self, bootstrap: bytes | Path | None) -> None:
        self._bootstrap = bootstrap

    @property
    def agreed_s(self) -> float | None:
        """Give now: there is nowhere anything newer could be."""
        return time.monotonic()

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Deliver what can be had at once."""
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        """Deliver the document."""
        if self._bootstrap is None:
            error = TransportError("offline, and there is no bootstrap document to evaluate from")
            receiver.deliver(Delivery(error=error))
        else:
            receiver.deliver(_delivery(self._bootstrap, is_stale=False))

    def run(self, stopping: threading.Event) -> None:
        """Do nothing: nothing changes."""

    def wake(self) -> None:
        """Do nothing: nothing waits."""


class BootstrappedSource:
    """Brings a bootstrap document, then what a flag service says.

    Flags that are there already, an earlier start's, the parent's or other processes', are newer than the document and
    stay.

    Args:
        bootstrap: the document's text, or the JSON file that holds it.
        service: brings what the service says.
    """

    local = False

    def __init__(self, bootstrap: bytes | Path, service: Source) -> None:
        self._bootstrap = bootstrap
        self._service = service
        self.background = service.background
        self.awaited = service.awaited

    @property
    def role(self) -> Role:
        """How this process comes by the service's flags just now."""
        return self._service.role

    @property
    def heartbeat_s(self) -> float | None:
        """When the service's source gave its last sign of life."""
        return self._service.heartbeat_s

    @property
    def agreed_s(self) -> float | None:
        """When the service was last known to agree with its flags."""
        return self._service.agreed_s

    def open(self, receiver: Receiver) -> None:
        """Deliver what the service's source has at once, and the document if that is nothing."""
        following = _Following(receiver)
        self._service.open(following)
        following.fill(self._bootstrap)

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Deliver what the service says within that time, and the document if that is nothing."""
        following = _Following(receiver)
        self._service.fetch(following, timeout_s)
        following.fill(self._bootstrap)

    def run(self, stopping: threading.Event) -> None:
        """Deliver what the service says until the event is set."""
        self._service.run(stopping)

    def wake(self) -> None:
        """End whatever the service's source waits for."""
        self._service.wake()


class _Following:
    """A receiver whose bootstrap flags are no place to resume from: the service is to send all it has."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._bootstrap: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        snapshot = self._receiver.snapshot
        return None if snapshot is self._bootstrap else snapshot

    def fill(self, bootstrap: bytes | Path) -> None:
        """Deliver the bootstrap document if there are no flags."""
        if self._receiver.snapshot is None:
            self._receiver.deliver(_delivery(bootstrap, is_stale=True))
            self._bootstrap = self._receiver.snapshot

    def deliver(self, delivery: Delivery) -> bool:
        return self._receiver.deliver(delivery)

    def dump(self) -> Iterable[bytes] | None:
        return self._receiver.dump() if self.snapshot is not None else None


def _delivery(bootstrap: bytes | Path, *, is_stale: bool) -> Delivery:
    if isinstance(bootstrap, bytes):
        return Delivery(documents=_documents(NAME, bootstrap), is_stale=is_stale)
    try:
        content = bootstrap.read_bytes()
    except OSError as error:
        return Delivery(error=TransportError(f"{bootstrap}: {error.strerror or type(error).__name__}"))
    return Delivery(documents=_documents(str(bootstrap), content), is_stale=is_stale)


def _documents(name: str, content: bytes) -> Sequence[Document]:
    return (Document(name=name, content=content),)
