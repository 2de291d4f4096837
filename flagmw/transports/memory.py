"""A transport without I/O: documents that the program itself hands over."""

from __future__ import annotations

import threading
import time
import weakref

from flagmw.core.documents import Document
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver


class MemoryChannel:
    """Holds one document and tells every source made from it when it is replaced. Any thread may call."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._receivers: weakref.WeakSet[Receiver] = weakref.WeakSet()

    def put(self, document: Document) -> None:
        """Replace the document; when this returns, all clients of this process evaluate the new one."""
        self._document = document
        for receiver in list(self._receivers):
            receiver.deliver(Delivery(documents=(document,)))

    def attach(self, receiver: Receiver) -> None:
        """Deliver the document now and at every replacement."""
        self._receivers.add(receiver)
        receiver.deliver(Delivery(documents=(self._document,)))


class MemorySource:
    """Brings what a `MemoryChannel` holds."""

    background = False
    local = True
    awaited = False
    role = Role.ALONE
    heartbeat_s: float | None = None

    def __init__(self, channel: MemoryChannel) -> None:
        self._channel = channel

    @property
    def agreed_s(self) -> float | None:
        """Give now: there is nowhere anything newer could be."""
        return time.monotonic()

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Deliver what can be had at once."""
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        """Deliver the document and ask for its replacements."""
        self._channel.attach(receiver)

    def run(self, stopping: threading.Event) -> None:
        """Do nothing: replacements come from the thread that makes them."""

    def wake(self) -> None:
        """Do nothing: nothing waits."""
