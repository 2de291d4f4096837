"""`Following`: what a process sees of the file in which another one keeps the flags, and puts in force of it.

Whether the file is kept current is judged by when its beat was seen to move, not by comparing clocks; only at the
first look is there nothing but its time stamp. Flags that are older than those in force are never taken.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.lifecycle.places import StatePlace
from flagmw.transports import Delivery, Receiver
from flagmw.transports.snapshot_file import Content, DamagedError, Header, Mark, Position, read, read_header
from flagmw.transports.upstream import Upstream

FILE = "flags"

NAME = "the flags that this host shares"

SILENT_PERIODS = 3.0
"""Without a beat for this long, the file may be old."""

MAX_FAILED_READS = 3
"""A file that cannot be read this often, one look after another, is damaged."""

REFUSED_S = 60.0
"""How long such a file is left alone, unless it is written anew."""

REOPEN_S = 2.0
"""How often a folder is tried again that cannot be used."""

CLOCK_ERROR_S = 0.001
"""How far off a time may be that was taken from one clock to another and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a process knows of the flags in force, which a forked child goes on from."""

    snapshot: Snapshot
    agreed_s: float | None
    newest_s: float
    position: Position | None
    resume: bytes | None


_known: dict[str, _Known] = {}
"""By folder. Replaced by single operations of a dict only; plain data, so that a fork cannot tear it."""


class Following:
    """One process's view of the file. Belongs to one thread.

    Args:
        place: where the file lies.
        period_s: how often its writer beats.
        monotonic: the clock for all that is measured.
        wall_clock: Unix time in seconds.

    Attributes:
        folder: where the file lies, None where that cannot be used.
        header: what the file said last; None while there is no file that can be read.
        agreed_s: as of when the flags in force are known to be the service's, by the monotonic clock.
        newest_s: up to when they may be the newest: older ones are not taken.
        position: up to where the file is in force; None if it is not.
        resume: from where a source goes on from the flags in force; None if that is not known.
    """

    def __init__(
        self, place: StatePlace, period_s: float, monotonic: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        self.folder: Path | None = None
        self.header: Header | None = None
        self.agreed_s: float | None = None
        self.newest_s: float | None = None
        self.position: Position | None = None
        self.resume: bytes | None = None
        self._place = place
        self._key = os.fspath(place.path())
        self._period_s = period_s
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._reopen_s = -math.inf
        self._followed: bytes | None = None
        self._signature: tuple[int, int, int] | None = None
        self._beat_s = -math.inf
        self._failed_reads = 0
        self._refused: bytes | None = None
        self._refused_until_s = -math.inf

    # --- looking ----------------------------------------------------------------------------------------------

    def look(self, *, is_first: bool = False) -> bool:
        """See what the file says; never raises.

        Args:
            is_first: there was no look before that could tell whether the beat moves; its time stamp is to tell.

        Returns:
            Whether its writer has beaten.
        """
        now = self._monotonic()
        folder = self.folder or self._open(now)
        if folder is None:
            return False
        try:
            info = os.stat(folder / FILE)
            signature = (info.st_ino, info.st_size, info.st_mtime_ns)
            if signature == self._signature:
                return False
            header, written_s = read_header(folder / FILE)
        except FileNotFoundError:
            self._lose()
            self._open(now)  # maybe that is gone as well
            return False
        except (OSError, DamagedError):
            self._lose()
            return False
        before, self.header, self._signature = self.header, header, signature
        if header.mark is not Mark.BEATING or (before is not None and _beat_of(before) == _beat_of(header)):
            return False
        age_s = self._wall_clock() - written_s if is_first else 0.0
        # A time to come says nothing.
        self._beat_s = now - max(age_s, 0.0) if age_s > -self._period_s else -math.inf
        return True

    def _open(self, now: float) -> Path | None:
        if now >= self._reopen_s:
            self.folder = self._place.open()
            self._reopen_s = now + (0.0 if self.folder is not None else REOPEN_S)
        if self.folder is None:
            self._lose()
        return self.folder

    def _lose(self) -> None:
        self.header = self._signature = None

    def bear_with(self, periods: float) -> None:
        """Take the file for fresh for so many periods from now on, unless its beat is known to be later."""
        self._beat_s = max(self._beat_s, self._monotonic() - (SILENT_PERIODS - periods) * self._period_s)

    @property
    def silent_s(self) -> float:
        """How long no beat was seen."""
        return self._monotonic() - self._beat_s

    @property
    def is_silent(self) -> bool:
        """Whether nobody seems to keep the file current, or what is in it is of no use."""
        return self.is_refused or self.silent_s >= SILENT_PERIODS * self._period_s

    @property
    def is_refused(self) -> bool:
        """Whether the file's flags could not be read, or not be put in force."""
        is_meant = self.header is not None and self.header.edition == self._refused
        return is_meant and self._monotonic() < self._refused_until_s

    @property
    def is_fresh(self) -> bool:
        """Whether the file is kept current and can be used."""
        return self.header is not None and self.header.mark is Mark.BEATING and not self.is_silent

    @property
    def is_free(self) -> bool:
        """Whether nobody says to write the file."""
        return self.header is None or self.header.mark is Mark.RESIGNED

    @property
    def is_followed(self) -> bool:
        """Whether the flags in force are the file's."""
        return self.header is not None and self.header.leader == self._followed and self.position is not None

    # --- putting in force -------------------------------------------------------------------------------------

    def as_of_s(self) -> float:
        """When the service last agreed with the file, by the monotonic clock."""
        if self.header is None:
            return -math.inf
        age_s = self._wall_clock() - self.header.as_of_s
        return self._monotonic() - age_s if age_s > -self._period_s else -math.inf  # a time to come says nothing

    def is_as_new_as(self, newest_s: float | None) -> bool:
        """Tell whether the file is not older than flags that were the newest up to this time."""
        return newest_s is None or self.as_of_s() >= newest_s - CLOCK_ERROR_S

    def take(self, receiver: Receiver) -> None:
        """Put in force what is new in the file, unless it is older than the flags in force; never raises."""
        header = self.header
        if header is None or self.folder is None or self._signature is None or self.is_refused:
            return
        if header.leader != self._followed and not self.is_as_new_as(self.newest_s):
            return
        at = self.position
        if at is not None and at == Position(edition=header.edition, offset=self._signature[1]):
            self._followed = header.leader
            return
        try:
            content = read(self.folder / FILE, at)
        except (OSError, DamagedError):
            self._signature = None  # look again: it may have been read while it was written
            self._failed_reads += 1
            if self._failed_reads >= MAX_FAILED_READS:
                self._refuse(header)
            return
        self._failed_reads = 0
        if (content.header.leader, content.header.edition) != (header.leader, header.edition):
            self._signature = None  # it was replaced just now: look again, and judge that one
            return
        self._deliver(receiver, content)

    def _refuse(self, header: Header) -> None:
        self._refused, self._refused_until_s = header.edition, self._monotonic() + REFUSED_S
        self._failed_reads = 0

    def _deliver(self, receiver: Receiver, content: Content) -> None:
        is_stale = not self.is_fresh
        if content.base is not None:
            documents = (Document(name=NAME, content=content.base),)
            if not receiver.deliver(Delivery(documents=documents, is_stale=is_stale)):
                self._refuse(content.header)
                return
            self.resume = None
        for message in content.messages:
            documents = (Document(name=NAME, content=message),)
            receiver.deliver(Delivery(documents=documents, is_message=True, is_stale=is_stale))
        self.resume = content.resume or self.resume
        self.position = content.position
        self._followed = content.header.leader
        if not content.is_whole:
            self._signature = None  # look again for the rest
        self.newest_s = self._monotonic()
        self.note(receiver, self.as_of_s())

    def confirm(self, receiver: Receiver) -> None:
        """Say that the flags in force are current, after a beat."""
        receiver.deliver(Delivery())
        self.note(receiver, self.as_of_s())

    # --- what is known of the flags in force --------------------------------------------------------------------

    def note(self, receiver: Receiver, agreed_s: float | None) -> None:
        """Take note of when the flags in force were last known to be the service's."""
        self.agreed_s = self.agreed_s if agreed_s is None else agreed_s
        snapshot = receiver.snapshot
        if snapshot is not None and self.newest_s is not None:
            _known[self._key] = _Known(
                snapshot=snapshot,
                agreed_s=self.agreed_s,
                newest_s=self.newest_s,
                position=self.position,
                resume=self.resume,
            )

    def note_own(self, receiver: Receiver, upstream: Upstream) -> None:
        """Take note of what a source of one's own has brought."""
        if upstream.has_brought:
            self.position = self.resume = self._followed = None
        self.newest_s = self.newest_s if upstream.newest_s is None else upstream.newest_s
        self.note(receiver, upstream.agreed_s)

    def recall(self, receiver: Receiver) -> None:
        """Take up what the process that forked this one knew of the flags in force."""
        known = _known.get(self._key)
        if known is not None and receiver.snapshot is known.snapshot:
            self.agreed_s, self.newest_s = known.agreed_s, known.newest_s
            self.position, self.resume = known.position, known.resume


def _beat_of(header: Header) -> tuple[bytes, int]:
    return header.leader, header.beat
