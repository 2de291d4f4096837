"""`Lane`: one way to the service, with the batch that is being made for it. The own events have one, those of others another."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from flagmw.events.batches import Batch
from flagmw.events.buffer import Entry, Source
from flagmw.events.posting import Outage


class Left(Source, Protocol):
    """What processes that are gone have left."""

    next_scan_s: float
    """When to look again, on the monotonic clock."""

    def scan(self) -> bool:
        """Look for what was left if it is time; whether there is something to take."""
        ...

    def dropped(self) -> int:
        """Count the events that were dropped to keep within bounds."""
        ...


class Lane:
    """One way to the service: a source of events, the batch that is being made, and those that are under way.

    Args:
        source: of the events.
        max_items: how many items a body may have.
        outage: of this way.
    """

    __slots__ = ("_carry", "_has_carry", "_max_items", "batch", "outage", "parts", "source", "try_at_s")

    def __init__(self, source: Source, max_items: int, outage: Outage) -> None:
        self.source = source
        self.outage = outage
        self.batch = Batch()
        self.parts: deque[Batch] = deque()
        self.try_at_s = 0.0
        self._max_items = max_items
        self._carry: Entry = None
        self._has_carry = False

    def fill(self) -> bool:
        """Take along what fits; whether the batch is full."""
        batch, max_items = self.batch, self._max_items
        try:
            while not self._has_carry and len(batch.items) < max_items:
                entry = self.source.take()
                self._has_carry = not batch.has_room_for(entry, max_items)
                if self._has_carry:
                    self._carry = entry
                else:
                    batch.add(entry)
        except IndexError:
            pass
        return self._has_carry or len(batch.items) >= max_items

    def close_batch(self) -> Batch:
        """Give the batch and begin the next."""
        batch, self.batch = self.batch, Batch()
        if self._has_carry:
            self.batch.add(self._carry)
            self._carry, self._has_carry = None, False
        return batch

    @property
    def room(self) -> int:
        """How many more items make the batch full."""
        return self._max_items - len(self.batch.items)
