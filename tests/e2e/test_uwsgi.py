"""Flags in real uWSGI servers, which fork without Python knowing of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.forking_hosts import APP, BIN, DEFAULT, NEW, OLD, is_alive, running, service, until
from tests.services.featbit_server import FeatBitServer

__all__ = ["service"]

RESPAWNS = 25

USED_AT_IMPORT = APP + '\nassert client.wait_until_ready(20)\nclient.variation("banner", {"key": "m"}, None)\n'
"""The master uses flags, so that its workers are forked with a running client."""

HOOKED = """
import os
import uwsgi

def mine():
    with open("forked", "a") as file:
        file.write(f"{os.getpid()}\\n")

def mine_at_exit():
    with open("left", "a") as file:
        file.write(f"{os.getpid()}\\n")

uwsgi.post_fork_hook = mine
uwsgi.atexit = mine_at_exit
"""


def uwsgi(*options: str) -> Callable[[str], Sequence[str]]:
    """Give the command line of a server with these options."""
    return lambda socket: [
        str(BIN / "uwsgi"),
        "--http-socket",
        socket,
        "--die-on-term",
        "--need-app",
        *options,
    ]


MODES = {
    "preloaded": (3, ["--master", "--processes", "3", "--wsgi-file", "app.py"]),
    "lazy-apps": (3, ["--master", "--lazy-apps", "--processes", "3", "--wsgi-file", "app.py"]),
    "no-master": (3, ["--processes", "3", "--wsgi-file", "app.py"]),
    "one process": (1, ["--wsgi-file", "app.py"]),
    "threads": (2, ["--master", "--processes", "2", "--threads", "4", "--wsgi-file", "app.py"]),
}
ENDED_WELL = (0, 30)
"""The other one is what it ends with where there is no master."""

every_mode = pytest.mark.parametrize(("workers", "options"), list(MODES.values()), ids=list(MODES))


@every_mode
@pytest.mark.parametrize("app", [APP, USED_AT_IMPORT], ids=["unused", "used-at-import"])
def test_flags_are_right_change_and_are_told_of_in_every_worker(
    service: FeatBitServer, workers: int, options: list[str], app: str
) -> None:
    with running(service, uwsgi(*options), files={"app.py": app}) as host:
        host.wait_for_value(OLD, workers)
        host.change_flag()
        host.wait_for_value(NEW, workers)
        host.wait_for_events()
        assert host.stop() in ENDED_WELL
        assert set(host.arrived()) - {"m"} == host.users


@every_mode
def test_a_worker_that_was_forked_from_a_running_client_has_flags_at_once(
    service: FeatBitServer, workers: int, options: list[str]
) -> None:
    with running(service, uwsgi(*options), files={"app.py": USED_AT_IMPORT}) as host:
        assert DEFAULT not in host.visit_all(workers).values()


@pytest.mark.parametrize("lazy", [[], ["--lazy-apps"]], ids=["preloaded", "lazy-apps"])
def test_two_apps_in_one_process_have_flags_of_their_own(service: FeatBitServer, lazy: list[str]) -> None:
    """Each is in an interpreter of its own, with its own copy of this package."""
    mounts = ["--mount", "/one=one.py", "--mount", "/two=two.py", "--manage-script-name"]
    command = uwsgi("--master", "--processes", "2", *lazy, *mounts)
    with running(service, command, files={"one.py": APP, "two.py": APP}, first="/one") as host:
        for path in ("/one", "/two"):
            host.wait_for_value(OLD, 2, path=path)
        host.change_flag()
        for path in ("/one", "/two"):
            host.wait_for_value(NEW, 2, path=path)
        host.wait_for_events()


def test_hooks_of_the_user_are_called_besides_ours(service: FeatBitServer) -> None:
    command = uwsgi("--master", "--processes", "2", "--wsgi-file", "app.py")
    with running(service, command, files={"app.py": HOOKED + USED_AT_IMPORT}) as host:
        workers = set(host.visit_all(2))
        assert host.stop() == 0
        assert workers <= pids_in(host.folder / "forked")
        assert workers <= pids_in(host.folder / "left")


def test_a_worker_that_leaves_delivers_its_last_events(service: FeatBitServer) -> None:
    slow = APP.replace("flush_interval_s=0.1", "flush_interval_s=60.0")
    command = uwsgi("--master", "--processes", "2", "--wsgi-file", "app.py")
    with running(service, command, files={"app.py": slow}) as host:
        host.wait_for_value(OLD, 2)
        assert host.stop() == 0
        host.wait_for_events()


def test_no_thread_of_ours_runs_in_the_master(service: FeatBitServer) -> None:
    """One that runs while a worker is forked hangs that worker now and then."""
    look = """
with open("master", "w") as file:
    file.write(",".join(thread.name for thread in threading.enumerate()))
"""
    command = uwsgi("--master", "--processes", "2", "--wsgi-file", "app.py")
    with running(service, command, files={"app.py": USED_AT_IMPORT + look}) as host:
        host.wait_for_value(OLD, 2)
        assert "flagmw" not in (host.folder / "master").read_text()


def test_respawned_workers_serve_flags(service: FeatBitServer) -> None:
    """The master has used flags, and a worker would hang if it were forked while a thread of the master runs."""
    command = uwsgi("--master", "--processes", "3", "--wsgi-file", "app.py")
    with running(service, command, files={"app.py": USED_AT_IMPORT}) as host:
        known = set(host.visit_all(3))
        host.change_flag()
        host.wait_for_value(NEW, 3)
        for _ in range(RESPAWNS):
            victim = min(known)
            os.kill(victim, signal.SIGKILL)
            until(lambda pid=victim: not is_alive(pid), "the worker is gone")  # type: ignore[misc]  # mypy infers none
            known = set(host.visit_all(3))
        host.wait_for_value(NEW, 3)
        with ThreadPoolExecutor(3) as pool:
            pids = {answer["pid"] for answer in pool.map(lambda _: host.visit(sleep=1.0), range(3))}
        assert len(pids) == 3
        assert "respawning" in host.log()


def test_the_optional_import_starts_each_workers_clients_before_its_first_request(service: FeatBitServer) -> None:
    command = uwsgi("--master", "--processes", "2", "--wsgi-file", "app.py")
    with running(service, command, files={"app.py": HOOKED + "import flagmw_uwsgi\n" + APP}) as host:
        service.wait_for(lambda server: server.synced >= 1)
        found = until(lambda: host.ask()["threads"], "a worker has started")
        assert "flagmw-source" in found
        assert host.visit_all(2).keys() <= pids_in(host.folder / "forked")


def pids_in(path: os.PathLike[str]) -> set[int]:
    """Give the process ids that a hook has written down."""
    with open(path) as file:
        return {int(line) for line in file}
