"""`SharedSource`: one connection to a flag service for all processes of a host.

The process that holds the lock leads: it runs the service's source and writes what that brings to a file, with a beat
as long as the service is known to agree. The others follow: they look at the file. Whoever sees no beat for three
periods runs a source of its own until the beat is back: whatever fails, a process is as well off as without the file,
and never gets flags that are older than those it has.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.lifecycle.leadership import Leadership
from flagmw.lifecycle.places import StatePlace
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver, Source
from flagmw.transports.snapshot_file import (
    AlteredError,
    Content,
    DamagedError,
    DisplacedError,
    Header,
    Mark,
    Position,
    SnapshotWriter,
    read,
    read_header,
)
from flagmw.transports.upstream import Upstream

logger = logging.getLogger("flagmw")

FILE, LOCK = "flags", "leader.lock"

LOOK_S = 0.1
"""How often a follower looks at the file."""

FIRST_LOOK_S = 0.02
"""The same while there are no flags at all."""

SILENT_PERIODS = 3.0
"""Without a beat for this long, a process brings its flags itself."""

OVERDUE_PERIODS = 1.5
"""Without a beat for this long, it tries to lead."""

GAP_PERIODS = 2.0
"""A leader that did not get to its beat for this long does not know what it has missed."""

WRITE_RETRY_S = 2.0
"""How long who cannot write the file leaves leading to others."""

MAX_FAILED_READS = 3
"""A file that cannot be read this often, one look after another, is damaged."""

STOP_S = 0.4
"""How long stopping waits for the source of one's own."""

NAME = "the flags that this host shares"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a process knows of the flags in force, which a forked child goes on from."""

    snapshot: Snapshot
    as_of_s: float
    position: Position | None


_known: dict[str, _Known] = {}
"""By folder. Replaced by single operations of a dict only; plain data, so that a fork cannot tear it."""


class SharedSource:
    """Brings what one process of the host hears from the service.

    Args:
        make: makes the service's source; starts nothing.
        place: where the processes meet.
        pushes: the source is told of changes, rather than asking for them at intervals.
        period_s: how often the leader beats.
        monotonic: the clock for all that is measured; the same for all processes.
        wall_clock: Unix time in seconds.
    """

    background = True

    def __init__(
        self,
        make: Callable[[], Source],
        place: StatePlace,
        *,
        pushes: bool,
        period_s: float = 0.5,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._make = make
        self._place = place
        self._pushes = pushes
        self._period_s = period_s
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._next: Source | None = make()
        self.local = self._next.local
        self.awaited = self._next.awaited
        self._receiver: Receiver | None = None
        self._bell = threading.Event()
        self._ticked_s: float | None = None
        self._folder: Path | None = None
        self._folder_after_s = -math.inf
        # What is in force: since when it is known to be current, and where it was read.
        self._mine_s: float | None = None
        self._position: Position | None = None
        self._followed: bytes | None = None
        # What the file says.
        self._signature: tuple[int, int, int] | None = None
        self._header: Header | None = None
        self._beat_s = -math.inf
        self._bad: bytes | None = None
        self._failed_reads = 0
        # Leading, or bringing flags oneself.
        self._leadership: Leadership | None = None
        self._writer: SnapshotWriter | None = None
        self._upstream: Upstream | None = None
        self._beat_due_s = -math.inf
        self._lead_after_s = -math.inf

    # --- what is seen from outside ----------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """How this process comes by its flags just now."""
        if self._upstream is None:
            return Role.FOLLOWER if self._header is not None else Role.ALONE
        return Role.LEADER if self._writer is not None else Role.ALONE

    @property
    def heartbeat_s(self) -> float | None:
        """When the threads gave their last sign of life, the later one's; None before the first."""
        upstream = self._upstream
        signs = [self._ticked_s, upstream.source.heartbeat_s if upstream is not None else None]
        return min((sign for sign in signs if sign is not None), default=None)

    @property
    def agreed_s(self) -> float | None:
        """When the flags in force were last known to be the service's, by whichever process."""
        upstream = self._upstream
        if upstream is not None:
            return upstream.source.agreed_s
        return self._mine_s

    def open(self, receiver: Receiver) -> None:
        """Deliver what the host's processes share, unless the flags in force are as new."""
        self._receiver = receiver
        self._recall(receiver)
        self._guarded(self._first_look)

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Deliver what the host's processes share, or else what the service says within that time."""
        self.open(receiver)
        if self._is_fresh(self._monotonic()) and self._followed is not None:
            return
        upstream = Upstream(self._make(), receiver, self._monotonic, lambda: None)
        upstream.source.fetch(upstream, timeout_s)
        if upstream.agreed_s is not None:
            self._mine_s, self._position = upstream.agreed_s, None
            self._remember()

    def run(self, stopping: threading.Event) -> None:
        """Lead, follow or go alone, until the event is set or the service refuses us."""
        self._beat_s = max(self._beat_s, self._monotonic())  # time for another process to begin, if there is one
        try:
            while not stopping.is_set() and not (self._upstream is not None and self._upstream.is_refused):
                self._guarded(self._tick)
                self._bell.wait(self._pause_s())
                self._bell.clear()
        finally:
            self._resign()
            if self._leadership is not None:
                self._leadership.let_go()
            self._drop_upstream()

    def wake(self) -> None:
        """End whatever `run` is waiting for. Any thread may call; never waits or raises."""
        self._bell.set()

    # --- the loop ---------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # a defect of ours must not freeze the flags: a source of one's own is always possible
            logger.exception("sharing flags with the other processes of this host raised an error")
            self._resign()

    def _pause_s(self) -> float:
        if self._writer is not None:
            return min(max(self._beat_due_s - self._monotonic(), 0.0), self._period_s)
        has_flags = self._receiver is not None and self._receiver.snapshot is not None
        return min(LOOK_S if has_flags else FIRST_LOOK_S, self._period_s / 4)

    def _tick(self) -> None:
        now = self._monotonic()
        gap_s = now - self._ticked_s if self._ticked_s is not None else 0.0
        self._ticked_s = now
        if gap_s > GAP_PERIODS * self._period_s:
            self._take_up(now)
        self._mend_upstream()
        if self._writer is not None:
            self._lead(now)
        else:
            self._follow(now)

    def _take_up(self, now: float) -> None:
        """Go on after this process stood still: what it has may be old, and what it has not seen may be there."""
        if self._writer is not None:
            self._drop_upstream()
            self._start_upstream()
        self._beat_s = max(self._beat_s, now - (SILENT_PERIODS - 1.0) * self._period_s)

    # --- following --------------------------------------------------------------------------------------------

    def _is_fresh(self, now: float) -> bool:
        header = self._header
        is_beating = header is not None and header.mark is Mark.BEATING and self._bad is None
        return is_beating and now - self._beat_s < SILENT_PERIODS * self._period_s

    def _first_look(self) -> None:
        now = self._monotonic()
        self._look(now, is_first=True)
        self._read(now)

    def _follow(self, now: float) -> None:
        has_beaten = self._look(now)
        if self._upstream is None:
            self._read(now)
        if not self._is_fresh(now):
            self._seek(now)
            return
        if self._upstream is not None and self._may_take(now):
            self._rejoin(now)
        if self._upstream is None and has_beaten and self._followed is not None:
            self._confirm(now)

    def _seek(self, now: float) -> None:
        """Without a beat, lead if nobody does, and go alone if somebody who does is silent."""
        silent_s = now - self._beat_s
        has_resigned = self._header is None or self._header.mark is Mark.RESIGNED
        if now >= self._lead_after_s and (has_resigned or silent_s > OVERDUE_PERIODS * self._period_s):
            self._try_to_lead(now)
        if self._upstream is None and (silent_s >= SILENT_PERIODS * self._period_s or self._bad is not None):
            self._start_upstream()

    def _look(self, now: float, *, is_first: bool = False) -> bool:
        """See what the file says; gives whether its writer has beaten."""
        path = self._path(now)
        if path is None:
            self._header = self._signature = None
            return False
        try:
            info = os.stat(path)
            signature = (info.st_ino, info.st_size, info.st_mtime_ns)
            if signature == self._signature:
                return False
            header, written_s = read_header(path)
        except FileNotFoundError:
            self._header = self._signature = self._folder = None
            return False
        except (OSError, DamagedError):
            self._header = self._signature = None
            return False
        before, self._header, self._signature = self._header, header, signature
        if header.edition != self._bad:
            self._bad = None
        if header.mark is not Mark.BEATING:
            return False
        if is_first:
            age_s = self._wall_clock() - written_s
            self._beat_s = now - max(age_s, 0.0) if age_s > -self._period_s else -math.inf
        elif before is None or (before.leader, before.beat) != (header.leader, header.beat):
            self._beat_s = now
        else:
            return False
        return True

    def _file_as_of_s(self, now: float) -> float:
        """When the service last agreed with the file, by the monotonic clock."""
        age_s = self._wall_clock() - self._header.as_of_s if self._header is not None else math.inf
        return now - age_s if age_s > -self._period_s else -math.inf  # a time to come says nothing

    def _may_take(self, now: float) -> bool:
        """Tell whether the file is not older than what is in force."""
        mine_s = self._mine_s
        if self._upstream is not None:
            mine_s = self._upstream.agreed_s or mine_s
        elif self._header is not None and self._header.leader == self._followed:
            return True
        return mine_s is None or self._file_as_of_s(now) >= mine_s - 0.01

    def _read(self, now: float) -> None:
        """Put the file's flags in force if they are new, and not older than those that are."""
        header = self._header
        if header is None or self._folder is None or not self._may_take(now):
            return
        receiver = self._receiver
        if receiver is None:
            return
        at, size = self._position, self._signature[1] if self._signature is not None else -1
        if at is not None and at.edition == header.edition and at.offset == size:
            self._followed = header.leader
            return
        try:
            content = read(self._folder / FILE, at)
        except (OSError, DamagedError):
            self._failed_reads += 1
            if self._failed_reads >= MAX_FAILED_READS:
                self._bad = header.edition
            return
        self._failed_reads = 0
        self._deliver(receiver, content, now)

    def _deliver(self, receiver: Receiver, content: Content, now: float) -> None:
        is_stale = not self._is_fresh(now)
        if content.base is not None:
            documents = (Document(name=NAME, content=content.base),)
            if not receiver.deliver(Delivery(documents=documents, is_stale=is_stale)):
                self._bad = content.header.edition
                return
        for message in content.messages:
            documents = (Document(name=NAME, content=message),)
            receiver.deliver(Delivery(documents=documents, is_message=True, is_stale=is_stale))
        self._position = content.position
        self._followed = content.header.leader
        self._mine_s = self._file_as_of_s(now)
        self._remember()

    def _confirm(self, now: float) -> None:
        if self._receiver is not None:
            self._receiver.deliver(Delivery())
        self._mine_s = self._file_as_of_s(now)
        self._remember()

    def _rejoin(self, now: float) -> None:
        """Follow again."""
        upstream = self._upstream
        self._drop_upstream()
        if upstream is not None and upstream.has_brought:
            self._position = None
        self._read(now)

    # --- bringing flags oneself -------------------------------------------------------------------------------

    def _start_upstream(self) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        source, self._next = self._next or self._make(), None
        self._upstream = Upstream(source, receiver, self._monotonic, self._bell.set)
        self._upstream.start()

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._mine_s = upstream.agreed_s or self._mine_s
            upstream.stop(STOP_S)

    def _mend_upstream(self) -> None:
        upstream = self._upstream
        if upstream is not None and upstream.has_ended and not upstream.is_refused:
            self._drop_upstream()
            self._start_upstream()

    # --- leading ----------------------------------------------------------------------------------------------

    def _try_to_lead(self, now: float) -> None:
        folder = self._folder or self._open_folder(now)
        if folder is None:
            return
        if self._leadership is None:
            self._leadership = Leadership(folder / LOCK)
        if not self._leadership.try_to_lead():
            return
        # What the one before wrote last counts.
        self._look(now)
        if self._upstream is None:
            self._read(now)
            self._start_upstream()
        self._writer = SnapshotWriter(folder / FILE)
        self._writer.tidy_up(self._wall_clock())
        self._beat_due_s = now
        self._lead(now)

    def _lead(self, now: float) -> None:
        leadership, writer, upstream = self._leadership, self._writer, self._upstream
        if leadership is None or writer is None or upstream is None or self._receiver is None:
            return
        if not leadership.is_in_place():
            self._resign()
            self._lead_after_s = now
            return
        mark, as_of_s = self._agreement(upstream, now)
        changes = upstream.take_changes()
        messages = [change for change in changes if change is not None]
        is_due = mark is Mark.BEATING and now >= self._beat_due_s
        try:
            if not writer.has_file or len(messages) < len(changes) or _outgrown(writer, messages):
                pieces = self._receiver.dump()
                if pieces is None:
                    return
                writer.replace(pieces, messages, mark, as_of_s)
            elif messages or is_due:
                writer.update(messages, mark, as_of_s)
            else:
                return
        except AlteredError:
            writer.forget()  # and write a new one, at once
            self._bell.set()
            return
        except DisplacedError:
            # Another interpreter of this process was given the lock as well: closing it would end that one's.
            self._writer = None
            self._lead_after_s = now + WRITE_RETRY_S
            return
        except OSError as error:
            logger.debug("the flags that this host shares cannot be written: %s", error)
            self._resign()
            return
        if mark is Mark.BEATING:
            self._beat_due_s = now + self._period_s
        self._position = writer.position
        if mark is Mark.BEATING:
            self._mine_s = upstream.agreed_s
            self._remember()

    def _agreement(self, upstream: Upstream, now: float) -> tuple[Mark, float]:
        """Say whether the service agrees with the flags in force, and as of when, in Unix time."""
        wall_s = self._wall_clock()
        if upstream.agrees and upstream.agreed_s is not None:
            return Mark.BEATING, wall_s - (0.0 if self._pushes else now - upstream.agreed_s)
        known_s = upstream.agreed_s or self._mine_s
        return Mark.SILENT, 0.0 if known_s is None else wall_s - (now - known_s)

    def _resign(self) -> None:
        """Let another process lead, at once."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if writer.has_file:
            with contextlib.suppress(DisplacedError, AlteredError, OSError):  # the others will miss the beat
                writer.update((), Mark.RESIGNED, None)
        if self._leadership is not None:
            self._leadership.let_go()
        self._lead_after_s = self._monotonic() + WRITE_RETRY_S

    # --- the folder, and what a child goes on from --------------------------------------------------------------

    def _path(self, now: float) -> Path | None:
        folder = self._folder or self._open_folder(now)
        return folder / FILE if folder is not None else None

    def _open_folder(self, now: float) -> Path | None:
        if now >= self._folder_after_s:
            self._folder = self._place.open()
            self._folder_after_s = now + (0.0 if self._folder is not None else WRITE_RETRY_S)
        return self._folder

    def _remember(self) -> None:
        snapshot = self._receiver.snapshot if self._receiver is not None else None
        if snapshot is not None and self._mine_s is not None:
            key = os.fspath(self._place.path())
            _known[key] = _Known(snapshot=snapshot, as_of_s=self._mine_s, position=self._position)

    def _recall(self, receiver: Receiver) -> None:
        known = _known.get(os.fspath(self._place.path()))
        if known is not None and receiver.snapshot is known.snapshot:
            self._mine_s, self._position = known.as_of_s, known.position


def _outgrown(writer: SnapshotWriter, messages: list[bytes]) -> bool:
    return writer.tail_bytes + sum(map(len, messages)) > max(writer.base_bytes, 64 * 1024)
