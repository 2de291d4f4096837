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
import threading
import time
from collections.abc import Callable

from flagmw.lifecycle.chance import chance
from flagmw.lifecycle.leadership import Leadership
from flagmw.lifecycle.places import StatePlace
from flagmw.once import LogOnce
from flagmw.status import Role
from flagmw.transports import Receiver, Source
from flagmw.transports.following import FILE, Following
from flagmw.transports.snapshot_file import Mark
from flagmw.transports.snapshot_writer import AlteredError, DisplacedError, SnapshotWriter
from flagmw.transports.upstream import Upstream

logger = logging.getLogger("flagmw")

LOCK = "leader.lock"

LOOK_S = 0.05
"""How often a follower looks at the file: a `stat`, two microseconds."""

HEAD_START_S = 0.01
"""The request that started this thread goes first, where there are flags for it."""

FIRST_LOOK_S = 0.02
"""The same while there are no flags at all."""

OVERDUE_PERIODS = 1.5
"""Without a beat for this long, a process tries to lead at every look."""

TRY_S = 1.0
"""How often it tries anyway, on average: of several processes, one soon finds out that the leader is dead."""

GAP_PERIODS = 2.0
"""A leader that did not get to its beat for this long does not know what it has missed."""

BUSY_RATIO = 0.1
"""A process that used this part of a gap for its own work did not stand still."""

STARTING_S = 15.0
"""How long a process without flags waits for a leader that is getting them; a large environment may take seconds."""

LEAD_RETRY_S = 2.0
"""How long who cannot write the file leaves leading to others."""

MIN_TAIL_BYTES = 64 * 1024
"""The changes may always gather to this size before all flags are written again."""

STOP_S = 0.4
"""How long stopping waits for the source of one's own."""


class SharedSource:
    """Brings what one process of the host hears from the service.

    Args:
        make: makes the service's source; starts nothing.
        place: where the processes meet.
        pushes: the source is told of changes, rather than asking for them at intervals.
        period_s: how often the leader beats.
        monotonic: the clock for all that is measured, the same for all processes.
        wall_clock: Unix time in seconds.
        random: spreads attempts to lead; gives a number in [0, 1).
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
        random: Callable[[], float] = chance,
    ) -> None:
        self._random = random
        self._make = make
        self._pushes = pushes
        self._period_s = period_s
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._first: Source | None = make()
        self.local = self._first.local
        self.awaited = self._first.awaited
        self._receiver: Receiver | None = None
        self._bell = threading.Event()
        self._log_once = LogOnce(logger)
        self._ticked: tuple[float, float, float] | None = None
        self._following = Following(place, period_s, monotonic, wall_clock)
        self._upstream: Upstream | None = None
        self._leadership: Leadership | None = None
        self._writer: SnapshotWriter | None = None
        self._written_token: bytes | None = None
        self._beat_due_s = -math.inf
        self._lead_after_s = -math.inf
        self._try_s = -math.inf
        self._has_yielded = False

    # --- what is seen from outside ----------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """How this process comes by its flags just now."""
        if self._writer is not None:
            return Role.LEADER
        return Role.FOLLOWER if self._upstream is None and self._following.is_followed else Role.ALONE

    @property
    def heartbeat_s(self) -> float | None:
        """When both threads had given a sign of life, by the monotonic clock; None before the first."""
        upstream, ticked = self._upstream, self._ticked
        own_s = upstream.source.heartbeat_s if upstream is not None else None
        if ticked is None or own_s is None:
            return own_s if ticked is None else ticked[0]
        return min(ticked[0], own_s)

    @property
    def agreed_s(self) -> float | None:
        """When the flags in force were last known to be the service's, by whichever process."""
        upstream = self._upstream
        return upstream.source.agreed_s if upstream is not None else self._following.agreed_s

    def open(self, receiver: Receiver) -> None:
        """Deliver what the processes share, unless the flags in force are as new."""
        self._receiver = receiver
        self._guarded(self._first_look)

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Deliver what the processes share if it is kept current, or else what the service says within that time."""
        self.open(receiver)
        following = self._following
        if following.is_fresh and following.is_followed:
            return
        source, self._first = self._first or self._make(), None
        upstream = Upstream(source, receiver, self._monotonic, _nobody)
        upstream.source.fetch(upstream, timeout_s)
        following.note_own(receiver, upstream)

    def run(self, stopping: threading.Event) -> None:
        """Lead, follow or go alone, until the event is set or the service refuses us."""
        self._following.bear_with(3.0)  # the one that is to lead may be starting, too
        if self._receiver is not None and self._receiver.snapshot is not None:
            self._bell.wait(HEAD_START_S)
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

    def _guarded(self, step: Callable[[Receiver], None]) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        try:
            step(receiver)
        except Exception as error:  # a defect of ours: a source of one's own still keeps the flags from freezing
            logger.debug("sharing flags with other processes raised an error", exc_info=True)
            kind = type(error).__name__
            self._log_once(logging.ERROR, kind, "sharing flags with other processes raised an error: %s", kind)
            self._resign()
            if self._upstream is None:
                self._start_upstream(receiver)

    def _pause_s(self) -> float:
        if self._writer is not None:
            left_s = self._beat_due_s - self._monotonic()
            return min(left_s, self._period_s) if left_s > 0.0 else LOOK_S
        has_flags = self._receiver is not None and self._receiver.snapshot is not None
        return min(LOOK_S if has_flags else FIRST_LOOK_S, self._period_s / 4)

    def _tick(self, receiver: Receiver) -> None:
        now_s = self._monotonic(), self._wall_clock(), time.process_time()
        passed_s = [now - before for now, before in zip(now_s, self._ticked or now_s, strict=True)]
        self._ticked = now_s
        gap_s = max(passed_s[:2])  # the one clock stands still while a machine sleeps, the other does not
        is_busy = passed_s[2] > BUSY_RATIO * gap_s  # compiling many flags may keep this thread waiting
        if gap_s > GAP_PERIODS * self._period_s and not is_busy:
            self._take_up(receiver)
        upstream = self._upstream
        if upstream is not None and upstream.has_ended and not upstream.is_refused:
            self._restart_upstream(receiver)
        if self._writer is not None:
            self._lead(receiver, self._writer)
        else:
            self._follow(receiver)

    def _take_up(self, receiver: Receiver) -> None:
        """Go on after this process stood still: what it has may be old, and beats may have come that it did not see."""
        if self._writer is not None:
            self._restart_upstream(receiver)
        self._following.bear_with(1.0)

    # --- following --------------------------------------------------------------------------------------------

    def _first_look(self, receiver: Receiver) -> None:
        following, snapshot = self._following, receiver.snapshot
        following.recall(receiver)
        following.look(is_first=True)
        is_current = snapshot is not None and not snapshot.is_stale and following.newest_s is None
        if is_current and not following.is_fresh:
            return
        following.take(receiver)
        if following.is_fresh and following.is_followed:
            following.confirm(receiver)

    def _follow(self, receiver: Receiver) -> None:
        following = self._following
        has_beaten = following.look()
        if self._upstream is not None:
            self._upstream.take_changes()  # nobody is to be told of them
        if self._upstream is not None and following.is_fresh and self._may_rejoin(self._upstream):
            self._drop_upstream()
        if self._upstream is None:
            following.take(receiver)
            if has_beaten and following.is_followed:
                following.confirm(receiver)
        if self._is_time_to_try() and self._try_to_lead(receiver):
            return
        is_missed = not following.is_fresh and following.is_silent and not self._is_worth_waiting(receiver)
        if self._upstream is None and is_missed:
            self._start_upstream(receiver)

    def _is_worth_waiting(self, receiver: Receiver) -> bool:
        """Tell whether there are no flags at all, and a leader that has met with no error yet is getting them."""
        folder = self._following.folder
        if receiver.snapshot is not None or folder is None or self._following.silent_s > STARTING_S:
            return False
        age_s = self._wall_clock() - Leadership.touched_s(folder / LOCK)
        return -self._period_s < age_s < 3.0 * self._period_s

    def _is_time_to_try(self) -> bool:
        """Tell whether to try to lead: at once where nobody seems to, and now and then where somebody does."""
        now, following = self._monotonic(), self._following
        if now < self._lead_after_s:
            return False
        if following.is_free or following.silent_s > OVERDUE_PERIODS * self._period_s:
            return True
        if now < self._try_s or self._has_yielded:
            return False
        self._try_s = now + TRY_S * (0.5 + self._random())
        return True

    def _may_rejoin(self, upstream: Upstream) -> bool:
        """Tell whether the file is as new as what one's own source has brought.

        Two streams do not bring a change at the same moment; their messages carry versions, by which a dialect ignores
        what is older.
        """
        newest_s = self._following.newest_s if upstream.newest_s is None else upstream.newest_s
        return self._following.is_as_new_as(newest_s)

    # --- bringing flags oneself -------------------------------------------------------------------------------

    def _start_upstream(self, receiver: Receiver) -> None:
        source, self._first = self._first or self._make(), None
        self._upstream = Upstream(source, receiver, self._monotonic, self._bell.set)
        self._upstream.start(self._following.resume)

    def _drop_upstream(self) -> bool:
        """Let go of the source of one's own; gives whether all that it brought is known."""
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return True
        is_idle = upstream.stop(STOP_S)
        if self._receiver is not None:
            self._following.note_own(self._receiver, upstream)
        if self._writer is not None and upstream.take_changes():
            self._writer.forget()  # the file has not everything that is in force
        return is_idle

    def _restart_upstream(self, receiver: Receiver) -> None:
        if not self._drop_upstream():
            self._resign()  # a later leader writes whatever is in force then
        self._start_upstream(receiver)

    # --- leading ----------------------------------------------------------------------------------------------

    def _try_to_lead(self, receiver: Receiver) -> bool:
        following = self._following
        folder = following.folder
        if folder is None:
            return False
        self._leadership = self._leadership or Leadership(folder / LOCK)
        if not self._leadership.try_to_lead():
            return False
        writer = SnapshotWriter(folder / FILE)
        writer.tidy_up(self._wall_clock())
        following.look()  # what the one before wrote last counts
        if self._upstream is not None and self._may_rejoin(self._upstream):
            self._drop_upstream()
        if self._upstream is None:
            following.take(receiver)
            position, header = following.position, following.header
            if following.is_followed and position is not None and header is not None:
                writer.adopt(header, position.offset)
            self._start_upstream(receiver)
        self._writer, self._written_token = writer, None
        self._beat_due_s = self._monotonic()
        logger.debug("this process keeps the connection for the others of this host")
        self._lead(receiver, writer)
        return True

    def _lead(self, receiver: Receiver, writer: SnapshotWriter) -> None:
        leadership, upstream = self._leadership, self._upstream
        if leadership is None or upstream is None or not leadership.is_in_place():
            self._resign(for_s=0.0)
            return
        try:
            self._write(receiver, writer, upstream)
            if not writer.has_file and not upstream.has_failed:
                leadership.touch()
        except AlteredError:
            writer.forget()  # and write a new one
            self._bell.set()
        except DisplacedError:
            # Another interpreter of this process was given the lock as well: letting go of it would end that one's.
            self._writer, self._has_yielded = None, True
            self._lead_after_s = self._monotonic() + LEAD_RETRY_S
        except OSError as error:
            why = error.strerror or type(error).__name__
            self._log_once(
                logging.WARNING, "write", "flags are not shared with this host's other processes for now: %s", why
            )
            self._resign()

    def _write(self, receiver: Receiver, writer: SnapshotWriter, upstream: Upstream) -> None:
        mark, as_of_s = self._agreement(upstream)
        token = upstream.resume_token  # before the changes, see there
        changes = upstream.take_changes()
        messages = [change for change in changes if change is not None]
        new_token = token if token != self._written_token else None
        tail_bytes = writer.tail_bytes + sum(map(len, messages))
        has_outgrown = tail_bytes > max(writer.base_bytes, MIN_TAIL_BYTES)
        if not writer.has_file or len(messages) < len(changes) or has_outgrown:
            pieces = receiver.dump()
            if pieces is None:
                return
            # Dialects may take a whole document for old that says nothing new but by its latest changes.
            is_small = writer.has_file and sum(map(len, messages)) <= MIN_TAIL_BYTES
            writer.replace(pieces, messages if is_small else (), token, mark, as_of_s)
        elif messages or (mark is Mark.BEATING and (new_token or self._monotonic() >= self._beat_due_s)):
            writer.update(messages, new_token, mark, as_of_s)
        else:
            return
        self._written_token = token
        self._log_once.forget("write")
        following = self._following
        if mark is Mark.BEATING:
            self._beat_due_s = self._monotonic() + self._period_s
        following.position, following.resume = writer.position, token
        following.newest_s = following.newest_s if upstream.newest_s is None else upstream.newest_s
        following.note(receiver, upstream.agreed_s)

    def _agreement(self, upstream: Upstream) -> tuple[Mark, float]:
        """Say whether the service agrees with the flags in force, and as of when, in Unix time."""
        now, wall_s, agreed_s = self._monotonic(), self._wall_clock(), upstream.agreed_s
        if upstream.agrees and agreed_s is not None and not upstream.is_stuck(now):
            return Mark.BEATING, wall_s if self._pushes else wall_s - (now - agreed_s)
        known_s = self._following.agreed_s if agreed_s is None else agreed_s
        return Mark.SILENT, 0.0 if known_s is None else wall_s - (now - known_s)

    def _resign(self, for_s: float = LEAD_RETRY_S) -> None:
        """Let another process lead, at once; leave it to others for some time."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with contextlib.suppress(DisplacedError, AlteredError, OSError):  # the others will miss the beat
            writer.update((), None, Mark.RESIGNED, None)
        if self._leadership is not None:
            self._leadership.let_go()
        self._lead_after_s = self._monotonic() + for_s


def _nobody() -> None:
    """Nobody waits for what is fetched once."""
