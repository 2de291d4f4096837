"""Where events are between the call that makes them and their delivery: the seam for keeping them safe from a crash.

`Buffer` is what shipping needs of such a place, `MemoryBuffer` keeps it in memory. A spool on disk replaces it so:

- `put` encodes the event (`MemoryBuffer` leaves that to `take`) and appends it to the process's spool file before it
  returns; 0 means that the spool has reached its bound;
- `take` reads on from a cursor that only the shipping thread has, so that `put` and `take` need no common lock;
- `settle` moves the start of what is to be delivered past events whose fate is known, in the file as well: after a
  crash, whoever adopts the file starts there, and delivers again what was under way (with the same event ids);
- `len` counts what is not settled, which with a spool may be more than this process has put.

Needs nothing of delivery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from flagmw.events import Item, Record

Entry = Sequence[Item] | None
"""An event as it is sent: its items, empty when the service has no use for it, None when it cannot be encoded."""


class Buffer(Protocol):
    """Holds events in the order in which they came."""

    def put(self, record: Record) -> int:
        """Take an event, from any thread, without raising and without waiting.

        Returns:
            How many are held now; 0 when there is no room, and the event is not held.
        """
        ...

    def take(self) -> Entry:
        """Give the oldest event that was not given yet, and go on holding it; only the shipping thread calls.

        Raises:
            IndexError: there is none.
        """
        ...

    def settle(self, count: int) -> None:
        """Let go of the oldest `count` events, all of which were taken; only the shipping thread calls."""
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

    def __len__(self) -> int:
        """Count the events that are held."""
        return len(self._records)
