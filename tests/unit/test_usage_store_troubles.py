"""The store where its file is locked, damaged, another's, or cannot be written: told once, nothing lost, nobody held up."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flagmw.usage.store import StorePublisher, read_usage
from flagmw.usage.store_tables import identity_of, move_aside
from tests.unit.usage_agent_support import A, B, Turns, process, rows, settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


def publisher(path: Path, number: int = 1) -> StorePublisher:
    return StorePublisher(settings(path), process(number))


def ran(path: Path) -> dict[str, int]:
    return {one.function.name: one.intervals for one in read_usage(path).functions if one.intervals}


def told(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


# --- locked ---------------------------------------------------------------------------------------------------


def test_a_lock_that_is_held_shortly_is_waited_for(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    turns.run(A)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, connection.execute, ["ROLLBACK"])
        release.start()
        store.run(turns)
        release.join()
    assert (ran(path), told(caplog)) == ({"a": 1}, [])


def test_what_ran_under_a_long_lock_is_written_afterwards_and_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flagmw")
    store, turns = publisher(path), Turns()
    store.run(turns)
    store.wake()  # so that it does not wait
    with locked(path):
        for _ in range(3):
            turns.run(A)
            store.run(turns)
        assert "another program holds its lock" in str(store.problem)
    turns.run(B)
    store.run(turns)
    assert ran(path) == {"a": 3, "b": 1}
    first, second = told(caplog)
    assert first == (
        f"the usage store {path} cannot be written: another program holds its lock; "
        "what ran is kept and written when that is over"
    )
    assert second == f"the usage store {path} is written again after 3 failures"
    assert store.problem is None


def test_the_last_publication_waits_for_a_lock_no_longer_than_it_may(path: Path) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    turns.run(A)
    with locked(path):
        began_s = time.monotonic()
        assert not store.finish(turns, 0.5)
    assert 0.4 < time.monotonic() - began_s < 2.0


def test_what_is_lost_at_the_end_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    turns.run(A)
    with locked(path):
        store.finish(turns, 0.0)
    assert told(caplog, logging.ERROR) == [
        "this process leaves before what ran in it could be written into the usage store"
    ]


def test_a_publication_that_waits_for_a_lock_ends_when_it_is_woken(path: Path) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    turns.run(A)
    with locked(path):
        thread = threading.Thread(target=store.run, args=[turns])
        thread.start()
        began_s = time.monotonic()
        store.wake()
        thread.join(10)
        assert time.monotonic() - began_s < 2.0


def test_forks_are_not_held_up_while_a_lock_is_waited_for(path: Path) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    turns.run(A)
    with locked(path):
        thread = threading.Thread(target=store.run, args=[turns])
        thread.start()
        began_s = time.monotonic()
        done = subprocess.run([sys.executable, "-S", "-c", ""], preexec_fn=lambda: None, check=False)  # it forks
        took_s = time.monotonic() - began_s
        store.wake()
        thread.join(10)
    assert (done.returncode, took_s < 1.5) == (0, True)


# --- damaged --------------------------------------------------------------------------------------------------


def damage(path: Path) -> bytes:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 8_000)
    return path.read_bytes()


def test_a_damaged_store_is_kept_under_another_name_and_a_new_one_begun(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher(path, 1).run(Turns())
    content = damage(path)
    store, turns = publisher(path, 2), Turns()
    turns.run(A)
    store.run(turns)
    (aside,) = [one for one in path.parent.glob("usage.db.damaged-*") if not one.name.endswith(("-wal", "-shm"))]
    assert (aside.read_bytes(), ran(path), store.problem) == (content, {"a": 1}, None)
    (message,) = told(caplog, logging.ERROR)
    assert f"the usage store {path} is damaged" in message
    assert f"it is kept as {aside}, and a new one is begun" in message


def test_a_store_that_a_power_cut_left_as_zeros_is_begun_anew(path: Path) -> None:
    path.write_bytes(bytes(4_096))
    store, turns = publisher(path), Turns()
    turns.run(A)
    store.run(turns)
    assert ran(path) == {"a": 1}


def test_of_many_processes_that_find_a_store_damaged_one_moves_it(path: Path) -> None:
    publisher(path, 0).run(Turns())
    damage(path)
    stores = [publisher(path, number) for number in range(1, 7)]

    def work(store: StorePublisher) -> None:
        turns = Turns()
        turns.run(A)
        store.run(turns)

    threads = [threading.Thread(target=work, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    moved = [one for one in path.parent.glob("*.damaged-*") if not one.name.endswith(("-wal", "-shm"))]
    assert (ran(path), len(moved)) == ({"a": 6}, 1)


def test_a_file_that_came_into_the_place_of_a_damaged_one_is_not_moved(path: Path, tmp_path: Path) -> None:
    path.write_text("damaged")
    identity = identity_of(path)
    assert identity is not None
    (tmp_path / "new").write_text("new")
    os.replace(tmp_path / "new", path)
    assert move_aside(path, identity) is None
    assert path.read_text() == "new"


# --- another's ------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("settings = {}\n" * 1_000)
    store, turns = publisher(path), Turns()
    for _ in range(2):
        turns.run(A)
        store.run(turns)
    assert path.read_text() == "settings = {}\n" * 1_000
    (message,) = told(caplog)
    assert "it is no SQLite file, or damaged" in message


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    content = path.read_bytes()
    store = publisher(path)
    store.run(Turns())
    assert path.read_bytes() == content
    assert "it is another program's SQLite file; set `store` to another path" in str(store.problem)


def test_another_programs_damaged_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    content = damage(path)
    publisher(path).run(Turns())
    assert path.read_bytes() == content


def test_a_store_of_another_release_is_left_alone(path: Path) -> None:
    publisher(path).run(Turns())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    store, turns = publisher(path, 2), Turns()
    turns.run(A)
    store.run(turns)
    assert "its tables have version 9, this release of flagmw writes version 1" in str(store.problem)
    assert rows(path, "SELECT count(*) FROM processes") == [(1,)]


# --- not writable ---------------------------------------------------------------------------------------------


def test_a_missing_folder_is_told_once_and_may_come_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "later" / "usage.db"
    store, turns = publisher(path), Turns()
    for _ in range(2):
        turns.run(A)
        store.run(turns)
    path.parent.mkdir()
    store.run(turns)
    assert (ran(path), len(told(caplog, logging.WARNING))) == ({"a": 2}, 1)
    assert "is there its folder" in told(caplog)[0]


def test_a_file_that_root_makes_belongs_to_the_owner_of_its_folder(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path.parent, 12_345, 12_345)
    publisher(path).run(Turns())
    assert path.stat().st_uid == path.parent.stat().st_uid


def test_a_file_that_is_deleted_while_it_is_used_is_made_again_with_all_functions(path: Path) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    for each in path.parent.glob("usage.db*"):
        each.unlink()
    turns.run(A)
    store.run(turns)
    assert (len(read_usage(path).functions), ran(path)) == (3, {"a": 1})


FULL = """
import json, resource, signal, sys
from pathlib import Path
from flagmw.usage.functions import CodeBase
from flagmw.usage.store import StorePublisher, read_usage
from tests.unit.usage_agent_support import SHOP, A, B, Turns, code_base, function, process, settings

path = Path(sys.argv[1])
store, turns = StorePublisher(settings(path), process()), Turns()
turns.run(A)
store.run(turns)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
turns.base = code_base(A, B, *[function(f"f{number}", number) for number in range(2_000)])
for _ in range(3):
    turns.run(A, B)
    store.run(turns)
problem = store.problem
before = {one.function.name: one.intervals for one in read_usage(path).functions if one.intervals}
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.run(turns)
after = {one.function.name: one.intervals for one in read_usage(path).functions if one.intervals}
print(json.dumps([problem, before, after, store.problem, len(read_usage(path).functions)]))
"""


def test_a_full_disk_loses_nothing(path: Path) -> None:
    problem, before, after, then, functions = run(FULL, path)
    assert "cannot be written" in problem
    assert (before, after) == ({"a": 1}, {"a": 4, "b": 3})
    assert (then, functions) == (None, 2_002)


def test_a_file_system_without_shared_memory_has_a_rollback_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutWal(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA journal_mode = WAL":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMMAP
                raise error
            return super().execute(sql, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, factory=WithoutWal, **named))
    store, turns = publisher(path), Turns()
    turns.run(A)
    store.run(turns)
    assert (ran(path), rows(path, "PRAGMA journal_mode")) == ({"a": 1}, [("delete",)])


def run(program: str, path: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(path)],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
