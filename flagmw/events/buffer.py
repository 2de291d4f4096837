"""Where events are between the call that makes them and their delivery: the seam for keeping them safe from a crash.

`Buffer` is what shipping needs of such a place, `MemoryBuffer` keeps it in memory, `spool.SpoolBuffer` in a file.

Needs nothing of delivery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from flagmw.events import Item, Record

Entry = Sequence[Item] | None
"""An event as it is sent: its items, empty when the service has no use for it, None when it cannot be encoded."""


class Source(Protocol):
    """Gives events out, in the order in which they came. Only the shipping thread calls."""

    def take(self) -> Entry:
        """Give the oldest event that was not given yet, and go on holding it.

        Raises:
            IndexError: there is none.
        """
        ...

    def settle(self, count: int) -> None:
        """Let go of the oldest `count` events, all of which were taken."""
        ...

    def end(self) -> None:
        """Nothing is taken any more; what is left may be of use to others."""
        ...


class Buffer(Source, Protocol):
    """Holds events. What `Source` has not is for any thread."""

    @property
    def is_lasting(self) -> bool:
        """Whether what is left at the end is kept for others, rather than lost."""
        ...

    def put(self, record: Record) -> int:
        """Take an event, without raising and without waiting.

        Returns:
            About how many are held now, at least 1; 0 when there is no room, and the event is not held.
        """
        ...

    def has_more(self) -> bool:
        """Tell whether `take` would give an event."""
        ...

    def dropped(self) -> int:
        """Count the events that were put, and lost before they were taken; without those for which put gave 0."""
        ...

    def evicted(self) -> int:
        """Count those among them that were held, the oldest ones."""
        ...

    def tidy(self) -> None:
        """Do what has to be done now and then; only the shipping thread calls, often."""
        ...

    def size_bytes(self) -> int:
        """Tell how much room on disk the events take."""
        ...

    def __len__(self) -> int:
        """Count the events that are held."""
        ...


class MemoryBuffer:
    """Holds events in memory, and encodes them when they are taken. A forked child starts with a new one.

    Args:
        capacity: how many are held at most; threads that put at the same moment may go beyond it by one each.
        encode: makes what is sent of an event; runs in the shipping thread, must not raise.
    """

    __slots__ = ("_capacity", "_encode", "_records", "_taken")

    is_lasting = False

    def __init__(self, capacity: int, encode: Callable[[Record], Entry]) -> None:
        self._capacity = capacity
        self._encode = encode
        self._records: deque[Record] = deque()
        self._taken = 0

    def put(self, record: Record) -> int:
        """Take an event; 0 when there is no room."""
        records = self._records
        held = len(records)
        if held >= self._capacity:
            return 0
        records.append(record)
        return held + 1

    def take(self) -> Entry:
        """Give the oldest event that was not given yet.

        Raises:
            IndexError: there is none.
        """
        # By index, since an event leaves the deque only when it is settled; the first few hundred are near its end.
        record = self._records[self._taken]
        self._taken += 1
        return self._encode(record)

    def settle(self, count: int) -> None:
        """Let go of the oldest events."""
        for _ in range(count):
            self._records.popleft()
        self._taken -= count

    def end(self) -> None:
        """Go on holding what is left, so that it can be counted."""

    def has_more(self) -> bool:
        """Tell whether there is an event that was not given yet."""
        return len(self._records) > self._taken

    def dropped(self) -> int:
        """Nothing that was taken in is dropped here."""
        return 0

    def evicted(self) -> int:
        """Nothing that is held is dropped."""
        return 0

    def tidy(self) -> None:
        """Nothing has to be done."""

    def size_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    def __len__(self) -> int:
        """Count the events that are held."""
        return len(self._records)
