"""flagmw_gunicorn in real gunicorn servers, and what its hooks do with other hooks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest

from flagmw.lifecycle.threads import Background
from flagmw_gunicorn import post_worker_init, worker_exit
from tests.e2e.forking_hosts import APP, NEW, OLD, running, service, until
from tests.services.featbit_server import FeatBitServer

__all__ = ["service"]

PLAIN = "from flagmw_gunicorn import post_fork, post_worker_init, worker_exit\n"

COMPOSED = """
import threading
import flagmw_gunicorn

def note(what):
    names = ",".join(sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("flagmw")))
    with open("notes", "a") as file:
        file.write(f"{what} {names}\\n")

@flagmw_gunicorn.post_fork.also
def post_fork(server, worker):
    note("forked")

@flagmw_gunicorn.post_worker_init.also
def post_worker_init(worker):
    note("begun")

@flagmw_gunicorn.worker_exit.also
def mine_and_ours(server, worker):
    note("leaving")

def worker_exit(server, worker):
    mine_and_ours(server, worker)
    note("left")
"""

USED_AT_IMPORT = APP + "\nassert client.wait_until_ready(20)\n"


def gunicorn(*options: str, workers: int = 2) -> Callable[[str], Sequence[str]]:
    """Give the command line of a server with these options."""
    return lambda socket: [
        sys.executable, "-m", "gunicorn", "--bind", f"unix:{socket}", "--workers", str(workers), *options,
        "--graceful-timeout", "10", "--no-control-socket", "app:application",
    ]  # fmt: skip


WORKERS = {"sync": ["-k", "sync"], "gthread": ["-k", "gthread", "--threads", "4"]}
every_worker = pytest.mark.parametrize("options", list(WORKERS.values()), ids=list(WORKERS))
every_start = pytest.mark.parametrize("start", [[], ["--preload"]], ids=["", "preload"])


@every_worker
@every_start
@pytest.mark.parametrize("app", [APP, USED_AT_IMPORT], ids=["unused", "used-at-import"])
def test_flags_are_right_change_and_are_told_of_in_every_worker(
    service: FeatBitServer, options: list[str], start: list[str], app: str
) -> None:
    files = {"app.py": app, "gunicorn.conf.py": PLAIN}
    with running(service, gunicorn(*options, *start), files=files) as host:
        host.wait_for_value(OLD, 2)
        host.change_flag()
        host.wait_for_value(NEW, 2)
        host.wait_for_events()
        assert host.stop() == 0


@every_worker
@every_start
def test_the_first_request_finds_a_running_client(service: FeatBitServer, options: list[str], start: list[str]) -> None:
    with running(service, gunicorn(*options, *start), files={"gunicorn.conf.py": PLAIN}) as host:
        assert "flagmw-source" in host.ask()["threads"]


def test_without_the_hooks_nothing_runs_before_the_first_flag_is_read(service: FeatBitServer) -> None:
    with running(service, gunicorn()) as host:
        assert host.ask()["threads"] == []


@every_worker
@every_start
def test_a_worker_that_leaves_has_delivered_its_events_and_ended_its_threads(
    service: FeatBitServer, options: list[str], start: list[str]
) -> None:
    files = {"gunicorn.conf.py": COMPOSED, "app.py": APP.replace("flush_interval_s=0.1", "flush_interval_s=60.0")}
    with running(service, gunicorn(*options, *start), files=files) as host:
        host.wait_for_value(OLD, 2)
        assert host.stop() == 0
        host.wait_for_events()
        notes = (host.folder / "notes").read_text().splitlines()
        assert [line for line in notes if line.startswith("left")] == ["left "] * 2


def test_hooks_of_the_user_are_called_where_they_find_what_they_need(service: FeatBitServer) -> None:
    """After ours when a worker begins, and before ours when it leaves."""
    with running(service, gunicorn(workers=1), files={"gunicorn.conf.py": COMPOSED}) as host:
        until(lambda: host.visit()["value"] == OLD, "flags are there")
        host.stop()
        notes = [line.split(" ") for line in (host.folder / "notes").read_text().splitlines()]
        assert [what for what, _ in notes] == ["forked", "begun", "leaving", "left"]
        assert ["flagmw-source" in names for _, names in notes] == [False, True, True, False]


# --- the hooks alone --------------------------------------------------------------------------------------------


@pytest.fixture
def thread() -> Iterator[Background]:
    def wait(stopping: threading.Event) -> None:
        stopping.wait()

    background = Background("flagmw-test", wait)
    background.start()
    yield background
    background.stop(10.0)


def test_the_exit_of_another_worker_is_none_of_ours(thread: Background) -> None:
    worker_exit(None, SimpleNamespace(pid=os.getpid() + 1))
    assert not thread.stopping.is_set()


def test_a_hook_of_the_user_that_fails_does_not_keep_ours_from_running(thread: Background) -> None:
    def fail(server: object, worker: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        worker_exit.also(fail)(None, SimpleNamespace(pid=os.getpid()))
    assert thread.stopping.is_set()


def test_composed_hooks_keep_the_names_of_the_users() -> None:
    def mine(worker: object) -> None: ...

    assert post_worker_init.also(mine).__name__ == "mine"
