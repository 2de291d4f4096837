"""The usage agent in servers that fork, recycle and kill: what ran in any process is in the store, once."""

from __future__ import annotations

import resource
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from celery.result import AsyncResult

from tests.e2e.matrix.running import Running
from tests.e2e.matrix.served.broker import celery_app
from tests.e2e.shops import wait_until
from tests.e2e.watched_app import WatchedApp, gunicorn, uwsgi

pytestmark = pytest.mark.timeout(180)

WORKERS = 4
STOP_S = 40.0
FULL_BYTES = 8_192
"""More than the server's log needs, less than the store."""


def stop(running: Running, number: int = signal.SIGTERM) -> None:
    """Stop a server as its operator does; it must end by itself."""
    running.signal(number)
    assert running.await_end(STOP_S), running.log()[-3000:]


def all_have_answered(workers: int, times: int = 3) -> Callable[[Counter[int]], bool]:
    return lambda answers: len(answers) >= workers and min(answers.values()) >= times


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_each_call_in_any_worker_of_gunicorn_is_stored_once(tmp_path: Path, kind: str, preload: bool) -> None:
    app = WatchedApp(tmp_path)
    options = ["-k", kind, *(["--preload"] if preload else [])]
    running = app.serve(gunicorn(*options))
    try:
        app.ask_until(running, all_have_answered(WORKERS))
        stop(running)
    finally:
        running.kill_all()
    app.check()


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_recycled_workers_of_gunicorn_leave_nothing_behind(tmp_path: Path, preload: bool) -> None:
    app = WatchedApp(tmp_path)
    running = app.serve(gunicorn("--max-requests", "8", *(["--preload"] if preload else [])))
    try:
        app.ask_until(running, lambda answers: len(answers) >= 2 * WORKERS + 1)
        stop(running)
    finally:
        running.kill_all()
    app.check()


@pytest.mark.parametrize(
    "options",
    [["--master"], ["--master", "--lazy-apps"], [], ["--master", "--threads", "2"]],
    ids=["master", "lazy-apps", "no master", "threads"],
)
def test_each_call_in_any_worker_of_uwsgi_is_stored_once(tmp_path: Path, options: Sequence[str]) -> None:
    app = WatchedApp(tmp_path, store_interval_s=0.3)  # its workers may leave without a word
    running = app.serve(uwsgi(*options))
    try:
        app.ask_until(running, all_have_answered(3))
        app.wait_stored()
        stop(running)
    finally:
        running.kill_all()
    app.check()


def test_recycled_workers_of_uwsgi_do_not_report_their_master_again(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path, store_interval_s=0.3)
    running = app.serve(uwsgi("--master", "--max-requests", "6", "--min-worker-lifetime", "1"))
    try:
        app.ask_until(running, lambda answers: len(answers) >= 6)
        stop(running)
    finally:
        running.kill_all()
    assert app.stored()["app.at_import()"] == 1
    app.check_sums()


def test_a_killed_worker_loses_its_running_interval_at_most(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path, store_interval_s=0.3)
    running = app.serve(gunicorn())
    try:
        first = app.ask_until(running, all_have_answered(WORKERS))
        app.wait_stored()
        safe = app.expected()
        victim = next(iter(first))
        running.signal(signal.SIGKILL, victim)
        app.ask_until(running, lambda answers: len(set(answers) - set(first)) >= 1)
        stop(running)
    finally:
        running.kill_all()
    killed = Counter(app.truth()[victim])
    assert not safe - app.stored()
    assert not (app.expected() - killed) - app.stored()
    assert not app.stored() - app.expected()
    app.check_sums()


def uvicorn(*options: str) -> Callable[[int], Sequence[str]]:
    return lambda port: [
        sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning", *options, "app:asgi"
    ]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--workers", "3"]], ids=["one process", "workers"])
def test_each_call_in_any_worker_of_uvicorn_is_stored_once(tmp_path: Path, options: Sequence[str]) -> None:
    app = WatchedApp(tmp_path)
    running = app.serve(uvicorn(*options))
    try:
        app.ask_until(running, all_have_answered(3 if options else 1))
        stop(running)
    finally:
        running.kill_all()
    app.check()


def test_workers_of_uvicorn_in_gunicorn_report_at_the_end_of_the_lifespan(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path)
    running = app.serve(gunicorn("-k", "uvicorn_worker.UvicornWorker", app="app:asgi"))
    try:
        app.ask_until(running, all_have_answered(WORKERS))
        stop(running)
    finally:
        running.kill_all()
    app.check()


def celery(*options: str) -> Callable[[int], Sequence[str]]:
    return lambda _: [
        sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "3", "-l", "INFO",
        "--without-gossip", "--without-mingle", "--without-heartbeat", *options,
    ]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--max-tasks-per-child", "5"]], ids=["", "recycling"])
def test_each_call_in_any_child_of_celery_is_stored_once(tmp_path: Path, options: Sequence[str]) -> None:
    app = WatchedApp(tmp_path)
    (tmp_path / "queue").mkdir()
    queue = celery_app(tmp_path / "queue")
    running = Running(celery(*options), app.environment(), tmp_path / "server.log")
    try:
        results = [queue.send_task("walk") for _ in range(40)]
        wait_until(lambda: all(is_ready(one) for one in results), "the tasks have run")
        stop(running)
    finally:
        running.kill_all()
    assert len(app.truth()) > 2
    app.check()


def is_ready(result: AsyncResult[int]) -> bool:
    try:
        return bool(result.ready())
    except ValueError:  # half of it is written
        return False


# --- a store in trouble -----------------------------------------------------------------------------------------


def test_no_request_waits_for_a_store_that_is_locked(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path, store_interval_s=0.1)
    running = app.serve(gunicorn())
    try:
        app.ask_until(running, all_have_answered(WORKERS))
        app.wait_stored()
        free_s = slowest(app, running)
        with closing(sqlite3.connect(app.store, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            locked_s = slowest(app, running)
            missing = app.expected() - app.stored()
            connection.execute("ROLLBACK")
        stop(running)
    finally:
        running.kill_all()
    assert missing, "nothing waited for the lock"
    assert locked_s < max(4 * free_s, 0.5)
    app.check()


def slowest(app: WatchedApp, running: Running, requests: int = 60) -> float:
    """Give how long the slowest of some requests takes."""
    times = []
    for _ in range(requests):
        began_s = time.monotonic()
        assert app.ask(running)
        times.append(time.monotonic() - began_s)
    return max(times)


def test_a_server_whose_disk_is_full_goes_on_and_stores_all_when_there_is_room(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path, store_interval_s=0.1)
    running = app.serve(gunicorn())
    try:
        app.ask_until(running, all_have_answered(WORKERS, 1))
        app.wait_stored()
        let_files_grow(running, FULL_BYTES)
        app.ask_until(running, all_have_answered(WORKERS, 10))
        wait_until(lambda: running.log().count("cannot be written") >= WORKERS, "the full disk is told")
        assert slowest(app, running) < 5.0
        let_files_grow(running, None)
        app.wait_stored()
        stop(running)
    finally:
        running.kill_all()
    app.check()
    assert running.log().count("cannot be written") <= 2 * WORKERS  # each process tells once per episode


def let_files_grow(running: Running, size_bytes: int | None) -> None:
    """Let the files of a server grow so far and no further."""
    for pid in running.pids():
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))


def test_an_agent_that_starts_after_the_imports_sees_the_same(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path)
    running = app.serve(gunicorn("--preload"), WATCHED_STARTS_LATE="1")
    try:
        app.ask_until(running, all_have_answered(WORKERS))
        stop(running)
    finally:
        running.kill_all()
    app.check()
