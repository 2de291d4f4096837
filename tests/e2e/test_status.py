"""Real processes of one environment, with a real service: what `flagmw status`, health and metrics tell of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from flagmw import Client
from flagmw.cli_status import ExitCode, exit_code, told
from flagmw.lifecycle.places import state_root
from flagmw.processes import LEFT_S, MAX_STALE_S, read_environments
from flagmw.providers import FeatBit
from flagmw_prometheus import register
from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer

DEADLINE_S = 30.0
ROOT = Path(__file__).resolve().parents[2]

WORKER = """
import json, os, sys
from flagmw import Client, health_app
from flagmw.providers import FeatBit, StreamOptions

secret, stream_url, url = sys.argv[1:4]
stream = StreamOptions(ping_interval_s=0.2, first_retry_delay_s=0.05, max_retry_delay_s=0.2)
client = Client(FeatBit(secret, streaming_url=stream_url, event_url=url, stream=stream))
health = health_app(client, max_stale_s=3.0)
for line in sys.stdin:
    answer = health.answer()
    sys.stdout.write(json.dumps({"code": answer.status, **json.loads(answer.body)}) + "\\n")
    sys.stdout.flush()
"""


class Worker:
    """A process that uses the service's flags, and answers health checks."""

    def __init__(self, server: FeatBitServer) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, server.secret, server.ws_url, server.url],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self.process.pid

    def health(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


def flagmw_status() -> tuple[int, dict[str, Any]]:
    """Run the command as an operator does."""
    done = subprocess.run(
        [sys.executable, "-c", "from flagmw.cli import main; main()", "status", "--json"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def look() -> tuple[int, dict[str, Any]]:
    """Look as the command does, without starting it."""
    environments = read_environments(state_root())
    return exit_code(environments), told(environments, MAX_STALE_S)


def processes(seen: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {process["pid"]: process for one in seen["environments"] for process in one["processes"]}


def eventually(condition: Callable[[int, dict[int, dict[str, Any]]], Any], what: str) -> dict[int, dict[str, Any]]:
    """Look again and again until what the command tells is as it must be."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        code, seen = look()
        found = processes(seen)
        if condition(code, found):
            return found
        assert time.monotonic() < deadline, f"waited in vain until {what}: {code}, {json.dumps(seen, indent=1)}"
        time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer() as server:
        server.put_flag(featbit.boolean_flag("checkout"))
        yield server


@contextmanager
def working(server: FeatBitServer, number: int = 3) -> Iterator[list[Worker]]:
    """Run workers; give them when all of them have flags, and tell of it."""
    workers: list[Worker] = []
    try:
        workers.extend(Worker(server) for _ in range(number))
        deadline = time.monotonic() + DEADLINE_S
        for worker in workers:
            while worker.health()["flags"] != 1:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        pids = {worker.pid for worker in workers}
        eventually(lambda code, them: well(code, them) and pids == set(them), "all tell that they are well")
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def well(code: int, found: dict[int, dict[str, Any]]) -> bool:
    """Tell whether all is well: processes tell of themselves once in a second, so what they tell may be that old."""
    return code == 0 and {process["state"] for process in found.values()} == {"OK"}


def roles(found: dict[int, dict[str, Any]]) -> list[str]:
    return sorted(process["role"] for process in found.values())


def test_all_processes_are_told_and_one_of_them_leads(server: FeatBitServer) -> None:
    with working(server) as workers:
        found = eventually(lambda code, them: well(code, them) and "leader" in roles(them), "all is well")
        assert set(found) == {worker.pid for worker in workers}
        assert roles(found) == ["follower", "follower", "leader"]
        assert {process["state"] for process in found.values()} == {"OK"}
        assert len({process["revision"] for process in found.values()}) == 1
        code, seen = flagmw_status()
        assert (code, set(processes(seen))) == (ExitCode.WELL, set(found))


def test_a_change_is_seen_in_all_processes(server: FeatBitServer) -> None:
    with working(server):
        before = processes(look()[1])
        server.put_flag(featbit.boolean_flag("checkout", serves=False))
        known = {process["revision"] for process in before.values()}
        eventually(
            lambda code, them: well(code, them) and not known & {process["revision"] for process in them.values()},
            "all have the new flags",
        )


def test_a_killed_leader_is_gone_and_another_one_leads(server: FeatBitServer) -> None:
    with working(server) as workers:
        found = eventually(lambda code, them: well(code, them) and "leader" in roles(them), "one leads")
        [leader] = [worker for worker in workers if found[worker.pid]["role"] == "leader"]
        leader.kill()
        found = eventually(lambda code, them: well(code, them) and "leader" in roles(them), "another one leads")
        assert set(found) == {worker.pid for worker in workers} - {leader.pid}


def test_a_stopped_process_is_told_with_the_code_1(server: FeatBitServer) -> None:
    with working(server) as [stopped, *_]:
        os.kill(stopped.pid, signal.SIGSTOP)
        found = eventually(lambda code, them: code == ExitCode.DEGRADED, "somebody is missed")
        assert found[stopped.pid]["problems"][0].startswith("silent for")
        os.kill(stopped.pid, signal.SIGCONT)
        eventually(well, "all is well again")


def test_an_outage_is_told_at_once_and_health_fails_when_the_flags_are_too_old(server: FeatBitServer) -> None:
    with working(server, 2) as [worker, _]:
        until_s = time.monotonic() + 1.0  # with flags that have not changed for a while
        while time.monotonic() < until_s or worker.health()["code"] != 200:
            time.sleep(0.05)
        server.refuse()
        down_s = time.monotonic()
        while (answer := worker.health())["code"] == 200:
            assert time.monotonic() < down_s + DEADLINE_S
            time.sleep(0.05)
        assert time.monotonic() - down_s > 2.0
        assert answer["flags"] == 1
        eventually(lambda code, them: code == ExitCode.DEGRADED, "the outage is told")
        server.listen()
        eventually(well, "all is well again")
        assert worker.health()["code"] == 200


def test_processes_that_end_are_told_no_more(server: FeatBitServer) -> None:
    with working(server):
        assert len(processes(look()[1])) == 3
    eventually(lambda code, them: code == ExitCode.NOBODY, "nobody is left")


def test_one_scrape_tells_of_all_processes(server: FeatBitServer) -> None:
    registry = CollectorRegistry()
    client = Client(FeatBit(server.secret, streaming_url=server.ws_url, event_url=server.url))
    register(client, registry, whole_host=True)
    with working(server) as workers:
        ok = [
            registry.get_sample_value("flagmw_state", {"client": "default", "pid": str(worker.pid), "state": "OK"})
            for worker in workers
        ]
    assert ok == [1.0, 1.0, 1.0]
    assert client.status.pid == 0


TELLING = """
import sys, time
from flagmw import Client
from flagmw.providers import EventOptions, FeatBit

secret, stream_url, url, interval_s = sys.argv[1:5]
events = EventOptions(flush_interval_s=float(interval_s))
client = Client(FeatBit(secret, streaming_url=stream_url, event_url=url, events=events))
client.wait_until_ready(15)
client.variation("checkout", {"key": "ann", "name": "Ann"}, None)
sys.stdout.write("told\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@contextmanager
def telling(server: FeatBitServer, interval_s: float) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has an event to deliver."""
    process = subprocess.Popen(
        [sys.executable, "-c", TELLING, server.secret, server.ws_url, server.url, str(interval_s)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def left(seen: dict[str, Any]) -> list[tuple[bool, bool]]:
    """Tell of each environment whether events are left, and whether that is called a problem."""
    return [(one["left_bytes"] > 0, bool(one["problems"])) for one in seen["environments"]]


def test_events_that_a_killed_process_leaves_are_told_until_another_one_has_sent_them(server: FeatBitServer) -> None:
    with telling(server, interval_s=60.0) as process:
        process.kill()
    deadline = time.monotonic() + DEADLINE_S
    while left(look()[1]) != [(True, True)]:
        assert time.monotonic() < deadline, look()
        time.sleep(0.05)
    with working(server, 1):
        server.wait_for(lambda s: s.events, DEADLINE_S)
        while left(look()[1]) != [(False, False)]:
            assert time.monotonic() < deadline, look()
            time.sleep(0.05)


def test_events_that_were_sent_before_a_process_was_killed_are_not_told(server: FeatBitServer) -> None:
    with telling(server, interval_s=0.01) as process:
        server.wait_for(lambda s: s.events, DEADLINE_S)
        eventually(lambda code, them: [one["events"]["sent"] for one in them.values()] == [1], "it knows")
        process.kill()
    eventually(lambda code, them: not them, "it is gone")
    over_s = time.monotonic() + LEFT_S + 0.5
    while time.monotonic() < over_s:
        assert look()[0] == ExitCode.NOBODY
        time.sleep(0.1)
