"""`Runtime`: what one client has in one process: a source, its thread, a sink, the snapshot in force.

It is built as a whole on the first use in a process and replaced as a whole after a fork; only the snapshot is
handed on. It takes what the source delivers, lets the dialect compile it, and swaps the snapshot.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from flagmw.core.snapshot import Snapshot, changed_keys
from flagmw.dialects import Compilation, Dialect
from flagmw.errors import DocumentError, FlagmwError
from flagmw.events import Sink
from flagmw.lifecycle.threads import Background
from flagmw.status import State, Status
from flagmw.transports import Delivery, Source

logger = logging.getLogger("flagmw")

SHOWN_KEYS = 10
"""How many keys of changed flags a log line names."""

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
        self.ready = threading.Event()
        self._callbacks = callbacks
        self._dialect = provider.dialect()
        self._delivering = threading.Lock()
        self._opened = False
        self._state = State.INITIALIZING if active else State.OFF
        self._since = time.time()
        self._arrived_s = time.monotonic()
        self._error: str | None = None
        self._background: Background | None = None
        source = provider.source()
        if active or source.local:
            self._open(source)

    def _open(self, source: Source) -> None:
        source.open(self)
        self._opened = True
        if source.background:
            self._background = Background("flagmw-source", source.run)
            self._background.start()

    # --- taking deliveries ----------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """Compile a delivery and put it in force; what is refused leaves its flags as they were."""
        if self.pid != os.getpid():
            return
        with self._delivering:
            before = self.snapshot
            compilation = self._compile(delivery)
            if compilation.snapshot is not None and compilation.snapshot is not before:
                self._arrived_s = time.monotonic()
                self.snapshot = compilation.snapshot
            self._note(delivery, compilation)
            after = self.snapshot
        if after is not None:
            self.ready.set()
            if self._opened and after is not before:
                self._tell(changed_keys(before, after))

    def _compile(self, delivery: Delivery) -> Compilation:
        if not delivery.documents and not (delivery.kept and self.snapshot is not None):
            return Compilation(snapshot=None)
        try:
            compilation = self._dialect.compile(delivery.documents, delivery.kept, self.snapshot)
        except FlagmwError as error:
            return Compilation(snapshot=None, errors=(error,))
        except Exception as error:  # a defect of ours must not end the thread that would bring the mended file
            logger.exception("compiling flags raised an error; the last good flags stay in force")
            return Compilation(snapshot=None, errors=(FlagmwError(f"compiling raised {type(error).__name__}"),))
        snapshot = compilation.snapshot
        if snapshot is not None and self.snapshot is not None and snapshot.revision == self.snapshot.revision:
            return Compilation(snapshot=self.snapshot, errors=compilation.errors)
        return compilation

    def _note(self, delivery: Delivery, compilation: Compilation) -> None:
        errors: list[FlagmwError] = list(compilation.errors)
        if delivery.error is not None:
            errors.append(delivery.error)
        text = "; ".join(str(error) for error in errors) or None
        if text is not None and text != self._error:
            kept = "the last good flags stay in force" if self.snapshot is not None else "callers get their defaults"
            for error in errors:
                level = logging.ERROR if isinstance(error, DocumentError) else logging.WARNING
                logger.log(level, "%s; %s", error, kept)
        healed = text is None and self._error is not None
        self._error = text
        if self._state is not State.OFF:
            self._enter(State.OK if text is None else self._failing_state())
        if healed and self.snapshot is not None:
            logger.info("flags are in sync again: revision %s", self.snapshot.revision)

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

    # --- looking and stopping -------------------------------------------------------------------------------

    def status(self) -> Status:
        """Tell how things are."""
        snapshot = self.snapshot
        return Status(
            state=self._state,
            since=self._since,
            error=self._error,
            revision=snapshot.revision if snapshot is not None else "",
            age_s=time.monotonic() - self._arrived_s if snapshot is not None else None,
            flags=len(snapshot.flags) if snapshot is not None else 0,
        )

    def ask_to_stop(self) -> None:
        """Let the thread end when it gets to it."""
        if self._background is not None:
            self._background.ask_to_stop()

    def close(self, timeout_s: float) -> bool:
        """Stop the source, then deliver and stop the sink, within one deadline; flags stay readable.

        Returns:
            Whether all ended in time.
        """
        deadline = time.monotonic() + timeout_s
        ended = self._background.stop(timeout_s) if self._background is not None else True
        self._background = None
        if self.sink is not None:
            ended = self.sink.close(max(deadline - time.monotonic(), 0.0)) and ended
        self._enter(State.OFF)
        return ended
