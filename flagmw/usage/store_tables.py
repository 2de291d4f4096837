"""The store's file: its tables, how it is opened, and what can be wrong with it.

SQLite, shared by all processes of a host that watch an application. It is opened for one transaction at a time, so that
nothing of it is inherited by a fork. Waiting for its lock is left to the caller: SQLite's own waiting would stop all
greenlets of a process.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from flagmw.errors import FlagmwError

VERSION = 1
"""Of the tables, in `user_version`; another number is a file of another release."""

APPLICATION_ID = 0x666C6D77
"""`flmw`: tells a usage store from other SQLite files."""

BUSY_TIMEOUT_S = 0.02
"""How long SQLite itself waits for a lock: for those that others hold for a moment only."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_ID_OFFSET = 68

SCHEMA = """
CREATE TABLE applications (
    id INTEGER PRIMARY KEY,
    app_name TEXT NOT NULL,
    environment TEXT NOT NULL,
    watched_since REAL NOT NULL,
    digest TEXT NOT NULL DEFAULT '',
    fingerprint TEXT NOT NULL DEFAULT '',
    scanned_at REAL NOT NULL DEFAULT 0,
    UNIQUE (app_name, environment)
);
CREATE TABLE functions (
    id INTEGER PRIMARY KEY,
    application INTEGER NOT NULL REFERENCES applications (id),
    signature_hash TEXT NOT NULL,
    place INTEGER NOT NULL,
    package_name TEXT NOT NULL,
    declaring_type TEXT NOT NULL,
    name TEXT NOT NULL,
    parameter_types TEXT NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    shown_path TEXT NOT NULL,
    first_line INTEGER NOT NULL,
    last_line INTEGER NOT NULL,
    first_seen_at REAL NOT NULL,
    removed_at REAL,
    UNIQUE (application, signature_hash, place)
);
CREATE TABLE invocations (
    application INTEGER NOT NULL REFERENCES applications (id),
    signature_hash TEXT NOT NULL,
    first_invoked_at REAL NOT NULL,
    last_invoked_at REAL NOT NULL,
    intervals INTEGER NOT NULL,
    PRIMARY KEY (application, signature_hash)
) WITHOUT ROWID;
CREATE TABLE processes (
    uuid TEXT PRIMARY KEY,
    application INTEGER NOT NULL REFERENCES applications (id),
    app_version TEXT NOT NULL,
    pid INTEGER NOT NULL,
    hostname TEXT NOT NULL,
    started_at REAL NOT NULL,
    published_at REAL NOT NULL,
    ended_at REAL
) WITHOUT ROWID;
CREATE TABLE publications (
    process TEXT NOT NULL,
    started_at REAL NOT NULL,
    published_at REAL NOT NULL,
    functions INTEGER NOT NULL,
    PRIMARY KEY (process, started_at)
) WITHOUT ROWID;
"""
"""A function is a hash and its place among the functions of the same hash, by path and line. It is there as long as it
is in the newest code base of its application; `removed_at` tells since when it is not. Times are seconds of wall time."""


class StoreError(FlagmwError):
    """The store cannot be read: no file, another's file, or damaged. The message says what to do."""


class Trouble(Enum):
    """What is wrong with the file."""

    LOCKED = "locked"
    DAMAGED = "damaged"
    FOREIGN = "foreign"
    OTHER = "other"


class ForeignError(Exception):
    """The file is another program's, or another release's."""


def trouble_of(error: Exception) -> Trouble:
    """Tell what an error of `connected`, or of SQLite, means."""
    if isinstance(error, ForeignError):
        return Trouble.FOREIGN
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}:
        return Trouble.LOCKED
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return Trouble.DAMAGED
    return Trouble.OTHER


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, made if it is missing, in autocommit mode; it is closed at the end.

    Raises:
        ForeignError: it is another program's, or of another release.
        sqlite3.Error: see `trouble_of`.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        version, is_empty = _inspect(connection)
        if is_empty:
            _give_to_owner_of_folder(path)
            _prefer_wal(connection)
        elif version != VERSION:
            raise ForeignError(_strange(connection, version))
        # A power cut may cost the newest intervals, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        yield connection
    finally:
        connection.close()


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables where the file is new; inside a transaction, so that one of many processes does it."""
    if _inspect(connection)[1]:
        run_script(connection, SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Execute the statements of a script without ending the transaction, as `executescript` would."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _give_to_owner_of_folder(path: Path) -> None:
    """Let workers write that a master, which begins as root, starts as another user; the journals follow the file."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        with contextlib.suppress(OSError):
            info = os.stat(path.parent)
            os.chown(path, info.st_uid, info.st_gid)


def _inspect(connection: sqlite3.Connection) -> tuple[int, bool]:
    """Give the version of the tables, 0 for a strange file, and whether the file is empty."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return (version if application_id == APPLICATION_ID else 0), not tables


def _strange(connection: sqlite3.Connection, version: int) -> str:
    if version:
        return f"its tables have version {version}, this release of flagmw writes version {VERSION}"
    return "it is another program's SQLite file"


def _prefer_wal(connection: sqlite3.Connection) -> None:
    """Let readers and writers not wait for each other, where the file system can do that; else as SQLite has it."""
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        if trouble_of(error) is Trouble.LOCKED:  # another process is making the file
            raise
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = DELETE")


# --- damaged files --------------------------------------------------------------------------------------------


def is_ours(path: Path) -> bool:
    """Tell whether a damaged file was a usage store: it says so itself, or is all zeros, as after a power cut."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError:
        return False
    if not head.strip(b"\0"):
        return True
    says = int.from_bytes(head[_ID_OFFSET : _ID_OFFSET + 4], "big")
    return head.startswith(_MAGIC) and says == APPLICATION_ID


def identity_of(path: Path) -> tuple[int, int] | None:
    """Tell one file from another that has its name; None when there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def move_aside(path: Path, identity: tuple[int, int]) -> Path | None:
    """Give a damaged file another name, of all the processes that find it damaged in one only.

    Args:
        path: of the store.
        identity: of the file that is damaged; another one in its place is left alone.

    Returns:
        The new name; None when another process has done it, or is doing it.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged-{identity[1]:x}")
    try:
        os.link(path, aside, follow_symlinks=False)  # fails where another process was here first
    except (FileExistsError, FileNotFoundError):
        return None
    if identity_of(aside) != identity:
        os.unlink(aside)
        return None
    for suffix in ("-wal", "-shm", "-journal"):  # a new file must not meet them
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    os.unlink(path)
    return aside
