"""`Adoption`: ships what processes that are gone have left in the folder of this environment.

Whether a process is gone is told by the lock of its file. The files of one process are taken over in their order: none
before the one before it is shipped and removed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from flagmw.events.buffer import Entry
from flagmw.events.room import File, Room, Trouble
from flagmw.events.segments import Identity, Segment, Taken, open_files

SCAN_INTERVAL_S = 5.0
"""How often is looked for files of processes that are gone, at most; at least half of it."""


class Adoption:
    """Gives out events of processes that are gone. For one thread at a time.

    Args:
        room: the folder and its bounds.
        monotonic: the clock between scans.
        random: spreads the scans of several processes; gives a number in [0, 1).
    """

    def __init__(self, room: Room, *, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._room = room
        self._monotonic = monotonic
        self._random = random
        self._segment: Segment | None = None
        self._taken: deque[tuple[Segment, int]] = deque()
        self._lost = Trouble(logging.ERROR, "%d events of processes that are gone are dropped: %s", monotonic)
        self._dropped = 0
        self.next_scan_s = monotonic()

    def scan(self) -> bool:
        """Look for what was left if it is time for that, unless there is something left of what was found before.

        Returns:
            Whether there is something to take.
        """
        now_s = self._monotonic()
        if now_s >= self.next_scan_s:
            self.next_scan_s = now_s + SCAN_INTERVAL_S * (0.5 + 0.5 * self._random())
            self._lost.tell()
            self._look()
        return self._segment is not None

    def _look(self) -> None:
        files = self._room.look()
        if not files:
            return
        # What this process has open is never opened again: see `segments`.
        ours = open_files()
        for file in self._room.doomed(files):
            segment = None if file.identity in ours else _claimed(file)
            if segment is not None:
                self._drop(segment)
        if self._segment is None:
            self._segment = _next_of(files, ours)

    def _drop(self, segment: Segment) -> None:
        count = segment.unread()
        segment.remove()
        if count:
            self._dropped += count
            self._lost.note(count, "they are the oldest, and there is no room for more, or they are too old")

    # --- as a source of events --------------------------------------------------------------------------------

    def take(self) -> Entry:
        """Give the next event.

        Raises:
            IndexError: there is none.
        """
        segment = self._segment
        if segment is None:
            raise IndexError
        try:
            line = segment.read()
        except OSError:  # it cannot be read: whoever adopts it next may have more luck
            segment.close()
            self._segment = None
            raise IndexError from None
        if line is not None:
            self._taken.append((segment, line[0]))
            return line[1]
        if not self._taken:
            segment.remove()
            self._segment = None
            self.next_scan_s = self._monotonic()  # there may be more
        raise IndexError

    def settle(self, count: int) -> None:
        """Let go of the oldest events."""
        ends: dict[Segment, int] = {}
        for _ in range(count):
            segment, end_bytes = self._taken.popleft()
            ends[segment] = end_bytes
        for segment, end_bytes in ends.items():
            segment.settle(end_bytes)

    def dropped(self) -> int:
        """Count the events that were dropped to keep within the bounds."""
        return self._dropped

    def end(self) -> None:
        """Leave the rest to others."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._finish(segment)
        self._lost.tell(is_last=True)

    def _finish(self, segment: Segment) -> None:
        try:
            is_done = not self._taken and segment.peek() is None
        except OSError:
            is_done = False
        if is_done:
            segment.remove()
        segment.close()


def is_something_left(room: Room) -> bool:
    """Tell whether processes that are gone have left something; nothing is taken over."""
    files = room.look()
    segment = _next_of(files, open_files()) if files else None
    if segment is None:
        return False
    segment.close()
    return True


def _next_of(files: Sequence[File], ours: set[Identity]) -> Segment | None:
    """Take the next file over; None when there is none without an owner."""
    first = [file for file in _first_of_each(files) if file.identity not in ours]
    return next(filter(None, map(_claimed, first)), None)


def _claimed(file: File) -> Segment | None:
    """Take a file over; None when it has an owner, or is gone."""
    try:
        return Segment.adopt(file.path)
    except (OSError, Taken):
        return None


def _first_of_each(files: Sequence[File]) -> list[File]:
    """Give the first file of each process, the oldest first."""
    first: dict[str, File] = {}
    for file in files:
        known = first.get(file.stem)
        if known is None or file.number < known.number:
            first[file.stem] = file
    return list(first.values())
