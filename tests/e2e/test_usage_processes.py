"""The usage agent in servers that fork, recycle and kill: what ran in any process is in the store, once."""

from __future__ import annotations

import signal
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
    app = WatchedApp(tmp_path)
    running = app.serve(uwsgi(*options))
    try:
        app.ask_until(running, all_have_answered(3))
        stop(running)
    finally:
        running.kill_all()
    app.check()
