"""`SpoolBuffer`: keeps events in files that outlive the process, each with one `os.write` before `put` returns.

Writers take no lock. A file has one writing side, an `Appender`; when the file is large enough it is replaced by one
assignment, and the file is closed when the last writer has let go of the old one and all in it is shipped.

What cannot be written (a full disk, a broken one) waits in memory, at most `capacity` events of it, with the place in
the files where it would have stood, so that the order is kept. Whatever finds no room there is dropped and counted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from flagmw.events import Record
from flagmw.events.buffer import Entry
from flagmw.events.guard import Guard
from flagmw.events.lines import line_of
from flagmw.events.room import MIN_SEGMENT_BYTES, Room, Trouble
from flagmw.events.segments import Appender, Segment, drop_inherited

MAX_NAMES = 10
"""How many names are tried for a new file."""

BEGIN_INTERVAL_S = 1.0
"""How long to wait after a file could not be made: trying costs more than an event."""

TIDY_INTERVAL_S = 5.0
"""How often the files are looked after."""


class SpoolBuffer:
    """Holds the events of one process in one folder.

    Args:
        room: the folder and its bounds.
        encode: makes what is sent of an event; must not raise. It runs in `put`.
        ring: wakes the thread that takes.
        capacity: how many events wait in memory while they cannot be written.
        monotonic: the clock.
    """

    is_lasting = True

    def __init__(
        self,
        room: Room,
        *,
        encode: Callable[[Record], Entry],
        ring: Callable[[], None],
        capacity: int,
        monotonic: Callable[[], float],
    ) -> None:
        drop_inherited()
        self.stem = f"events-{os.getpid()}-{os.urandom(6).hex()}"
        self._room = room
        self._encode = encode
        self._ring = ring
        self._capacity = capacity
        self._monotonic = monotonic
        self._segment_bytes = room.segment_bytes([])
        self._number = 0
        self._since = 0
        self._appender: Appender | None = None
        self._unwritten = Trouble(
            logging.WARNING, "%d events could not be written to disk and wait in memory: %s", monotonic
        )
        self._lost = Trouble(logging.ERROR, "%d events are dropped: %s", monotonic)
        self._guard = Guard()  # not entered by those who write, unless something is the first or too much
        self._segments: deque[tuple[int, Segment]] = deque()
        self._memory: deque[tuple[tuple[int, int], bytes, Entry]] = deque()
        self._taken: deque[tuple[Segment | None, int, bytes]] = deque()
        self._in_memory = 0
        self._dropped = 0
        self._evicted = 0
        self._is_full = False
        self._is_over = False
        self._tidy_at_s = monotonic() + TIDY_INTERVAL_S
        self._begun_s = self._begin_at_s = monotonic()

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
            if entry:
                try:
                    lines.append(line_of(entry))
                    entries.append(entry)
                except ValueError as error:
                    self._drop(1, str(error))
            elif entry is None:
                self._dropped += 1  # the encoder has told
        if lines:
            data = lines[0] if len(lines) == 1 else b"".join(lines)
            # This reference keeps the file open: see `Appender`.
            appender = self._appender or self._begin()
            written = 0
            try:
                if appender is not None:
                    written = os.write(appender.fd, data)
            except OSError as error:
                self._note(error, appender)
            if appender is not None and written == len(data):
                self._since += len(lines)
                appender.written_bytes += written
                if appender.written_bytes >= self._segment_bytes:
                    self._replace(appender)
            else:
                self._remember(appender, lines, entries, written)
        return len(self._taken) + self._since or 1

    def _begin(self) -> Appender | None:
        """Begin with a file if there is none; None when that cannot be done."""
        with self._guard:
            if self._appender is None and self._monotonic() >= self._begin_at_s:
                self._appender = self._make()
            return self._appender

    def _replace(self, appender: Appender) -> None:
        """Go on in another file, unless somebody else is at it or that cannot be done; then make room."""
        if self._guard.enter_alone():
            try:
                self._turn(appender)
            finally:
                self._guard.__exit__()

    def _turn(self, appender: Appender) -> None:
        if self._appender is appender:
            self._appender = self._make() or appender
            self._make_room()

    def _make(self) -> Appender | None:
        for _ in range(MAX_NAMES):
            self._number += 1
            number = self._number
            try:
                segment = Segment.create(self._room.folder / f"{self.stem}-{number}.spool")
            except FileExistsError:
                continue
            except OSError as error:
                self._note(error, None)
                break
            self._segments.append((number, segment))
            self._begun_s = self._monotonic()
            return Appender(segment, self._ring)
        self._begin_at_s = self._monotonic() + BEGIN_INTERVAL_S
        return None

    def _remember(
        self, appender: Appender | None, lines: Sequence[bytes], entries: Sequence[Entry], written: int
    ) -> None:
        """Keep what was not written, behind all that is in its file by now."""
        unwritten = lost = 0
        with self._guard:
            place = (self._number, 0)
            for number, segment in list(self._segments):
                if appender is None or segment.fd == appender.fd:
                    place = (number, segment.size_bytes())
            for line, entry in zip(lines, entries, strict=True):
                written -= len(line)
                if written >= 0:
                    continue
                if self._in_memory < self._capacity and not self._is_over:
                    self._in_memory += 1
                    self._memory.append((place, line, entry))
                    unwritten += 1
                else:
                    lost += 1
            self._since += 1
            self._dropped += lost
            self._is_full = True
        if unwritten:
            self._unwritten.note(unwritten, self._reason)
        if lost:
            self._lost.note(lost, f"they can neither be written ({self._reason}) nor wait in memory")

    _reason = "a file took a part of them only"

    def _note(self, error: OSError, appender: Appender | None) -> None:
        self._reason = error.strerror or type(error).__name__
        if appender is None:
            return
        if error.errno == errno.EFBIG and appender.written_bytes:
            self._replace(appender)  # another file may grow up to the limit, too
        elif error.errno == errno.EBADF:
            # Somebody has closed all descriptors. The number may come back at once, so nobody is to use it any more.
            with self._guard:
                for number, segment in list(self._segments):
                    if not segment.is_mine():
                        self._abandon(number, segment)

    def _drop(self, count: int, reason: str) -> None:
        with self._guard:
            self._dropped += count
        self._lost.note(count, reason)

    # --- giving events out ------------------------------------------------------------------------------------

    def take(self) -> Entry:
        """Read the next event.

        Raises:
            IndexError: there is none.
        """
        with self._guard:
            self._since = 0
            for number, segment in self._readable():
                if self._memory:
                    start = segment.peek()
                    if self._memory[0][0] <= (number, start if start is not None else segment.size_bytes()):
                        return self._take_from_memory()
                line = segment.read()
                if line is not None:
                    self._taken.append((segment, line[0], b""))
                    return line[1]
                if not segment.is_sealed and segment is not self._segments[-1][1]:
                    raise IndexError  # somebody is about to write, and rings when that is done
            if self._memory:
                return self._take_from_memory()
            raise IndexError

    def _take_from_memory(self) -> Entry:
        _, line, entry = self._memory.popleft()
        self._taken.append((None, 0, line))
        return entry

    def _readable(self) -> Iterator[tuple[int, Segment]]:
        """Go through the files; those that cannot be read are left to others."""
        for number, segment in list(self._segments):
            try:
                segment.has_line()
            except OSError:
                self._abandon(number, segment)
            else:
                yield number, segment

    def _abandon(self, number: int, segment: Segment) -> None:
        self._forget(number, segment)
        appender = self._appender
        if appender is not None and appender.fd == segment.fd:
            self._appender = None
        segment.close()

    def _forget(self, number: int, segment: Segment) -> None:
        with contextlib.suppress(ValueError):  # whoever came in between, such as a signal's handler, was quicker
            self._segments.remove((number, segment))

    def has_more(self) -> bool:
        """Tell whether `take` would give an event."""
        with self._guard:
            for _, segment in self._readable():
                if segment.has_line():
                    return True
                if not segment.is_sealed and segment is not self._segments[-1][1]:
                    return False
            return bool(self._memory)

    def settle(self, count: int) -> None:
        """Let go of the oldest events."""
        with self._guard:
            ends: dict[Segment, int] = {}
            for _ in range(count):
                segment, end_bytes, _ = self._taken.popleft()
                if segment is not None:
                    ends[segment] = end_bytes
                else:
                    self._in_memory -= 1
            for segment, end_bytes in ends.items():
                segment.settle(end_bytes)
            self._shrink()
            self._remove_shipped()

    def _shrink(self) -> None:
        """Begin with a new file when all is shipped, so that a quiet process has a small one, and a full disk room."""
        appender = self._appender
        is_large = appender is not None and (appender.written_bytes > MIN_SEGMENT_BYTES or self._is_full)
        del appender  # so that nobody writes any more
        if is_large and not self.has_more():
            self._is_full = False
            self._appender = None
            self._remove_shipped()
            self._appender = self._make()

    def _remove_shipped(self) -> None:
        for number, segment in self._readable():
            if not segment.is_sealed or segment.settled_bytes < segment.next_bytes or segment.has_line():
                return
            self._forget(number, segment)
            segment.remove()

    def __len__(self) -> int:
        """Count the events that are held."""
        with self._guard:
            return len(self._taken) + len(self._memory) + sum(segment.unread() for _, segment in self._readable())

    # --- looking after the files ------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Look after the files if it is time for that; for the thread that takes."""
        self._lost.tell()
        now_s = self._monotonic()
        if now_s < self._tidy_at_s:
            return
        self._tidy_at_s = now_s + TIDY_INTERVAL_S
        with self._guard:
            for number, segment in list(self._segments):
                if not segment.is_mine():  # somebody has closed all descriptors
                    self._abandon(number, segment)
                elif not segment.is_in_place():  # somebody clears temporary files
                    self._replace_lost(segment)
            appender = self._appender
            if appender is not None and appender.written_bytes and now_s - self._begun_s > self._room.turn_s:
                self._turn(appender)
            else:
                self._make_room()
            del appender
            self._remove_shipped()
        self._unwritten.tell()

    def _replace_lost(self, segment: Segment) -> None:
        """Write elsewhere when the file is gone; what is in it is still read."""
        appender = self._appender
        if appender is not None and appender.fd == segment.fd:
            self._room.remake()
            self._turn(appender)

    def _make_room(self) -> None:
        """Drop own files that are too old, or too much."""
        files = self._room.look()
        self._segment_bytes = self._room.segment_bytes(files)
        doomed = {file.path for file in self._room.doomed(files, self.stem)}
        evicted = 0
        for number, segment in self._readable():
            if segment.path in doomed and segment.is_sealed:
                evicted += segment.unread()
                self._forget(number, segment)
                segment.remove()
        if evicted:
            self._dropped += evicted
            self._evicted += evicted
            self._lost.count(evicted, "they are the oldest, and there is no room for more, or they are too old")
            self._ring()  # the thread tells of it

    # --- the rest ---------------------------------------------------------------------------------------------

    def dropped(self) -> int:
        """Count the events that were lost before they could be taken."""
        return self._dropped

    def evicted(self) -> int:
        """Count those among them that were held."""
        return self._evicted

    def size_bytes(self) -> int:
        """Tell how much the files take."""
        with self._guard:
            return sum(segment.size_bytes() for _, segment in list(self._segments))

    def end(self) -> None:
        """Nothing is taken any more: leave no file where nothing is left, and nothing in memory."""
        with self._guard:
            self._is_over = True
            unwritten = [line for segment, _, line in self._taken if segment is None]
            unwritten += [line for _, line, _ in self._memory]
            self._taken = deque(place for place in self._taken if place[0] is not None)
            self._memory.clear()
            lost = sum(not self._save(line) for line in unwritten)
            self._dropped += lost
            self._appender = None
            self._remove_shipped()
        if lost:
            self._lost.note(lost, f"they could neither be delivered in time nor written ({self._reason})")
        self._lost.tell(is_last=True)

    def _save(self, line: bytes) -> bool:
        appender = self._appender or self._begin()
        try:
            return appender is not None and os.write(appender.fd, line) == len(line)
        except OSError as error:
            self._note(error, None)
            return False
