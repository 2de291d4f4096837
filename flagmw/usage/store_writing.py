"""What one publication writes into the store, inside a transaction of the caller's. Knows no file and no clock."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from flagmw.usage.functions import CodeBase, Function
from flagmw.usage.seams import Interval, ProcessIdentity

BATCH = 500
"""Rows between two chances for other greenlets of the process; takes a few milliseconds."""

KEEP_PUBLICATIONS_S = 3 * 86_400.0
"""They only tell a repeated write from a new one."""

KEEP_PROCESSES_S = 30 * 86_400.0
KEEP_REMOVED_S = 180 * 86_400.0
"""A function that is in no code base any more, and its calls; a branch may be long away before it comes back."""

Row = tuple[str | int | float | None, ...]

_COLUMNS = (
    "package_name, declaring_type, name, parameter_types, kind, path, shown_path, first_line, last_line"  # of Function
)


class Inventory:
    """A code base as the store has it. Making one reads all of it once.

    Args:
        code_base: what exists.
        scanned_at: when it was read from the disk, in seconds of wall time.
        rest: called now and then, so that others of this process have their turn.

    Attributes:
        digest: of all that is written of it; other than the fingerprint, it changes when a function moves.
    """

    def __init__(self, code_base: CodeBase, scanned_at: float, rest: Callable[[], None]) -> None:
        self.code_base = code_base
        self.scanned_at = scanned_at
        self._rest = rest
        digest = hashlib.sha256()
        for row in self._columns():
            digest.update(repr(row).encode("utf-8"))
        self.digest = digest.hexdigest()

    @property
    def fingerprint(self) -> str:
        """The code base's own."""
        return _storable(self.code_base.fingerprint)

    def rows(self) -> dict[tuple[str, int], Row]:
        """Give the columns of all functions, by hash and place."""
        rows: dict[tuple[str, int], Row] = {}
        places: Counter[str] = Counter()
        for function, row in zip(self.code_base.functions, self._columns(), strict=True):
            signature_hash = function.signature_hash
            rows[signature_hash, places[signature_hash]] = row
            places[signature_hash] += 1
        return rows

    def _columns(self) -> Iterator[Row]:
        for number, function in enumerate(self.code_base.functions):
            if number % BATCH == 0:
                self._rest()
            yield _columns(function)


def _columns(function: Function) -> Row:
    return (
        *(
            _storable(text)
            for text in (function.package_name, function.declaring_type, function.name, function.parameter_types)
        ),
        function.kind.value,
        _storable(function.path),
        _storable(function.shown_path),
        function.first_line,
        function.last_line,
    )


def _storable(text: str) -> str:
    """Give a text that SQLite takes: names of files need not be UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class Writing:
    """One transaction's work for one process.

    Args:
        connection: in a transaction.
        process: who writes.
        at: now, in seconds of wall time.
        rest: called between batches of rows, so that others of this process have their turn.
    """

    def __init__(
        self, connection: sqlite3.Connection, process: ProcessIdentity, at: float, rest: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._process = process
        self._at = at
        self._rest = rest
        self._application = 0

    def enter(self, app_name: str, environment: str, app_version: str, *, has_ended: bool) -> None:
        """Write who this is; before all else."""
        started_at, where = self._process.started_at, (_storable(app_name), _storable(environment))
        self._connection.execute(
            "INSERT INTO applications (app_name, environment, watched_since) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET watched_since = min(watched_since, excluded.watched_since)",
            (*where, started_at),
        )
        (self._application,) = self._connection.execute(
            "SELECT id FROM applications WHERE app_name = ? AND environment = ?", where
        ).fetchone()
        self._connection.execute(
            "INSERT INTO processes (uuid, application, app_version, pid, hostname, started_at, published_at, ended_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET published_at = excluded.published_at, ended_at = excluded.ended_at",
            (
                self._process.uuid,
                self._application,
                _storable(app_version),
                self._process.pid,
                _storable(self._process.hostname),
                started_at,
                self._at,
                self._at if has_ended else None,
            ),
        )

    # --- the code base ----------------------------------------------------------------------------------------

    def write_code_base(self, inventory: Inventory, beside: str) -> str:
        """Write what is new or has moved, if this is the newest code base; else only what the store does not know.

        Args:
            inventory: what exists for this process.
            beside: the digest that this returned last: that code base is known to hold what this one adds.

        Returns:
            The digest of the code base that is the newest now.
        """
        digest, scanned_at = self._connection.execute(
            "SELECT digest, scanned_at FROM applications WHERE id = ?", (self._application,)
        ).fetchone()
        is_newest = inventory.scanned_at >= scanned_at
        if digest != inventory.digest:
            if not is_newest and digest == beside:
                return beside
            self._write_functions(inventory.rows(), is_newest=is_newest)
            if not is_newest:
                return str(digest)
        elif not is_newest:
            return inventory.digest
        self._connection.execute(
            "UPDATE applications SET digest = ?, fingerprint = ?, scanned_at = ? WHERE id = ?",
            (inventory.digest, inventory.fingerprint, inventory.scanned_at, self._application),
        )
        return inventory.digest

    def _write_functions(self, rows: dict[tuple[str, int], Row], *, is_newest: bool) -> None:
        known = self._known()
        changed = [
            (self._application, *key, *row, self._at, None if is_newest else self._at)
            for key, row in rows.items()
            if key not in known or (is_newest and known[key] != (*row, None))
        ]
        gone = [key for key, row in known.items() if is_newest and key not in rows and row[-1] is None]
        update = ", ".join(f"{name} = excluded.{name}" for name in [*_COLUMNS.split(", "), "removed_at"])
        self._write_many(
            f"INSERT INTO functions (application, signature_hash, place, {_COLUMNS}, first_seen_at, removed_at)"  # noqa: S608  # our own names only
            f" VALUES ({', '.join('?' * 14)}) ON CONFLICT DO UPDATE SET {update}",
            changed,
        )
        self._write_many(
            "UPDATE functions SET removed_at = ? WHERE application = ? AND signature_hash = ? AND place = ?",
            [(self._at, self._application, *key) for key in gone],
        )

    def _known(self) -> dict[tuple[str, int], Row]:
        """Give what the store has: for each hash and place, the columns of a function and when it was removed."""
        known: dict[tuple[str, int], Row] = {}
        rows = self._connection.execute(
            f"SELECT signature_hash, place, {_COLUMNS}, removed_at FROM functions WHERE application = ?",  # noqa: S608  # our own names only
            (self._application,),
        )
        while batch := rows.fetchmany(BATCH):
            known.update(((row[0], row[1]), row[2:]) for row in batch)
            self._rest()
        return known

    # --- what ran ---------------------------------------------------------------------------------------------

    def write_interval(self, interval: Interval) -> None:
        """Count what ran, unless this very interval was written before: the caller may not have learned of it."""
        if not interval.hashes:
            return
        is_new = self._connection.execute(
            "INSERT OR IGNORE INTO publications (process, started_at, published_at, functions) VALUES (?, ?, ?, ?)",
            (self._process.uuid, interval.started_at, self._at, len(interval.hashes)),
        ).rowcount
        if not is_new:
            return
        self._write_many(
            "INSERT INTO invocations (application, signature_hash, first_invoked_at, last_invoked_at, intervals)"
            " VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET intervals = intervals + 1,"
            " first_invoked_at = min(first_invoked_at, excluded.first_invoked_at),"
            " last_invoked_at = max(last_invoked_at, excluded.last_invoked_at)",
            [
                (self._application, signature_hash, interval.started_at, interval.started_at)
                for signature_hash in sorted(interval.hashes)
            ],
        )

    def prune(self) -> None:
        """Remove what is too old to matter, of all applications."""
        self._connection.execute("DELETE FROM publications WHERE published_at < ?", (self._at - KEEP_PUBLICATIONS_S,))
        self._connection.execute("DELETE FROM processes WHERE published_at < ?", (self._at - KEEP_PROCESSES_S,))
        self._connection.execute("DELETE FROM functions WHERE removed_at < ?", (self._at - KEEP_REMOVED_S,))
        self._connection.execute(
            "DELETE FROM invocations WHERE last_invoked_at < ? AND NOT EXISTS (SELECT 1 FROM functions"
            " WHERE functions.application = invocations.application"
            " AND functions.signature_hash = invocations.signature_hash)",
            (self._at - KEEP_REMOVED_S,),
        )

    def _write_many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        for start in range(0, len(rows), BATCH):
            self._connection.executemany(statement, rows[start : start + BATCH])
            self._rest()
