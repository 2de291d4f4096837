"""`SpoolBuffer`: keeps events in files that outlive the process, each with one `os.write` before `put` returns.

Writers take no lock. A file has one writing side, an `Appender`; when the file is large enough it is replaced by one
assignment, and the file is closed when the last writer has let go of the old one and all in it is shipped.

What cannot be written (a full disk, a broken one) waits in memory, at most `capacity` events of it, with the place in
the files where it would have stood, so that the order is kept. Whatever finds no room there is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from flagmw.events import Record
from flagmw.events.buffer import Entry
from flagmw.events.lines import line_of
from flagmw.events.segments import Appender, Segment, drop_inherited

logger = logging.getLogger("flagmw")

MAX_SEGMENT_BYTES = 4 * 1024 * 1024
MIN_SEGMENT_BYTES = 64 * 1024
"""A file is replaced by a new one when it is larger than the one, and when all of it is shipped, than the other."""

MAX_NAMES = 10
"""How many names are tried for a new file."""


class SpoolBuffer:
    """Holds the events of one process in one folder.

    Args:
        folder: where the files are; exists, and belongs to this user alone.
        encode: makes what is sent of an event; must not raise. It runs in `put`.
        ring: wakes the thread that takes.
        capacity: how many events wait in memory while they cannot be written.
        max_bytes: of all files in the folder.
    """

    is_lasting = True

    def __init__(
        self,
        folder: Path,
        *,
        encode: Callable[[Record], Entry],
        ring: Callable[[], None],
        capacity: int,
        max_bytes: int,
    ) -> None:
        drop_inherited()
        self._folder = folder
        self._encode = encode
        self._ring = ring
        self._capacity = capacity
        self._segment_bytes = max(min(MAX_SEGMENT_BYTES, max_bytes // 8), 1)
        self._stem = f"events-{os.getpid()}-{os.urandom(6).hex()}"
        self._number = 0
        self._since = 0
        self._appender: Appender | None = None
        # Never taken by those who write; reentrant, since a signal's handler may have events, too.
        self._guard = threading.RLock()
        self._segments: deque[tuple[int, Segment]] = deque()
        self._memory: deque[tuple[tuple[int, int], Entry]] = deque()
        self._taken: deque[tuple[Segment, int] | None] = deque()
        self._dropped = 0

    # --- taking events in -------------------------------------------------------------------------------------

    def put(self, record: Record) -> int:
        """Write an event."""
        return self.put_all((record,))

    def put_all(self, records: Sequence[Record]) -> int:
        """Write events, all at once.

        Returns:
            About how many are held now, at least 1.
        """
        lines, entries = [], []
        for record in records:
            entry = self._encode(record)
            try:
                line = line_of(entry) if entry is not None else b""
            except ValueError:
                line = b""
            if line and entry:
                lines.append(line)
                entries.append(entry)
            elif not line:
                self._drop(1)
        if lines:
            appender = self._appender or self._begin()
            data = lines[0] if len(lines) == 1 else b"".join(lines)
            try:
                written = os.write(appender.fd, data) if appender is not None else 0
            except OSError as error:
                self._note(error)
                written = 0
            if appender is not None and written == len(data):
                appender.written_bytes += written
                if appender.written_bytes >= self._segment_bytes:
                    self._replace(appender)
                self._since += len(lines)
            else:
                self._remember(appender, lines, entries, written)
        return len(self._taken) + self._since + 1

    def _begin(self) -> Appender | None:
        """Begin with a file if there is none; None when that cannot be done."""
        with self._guard:
            if self._appender is None:
                self._appender = self._make()
            return self._appender

    def _replace(self, appender: Appender) -> None:
        """Go on in another file, unless somebody else is at it or that cannot be done."""
        if self._guard.acquire(blocking=False):
            try:
                if self._appender is appender:
                    self._appender = self._make() or appender
            finally:
                self._guard.release()

    def _make(self) -> Appender | None:
        for _ in range(MAX_NAMES):
            self._number += 1
            number = self._number
            try:
                segment = Segment.create(self._folder / f"{self._stem}-{number}.spool")
            except FileExistsError:
                continue
            except OSError as error:
                self._note(error)
                return None
            self._segments.append((number, segment))
            return Appender(segment, self._ring)
        return None

    def _remember(
        self, appender: Appender | None, lines: Sequence[bytes], entries: Sequence[Entry], written: int
    ) -> None:
        """Keep what was not written, behind all that is in its file by now."""
        with self._guard:
            place = (self._number, 0)
            for number, segment in self._segments:
                if appender is None or segment.fd == appender.fd:
                    place = (number, segment.size_bytes())
            if self._memory:
                place = max(place, self._memory[-1][0])
            for line, entry in zip(lines, entries, strict=True):
                if written >= len(line):
                    written -= len(line)
                elif len(self._memory) < self._capacity:
                    written = 0
                    self._memory.append((place, entry))
                else:
                    written = 0
                    self._dropped += 1
            self._since += 1

    def _drop(self, count: int) -> None:
        with self._guard:
            self._dropped += count

    def _note(self, error: OSError) -> None:
        logger.warning("events cannot be written to %s (%s)", self._folder, error.strerror)

    # --- giving events out ------------------------------------------------------------------------------------

    def take(self) -> Entry:
        """Read the next event.

        Raises:
            IndexError: there is none.
        """
        with self._guard:
            self._since = 0
            for number, segment in self._segments:
                if self._memory:
                    start = segment.peek()
                    if self._memory[0][0] <= (number, start if start is not None else segment.size_bytes()):
                        return self._take_from_memory()
                line = segment.read()
                if line is not None:
                    self._taken.append((segment, line[0]))
                    return line[1]
                if not segment.is_sealed and segment is not self._segments[-1][1]:
                    raise IndexError  # somebody is about to write, and rings when that is done
            if self._memory:
                return self._take_from_memory()
            raise IndexError

    def _take_from_memory(self) -> Entry:
        self._taken.append(None)
        return self._memory.popleft()[1]

    def has_more(self) -> bool:
        """Tell whether `take` would give an event."""
        with self._guard:
            for _, segment in self._segments:
                if segment.peek() is not None:
                    return True
                if not segment.is_sealed:
                    break
            return bool(self._memory)

    def settle(self, count: int) -> None:
        """Let go of the oldest events."""
        with self._guard:
            ends: dict[Segment, int] = {}
            for _ in range(count):
                place = self._taken.popleft()
                if place is not None:
                    ends[place[0]] = place[1]
            for segment, end_bytes in ends.items():
                segment.settle(end_bytes)
            appender = self._appender
            if appender is not None and appender.written_bytes > MIN_SEGMENT_BYTES and not self.has_more():
                self._replace(appender)
            del appender  # so that the old file has no writing side any more
            self._remove_shipped()

    def _remove_shipped(self) -> None:
        while self._segments:
            segment = self._segments[0][1]
            if not segment.is_sealed or segment.settled_bytes < segment.next_bytes or segment.peek() is not None:
                return
            self._segments.popleft()
            segment.remove()

    def __len__(self) -> int:
        """Count the events that are held."""
        with self._guard:
            return len(self._taken) + len(self._memory) + sum(segment.unread() for _, segment in self._segments)

    # --- the rest ---------------------------------------------------------------------------------------------

    def dropped(self) -> int:
        """Count the events that were lost before they could be taken."""
        return self._dropped

    def size_bytes(self) -> int:
        """Tell how much the files take."""
        with self._guard:
            return sum(segment.size_bytes() for _, segment in self._segments)

    def end(self) -> None:
        """Nothing is taken any more: leave no file where nothing is left, and no event in memory."""
        with self._guard:
            self._appender = None
            self._remove_shipped()
