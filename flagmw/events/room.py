"""`Room`: how much room events may take in the folder of an environment, and which of them make room for newer ones.

Knows the files by their names, sizes and times only; needs nothing of their content.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flagmw.events.segments import OFFSET_SUFFIX, Identity, parts_of

logger = logging.getLogger("flagmw")

MAX_SEGMENT_BYTES = 4 * 1024 * 1024
MIN_SEGMENT_BYTES = 64 * 1024
"""Bounds of the size at which a file is replaced by the next."""

TELL_INTERVAL_S = 60.0
"""How often the same trouble is told."""


class File(NamedTuple):
    """One file of a spool, as it was found.

    Attributes:
        stem: what the files of one process have in common.
        number: its place among them.
        changed_s: Unix time of the last write.
    """

    path: Path
    stem: str
    number: int
    identity: Identity
    size_bytes: int
    changed_s: float


class Room:
    """The bounds of all files in a folder, whichever processes they are of.

    Events that are older than `max_age_s`, by the time at which the last was written to their file, are dropped. When
    the files take more than `max_bytes`, less what the processes may yet write to their newest files, the oldest files
    are dropped: each process drops its own ones, and any process those whose owner is gone. The newest file of a
    process that lives is never dropped. A process looks when it begins a new file, and every few seconds while its
    shipping thread runs. Whatever is dropped is counted by the process that drops it, and told, once a minute at most.

    Args:
        folder: where the files are.
        remake: makes the folder anew when it is gone.
        max_bytes: of all files together.
        max_age_s: of an event.
        wall_clock: gives Unix time.
    """

    def __init__(
        self,
        folder: Path,
        remake: Callable[[], object],
        *,
        max_bytes: int,
        max_age_s: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self.folder = folder
        self.remake = remake
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._wall_clock = wall_clock

    @property
    def turn_s(self) -> float:
        """How old a file may become before a new one is begun, so that not much is dropped before its time."""
        return self._max_age_s / 8

    def look(self) -> list[File]:
        """Give the files that are there, the oldest first. What is left of files that are gone is removed."""
        found, offsets = [], []
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                parts = parts_of(entry.name)
                if parts is not None:
                    with contextlib.suppress(OSError):
                        info = entry.stat(follow_symlinks=False)
                        stem, number = f"events-{parts[0]}-{parts[1]}", parts[2]
                        identity = info.st_dev, info.st_ino
                        path = self.folder / entry.name
                        found.append(File(path, stem, number, identity, info.st_size, info.st_mtime))
                elif entry.name.endswith(OFFSET_SUFFIX):
                    offsets.append(self.folder / entry.name)
        for path in offsets:
            # A file is there before its offset, and no name comes twice.
            if not os.path.lexists(path.with_suffix(".spool")):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        return sorted(found, key=lambda file: (file.changed_s, file.stem, file.number))

    def segment_bytes(self, files: Sequence[File]) -> int:
        """Tell at which size a file is replaced by the next: the newest files together take a quarter at most."""
        processes = max(len({file.stem for file in files}), 1)
        least = max(min(MIN_SEGMENT_BYTES, self._max_bytes // 16), 1)
        return max(min(MAX_SEGMENT_BYTES, self._max_bytes // (4 * processes)), least)

    def doomed(self, files: Sequence[File], stem: str | None = None) -> list[File]:
        """Tell which files are to be dropped, if they can be.

        Args:
            files: as `look` gives them.
            stem: of the caller's own files, if it is about these: when the bound is reached, nobody waits for others to
                drop theirs.
        """
        processes = len({file.stem for file in files})
        kept_bytes = sum(file.size_bytes for file in files)
        reserve_bytes = min(processes * self.segment_bytes(files), self._max_bytes // 2)
        is_full = kept_bytes > self._max_bytes
        too_old_s = self._wall_clock() - self._max_age_s
        found = []
        for file in files:
            is_old = file.changed_s < too_old_s
            is_excess = kept_bytes > self._max_bytes - reserve_bytes and (
                not is_full or stem is None or file.stem == stem
            )
            if is_old or is_excess:
                found.append(file)
                kept_bytes -= file.size_bytes
        return found


class Trouble:
    """Tells of one kind of trouble: at once when it begins, then once a minute at most, with the count since then.

    Any thread may call, also while it is inside another call.

    Args:
        level: of the log lines.
        message: has a `%d` for the count and a `%s` for the reason.
        monotonic: the clock.
    """

    def __init__(self, level: int, message: str, monotonic: Callable[[], float]) -> None:
        self._level = level
        self._message = message
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._untold = 0
        self._reason = ""
        self._next_s: float | None = None

    def note(self, count: int, reason: str) -> None:
        """Count, and tell if it is time for that."""
        self.count(count, reason)
        self.tell()

    def count(self, count: int, reason: str) -> None:
        """Count, for whoever tells next."""
        with self._lock:
            self._untold += count
            self._reason = reason

    def tell(self, *, is_last: bool = False) -> None:
        """Tell what was not told yet, if it is time for that or the last time."""
        with self._lock:
            now_s = self._monotonic()
            if not self._untold or not (is_last or self._next_s is None or now_s >= self._next_s):
                return
            self._next_s = now_s + TELL_INTERVAL_S
            count, self._untold = self._untold, 0
        logger.log(self._level, self._message, count, self._reason)
