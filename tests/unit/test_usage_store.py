"""The store: what processes write, each once, and what a report reads."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flagmw.errors import FlagmwError
from flagmw.usage.functions import FunctionKind
from flagmw.usage.seams import ProcessIdentity
from flagmw.usage.store import StoredFunction, StoreError, StorePublisher, read_usage
from flagmw.usage.store_tables import APPLICATION_ID
from flagmw.usage.store_writing import KEEP_PROCESSES_S, KEEP_PUBLICATIONS_S, KEEP_REMOVED_S
from tests.unit.usage_agent_support import SHOP, A, B, C, Turns, code_base, function, names, process, rows, settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


def publisher(path: Path, number: int = 1, started_at: float = 1_000.0) -> StorePublisher:
    return StorePublisher(settings(path), process(number, started_at), scanned_at=lambda: started_at)


def stored(path: Path, *, with_removed: bool = False) -> dict[str, StoredFunction]:
    return {one.function.signature: one for one in read_usage(path, with_removed=with_removed).functions}


def intervals(path: Path) -> Counter[str]:
    return Counter({one.function.name: one.intervals for one in read_usage(path).functions if one.intervals})


# --- what is written ------------------------------------------------------------------------------------------


def test_what_exists_is_read_as_it_was_scanned(path: Path) -> None:
    strange = replace(
        function("<lambda>", 7, "/app/é\udcff/x.py", "self, *rest"), kind=FunctionKind.LAMBDA, declaring_type="x.K"
    )
    publisher(path).run(Turns(code_base(A, strange)))
    readable = replace(strange, path="/app/é\\udcff/x.py")
    assert [one.function for one in read_usage(path).functions] == [A, readable]


def test_a_function_that_never_ran_has_no_times(path: Path) -> None:
    publisher(path).run(Turns())
    assert stored(path)[A.signature] == StoredFunction(
        function=A,
        app_name="shop",
        environment="test",
        first_seen_at=1_000.0,
        removed_at=None,
        first_invoked_at=None,
        last_invoked_at=None,
        intervals=0,
    )


def test_times_of_calls_are_the_beginnings_of_the_intervals_in_which_they_were(path: Path) -> None:
    store, turns = publisher(path), Turns()
    for _ in range(3):
        turns.run(A)
        store.run(turns)
    told = stored(path)[A.signature]
    assert (told.first_invoked_at, told.last_invoked_at, told.intervals) == (1_000.0, 1_020.0, 3)


def test_an_interval_in_which_nothing_ran_changes_nothing(path: Path) -> None:
    store, turns = publisher(path), Turns()
    turns.run(A)
    store.run(turns)
    turns.run()
    store.run(turns)
    assert intervals(path) == {"a": 1}


def test_processes_add_up(path: Path) -> None:
    for number in (1, 2):
        store, turns = publisher(path, number), Turns()
        turns.run(A, *([B] if number == 2 else []))
        store.run(turns)
    assert intervals(path) == {"a": 2, "b": 1}
    assert read_usage(path).processes == 2


def test_functions_that_share_a_signature_share_their_calls_and_keep_their_places(path: Path) -> None:
    twin = function("a", 5)
    store, turns = publisher(path), Turns(code_base(A, twin))
    turns.run(A)
    store.run(turns)
    assert [(one.function.first_line, one.intervals) for one in read_usage(path).functions] == [(1, 1), (5, 1)]


def test_an_application_is_watched_since_its_first_process_began(path: Path) -> None:
    for number, started_at in ((1, 900.0), (2, 800.0), (3, 1_000.0)):
        publisher(path, number, started_at).run(Turns())
    assert read_usage(path).watched_since == 800.0


def test_applications_and_environments_are_kept_apart(path: Path) -> None:
    for number, (app_name, environment) in enumerate([("shop", "test"), ("shop", "live"), ("bank", "live")]):
        config = replace(settings(path), app_name=app_name, environment=environment)
        turns = Turns()
        turns.run(A)
        StorePublisher(config, process(number)).run(turns)
    usage = read_usage(path, app_name="shop", environment="live")
    assert [(one.app_name, one.environment, one.intervals) for one in usage.functions] == [
        ("shop", "live", 1),
        ("shop", "live", 0),
        ("shop", "live", 0),
    ]
    assert [(one.app_name, one.environment) for one in read_usage(path).applications] == [
        ("bank", "live"),
        ("shop", "live"),
        ("shop", "test"),
    ]


def test_the_end_of_a_process_is_written(path: Path) -> None:
    store, turns = publisher(path), Turns()
    assert store.finish(turns, 1.0)
    assert rows(path, "SELECT ended_at IS NOT NULL FROM processes") == [(1,)]


def test_what_ran_last_is_written_at_the_end(path: Path) -> None:
    store, turns = publisher(path), Turns()
    store.run(turns)
    turns.run(C)
    assert store.finish(turns, 1.0)
    assert intervals(path) == {"c": 1}


def test_publications_become_rarer_until_the_interval_is_reached(path: Path) -> None:
    store, turns = StorePublisher(settings(path, store_interval_s=20.0), process()), Turns()
    delays = [store.run(turns) for _ in range(6)]
    assert all(0.89 * due <= delay <= due for delay, due in zip(delays, (2, 4, 8, 16, 20, 20), strict=True)), delays


# --- code bases -----------------------------------------------------------------------------------------------


def test_a_function_that_was_removed_is_left_out_and_can_be_asked_for(path: Path) -> None:
    publisher(path, 1, 1_000.0).run(Turns(SHOP))
    publisher(path, 2, 2_000.0).run(Turns(code_base(A, B), at=2_000.0))
    assert list(stored(path)) == [A.signature, B.signature]
    assert stored(path, with_removed=True)[C.signature].removed_at == 2_000.0


def test_a_function_that_moved_is_where_the_newest_code_base_has_it(path: Path) -> None:
    publisher(path, 1, 1_000.0).run(Turns(SHOP))
    publisher(path, 2, 2_000.0).run(Turns(code_base(function("a", 3), B, C), at=2_000.0))
    told = stored(path)[A.signature]
    assert (told.function.first_line, told.first_seen_at) == (3, 1_000.0)


def test_an_older_code_base_does_not_replace_the_newest(path: Path) -> None:
    old, new = publisher(path, 1, 1_000.0), publisher(path, 2, 2_000.0)
    turns = Turns(SHOP)
    new.run(Turns(code_base(A, B), at=2_000.0))
    for _ in range(2):
        turns.run(C)
        old.run(turns)
    assert list(stored(path)) == [A.signature, B.signature]
    assert stored(path, with_removed=True)[C.signature].intervals == 2


def test_a_roll_back_brings_functions_back(path: Path) -> None:
    for number, base in enumerate((SHOP, code_base(A), SHOP)):
        publisher(path, number, 1_000.0 * (number + 1)).run(Turns(base, at=1_000.0 * (number + 1)))
    assert {one.removed_at for one in read_usage(path, with_removed=True).functions} == {None}
    assert len(read_usage(path).functions) == 3


def test_a_code_base_in_which_nothing_was_found_replaces_nothing(path: Path) -> None:
    publisher(path, 1, 1_000.0).run(Turns(SHOP))
    publisher(path, 2, 2_000.0).run(Turns(code_base()))
    assert len(stored(path)) == 3


def test_only_what_changed_is_written_of_a_code_base(path: Path) -> None:
    publisher(path, 1, 1_000.0).run(Turns(SHOP))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE log (hash TEXT)")
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER of_{event} AFTER {event} ON functions BEGIN"
                " INSERT INTO log VALUES (new.signature_hash); END"
            )
    publisher(path, 2, 2_000.0).run(Turns(SHOP))
    publisher(path, 3, 3_000.0).run(Turns(code_base(A, B, C, function("d", 31)), at=3_000.0))
    assert rows(path, "SELECT hash FROM log") == [(function("d").signature_hash,)]


def test_a_large_code_base_is_written_whole(path: Path) -> None:
    functions = [function(f"f{number}", number) for number in range(1, 3_000)]
    publisher(path).run(Turns(code_base(*functions)))
    assert names(one.function for one in read_usage(path).functions) == names(functions)


# --- once -----------------------------------------------------------------------------------------------------


def test_an_interval_that_was_written_without_the_writer_learning_of_it_counts_once(path: Path) -> None:
    store, turns = publisher(path), Turns()
    turns.run(A)
    store._note(turns.take())
    interval = list(store._waiting)
    store.run(turns)
    store._waiting = interval
    store.run(turns)
    assert intervals(path) == {"a": 1}


def test_what_could_not_be_written_is_written_later_each_interval_for_itself(path: Path) -> None:
    path.mkdir()
    store, turns = publisher(path), Turns()
    for _ in range(3):
        turns.run(A)
        store.run(turns)
    path.rmdir()
    turns.run(A, B)
    store.run(turns)
    told = stored(path)
    assert intervals(path) == {"a": 4, "b": 1}
    assert (told[A.signature].first_invoked_at, told[A.signature].last_invoked_at) == (1_000.0, 1_030.0)


def test_intervals_that_wait_for_long_become_one(path: Path) -> None:
    path.mkdir()
    store, turns = publisher(path), Turns()
    for _ in range(50):
        turns.run(A)
        store.run(turns)
    assert len(store._waiting) == 4
    path.rmdir()
    turns.run(B)
    store.run(turns)
    told = stored(path)
    assert (told[A.signature].first_invoked_at, told[B.signature].last_invoked_at) == (1_000.0, 1_500.0)


def test_intervals_that_begin_at_the_same_time_are_two(path: Path) -> None:
    store, turns = publisher(path), Turns()
    for one in (A, B):
        turns.run(one, passing_s=0.0)  # as when the clock is put back
        store.run(turns)
    assert intervals(path) == {"a": 1, "b": 1}


def test_many_processes_at_a_time_lose_nothing(path: Path) -> None:
    def work(number: int) -> None:
        store, turns = publisher(path, number), Turns()
        for _ in range(5):
            turns.run(A, B)
            store.run(turns)
        turns.run(C)
        assert store.finish(turns, 30.0)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert intervals(path) == {"a": 40, "b": 40, "c": 8}
    assert rows(path, "SELECT sum(functions) FROM publications") == [(88,)]


# --- pruning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "after_s"), [("publications", KEEP_PUBLICATIONS_S), ("processes", KEEP_PROCESSES_S)])
def test_what_is_old_is_removed(path: Path, table: str, after_s: float) -> None:
    turns = Turns()
    turns.run(A)
    publisher(path, 1).run(turns)
    turns.at += after_s + 20.0
    publisher(path, 2).run(turns)
    assert rows(path, f"SELECT count(*) FROM {table} WHERE published_at < {turns.at}") == [(0,)]


def test_functions_that_were_removed_long_ago_are_forgotten_with_their_calls(path: Path) -> None:
    turns = Turns()
    turns.run(A, C)
    publisher(path, 1).run(turns)
    turns.base = code_base(A)
    publisher(path, 2, 2_000.0).run(turns)
    turns.at += KEEP_REMOVED_S + 100.0
    publisher(path, 3, 3_000.0).run(turns)
    assert list(stored(path, with_removed=True)) == [A.signature]
    assert rows(path, "SELECT signature_hash FROM invocations") == [(A.signature_hash,)]


# --- companions -----------------------------------------------------------------------------------------------


class Counting:
    """Writes a row per publication, and can be told to fail."""

    schema = "CREATE TABLE IF NOT EXISTS counted (at REAL); -- and\nCREATE TABLE IF NOT EXISTS more (text TEXT);"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.writes: list[str] = []

    def write(self, connection: sqlite3.Connection, process: ProcessIdentity, at: float) -> None:
        connection.execute("INSERT INTO counted VALUES (?)", (at,))
        if self.error is not None:
            raise self.error

    def written(self) -> None:
        self.writes.append("written")

    def forked(self) -> None:
        self.writes.append("forked")


def test_a_companion_writes_in_the_same_transaction_and_learns_of_it(path: Path) -> None:
    companion = Counting()
    store = StorePublisher(settings(path), process(), [companion])
    store.run(Turns())
    assert (rows(path, "SELECT at FROM counted"), companion.writes) == ([(1_000.0,)], ["written"])


@pytest.mark.parametrize("error", [ZeroDivisionError("theirs"), sqlite3.OperationalError("no such table: x")])
def test_a_companion_that_fails_is_undone_and_harms_nobody(
    path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Counting(), Counting()
    bad.error = error
    store, turns = StorePublisher(settings(path), process(), [bad, good]), Turns()
    for _ in range(2):
        turns.run(A)
        store.run(turns)
    assert intervals(path) == {"a": 2}
    assert (rows(path, "SELECT count(*) FROM counted"), bad.writes, good.writes) == ([(2,)], [], ["written"] * 2)
    assert [one.getMessage() for one in caplog.records] == [f"Counting cannot write into the usage store: {error!r}"]


def test_a_companion_that_comes_later_writes_from_then_on(path: Path) -> None:
    companions: list[Counting] = []
    store = StorePublisher(settings(path), process(), companions)
    store.run(Turns())
    companions.append(Counting())
    store.run(Turns())
    assert rows(path, "SELECT count(*) FROM counted") == [(1,)]


# --- reading --------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(StoreError, match=f"there is no usage store {path}"):
        read_usage(path)


def test_reading_makes_no_file(path: Path) -> None:
    with pytest.raises(FlagmwError):
        read_usage(path)
    assert not path.exists()


def test_another_programs_file_is_no_store(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="is an SQLite file, but no usage store"):
        read_usage(path)


def test_another_releases_file_is_not_read(path: Path) -> None:
    publisher(path).run(Turns())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreError, match="has tables of version 7, this release of flagmw reads version 1"):
        read_usage(path)


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.write_text("no database" * 100)
    with pytest.raises(StoreError, match="is damaged or no SQLite file"):
        read_usage(path)


def test_a_file_that_is_being_made_holds_nothing_yet(path: Path) -> None:
    path.touch()
    assert read_usage(path).functions == ()


def test_a_report_reads_while_a_process_writes(path: Path) -> None:
    publisher(path).run(Turns())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM functions")
        assert len(read_usage(path).functions) == 3


def test_the_file_says_what_it_is(path: Path) -> None:
    publisher(path).run(Turns())
    assert rows(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(path, "PRAGMA user_version") == [(1,)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
