"""Workers forked from a warmed master that tell what they see, for tests of the shared connection.

A flag's value is a number that only grows, so a worker that goes back, or stays behind, gives itself away. The master
forks a worker anew when one dies, as servers do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flagmw.lifecycle.places import VARIABLE
from flagmw.status import Role
from flagmw.transports.following import FILE
from flagmw.transports.snapshot_file import DamagedError, Mark, read_header
from tests.services.environments import featbit, hackle
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
MAX_STALE_S = 2.0

MASTER = """
import json, os, signal, sys, time
from flagmw import Client
from flagmw.providers import FeatBit, Hackle

name, secret, url, stream_url, count = *sys.argv[1:5], int(sys.argv[5])
if name == "featbit":
    client = Client(FeatBit(secret, streaming_url=stream_url, event_url=url, events=False))
    key, user = "number", {"key": "u", "name": "n"}
else:
    client = Client(Hackle(secret, sdk_url=url, event_url=url, events=False, poll_interval_s=0.2))
    key, user = 42, {"id": "u"}

def say(**what):
    os.write(1, (json.dumps({"pid": os.getpid(), "at_s": time.monotonic(), **what}) + "\\n").encode())

def work(forked_s):
    first = client.variation(key, user, "-1")
    say(value=first, took_s=time.monotonic() - forked_s, role=client.status.role, is_first=True)
    seen, told_s = first, 0.0
    while True:
        value, now = client.variation(key, user, "-1"), time.monotonic()
        if value != seen or now - told_s > 0.1:
            say(value=value, role=client.status.role)
            seen, told_s = value, now
        time.sleep(0.004)

def fork():
    forked_s = time.monotonic()
    child = os.fork()
    if not child:
        try:
            work(forked_s)
        finally:
            os._exit(1)
    return child

assert client.warm(20), client.status
say(is_warm=True)
sys.stdin.readline()
children = set()
for _ in range(count):
    children.add(fork())
    time.sleep(0.05)  # so that the first answer of one does not wait for the threads of another
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    while True:
        died, _ = os.wait()
        children.discard(died)
        children.add(fork())
finally:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for child in children:
        os.kill(child, signal.SIGKILL)
"""


@dataclass
class Worker:
    """What one worker has said.

    Attributes:
        values: numbers with the times at which each was first seen, in order.
        seen_s: when it spoke last.
        role: as it said last.
        first_took_s: from the fork to its first answer.
    """

    values: list[tuple[float, int]] = field(default_factory=list)
    seen_s: float = 0.0
    role: str = ""
    first_took_s: float = 0.0

    @property
    def value(self) -> int:
        """The number that it saw last."""
        return self.values[-1][1] if self.values else -1


class Fleet:
    """A master with its workers. Closing it ends them all."""

    def __init__(self, service: Service, count: int, state_dir: Path) -> None:
        self.count = count
        self.state_dir = state_dir
        self.service = service
        self.workers: dict[int, Worker] = {}
        self.is_warm = threading.Event()
        self.steps_back: list[tuple[int, int, int]] = []
        self._changed = threading.Condition()
        server = service.server
        self._master = subprocess.Popen(
            [sys.executable, "-c", MASTER, service.name, service.secret, server.url, service.ws_url, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, VARIABLE: str(state_dir)},
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def start(self) -> None:
        """Fork the workers, and wait for the first word of each."""
        assert self.is_warm.wait(DEADLINE_S)
        assert self._master.stdin is not None
        self._master.stdin.write(b"\n")
        self._master.stdin.flush()
        self.until(lambda: len(self.living()) == self.count)

    def _listen(self) -> None:
        assert self._master.stdout is not None
        for line in self._master.stdout:
            said = json.loads(line)
            with self._changed:
                self._note(said)
                self._changed.notify_all()

    def _note(self, said: dict[str, Any]) -> None:
        if "is_warm" in said:
            self.is_warm.set()
            return
        worker = self.workers.setdefault(said["pid"], Worker())
        value = int(said["value"])
        if said.get("is_first"):
            worker.first_took_s = said["took_s"]
        if value < worker.value:
            self.steps_back.append((said["pid"], worker.value, value))
        if value != worker.value:
            worker.values.append((said["at_s"], value))
        worker.seen_s, worker.role = said["at_s"], said["role"]

    def living(self) -> dict[int, Worker]:
        """Give the workers that are not dead, by process id; those that are stopped included."""
        return {pid: worker for pid, worker in list(self.workers.items()) if _is_alive(pid)}

    def until(self, condition: Callable[[], object], timeout_s: float = DEADLINE_S) -> float:
        """Wait until something is so; gives how long that took."""
        began = time.monotonic()
        with self._changed:
            while not condition():
                left_s = began + timeout_s - time.monotonic()
                assert left_s > 0, [(pid, w.role, w.value) for pid, w in self.living().items()]
                self._changed.wait(min(left_s, 0.05))
        return time.monotonic() - began

    def roles(self) -> dict[str, list[int]]:
        """Name the living workers by what they say they are."""
        found: dict[str, list[int]] = {role: [] for role in Role}
        for pid, worker in self.living().items():
            found[worker.role].append(pid)
        return found

    def wait_for_leader(self) -> int:
        """Wait until one worker leads and all others follow it; gives its process id."""
        self.until(lambda: [len(self.roles()[role]) for role in (Role.LEADER, Role.FOLLOWER)] == [1, self.count - 1])
        return self.roles()[Role.LEADER][0]

    def close(self) -> None:
        """End the master and all workers."""
        for pid in self.living():
            _signal(pid, signal.SIGCONT)
        self._master.terminate()
        try:
            self._master.wait(5.0)
        except subprocess.TimeoutExpired:
            self._master.kill()
        for pid in self.workers:
            if _is_alive(pid):
                _signal(pid, signal.SIGKILL)
        self._reader.join(5.0)
        for end in (self._master.stdin, self._master.stdout):
            assert end is not None
            end.close()

    def folder(self) -> Path:
        """Give the folder where the workers meet."""
        folders = list(self.state_dir.glob(f"{self.service.name}-*"))
        assert len(folders) == 1
        return folders[0]


class Service:
    """A flag service with one flag, whose value is a number.

    Attributes:
        put_s: when each number was put, by the monotonic clock.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.server: Any = FeatBitServer() if name == "featbit" else HackleServer()
        self.put_s: dict[int, float] = {}
        self.number = 0

    @property
    def secret(self) -> str:
        """What clients come with."""
        return str(self.server.secret if self.name == "featbit" else self.server.sdk_key)

    @property
    def ws_url(self) -> str:
        """Where changes are streamed from."""
        return str(self.server.ws_url) if self.name == "featbit" else "-"

    def connections(self) -> int:
        """Tell how many connections are open."""
        return int(self.server.tcp_open)

    def put_next(self) -> int:
        """Make the flag's value one more."""
        self.number += 1
        number = str(self.number)
        if self.name == "featbit":
            self.server.put_flag(featbit.flag("number", values=("0", number), kind="string", serves=1))
        else:
            document = hackle.small_workspace()
            for variation in document["experiments"][0]["variations"]:
                if variation["id"] == 71:
                    variation["key"] = number
            document["experiments"][0]["execution"]["defaultRule"] = hackle.serve(71)
            self.server.load(document)
        self.put_s[self.number] = time.monotonic()
        return self.number


@contextmanager
def fleet_of(name: str, count: int, state_dir: Path) -> Iterator[Fleet]:
    """Run a service, and workers that are warm and wait for `Fleet.start`."""
    service = Service(name)
    with service.server:
        service.put_next()
        fleet = Fleet(service, count, state_dir)
        try:
            assert fleet.is_warm.wait(DEADLINE_S)
            yield fleet
        finally:
            fleet.close()


class Changing:
    """Puts numbers at intervals, and watches what the workers have and who writes.

    Attributes:
        worst_s: for how long a worker at most did not have a number that had been put, those left out that were stopped.
        leaders: who was seen to beat, in order.
    """

    def __init__(self, fleet: Fleet, every_s: float) -> None:
        self._fleet = fleet
        self._every_s = every_s
        self._ending = threading.Event()
        self.leaders: list[bytes] = []
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._put, self._watch)]

    def __enter__(self) -> Changing:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _put(self) -> None:
        while not self._ending.wait(self._every_s):
            self._fleet.service.put_next()

    def _watch(self) -> None:
        while not self._ending.wait(0.003):
            try:
                header, _ = read_header(self._fleet.folder() / FILE)
            except (OSError, DamagedError):
                continue
            if header.mark is Mark.BEATING and header.leader not in self.leaders[-1:]:
                self.leaders.append(header.leader)


def lags(fleet: Fleet, excused: dict[int, list[tuple[float, float]]]) -> list[float]:
    """Give how long each worker was without each number that was put while it ran, in seconds.

    Args:
        fleet: after its last number has arrived everywhere.
        excused: by process id, from when to when it was stopped.
    """
    found = []
    for pid, worker in fleet.workers.items():
        began_s, ended_s = worker.values[0][0], worker.seen_s
        for number, put_s in fleet.service.put_s.items():
            had_s = next((at_s for at_s, value in worker.values if value >= number), None)
            if had_s is None and ended_s - put_s < MAX_STALE_S:
                continue  # it was killed before it could be late
            if had_s == began_s and put_s < began_s:
                continue  # it began with this one, or a later one
            if any(start_s - 0.2 <= put_s <= end_s for start_s, end_s in excused.get(pid, [])):
                continue
            found.append(max((had_s if had_s is not None else ended_s) - max(put_s, began_s), 0.0))
    return found


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2]
    except OSError:
        return False
    return state[0] != "Z"


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
