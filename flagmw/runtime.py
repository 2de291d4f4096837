"""`Runtime`: what one client has in one process: a source, its thread, a sink, the snapshot in force.

It is built as a whole on the first use in a process and replaced as a whole after a fork; only the snapshot is
handed on. It takes what the source delivers, lets the dialect compile it, and swaps the snapshot.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot, changed_keys
from flagmw.dialects import Compilation, Dialect
from flagmw.errors import AuthError, DocumentError, FlagmwError, TransportError
from flagmw.events import Sink
from flagmw.lifecycle.places import StatePlace
from flagmw.lifecycle.threads import Background
from flagmw.once import LogOnce
from flagmw.presence import Presence
from flagmw.processes import read_environment
from flagmw.status import Role, State, Status
from flagmw.transports import Delivery, Source

logger = logging.getLogger("flagmw")

SHOWN_KEYS = 10
"""How many keys of changed flags a log line names."""

SAVE_INTERVAL_S = 5.0
"""How often the flags are kept on disk at most; a service may send many changes in a row."""

MAX_PARTICIPANTS = 10_000
"""How many users' part in experiments is remembered; the longest known are forgotten first."""

ChangeCallback = Callable[[frozenset[str]], object]


class Provider(Protocol):
    """A flag service, configured: pairs a dialect with a source and a sink. Making one starts nothing."""

    def dialect(self) -> Dialect:
        """Make the dialect of the service's documents."""
        ...

    def source(self) -> Source:
        """Make a source for one process."""
        ...

    def sink(self) -> Sink | None:
        """Make a sink for one process; None when the service takes no events."""
        ...

    def cache(self) -> Cache | None:
        """Give what keeps the last good flags for the next start; None when they are not kept."""
        ...

    def place(self) -> StatePlace | None:
        """Give the folder where the processes of the host meet; None when they have nothing in common."""
        ...


class Cache(Protocol):
    """Keeps one document on disk."""

    def load(self) -> bytes | None:
        """Give the document, None when there is none that can be used; never raises."""
        ...

    def save(self, pieces: Iterable[bytes]) -> None:
        """Replace the document.

        Raises:
            TransportError: it cannot be written; says where and why.
        """
        ...


class Runtime:
    """One client's state in one process.

    Args:
        provider: gives the parts.
        inherited: the snapshot of the process that this one was forked from.
        callbacks: told of changed flag keys; the list is the client's and may grow.
        active: False makes a runtime that opens nothing: the client is closed or offline.
    """

    def __init__(
        self, provider: Provider, inherited: Snapshot | None, callbacks: Sequence[ChangeCallback], *, active: bool
    ) -> None:
        self.pid = os.getpid()
        self.snapshot = inherited
        self.sink = provider.sink() if active else None
        self.dialect: Dialect = provider.dialect()
        self.ready = threading.Event()
        self._settled = threading.Event()
        self._callbacks = callbacks
        self._participants: dict[str, None] = {}
        self._delivering = threading.Lock()
        self._opened = False
        self._state = State.INITIALIZING if active else State.OFF
        self._since = time.time()
        self._arrived_s = time.monotonic()
        self._error: str | None = None
        self._failures = 0
        self._log_once = LogOnce(logger)
        self._cache: Cache | None = None
        self._saved: Snapshot | None = inherited
        self._save_after_s = 0.0
        self._hold_until_s: float | None = None
        self._awaited = False
        self._agreed_s: float | None = None
        self._source: Source | None = None
        self._background: Background | None = None
        if inherited is not None:
            self.ready.set()
            self._settled.set()
        self._presence: Presence | None = None
        source = provider.source()
        if active or source.local:
            self._open(source, provider.cache() if active else None)
        place = provider.place() if active else None
        if place is not None:
            self._presence = Presence(place, self.status, read_environment)
        if self._background is not None:
            self._start_syncing(self._background)

    def _open(self, source: Source, cache: Cache | None) -> None:
        self._source = source
        self._awaited = source.awaited
        kept = cache.load() if cache is not None and self.snapshot is None else None
        if kept is not None:
            self.deliver(Delivery(documents=(Document(name="the flags kept on disk", content=kept),), is_stale=True))
        source.open(self)
        if self.sink is not None:
            self.sink.open()
        self._cache = cache
        self._opened = True
        if source.background:
            self._background = Background("flagmw-source", partial(self._sync, source), source.wake)

    def _start_syncing(self, background: Background) -> None:
        try:
            background.start()
        except RuntimeError as error:  # no more threads, or the interpreter goes down
            self.deliver(Delivery(error=TransportError(f"flags are not kept current: {error}")))

    def _sync(self, source: Source, stopping: threading.Event) -> None:
        # Here rather than in the first use, which is part of a request.
        if self._presence is not None and not stopping.is_set():
            self._presence.start()
        source.run(stopping)

    # --- taking deliveries ----------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> bool:
        """Compile a delivery and put it in force; what is refused leaves its flags as they were.

        Returns:
            Whether its documents were taken without an error.
        """
        if self.pid != os.getpid():
            return False
        with self._delivering:
            if delivery.error is None and not delivery.is_stale:
                self._agreed_s = time.monotonic()
            before = self.snapshot
            compilation = self._compile(delivery)
            after = compilation.snapshot
            if after is not None and after.is_stale is not delivery.is_stale:
                after = replace(after, is_stale=delivery.is_stale)
            if after is not None and after is not before:
                self._arrived_s = time.monotonic()
                self.snapshot = after
            self._note(delivery, compilation)
            for warning in compilation.warnings:
                self._log_once(logging.WARNING, str(warning), "%s", warning)
        if self.snapshot is not None:
            self.ready.set()
            self._settled.set()
        if after is not None and after is not before and self._opened:
            self._tell(changed_keys(before, after))
        self._save(is_last=False)
        return not compilation.errors

    def fetch(self, source: Source, timeout_s: float) -> None:
        """Take what a source can bring within that time, in the calling thread, and let go of it."""
        source.fetch(self, timeout_s)

    def dump(self) -> Iterable[bytes] | None:
        """Write the flags in force as one document; None where there are none, or the dialect has no such."""
        snapshot = self.snapshot
        return self.dialect.dump(snapshot) if snapshot is not None else None

    def _compile(self, delivery: Delivery) -> Compilation:
        if not delivery.documents and not (delivery.kept and self.snapshot is not None):
            # A source without an error and without news says that the flags in force are the newest.
            return Compilation(snapshot=self.snapshot if delivery.error is None else None)
        try:
            compilation = self.dialect.compile(delivery.documents, delivery.kept, self.snapshot)
        except FlagmwError as error:
            return Compilation(snapshot=None, errors=(error,))
        except Exception as error:  # a defect of ours must not end the thread that would bring the mended file
            logger.exception("compiling flags raised an error; the last good flags stay in force")
            return Compilation(snapshot=None, errors=(FlagmwError(f"compiling raised {type(error).__name__}"),))
        snapshot = compilation.snapshot
        if snapshot is not None and self.snapshot is not None and snapshot.revision == self.snapshot.revision:
            # The same flags; only what the dialect resumes from may be newer.
            snapshot = snapshot if snapshot.origin is not self.snapshot.origin else self.snapshot
            return replace(compilation, snapshot=snapshot)
        return compilation

    def _note(self, delivery: Delivery, compilation: Compilation) -> None:
        if compilation.snapshot is None and not compilation.errors and delivery.error is None:
            return
        errors: list[FlagmwError] = list(compilation.errors)
        if delivery.error is not None:
            errors.append(delivery.error)
        if delivery.is_message and errors:
            for error in errors:
                self._log_once(logging.ERROR, str(error), "%s; it is skipped, and the stream goes on", error)
            if compilation.snapshot is None:
                return
            errors = []
        text = "; ".join(str(error) for error in errors) or None
        if text is not None and text != self._error:
            self._log(errors)
        healed = text is None and self._error is not None
        failures = self._failures
        self._failures = 0 if text is None else failures + 1
        self._last_agreed_s()
        self._error = text
        if isinstance(delivery.error, AuthError):
            self._enter(State.OFF)
            self._settled.set()
        elif self._state is not State.OFF:
            is_well = text is None and not delivery.is_stale
            self._enter(State.OK if is_well else self._failing_state())
        if healed and self.snapshot is not None and not delivery.is_stale:
            logger.info("flags are in sync again after %d failures: revision %s", failures, self.snapshot.revision)

    def _log(self, errors: Sequence[FlagmwError]) -> None:
        kept = "the last good flags stay in force" if self.snapshot is not None else "callers get their defaults"
        for error in errors:
            level = logging.ERROR if isinstance(error, (DocumentError, AuthError)) else logging.WARNING
            if isinstance(error, TransportError) and self._failures and not isinstance(error, AuthError):
                level = logging.DEBUG  # the episode was told when it began
            logger.log(level, "%s; %s", error, kept)

    def _failing_state(self) -> State:
        return State.INITIALIZING if self.snapshot is None else State.INTERRUPTED

    def _enter(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._since = time.time()

    def _tell(self, keys: frozenset[str]) -> None:
        if not keys:
            return
        more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
        logger.info("flags changed: %s%s", ", ".join(sorted(keys)[:SHOWN_KEYS]), more)
        for callback in list(self._callbacks):
            try:
                callback(keys)
            except Exception:  # the caller's code; one bad callback must not stop the others or the sync
                logger.exception("an on_change callback raised an error")

    # --- keeping the last good flags -------------------------------------------------------------------------

    def _save(self, *, is_last: bool) -> None:
        """Keep the flags in force on disk, unless they are there or were kept just now."""
        snapshot, cache = self.snapshot, self._cache
        if cache is None or snapshot is None or snapshot.is_stale or snapshot is self._saved:
            return
        if not is_last and (time.monotonic() < self._save_after_s or self._follows()):
            return
        self._save_after_s = time.monotonic() + SAVE_INTERVAL_S
        self._saved = snapshot
        try:
            pieces = self.dialect.dump(snapshot)
            if pieces is not None:
                cache.save(pieces)
        except TransportError as error:
            logger.warning("the flags are not kept for the next start: %s", error)
            self._cache = None
        except Exception:  # a defect of ours must not end the thread that brings flags
            logger.exception("keeping the flags for the next start raised an error")
            self._cache = None

    def _follows(self) -> bool:
        """Tell whether another process has these flags as well, and keeps them on disk."""
        return self._source is not None and self._source.role is Role.FOLLOWER

    # --- the first flags, and experiments --------------------------------------------------------------------

    def hold(self, start_wait_s: float) -> float:
        """Tell for how many seconds a request may still be held back because no flags are there at all.

        The time runs once per process, from the first call on; it is over as soon as flags arrive or cannot.
        """
        if self.snapshot is not None or not self._awaited or self._settled.is_set():
            return 0.0
        now = time.monotonic()
        if self._hold_until_s is None:
            self._hold_until_s = now + start_wait_s
        return max(self._hold_until_s - now, 0.0)

    def wait_settled(self, timeout_s: float) -> None:
        """Wait until flags are there, or it is known that none will come."""
        self._settled.wait(timeout_s)

    def note_participant(self, key: str) -> None:
        """Remember that a user takes part in an experiment."""
        participants = self._participants
        participants[key] = None
        if len(participants) > MAX_PARTICIPANTS:
            try:
                participants.pop(next(iter(participants)), None)
            except (RuntimeError, StopIteration):  # another thread was here: it has made room
                return

    @property
    def has_participants(self) -> bool:
        """Whether anybody was served an experiment's variation in this process."""
        return bool(self._participants)

    def takes_part(self, key: str | None) -> bool:
        """Tell whether a user was served an experiment's variation in this process, not too long ago."""
        return key in self._participants

    # --- looking and stopping -------------------------------------------------------------------------------

    def status(self) -> Status:
        """Tell how things are."""
        snapshot, source, now_s = self.snapshot, self._source, time.monotonic()
        heartbeat_s = source.heartbeat_s if source is not None else None
        agreed_s = self._last_agreed_s()
        return Status(
            state=self._state,
            since=self._since,
            error=self._error,
            revision=snapshot.revision if snapshot is not None else "",
            age_s=now_s - self._arrived_s if snapshot is not None else None,
            flags=len(snapshot.flags) if snapshot is not None else 0,
            events=self.sink.counts() if self.sink is not None else None,
            pid=self.pid,
            role=source.role if source is not None else Role.ALONE,
            heartbeat_age_s=None if heartbeat_s is None else now_s - heartbeat_s,
            revision_age_s=None if agreed_s is None or snapshot is None else now_s - agreed_s,
        )

    def _last_agreed_s(self) -> float | None:
        """Remember when the flags in force were last known to be the newest: a source may not know when it has failed.

        What a source says while there is an error may be of flags that were refused.
        """
        agreed_s = self._source.agreed_s if self._source is not None and self._error is None else None
        if agreed_s is not None:
            self._agreed_s = max(agreed_s, self._agreed_s or 0.0)
        return self._agreed_s

    def ask_to_stop(self) -> None:
        """Let the thread end when it gets to it."""
        if self._background is not None:
            self._background.ask_to_stop()
        if self._presence is not None:
            self._presence.ask_to_stop()

    def close(self, timeout_s: float) -> bool:
        """Stop the source, then deliver and stop the sink, within one deadline; flags stay readable.

        Returns:
            Whether all ended in time.
        """
        deadline = time.monotonic() + timeout_s
        if self._presence is not None:
            self._presence.ask_to_stop()
        # Whatever holds the source up, the last events get their part of the time.
        for_source_s = timeout_s if self.sink is None else timeout_s / 2
        ended = self._background.stop(for_source_s) if self._background is not None else True
        self._background = None
        with self._delivering:
            self._save(is_last=True)
        if self.sink is not None:
            ended = self.sink.close(max(deadline - time.monotonic(), 0.0)) and ended
        if self._presence is not None:
            ended = self._presence.close(max(deadline - time.monotonic(), 0.0)) and ended
        self._enter(State.OFF)
        return ended
