"""`read_usage`: what the store knows, for reports. Reads only, and waits for nobody for long."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flagmw.usage.functions import Function, FunctionKind
from flagmw.usage.store_tables import APPLICATION_ID, VERSION, StoreError, Trouble, trouble_of

READ_TIMEOUT_S = 5.0
"""How long a report waits for a writer, which is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFunction:
    """One function of one application in one environment. Times are seconds of wall time.

    Attributes:
        function: where and what it is. `path` is as the process that scanned last knew it.
        app_name: the application.
        environment: where it runs.
        first_seen_at: when it was in a code base first.
        removed_at: since when it is in the newest code base no more; None while it is.
        first_invoked_at: a lower bound for the first call that was seen; None when it was never seen running.
        last_invoked_at: a lower bound for the last one: the beginning of the last interval in which it ran.
        intervals: in how many intervals of processes it ran.
    """

    function: Function
    app_name: str
    environment: str
    first_seen_at: float
    removed_at: float | None
    first_invoked_at: float | None
    last_invoked_at: float | None
    intervals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApplication:
    """One application in one environment.

    Attributes:
        app_name: its name.
        environment: where it runs.
        watched_since: when the first of its processes began to watch, in seconds of wall time.
        published_at: when one of its processes has last written; None when none is known any more.
        processes: how many are known, those that have ended included; they are forgotten after some weeks.
        fingerprint: of the newest code base.
    """

    app_name: str
    environment: str
    watched_since: float
    published_at: float | None
    processes: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUsage:
    """What the store knows.

    Attributes:
        functions: sorted by application, environment, path and line. Those that share a signature share what is known of
            their calls.
        applications: those that the functions are of.
        watched_since: of the application that is watched longest; None when there is none.
        processes: how many have written, as far as they are remembered.
    """

    functions: tuple[StoredFunction, ...]
    applications: tuple[StoredApplication, ...]
    watched_since: float | None
    processes: int


def read_usage(
    path: str | os.PathLike[str],
    app_name: str | None = None,
    environment: str | None = None,
    *,
    with_removed: bool = False,
) -> StoredUsage:
    """Read the store.

    Args:
        path: of the file.
        app_name: of one application; None for all.
        environment: of one environment; None for all.
        with_removed: whether functions that are not in the newest code base are given, too.

    Raises:
        StoreError: there is no such file, it is no usage store or one of another release, or it cannot be read.
    """
    with opened(path) as connection:
        if _is_empty(connection):  # a process is making it
            return StoredUsage(functions=(), applications=(), watched_since=None, processes=0)
        chosen: dict[str, Any] = {"app_name": app_name, "environment": environment, "with_removed": with_removed}
        applications = tuple(_application(row) for row in connection.execute(_APPLICATIONS, chosen))
        functions = tuple(_function(row) for row in connection.execute(_FUNCTIONS, chosen))
    return StoredUsage(
        functions=functions,
        applications=applications,
        watched_since=min((one.watched_since for one in applications), default=None),
        processes=sum(one.processes for one in applications),
    )


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Open the store for reading, at one moment of it; columns can be read by their names.

    Raises:
        StoreError: as in `read_usage`; also for what goes wrong inside.
    """
    place = Path(path).absolute()
    if not place.is_file():
        raise StoreError(
            f"there is no usage store {place}; it is written by an application that the usage agent watches, where the "
            "setting `store` says"
        )
    try:
        connection = _connect(place)
        try:
            _check(connection, place)
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"the usage store {place} {_what_is_wrong(error)}") from error


def _connect(place: Path) -> sqlite3.Connection:
    """Open the file; where nothing can be written beside it, as on a full disk, as one that nobody changes."""
    address = f"file:{quote(os.fspath(place))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=READ_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        connection.close()
        if trouble_of(error) is not Trouble.OTHER or _has_log(place):
            raise
        return sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _has_log(place: Path) -> bool:
    """Tell whether there are changes that are not in the file itself yet."""
    try:
        return os.path.getsize(f"{place}-wal") > 0
    except OSError:
        return False


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _check(connection: sqlite3.Connection, place: Path) -> None:
    if _is_empty(connection):
        return
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        raise StoreError(f"{place} is an SQLite file, but no usage store")
    if version != VERSION:
        raise StoreError(
            f"the usage store {place} has tables of version {version}, this release of flagmw reads version {VERSION}; "
            "read it with the release that wrote it"
        )


def _what_is_wrong(error: sqlite3.Error) -> str:
    trouble = trouble_of(error)
    if trouble is Trouble.LOCKED:
        return f"is locked by another program for longer than {READ_TIMEOUT_S:g} s; try again"
    if trouble is Trouble.DAMAGED:
        return f"is damaged or no SQLite file ({error})"
    return f"cannot be read ({error}); a reader needs to write to its folder, too, while it is in use"


_APPLICATIONS = """
SELECT app_name, environment, watched_since, fingerprint,
    (SELECT count(*) FROM processes WHERE application = applications.id) AS processes,
    (SELECT max(published_at) FROM processes WHERE application = applications.id) AS published_at
FROM applications
WHERE (:app_name IS NULL OR app_name = :app_name) AND (:environment IS NULL OR environment = :environment)
ORDER BY app_name, environment
"""

_FUNCTIONS = """
SELECT functions.*, app_name, environment, first_invoked_at, last_invoked_at, coalesce(intervals, 0) AS intervals
FROM functions
JOIN applications ON applications.id = functions.application
LEFT JOIN invocations
    ON invocations.application = functions.application AND invocations.signature_hash = functions.signature_hash
WHERE (:app_name IS NULL OR app_name = :app_name) AND (:environment IS NULL OR environment = :environment)
    AND (:with_removed OR removed_at IS NULL)
ORDER BY app_name, environment, path, first_line, place
"""


def _application(row: sqlite3.Row) -> StoredApplication:
    return StoredApplication(
        app_name=row["app_name"],
        environment=row["environment"],
        watched_since=row["watched_since"],
        published_at=row["published_at"],
        processes=row["processes"],
        fingerprint=row["fingerprint"],
    )


def _function(row: sqlite3.Row) -> StoredFunction:
    function = Function(
        package_name=row["package_name"],
        declaring_type=row["declaring_type"],
        name=row["name"],
        parameter_types=row["parameter_types"],
        kind=FunctionKind(row["kind"]),
        path=row["path"],
        shown_path=row["shown_path"],
        first_line=row["first_line"],
        last_line=row["last_line"],
    )
    return StoredFunction(
        function=function,
        app_name=row["app_name"],
        environment=row["environment"],
        first_seen_at=row["first_seen_at"],
        removed_at=row["removed_at"],
        first_invoked_at=row["first_invoked_at"],
        last_invoked_at=row["last_invoked_at"],
        intervals=row["intervals"],
    )
