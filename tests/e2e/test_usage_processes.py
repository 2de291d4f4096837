"""The usage agent in servers that fork, recycle and kill: what ran in any process is in the store, once."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.matrix.running import Running
from tests.e2e.watched_app import WatchedApp, gunicorn, uwsgi

pytestmark = pytest.mark.timeout(180)

WORKERS = 4
STOP_S = 40.0


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
        app.ask_until(running, lambda answers: len(answers) >= 3 * WORKERS)
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


def test_an_agent_that_starts_after_the_imports_sees_the_same(tmp_path: Path) -> None:
    app = WatchedApp(tmp_path)
    running = app.serve(gunicorn("--preload"), WATCHED_STARTS_LATE="1")
    try:
        app.ask_until(running, all_have_answered(WORKERS))
        stop(running)
    finally:
        running.kill_all()
    app.check()
