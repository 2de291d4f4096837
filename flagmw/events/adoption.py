"""`Adoption`: ships what processes that are gone have left in the folder of this environment.

Whether a process is gone is told by the lock of its file. The files of one process are taken over in their order, by
whoever has the lock of the first; the next is locked before the one before it is removed.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from flagmw.events.buffer import Entry
from flagmw.events.segments import Segment, Taken, identity_at, open_files, parts_of

SCAN_INTERVAL_S = 5.0
"""How often is looked for files of processes that are gone, at most; at least half of it."""


class Adoption:
    """Gives out events of processes that are gone. For one thread at a time.

    Args:
        folder: where the files are.
        monotonic: the clock between scans.
        random: spreads the scans of several processes; gives a number in [0, 1).
    """

    def __init__(self, folder: Path, *, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._random = random
        self._adopted: deque[Segment] = deque()
        self._taken: deque[tuple[Segment, int]] = deque()
        self.next_scan_s = monotonic()

    def scan(self) -> bool:
        """Look for what was left, if it is time for that and there is nothing left of what was found before.

        Returns:
            Whether there is something to take.
        """
        now_s = self._monotonic()
        if not self._adopted and now_s >= self.next_scan_s:
            self.next_scan_s = now_s + SCAN_INTERVAL_S * (0.5 + 0.5 * self._random())
            for stem, number in self._groups():
                if self._adopt(stem, number):
                    self.next_scan_s = now_s  # others may have left something, too
                    break
        return bool(self._adopted)

    def _groups(self) -> list[tuple[str, int]]:
        """Give the first file of each process that has one here."""
        first: dict[str, int] = {}
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                parts = parts_of(name)
                if parts is not None:
                    stem = f"events-{parts[0]}-{parts[1]}"
                    first[stem] = min(parts[2], first.get(stem, parts[2]))
        return sorted(first.items())

    def _adopt(self, stem: str, number: int) -> bool:
        path = self._folder / f"{stem}-{number}.spool"
        # Looked at anew for each, and never opened when this process has it open: see `segments`.
        if identity_at(path) in open_files():
            return False
        try:
            self._adopted.append(Segment.adopt(path))
        except (OSError, Taken):
            return False
        return True

    # --- as a buffer ------------------------------------------------------------------------------------------

    def take(self) -> Entry:
        """Give the next event.

        Raises:
            IndexError: there is none.
        """
        if self._adopted:
            segment = self._adopted[-1]
            line = segment.read()
            if line is not None:
                self._taken.append((segment, line[0]))
                return line[1]
            if not self._taken:
                self._go_on()
                if self._adopted:
                    return self.take()
        raise IndexError

    def _go_on(self) -> None:
        """Let go of a file that is done, for the next one of its process."""
        segment = self._adopted.pop()
        stem, _, number = segment.path.stem.rpartition("-")
        later = [n for s, n in self._numbers() if s == stem and n > int(number)]
        if later:
            self._adopt(stem, min(later))
        segment.remove()

    def _numbers(self) -> list[tuple[str, int]]:
        found = []
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                parts = parts_of(name)
                if parts is not None:
                    found.append((f"events-{parts[0]}-{parts[1]}", parts[2]))
        return found

    def has_more(self) -> bool:
        """Tell whether there may be events to take."""
        return bool(self._adopted)

    def settle(self, count: int) -> None:
        """Let go of the oldest events."""
        ends: dict[Segment, int] = {}
        for _ in range(count):
            segment, end_bytes = self._taken.popleft()
            ends[segment] = end_bytes
        for segment, end_bytes in ends.items():
            segment.settle(end_bytes)

    def __len__(self) -> int:
        """Count the events that were taken and not settled."""
        return len(self._taken)

    def end(self) -> None:
        """Leave the rest to others."""
        while self._adopted:
            segment = self._adopted.pop()
            if not self._taken and segment.peek() is None:
                segment.remove()
            segment.close()
