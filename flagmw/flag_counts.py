"""`FlagCounts` keeps in the usage store what flags were evaluated to, day by day; `read_flag_counts` gives it back.

It is a companion of the usage agent, which calls it in its own thread, within its transactions. It also keeps which flags
the provider has. Needs SQLite; imported only where usage is watched or reported.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from flagmw.core.snapshot import Snapshot
from flagmw.tallies import NOT_FOUND, Combination, Tallies
from flagmw.usage.seams import ProcessIdentity
from flagmw.usage.store_reading import opened

KEPT_DAYS = 400
"""A year, so that a flag of last Christmas is still known."""

KNOWN_INTERVAL_S = 3600.0
"""How often the flags that a provider has are written although they have not changed."""

MAX_UNKNOWN_PER_DAY = 1_000
"""How many keys that are no flag's are kept of one day: they may come from anywhere, such as a request."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS flag_counts (
    app_name TEXT NOT NULL, environment TEXT NOT NULL, client_name TEXT NOT NULL, flag_key TEXT NOT NULL,
    day TEXT NOT NULL, reason TEXT NOT NULL, variation TEXT, value_json TEXT,
    count INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS flag_counts_of ON flag_counts (app_name, environment, client_name, flag_key, day);
CREATE INDEX IF NOT EXISTS flag_counts_day ON flag_counts (day, reason);
CREATE TABLE IF NOT EXISTS flags_known (
    app_name TEXT NOT NULL, environment TEXT NOT NULL, client_name TEXT NOT NULL, flag_key TEXT NOT NULL,
    first_seen_at REAL NOT NULL, last_seen_at REAL NOT NULL,
    PRIMARY KEY (app_name, environment, client_name, flag_key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flag_clients (
    app_name TEXT NOT NULL, environment TEXT NOT NULL, client_name TEXT NOT NULL,
    watched_since REAL NOT NULL, known_at REAL,
    PRIMARY KEY (app_name, environment, client_name)
) WITHOUT ROWID;
"""

_COUNT_MORE = """
UPDATE flag_counts SET count = count + ?, first_at = min(first_at, ?), last_at = max(last_at, ?)
WHERE app_name = ? AND environment = ? AND client_name = ? AND flag_key = ?
    AND day = ? AND reason = ? AND variation IS ? AND value_json IS ?
"""
_COUNT_FIRST = """
INSERT INTO flag_counts
    (app_name, environment, client_name, flag_key, day, reason, variation, value_json, count, first_at, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_UNKNOWN_OF_DAY = "SELECT count(*) FROM flag_counts WHERE day = ? AND reason = ?"
_PRUNE = "DELETE FROM flag_counts WHERE day < ?"
_WATCH = """
INSERT INTO flag_clients (app_name, environment, client_name, watched_since) VALUES (?, ?, ?, ?)
ON CONFLICT (app_name, environment, client_name)
DO UPDATE SET watched_since = min(watched_since, excluded.watched_since)
"""
_KNOW = """
INSERT INTO flags_known (app_name, environment, client_name, flag_key, first_seen_at, last_seen_at)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (app_name, environment, client_name, flag_key)
DO UPDATE SET last_seen_at = max(last_seen_at, excluded.last_seen_at)
"""
_KNOW_ALL = """
UPDATE flag_clients SET known_at = max(ifnull(known_at, 0), ?)
WHERE app_name = ? AND environment = ? AND client_name = ?
"""
_READ_COUNTS = """
SELECT flag_key, variation, value_json, reason, day, count, first_at, last_at, app_name, environment, client_name
FROM flag_counts WHERE (?1 IS NULL OR app_name = ?1) AND (?2 IS NULL OR environment = ?2)
ORDER BY flag_key, day, variation, reason
"""
_READ_KNOWN = """
SELECT flag_key, first_seen_at, last_seen_at, last_seen_at >= ifnull(known_at, 0), app_name, environment, client_name
FROM flags_known JOIN flag_clients USING (app_name, environment, client_name)
WHERE (?1 IS NULL OR app_name = ?1) AND (?2 IS NULL OR environment = ?2) ORDER BY flag_key
"""
_READ_SINCE = """
SELECT min(watched_since) FROM flag_clients
WHERE (?1 IS NULL OR app_name = ?1) AND (?2 IS NULL OR environment = ?2)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagCount:
    """How often one flag was evaluated to one thing on one day.

    Attributes:
        flag_key: unique among the flags of its client; for keys that are no flag's, as the code has it.
        variation: None where there was none, as for errors and the caller's default.
        value_json: the variation's value, where it is a short text, number or boolean.
        reason: a `flagmw.evaluation.Reason`, or `flagmw.tallies.NOT_FOUND` for a key that is no flag's.
        day: in UTC.
        count: of all processes.
        first_at: when the first of them was noticed, in seconds of wall time; it happened at most one interval of the
            agent earlier.
        last_at: the same for the last.
        app_name: the application that evaluated it.
        environment: of the application.
        client_name: of its client.
    """

    flag_key: str
    variation: str | None
    value_json: str | None
    reason: str
    day: dt.date
    count: int
    first_at: float
    last_at: float
    app_name: str = ""
    environment: str = ""
    client_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFlag:
    """One flag of a provider.

    Attributes:
        flag_key: unique among the flags of its client.
        first_seen_at: when a process first had it, in seconds of wall time.
        last_seen_at: when a process last wrote that it has it, which it does when flags change and every hour.
        is_there: whether it was among the flags that were written last; False for one that the provider has no more.
        app_name: the application that has it.
        environment: of the application.
        client_name: of its client.
    """

    flag_key: str
    first_seen_at: float
    last_seen_at: float
    is_there: bool = True
    app_name: str = ""
    environment: str = ""
    client_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagHistory:
    """What a store knows of flags.

    Attributes:
        counts: by flag, then by day.
        known: the flags that providers have or had.
        watched_since: when counting began, in seconds of wall time; None when nothing was counted yet.
    """

    counts: tuple[FlagCount, ...] = ()
    known: tuple[KnownFlag, ...] = ()
    watched_since: float | None = None


# --- writing --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Pending:
    """What was counted and is not known to be in the store."""

    count: int
    first_at: float
    last_at: float


def _no_snapshot() -> Snapshot | None:
    return None


class FlagCounts:
    """Writes what one client's `Tallies` have counted; a companion of the usage agent, whose thread calls it.

    Args:
        tallies: what counts.
        app_name: as in the agent's `UsageConfig`.
        environment: the same.
        client_name: under which name the client is shared.
        snapshot: gives the flags in force; None when there are none. It starts nothing.

    Attributes:
        schema: see `flagmw.usage.seams.Companion`.
    """

    schema = SCHEMA

    def __init__(
        self,
        tallies: Tallies,
        *,
        app_name: str = "",
        environment: str = "",
        client_name: str = "",
        snapshot: Callable[[], Snapshot | None] = _no_snapshot,
    ) -> None:
        self._tallies = tallies
        self._owner = (_text(app_name), _text(environment), _text(client_name))
        self._snapshot = snapshot
        self._begin()

    def _begin(self) -> None:
        self._read: dict[Combination, int] = {}
        self._pending: dict[tuple[Combination, str], _Pending] = {}
        self._known: tuple[str, float] | None = None
        self._written_known: tuple[str, float] | None = None
        self._pruned = ""

    def write(self, connection: sqlite3.Connection, process: ProcessIdentity, at: float) -> None:
        """Write what is new; see `flagmw.usage.seams.Companion`."""
        day = _day_of(at)
        snapshot = self._snapshot()
        self._take(day, at)
        if snapshot is not None and (self._known is None or self._known[0] != snapshot.revision):
            self._tallies.renew()
        connection.execute(_WATCH, (*self._owner, process.started_at))
        for (combination, counted_on), pending in self._pending.items():
            self._write_count(connection, combination, counted_on, pending)
        self._written_known = self._known
        if snapshot is not None and not snapshot.is_stale and self._is_due(snapshot.revision, at):
            connection.executemany(_KNOW, [(*self._owner, _text(key), at, at) for key in snapshot.flags])
            connection.execute(_KNOW_ALL, (at, *self._owner))
            self._written_known = snapshot.revision, at
        if self._pruned != day:
            connection.execute(_PRUNE, (_day_of(at - KEPT_DAYS * 86400.0),))
            self._pruned = day

    def written(self) -> None:
        """Let go of what is in the store."""
        self._pending = {}
        self._known = self._written_known

    def forked(self) -> None:
        """Begin at zero: what the parent has counted is the parent's."""
        self._tallies.forget()
        self._begin()

    def _take(self, day: str, at: float) -> None:
        """Add what was counted since the last time to what is not in the store."""
        for combination, total in self._tallies.read().items():
            new = total - self._read.get(combination, 0)
            if new <= 0:
                continue
            self._read[combination] = total
            pending = self._pending.setdefault((combination, day), _Pending(0, at, at))
            pending.count += new
            pending.last_at = at

    def _is_due(self, revision: str, at: float) -> bool:
        known = self._known
        return known is None or known[0] != revision or not 0 <= at - known[1] < KNOWN_INTERVAL_S

    def _write_count(self, connection: sqlite3.Connection, one: Combination, day: str, pending: _Pending) -> None:
        what = (_text(one.flag_key), day, one.reason, _text_or_none(one.variation), _text_or_none(one.value_json))
        amounts = (pending.count, pending.first_at, pending.last_at)
        if connection.execute(_COUNT_MORE, (*amounts, *self._owner, *what)).rowcount:
            return
        if one.reason == NOT_FOUND:
            (number,) = connection.execute(_UNKNOWN_OF_DAY, (day, NOT_FOUND)).fetchone()
            if number >= MAX_UNKNOWN_PER_DAY:
                return
        connection.execute(_COUNT_FIRST, (*self._owner, *what, *amounts))


def _day_of(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).date().isoformat()


def _text(value: str) -> str:
    """Give a text that SQLite takes: half of a surrogate pair, which JSON may hold, is none."""
    return value.encode("utf-8", "replace").decode()


def _text_or_none(value: str | None) -> str | None:
    return None if value is None else _text(value)


# --- reading --------------------------------------------------------------------------------------------------


def read_flag_counts(
    path: str | os.PathLike[str], app_name: str | None = None, environment: str | None = None
) -> FlagHistory:
    """Read what a store knows of flags, while others may write to it.

    Args:
        path: of the SQLite file.
        app_name: of the application; None for all of them.
        environment: None for all of them.

    Returns:
        The history; an empty one when no flags were counted.

    Raises:
        StoreError: there is no such file, it is no usage store, or it cannot be read; says which and why.
    """
    wanted = tuple(None if value is None else _text(value) for value in (app_name, environment))
    with opened(path) as connection:
        return _history(connection, wanted)


def _history(connection: sqlite3.Connection, wanted: tuple[str | None, ...]) -> FlagHistory:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"flag_counts", "flags_known", "flag_clients"} <= tables:
        return FlagHistory()
    counts = tuple(
        FlagCount(
            flag_key=row[0],
            variation=row[1],
            value_json=row[2],
            reason=row[3],
            day=dt.date.fromisoformat(row[4]),
            count=row[5],
            first_at=row[6],
            last_at=row[7],
            app_name=row[8],
            environment=row[9],
            client_name=row[10],
        )
        for row in connection.execute(_READ_COUNTS, wanted)
    )
    known = tuple(
        KnownFlag(
            flag_key=row[0],
            first_seen_at=row[1],
            last_seen_at=row[2],
            is_there=bool(row[3]),
            app_name=row[4],
            environment=row[5],
            client_name=row[6],
        )
        for row in connection.execute(_READ_KNOWN, wanted)
    )
    (since,) = connection.execute(_READ_SINCE, wanted).fetchone()
    return FlagHistory(counts=counts, known=known, watched_since=since)
