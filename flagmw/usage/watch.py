"""`Watch`: what one configuration of the usage agent has in one interpreter, and in each process that it forks.

The recorder and the code base are handed on to a forked child; the identity, what ran, the publishers and their threads
are the child's own. Where a server forks without Python's knowing, or the threads are greenlets, which cannot be started
while a fork is under way, the child's part begins at the first sign of life that it gives (`touch`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from flagmw.errors import FlagmwError
from flagmw.lifecycle import hooks
from flagmw.lifecycle.imports import import_optional
from flagmw.once import LogOnce
from flagmw.usage.agent_status import AgentStatus, PublisherStatus
from flagmw.usage.config import UsageConfig
from flagmw.usage.known_code import KnownCode
from flagmw.usage.ledger import Bequest, Ledger
from flagmw.usage.publishing import Publishing
from flagmw.usage.seams import Companion, ProcessIdentity, Publisher, Recorder

logger = logging.getLogger("flagmw")

NOBODY = 0
"""No process has this id."""

STORE_THREAD = "flagmw-usage"
"""Of the publisher that knows by itself what to do with a bequest."""


class _Present:
    """What a watch has in one process; replaced as a whole after a fork.

    Attributes:
        is_silent: whether the process was about to fork workers, and may have no thread that reports.
    """

    def __init__(self, identity: ProcessIdentity, ledger: Ledger) -> None:
        self.identity = identity
        self.ledger = ledger
        self.generation = hooks.generation()
        self.publishings: list[Publishing] = []
        self.is_silent = hooks.forks_blindly()

    @property
    def is_mine(self) -> bool:
        """Whether it is this process's, as far as an id tells; a fork that was seen tells more."""
        return self.identity.pid == os.getpid()


class Watch:
    """Watches one configuration. Making one starts nothing; any thread may call; nothing raises.

    Args:
        config: what to watch, and where to report.

    Attributes:
        settled_pid: the process in which all threads run that may; compared by those in a hurry.
    """

    def __init__(self, config: UsageConfig) -> None:
        # A server may change its folder before the file is opened first.
        store = os.path.abspath(config.store) if config.store is not None else None
        self.config = config if store == config.store else replace(config, store=store)
        self.settled_pid = NOBODY
        self._holders: list[object] = []
        self._companions: list[Companion] = []
        self._recorder: Recorder | None = None
        self._known = KnownCode(self.config)
        self._present: _Present | None = None
        self._locks: dict[int, threading.RLock] = {}
        self._problems: list[str] = []
        self._log_once = LogOnce(logger)

    @property
    def _lock(self) -> threading.RLock:
        """This process's: one that is inherited may be held by a thread that is not here."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    # --- starting and stopping --------------------------------------------------------------------------------

    def join(self, holder: object, companions: Sequence[Companion]) -> None:
        """Watch for somebody, as long as he holds on."""
        with self._lock:
            if not any(one is holder for one in self._holders):
                self._holders.append(holder)
            for companion in companions:
                self.accompany(companion)
            if self._present is None:
                self._begin()
            self._settle(anew=True)

    def leave(self, holder: object, timeout_s: float) -> bool:
        """Stop watching for somebody; the last one ends it, with a last publication.

        Returns:
            Whether all was carried away in time.
        """
        with self._lock:
            self._holders = [one for one in self._holders if one is not holder]
            if self._holders or self._present is None:
                return True
            if not self._present.is_mine:
                self._inherit()
            present, self._present = self._present, None
            self.settled_pid = NOBODY
        present.ledger.stop()
        deadline_s = time.monotonic() + timeout_s
        for publishing in present.publishings:
            publishing.ask_to_stop(timeout_s)
        done = [publishing.stop(max(deadline_s - time.monotonic(), 0.0)) for publishing in present.publishings]
        return all(done)

    @property
    def is_held(self) -> bool:
        """Whether anybody wants it."""
        return bool(self._holders)

    def accompany(self, companion: Companion) -> None:
        """Let somebody write into the store, from the next publication on."""
        if not any(one is companion for one in self._companions):
            self._companions.append(companion)

    def _begin(self) -> None:
        """Watch from now on, without threads so far."""
        hooks.install()
        started_at = time.time()
        self._problems.clear()
        self._recorder = None
        with self._telling("preparing to read the code base"):
            self._known.prepare()
        module: Any = import_optional("flagmw.usage.recording")
        with self._telling("watching what runs"):
            self._recorder = module.recorder_for(self.config)
            self._recorder.start()
            if self._recorder.problem is not None:
                logger.warning("the usage agent cannot see what runs: %s", self._recorder.problem)
        self._present = self._make_present(started_at)

    def _make_present(self, started_at: float, bequest: Bequest | None = None) -> _Present:
        identity = ProcessIdentity(uuid=str(uuid.uuid4()), pid=os.getpid(), hostname=_hostname(), started_at=started_at)
        publishers = self._make_publishers(identity, bequest)
        present = _Present(identity, Ledger(self._recorder, self._known, len(publishers), started_at))
        self._fill(present, publishers)
        for number, publisher in enumerate(publishers):
            if bequest is not None and publisher.thread_name != STORE_THREAD:
                present.ledger.add(number, bequest)
        return present

    def _fill(self, present: _Present, publishers: Sequence[Publisher]) -> None:
        """Give each publisher its place, unless the one of before is still at work."""
        running = {number: one for number, one in enumerate(present.publishings) if one.is_running}
        present.publishings = [
            running.get(number) or Publishing(publisher, number, present.ledger, self._known)
            for number, publisher in enumerate(publishers)
        ]

    def _make_publishers(self, identity: ProcessIdentity, bequest: Bequest | None = None) -> list[Publisher]:
        makers: list[Callable[[], Publisher]] = []
        if self.config.store is not None:
            makers.append(lambda: self._make_store(identity, bequest))
        if self.config.server_url is not None:
            makers.append(lambda: self._make_collector(identity))
        made: list[Publisher] = []
        for make in makers:
            with self._telling("preparing to report"):
                made.append(make())
        return made

    def _make_store(self, identity: ProcessIdentity, bequest: Bequest | None) -> Publisher:
        module: Any = import_optional("flagmw.usage.store")
        made: Publisher = module.StorePublisher(
            self.config, identity, self._companions, scanned_at=lambda: self._known.scanned_at, bequest=bequest
        )
        return made

    def _make_collector(self, identity: ProcessIdentity) -> Publisher:
        module: Any = import_optional("flagmw.usage.scavenger.publisher")
        if module is None:
            raise FlagmwError("reporting to a collector needs what flagmw[scavenger] installs: h2 and protobuf")
        made: Publisher = module.CollectorPublisher(self.config, identity)
        return made

    @contextlib.contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Remember and log what goes wrong: the application goes on without it."""
        try:
            yield
        except Exception as error:  # see above
            is_told = isinstance(error, FlagmwError)
            problem = f"{doing}: {error}" if is_told else f"{doing} raised {error!r}"
            self._problems.append(problem)
            logger.exception("the usage agent is incomplete: %s", problem, exc_info=not is_told)

    # --- threads and forks ------------------------------------------------------------------------------------

    def touch(self) -> None:
        """See to it that the threads of this process run; for those who found another id in `settled_pid`."""
        if self._present is None or hooks.is_over():
            return
        with self._lock:
            self._settle()

    def _settle(self, *, anew: bool = False) -> None:
        """Have this process's own part, and its threads if they were never started.

        Args:
            anew: whether threads that have ended are replaced.
        """
        if self._present is None:
            return
        if not self._present.is_mine:
            self._inherit()
        present = self._present
        if hooks.forks_blindly():
            return
        if anew and self.settled_pid == os.getpid() and any(not one.is_running for one in present.publishings):
            self._fill(present, self._make_publishers(present.identity))
        try:
            started = [publishing.start() for publishing in present.publishings]
        except RuntimeError as error:  # no more threads, or the interpreter is on its way out
            self._log_once(logging.WARNING, "thread", "usage is reported only when this process leaves: %s", error)
            started = [True]
        if all(started):
            self.settled_pid = os.getpid()

    def forked(self) -> None:
        """Begin the part of a child that was forked just now, and has one thread so far."""
        self._locks = {}
        if self._present is None or self._present.generation == hooks.generation():  # built by this same fork's hooks
            return
        self._inherit()
        if not _threads_are_greenlets():
            self._settle()

    def _inherit(self) -> None:
        """Make this process's own part out of its parent's, nothing of which is reported here."""
        self.settled_pid = NOBODY
        started_at = time.time()
        bequest = self._bequest()
        for forget in [self._recorder, self._known, *self._companions]:
            if forget is not None:
                with contextlib.suppress(Exception):  # nothing is logged here: the log's locks may be in any state
                    forget.forked()
        self._present = self._make_present(started_at, bequest)

    def _bequest(self) -> Bequest | None:
        """Give what ran in a master that cannot report it."""
        parent = self._present
        if (
            parent is None
            or self._recorder is None
            or not parent.is_silent
            or not _is_uwsgis_master(parent.identity.pid)
        ):
            return None
        try:
            return Bequest(parent.identity, self._recorder.take(), self._known)
        except Exception:  # nothing is logged here, as above
            return None

    def finish(self, timeout_s: float | None) -> None:
        """Publish what no thread is left to publish, because the process leaves."""
        present = self._present
        if present is None or not present.is_mine:
            return
        deadline_s = time.monotonic() + (self.config.exit_timeout_s if timeout_s is None else timeout_s)
        for publishing in present.publishings:
            publishing.finish_left(max(deadline_s - time.monotonic(), 0.0))

    # --- looking ----------------------------------------------------------------------------------------------

    def status(self) -> AgentStatus:
        """Tell how things are in this process."""
        present = self._present if self._present is not None and self._present.is_mine else None
        code_base = self._known.code_base
        publishers = tuple(_status_of(one) for one in present.publishings) if present is not None else ()
        return AgentStatus(
            running=present is not None,
            pid=os.getpid(),
            uuid=present.identity.uuid if present is not None else "",
            packages=self.config.packages,
            functions=len(code_base.functions) if code_base is not None else None,
            ran=len(present.ledger.ran) if present is not None else 0,
            publishers=publishers,
            problems=tuple(self._what_is_wrong(publishers)),
        )

    def _what_is_wrong(self, publishers: Sequence[PublisherStatus]) -> Iterator[str]:
        yield from self._problems
        if self._recorder is not None and self._recorder.problem is not None:
            yield f"what runs cannot be seen: {self._recorder.problem}"
        if self._known.problem is not None:
            yield self._known.problem
        code_base = self._known.code_base
        if code_base is not None:
            if not code_base.functions:
                yield "no function was found: look at the settings packages and codebase"
            yield from map(str, code_base.problems)
        yield from (f"{one.name}: {one.problem}" for one in publishers if one.problem is not None)


def _status_of(publishing: Publishing) -> PublisherStatus:
    publisher = publishing.publisher
    return PublisherStatus(
        name=getattr(publisher, "name", publisher.thread_name),
        is_running=publishing.is_running,
        published_at=getattr(publisher, "published_at", None),
        problem=getattr(publisher, "problem", None),
    )


def _hostname() -> str:
    try:
        return socket.gethostname() or "unknown"
    except OSError:
        return "unknown"


def _is_uwsgis_master(pid: int) -> bool:
    """Tell a master, which serves nothing, from a first worker that has forked the others."""
    masterpid = getattr(sys.modules.get("uwsgi"), "masterpid", None)
    return callable(masterpid) and masterpid() == pid


def _threads_are_greenlets() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


# --- all watches of this interpreter ------------------------------------------------------------------------------

_watches: dict[UsageConfig, Watch] = {}
"""Those that somebody holds. Changed by single operations only, so that no lock is needed."""


def watch_for(config: UsageConfig) -> Watch:
    """Give the watch of a configuration; one for all who have the same."""
    return _watches.setdefault(config, Watch(config))


def remember(config: UsageConfig, watch: Watch) -> None:
    """Keep a watch that somebody holds, should another one have let go of it just now."""
    _watches.setdefault(config, watch)


def forget(config: UsageConfig, watch: Watch) -> None:
    """Let go of a watch that nobody holds."""
    if not watch.is_held and _watches.get(config) is watch:
        _watches.pop(config, None)


@hooks.in_child
def _in_child() -> None:
    for watch in list(_watches.values()):
        watch.forked()


@hooks.on_begin
def _on_begin() -> None:
    for watch in list(_watches.values()):
        watch.touch()


@hooks.on_leave
def _on_leave(timeout_s: float | None) -> None:
    for watch in list(_watches.values()):
        watch.finish(timeout_s)
