"""Processes that tell of themselves, for tests of those who read it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flagmw.lifecycle.places import StatePlace
from flagmw.presence import Presence
from flagmw.processes import Process, read_environment
from flagmw.status import EventCounts, Role, State, Status
from tests.unit.support import until

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import os, resource, signal, sys, time
from pathlib import Path
from flagmw.lifecycle.places import StatePlace
from flagmw.presence import Presence
from flagmw.status import State, Status

root, what = Path(sys.argv[1]), sys.argv[2]
if what == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
presence = Presence(StatePlace(root, "test", ["secret"]), lambda: Status(state=State.OK, since=time.time(), revision="r1"))
presence.start()
if what == "forks":
    while not list(root.rglob("process-*.json")):
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        held = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
        sys.stdout.write(f"{os.getpid()} {sum('process-' in path for path in held)}\\n")
        sys.stdout.flush()
        presence.close()
sys.stdin.read()  # until the test closes it
"""


def place_in(root: Path) -> StatePlace:
    """Give the environment that `living` processes share."""
    return StatePlace(root, "test", ["secret"])


def status(**changes: object) -> Status:
    """Make the status of a process that is well."""
    fields = {
        "state": State.OK,
        "since": 0.0,
        "revision": "r1",
        "age_s": 100.0,
        "flags": 3,
        "events": EventCounts(),
        "role": Role.FOLLOWER,
        "heartbeat_age_s": 0.1,
        "revision_age_s": 0.2,
        **changes,
    }
    return Status(**fields)  # type: ignore[arg-type]  # the tests name fields that there are


@contextmanager
def living(root: Path, what: str = "", number: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Run processes that tell of themselves, until they can be seen; killed at the end."""
    command = [sys.executable, "-c", SCRIPT, str(root), what]
    running = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(number)
    ]
    try:
        until(lambda: {process.pid for process in running} <= set(pids(root)), 20.0)
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate(timeout=10)


@contextmanager
def shown(root: Path, told: Status | None = None) -> Iterator[Presence]:
    """Show this very process while the block runs."""
    presence = Presence(place_in(root), lambda: told or status())
    others = pids(root).count(os.getpid())
    presence.start()
    try:
        until(lambda: pids(root).count(os.getpid()) > others)
        yield presence
    finally:
        presence.close(5.0)


@contextmanager
def unreadable(root: Path) -> Iterator[None]:
    """Show this process with something that only a later release can read."""
    presence = Presence(place_in(root), lambda: status(state="LATER"))
    presence.start()
    try:
        until(lambda: [path.stat().st_size > 0 for path in files(root)] == [True])
        yield
    finally:
        presence.close(5.0)


def processes(root: Path) -> list[Process]:
    """Give the processes of the environment."""
    return list(read_environment(place_in(root).path()).processes)


def pids(root: Path) -> list[int]:
    """Give the ids of the processes which tell of themselves."""
    return [process.pid for process in processes(root)]


def files(root: Path) -> list[Path]:
    """Give the files of processes."""
    return sorted(place_in(root).path().glob("process-*"))
