"""`Adoption`: ships what processes that are gone have left in the folder of this environment.

Whether a process is gone is told by the lock of its file. The files of one process are taken over in their order, by
whoever has the lock of the first; the next is locked before the one before it is removed.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence

from flagmw.events.buffer import Entry
from flagmw.events.room import File, Room, Trouble
from flagmw.events.segments import Identity, Segment, Taken, open_files

SCAN_INTERVAL_S = 5.0
"""How often is looked for files of processes that are gone, at most; at least half of it."""

# Files that another client of this process has taken over: closing them would free its lock.
_parked: dict[Identity, Segment] = {}


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
        ours = open_files() - _parked.keys()
        for file in self._room.doomed(files):
            segment = None if file.identity in ours else self._claim(file)
            if segment is not None:
                self._drop(segment)
        if self._segment is None:
            first = [file for file in _first_of_each(files) if file.identity not in ours]
            self._segment = next(filter(None, map(self._claim, first)), None)

    def _drop(self, segment: Segment) -> None:
        count = 0
        with contextlib.suppress(OSError):  # it cannot be read, which is one more reason
            count = segment.unread()
        segment.remove()
        if count:
            self._dropped += count
            self._lost.note(count, "they are the oldest, and there is no room for more, or they are too old")

    def _claim(self, file: File) -> Segment | None:
        """Take a file over; None when it has an owner, or is gone."""
        segment = _parked.pop(file.identity, None)
        try:
            if segment is None or not segment.is_mine():
                segment = Segment.of_another(file.path)
            if segment.claim():
                return segment
        except Taken:
            if segment is not None:
                segment.close()
        except OSError:
            pass
        else:
            _parked[file.identity] = segment
        return None

    # --- as a source of events --------------------------------------------------------------------------------

    def take(self) -> Entry:
        """Give the next event.

        Raises:
            IndexError: there is none.
        """
        while self._segment is not None:
            try:
                line = self._segment.read()
            except OSError:  # it cannot be read: whoever adopts it next may have more luck
                self._segment.close()
                self._segment = None
                break
            if line is not None:
                self._taken.append((self._segment, line[0]))
                return line[1]
            if self._taken:
                break
            self._go_on(self._segment)
        raise IndexError

    def _go_on(self, done: Segment) -> None:
        """Let go of a file that is shipped, for the next one of the same process."""
        stem, number = done.path.stem.rpartition("-")[0], int(done.path.stem.rpartition("-")[2])
        later = _first_of_each([file for file in self._room.look() if file.stem == stem and file.number > number])
        is_ours = bool(later) and later[0].identity in open_files() - _parked.keys()
        self._segment = self._claim(later[0]) if later and not is_ours else None
        done.remove()
        self.next_scan_s = self._monotonic()  # there may be more

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


def _first_of_each(files: Sequence[File]) -> list[File]:
    """Give the first file of each process, the oldest first."""
    first: dict[str, File] = {}
    for file in files:
        known = first.get(file.stem)
        if known is None or file.number < known.number:
            first[file.stem] = file
    return list(first.values())
