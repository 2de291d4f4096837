"""Whatever ends a worker, each event of each answered request arrives once; and every worker sees a flag change.

This is the core of the matrix; `python -m tests.e2e.matrix` runs all of it. The runs go on side by side from the first test
on, and each test waits for its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.matrix.drill import Result, drill
from tests.e2e.matrix.exits import EXITS, exits_of
from tests.e2e.matrix.running import Running
from tests.e2e.matrix.served.words import METRIC
from tests.e2e.matrix.servers import ROWS
from tests.e2e.matrix.services import Arrival, Event, account
from tests.e2e.matrix.table import findings

# FeatBit's events have no id by which a repeat could be told, and a kill may hit a delivery: it gets the gentle ends.
CORE = [
    ("gunicorn sync", "SIGKILL at an answer", "hackle"),
    ("gunicorn sync, preload, flag read in the master", "SIGTERM", "featbit"),
    ("gunicorn gthread", "recycling", "hackle"),
    ("gunicorn gevent, preload", "worker SIGKILL", "hackle"),
    ("gunicorn asgi", "master SIGKILL", "hackle"),
    ("gunicorn uvicorn worker", "SIGQUIT", "hackle"),
    ("uWSGI default, flag read in the master", "worker SIGKILL", "hackle"),
    ("uWSGI two apps, lazy-apps", "SIGTERM", "hackle"),
    ("uvicorn, 3 workers", "SIGKILL at an answer", "hackle"),
    ("granian WSGI", "worker SIGKILL", "hackle"),
    ("hypercorn", "SIGINT", "featbit"),
    ("waitress", "SIGTERM in requests", "hackle"),
    ("Celery prefork", "recycling", "hackle"),
]
AT_ONCE = 3
"""How many runs go on at the same time: they mostly wait for each other's signals."""

DEADLINE_S = 110.0


@pytest.fixture(scope="module")
def results() -> Iterator[dict[tuple[str, str], Future[Result]]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {
            (row, end): pool.submit(drill, ROWS[row], end, service=service, measure_change=True)
            for row, end, service in CORE
        }
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize(("row", "end"), [(row, end) for row, end, _ in CORE])
def test_each_event_of_each_answered_request_arrives_once_and_every_worker_sees_a_change(
    results: dict[tuple[str, str], Future[Result]], row: str, end: str
) -> None:
    result = results[row, end].result(DEADLINE_S)
    assert result.is_good, findings(result)
    assert (result.change_s is None) == (end == "recycling")
    assert result.due > result.answered, "nothing was put to the test"


# --- the harness --------------------------------------------------------------------------------------------------

ONE, OTHER = Event("u-1", "42"), Event("u-2", "42")


def test_an_event_that_did_not_arrive_is_lost() -> None:
    assert account({ONE, OTHER}, [Arrival(ONE, "a")]).lost == [OTHER]


def test_an_event_that_arrived_with_two_ids_counts_twice() -> None:
    found = account({ONE}, [Arrival(ONE, "a"), Arrival(ONE, "b")])
    assert (found.twice, found.repeats) == ([ONE], 1)


def test_a_repeat_with_the_same_id_does_not_count_twice() -> None:
    found = account({ONE}, [Arrival(ONE, "a"), Arrival(ONE, "a")])
    assert (found.twice, found.repeats) == ([], 1)


def test_a_repeat_counts_twice_with_a_service_that_has_no_ids() -> None:
    assert account({ONE}, [Arrival(ONE, ""), Arrival(ONE, "")]).twice == [ONE]


def test_an_event_of_a_request_that_was_not_answered_is_neither_due_nor_wrong() -> None:
    found = account({ONE}, [Arrival(ONE, "a"), Arrival(OTHER, "b")])
    assert (found.due, found.lost, found.twice) == (1, [], [])


def test_orphans_of_a_server_are_found_and_ended(tmp_path: Path) -> None:
    script = "import os, time; os.fork() and os._exit(0); time.sleep(60)"
    running = Running(lambda _: [sys.executable, "-c", script], {}, tmp_path / "log")
    try:
        assert running.await_end(10.0)
        assert len(running.pids()) == 1
    finally:
        running.kill_all()
    assert running.pids() == []


def test_a_server_that_ends_at_its_start_fails_the_run_with_what_it_said(tmp_path: Path) -> None:
    running = Running(lambda _: [sys.executable, "-c", "raise SystemExit('no such app')"], {}, tmp_path / "log")
    assert running.await_end(10.0)
    with pytest.raises(AssertionError, match="no such app"):
        running.check()


def test_every_row_of_the_design_is_there_with_the_ends_that_it_has() -> None:
    assert len(ROWS) == 26
    assert all(len(exits_of(row)) >= 7 for row in ROWS.values())
    assert {end for row in ROWS.values() for end in exits_of(row)} == set(EXITS)


def test_a_run_in_which_something_was_lost_is_not_good() -> None:
    assert not Result(row="r", end="e", lost=[Event("u-1", METRIC)]).is_good
