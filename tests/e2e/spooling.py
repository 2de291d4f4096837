"""A program that has events, for tests that kill it; and what the tests need to run it.

`python -m tests.e2e.spooling '{"service": "hackle", ...}'` tracks metrics named `<name>.<number>` through a provider's
sink, writes a line with the name of each after it was taken, and obeys: a line on its input ends it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagmw.context import UserContext
from flagmw.core.records import Metric
from flagmw.events import Sink
from flagmw.network import Network
from flagmw.providers import FeatBit, Hackle
from flagmw.providers.options import EventOptions
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 3_600.0
PAGE_BYTES = resource.getpagesize()

Server = HackleServer | FeatBitServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the program does.

    Args:
        service: hackle or featbit.
        url: of the service.
        secret: for the service.
        state: the folder where processes meet.
        name: begins the names of its events.
        count: how many events it has; none opens the sink only.
        rate: how many of them in a second; 0.0 is as many as it can.
        linger: whether it waits to be told to go, rather than leave when it has had its events.
        full_from_s: from when on no file can grow; 0.0 is never.
        full_to_s: until when.
    """

    service: str
    url: str
    secret: str
    state: str
    name: str = "e"
    count: int = 0
    rate: float = 0.0
    linger: bool = True
    flush_interval_s: float = 0.1
    exit_timeout_s: float = 1.0
    capacity: int = 10_000
    max_spool_bytes: int = 2**26
    full_from_s: float = 0.0
    full_to_s: float = 0.0

    def sink(self) -> Sink:
        """Make the sink of the service's provider."""
        events = EventOptions(
            flush_interval_s=self.flush_interval_s,
            exit_timeout_s=self.exit_timeout_s,
            capacity=self.capacity,
            max_spool_bytes=self.max_spool_bytes,
        )
        network = Network(proxy="")
        if self.service == "hackle":
            hackle = Hackle(
                self.secret, sdk_url=self.url, event_url=self.url, events=events, state_dir=self.state, network=network
            )
            sink = hackle.sink()
        else:
            featbit = FeatBit(
                self.secret,
                streaming_url=self.url,
                event_url=self.url,
                events=events,
                state_dir=self.state,
                network=network,
            )
            sink = featbit.sink()
        assert sink is not None
        return sink


# --- the program ------------------------------------------------------------------------------------------------


def main(plan: Plan) -> None:
    sink = plan.sink()
    sink.open()
    context = UserContext("user-1")
    began_s = time.monotonic()
    for number in range(plan.count):
        _keep_disk(plan, time.monotonic() - began_s)
        name = f"{plan.name}.{number}"
        sink.track(Metric(event=name, context=context, value=1.0, properties={}, at_s=time.time()))
        os.write(1, f"{name}\n".encode())
        if plan.rate:
            time.sleep(max(began_s + (number + 1) / plan.rate - time.monotonic(), 0.0))
    _keep_disk(plan, plan.full_to_s)
    while plan.linger:
        order = sys.stdin.readline().strip()
        if order == "look":
            os.write(1, f"#{json.dumps(dataclasses.asdict(_counts(sink)))}\n".encode())
        elif order == "flush":
            os.write(1, f"#{json.dumps(sink.flush(30.0))}\n".encode())
        elif order == "close":
            os.write(1, f"#{json.dumps(sink.close(5.0))}\n".encode())
        else:
            return


def _counts(sink: Sink) -> Any:
    counts = sink.counts()
    assert counts is not None
    return counts


def _keep_disk(plan: Plan, passed_s: float) -> None:
    """Let no file grow while the disk is to be full."""
    if plan.full_from_s:
        is_full = plan.full_from_s <= passed_s < plan.full_to_s
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))


# --- running it -------------------------------------------------------------------------------------------------


class Program:
    """The program, running; killed at the end at the latest.

    Attributes:
        accepted: the names of its events so far, in order.
    """

    def __init__(self, plan: Plan) -> None:
        self.accepted: list[str] = []
        self._answers: list[Any] = []
        self._changed = threading.Condition()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.e2e.spooling", json.dumps(dataclasses.asdict(plan))],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            if text.endswith("\n"):  # a killed process may leave half a line
                with self._changed:
                    if text.startswith("#"):
                        self._answers.append(json.loads(text[1:]))
                    else:
                        self.accepted.append(text.strip())
                    self._changed.notify_all()

    def wait_accepted(self, count: int, timeout_s: float = 30.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.accepted) >= count, timeout_s), "it is too slow"

    def ask(self, order: str, timeout_s: float = 40.0) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        with self._changed:
            assert self._changed.wait_for(lambda: self._answers, timeout_s), f"no answer to {order}"
            return self._answers.pop(0)

    def kill(self) -> list[str]:
        """Kill it with SIGKILL; give the names of the events that it had taken."""
        self.process.kill()
        return self._ended()

    def leave(self) -> list[str]:
        """Let it end by itself."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("leave\n")
        return self._ended()

    def _ended(self) -> list[str]:
        self.process.wait(20)
        self._reader.join(20)
        return self.accepted

    @property
    def rss_bytes(self) -> int:
        """How much memory it takes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def close(self) -> None:
        self.process.kill()
        self._ended()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextlib.contextmanager
def running(plan: Plan) -> Iterator[Program]:
    program = Program(plan)
    try:
        yield program
    finally:
        program.close()


def plan_for(server: Server, state: Path, **settings: Any) -> Plan:
    if isinstance(server, HackleServer):
        return Plan(service="hackle", url=server.url, secret=server.sdk_key, state=str(state), **settings)
    return Plan(service="featbit", url=server.url, secret=server.secret, state=str(state), **settings)


def names_at(server: Server) -> list[str]:
    """Give the names of the events that have arrived, in order."""
    if isinstance(server, HackleServer):
        return [event["eventTypeKey"] for event in server.events if event["kind"] == "track"]
    return [metric["eventName"] for event in server.events for metric in event.get("metrics", ())]


def spool_files(state: Path) -> list[Path]:
    """Give all that is kept of events, in all environments."""
    return sorted([*state.glob("*/events-*.spool"), *state.glob("*/events-*.offset")])


def spool_bytes(state: Path) -> int:
    size_bytes = 0
    for path in spool_files(state):
        with contextlib.suppress(FileNotFoundError):
            size_bytes += path.stat().st_size
    return size_bytes


@contextlib.contextmanager
def small_disk(size_bytes: int) -> Iterator[Path | None]:
    """Mount a small file system in memory; None where that is not permitted."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", folder)
        try:
            yield Path(folder) if mounted else None
        finally:
            if mounted:
                assert _run("umount", folder)


def _run(*command: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    return False


def without_repeats(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
