"""`StorePublisher`: writes what ran into an SQLite file that all processes of a host share. `read_usage` reads it.

Each publication is one transaction: the process, the code base where it changed, what ran, and what companions add.
While it lasts forks wait, since a child must not inherit SQLite's locks; so it is short, and a lock that somebody else
holds is waited for between attempts.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flagmw.lifecycle.chance import chance
from flagmw.lifecycle.imports import hold_forks
from flagmw.once import LogOnce
from flagmw.usage.config import DEFAULT_STORE, UsageConfig
from flagmw.usage.functions import CodeBase
from flagmw.usage.ledger import Bequest, merged
from flagmw.usage.seams import Companion, Interval, ProcessIdentity, Turn
from flagmw.usage.store_reading import StoredApplication, StoredFunction, StoredUsage, read_usage
from flagmw.usage.store_tables import (
    ForeignError,
    StoreError,
    Trouble,
    connected,
    identity_of,
    is_ours,
    make_tables,
    move_aside,
    run_script,
    trouble_of,
)
from flagmw.usage.store_writing import Inventory, Writing

__all__ = ["StoreError", "StorePublisher", "StoredApplication", "StoredFunction", "StoredUsage", "read_usage"]

logger = logging.getLogger("flagmw")

FIRST_INTERVAL_S = 2.0
"""The first intervals are shorter: most of what runs at all runs soon, and a process may be killed early."""

LOCK_PATIENCE_S = 5.0
"""How long a publication waits for others that hold the file's lock, before it leaves it for the next one."""

LOCK_PAUSE_S = 0.1
"""Between two attempts, at most."""

MAX_MOVES = 5
"""How often a damaged file is moved away, or seen being moved by another process, in one publication."""

PRUNE_INTERVAL_S = 3_600.0
MAX_WAITING = 4
"""How many intervals wait one by one for a file that cannot be written; then the oldest become one."""

REST_S = 0.001


class StorePublisher:
    """Writes into the store for one process. Making one opens nothing; belongs to one thread, except `wake`.

    Args:
        config: where the file is, and whose usage it is.
        process: who writes.
        companions: write their own in the same transaction; the sequence may grow.
        scanned_at: tells when the code base was read from the disk, in seconds of wall time; the newest one counts.
        bequest: what another process has left to this one and its like.

    Attributes:
        problem: why nothing is written; None when all is well.
        published_at: when something was written last, in seconds of wall time.
    """

    name = "store"
    thread_name = "flagmw-usage"

    def __init__(
        self,
        config: UsageConfig,
        process: ProcessIdentity,
        companions: Sequence[Companion] = (),
        *,
        scanned_at: Callable[[], float] = time.time,
        bequest: Bequest | None = None,
    ) -> None:
        self.exit_timeout_s = config.exit_timeout_s
        self.problem: str | None = None
        self.published_at: float | None = None
        self._config = config
        self._process = process
        self._companions = companions
        self._scanned_at = scanned_at
        self._bequest = bequest
        self._path = Path(config.store or DEFAULT_STORE).absolute()
        self._woken = threading.Event()
        self._log_once = LogOnce(logger)
        self._waiting: list[Interval] = []
        self._last_start = 0.0
        self._inventory: Inventory | None = None
        self._beside = ""
        self._delay_s = min(FIRST_INTERVAL_S, config.store_interval_s)
        self._prune_at_s = -math.inf
        self._failures = 0

    def run(self, turn: Turn) -> float:
        """Write what ran since the last time; see `Publisher`."""
        try:
            code_base = turn.code_base()
            self._note(turn.take())
            if self._publish(turn, code_base, self._woken, LOCK_PATIENCE_S, has_ended=False):
                delay_s, self._delay_s = self._delay_s, min(self._delay_s * 2, self._config.store_interval_s)
                return delay_s * (1.0 - chance() / 10)  # workers that began together need not write together
        except Exception:  # a defect of ours must not end the thread
            logger.exception("writing the usage store raised an error; it is tried again later")
        return self._config.store_interval_s

    def finish(self, turn: Turn, timeout_s: float) -> bool:
        """Write what is left within the time; see `Publisher`."""
        deadline_s = turn.monotonic_s + timeout_s
        try:
            code_base = turn.code_base()
            self._note(turn.take())
            left_s = max(deadline_s - turn.monotonic_s, 0.0)
            if self._publish(turn, code_base, threading.Event(), left_s, has_ended=True):
                return True
        except Exception:  # the process leaves, whatever a defect of ours says
            logger.exception("writing the usage store raised an error")
        if self._waiting:
            logger.error("this process leaves before what ran in it could be written into the usage store")
        return False

    def wake(self) -> None:
        """End what `run` is waiting for."""
        self._woken.set()

    def __repr__(self) -> str:
        """Name the file."""
        return f"StorePublisher({os.fspath(self._path)!r})"

    # --- what waits -------------------------------------------------------------------------------------------

    def _note(self, interval: Interval) -> None:
        """Keep what ran until it is written; the start names an interval, so no two may have the same."""
        if not interval.hashes:
            return
        self._last_start = max(interval.started_at, math.nextafter(self._last_start, math.inf))
        self._waiting.append(Interval(hashes=interval.hashes, started_at=self._last_start))
        if len(self._waiting) > MAX_WAITING:
            # Both were in the last attempt; should that have been written after all, both were.
            first, second, *others = self._waiting
            self._waiting = [merged(first, second), *others]

    # --- writing ----------------------------------------------------------------------------------------------

    def _publish(
        self, turn: Turn, code_base: CodeBase, waiting: threading.Event, patience_s: float, *, has_ended: bool
    ) -> bool:
        """Try until it is written, or something is wrong that waiting does not mend."""
        deadline_s = turn.monotonic_s + patience_s
        moves = 0
        while True:
            identity = identity_of(self._path)
            try:
                self._write(turn, code_base, has_ended=has_ended)
            except (ForeignError, sqlite3.Error, OSError) as error:
                trouble = trouble_of(error)
                if trouble is Trouble.LOCKED and turn.monotonic_s < deadline_s and not waiting.is_set():
                    waiting.wait(LOCK_PAUSE_S * (0.25 + 0.75 * chance()))
                    continue
                if trouble is Trouble.DAMAGED and moves < MAX_MOVES and identity is not None:
                    moves += 1
                    if self._set_aside(identity, error):
                        waiting.wait(LOCK_PAUSE_S * chance())
                        continue
                if moves < MAX_MOVES and identity_of(self._path) != identity:
                    moves += 1  # another process has moved it meanwhile, as damaged
                    waiting.wait(LOCK_PAUSE_S * chance())
                    continue
                self._fail(error, trouble)
                return False
            self._succeed(turn.wall_s)
            return True

    def _write(self, turn: Turn, code_base: CodeBase, *, has_ended: bool) -> None:
        if self._inventory is None or self._inventory.code_base is not code_base:
            self._inventory = Inventory(code_base, self._scanned_at(), _rest)
        self._inventory.scanned_at = self._scanned_at()
        now_s, at = turn.monotonic_s, turn.wall_s
        is_pruning = now_s >= self._prune_at_s
        with hold_forks(), connected(self._path) as connection, _transaction(connection):
            make_tables(connection)
            if self._bequest is not None:
                writing = Writing(connection, self._bequest.process, at, _rest)
                self._enter(writing, has_ended=False)
                writing.write_interval(self._bequest.interval())
            writing = Writing(connection, self._process, at, _rest)
            self._enter(writing, has_ended=has_ended)
            beside = self._beside
            if code_base.functions:  # else something is wrong, and the functions are still there
                beside = writing.write_code_base(self._inventory, beside)
            for interval in self._waiting:
                writing.write_interval(interval)
            if is_pruning:
                writing.prune()
            served = [one for one in list(self._companions) if self._serve(connection, one, at)]
        self._bequest = None
        self._beside = beside
        self._waiting.clear()
        if is_pruning:
            self._prune_at_s = now_s + PRUNE_INTERVAL_S
        for companion in served:
            try:
                companion.written()
            except Exception:  # another part's; what is written is written
                logger.exception("%s raised an error after it was written", type(companion).__name__)

    def _enter(self, writing: Writing, *, has_ended: bool) -> None:
        config = self._config
        writing.enter(config.app_name, config.environment, config.app_version, has_ended=has_ended)

    def _serve(self, connection: sqlite3.Connection, companion: Companion, at: float) -> bool:
        """Let a companion write; what goes wrong with it alone is undone and costs nobody else anything."""
        connection.execute("SAVEPOINT companion")
        try:
            run_script(connection, companion.schema)
            companion.write(connection, self._process, at)
        except Exception as error:  # another part's
            if isinstance(error, sqlite3.Error) and _is_of_the_file(error):
                raise
            connection.execute("ROLLBACK TO companion")
            name = type(companion).__name__
            self._log_once(logging.ERROR, (name, repr(error)), "%s cannot write into the usage store: %r", name, error)
            return False
        finally:
            if connection.in_transaction:  # SQLite has ended it where the disk is full
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("RELEASE companion")
        return True

    def _set_aside(self, identity: tuple[int, int], error: Exception) -> bool:
        """Give a damaged store another name, so that a new one can be begun; tells whether to try again."""
        if not is_ours(self._path):
            return False
        try:
            aside = move_aside(self._path, identity)
        except OSError as why:
            self._log_once(logging.ERROR, "aside", "%s is damaged and cannot be renamed: %s", self._path, why)
            return False
        if aside is not None:
            logger.error(
                "the usage store %s is damaged (%s); it is kept as %s, and a new one is begun", self._path, error, aside
            )
        return True

    # --- telling ----------------------------------------------------------------------------------------------

    def _fail(self, error: Exception, trouble: Trouble) -> None:
        """Tell once per episode what is wrong."""
        hint = {
            Trouble.LOCKED: "another program holds its lock",
            Trouble.DAMAGED: f"it is no SQLite file, or damaged ({error}); move it away, or set `store` to another path",
            Trouble.FOREIGN: f"{error}; set `store` to another path",
            Trouble.OTHER: f"{error}; is there its folder, room on the disk and the right to write?",
        }[trouble]
        problem = f"the usage store {self._path} cannot be written: {hint}"
        if problem != self.problem:
            logger.warning("%s; what ran is kept and written when that is over", problem)
        self.problem = problem
        self._failures += 1

    def _succeed(self, at: float) -> None:
        self.published_at = at
        if self.problem is not None:
            logger.info("the usage store %s is written again after %d failures", self._path, self._failures)
        self.problem = None
        self._failures = 0


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _is_of_the_file(error: sqlite3.Error) -> bool:
    """Tell what no companion can help from a companion's mistake."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    of_the_file = {
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CANTOPEN,
    }  # fmt: skip
    return code in of_the_file or trouble_of(error) is not Trouble.OTHER


def _rest() -> None:
    """Give other greenlets of the process their turn; a thread lets others run anyway."""
    threading.Event().wait(REST_S)
