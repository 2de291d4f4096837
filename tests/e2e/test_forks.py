"""Processes that fork while everything is under way, with a flag service in the test's process."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forking_hosts import NEW, OLD, banner, service, until
from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer

__all__ = ["service"]

FORKS = 1_000
DEADLINE_S = 110.0

PRELUDE = """
import json, os, signal, sys, threading, time, traceback, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about
from flagmw import Client
from flagmw.providers import EventOptions, FeatBit

secret, stream_url, url, flush_interval_s = sys.argv[1:5]
client = Client(FeatBit(
    secret, streaming_url=stream_url, event_url=url,
    events=EventOptions(flush_interval_s=float(flush_interval_s), exit_timeout_s=20.0),  # the machine may be busy
))
STATE = os.environ["FLAGMW_STATE_DIR"]

def read(user, key="banner"):
    return client.variation(key, {"key": user, "name": "n"}, "the caller's")

def until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

def files():
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(STATE) for name in names)

def say(what):
    sys.stdout.write(json.dumps(what) + "\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("FLAGMW_STATE_DIR", str(folder))
    return folder


class Program:
    """A program that runs, and what it says, line by line as JSON."""

    def __init__(self, text: str, folder: Path, service: FeatBitServer, flush_interval_s: float) -> None:
        script = folder / "program.py"
        script.write_text(PRELUDE + textwrap.dedent(text))
        where = [service.secret, service.ws_url, service.url, str(flush_interval_s)]
        self._process = subprocess.Popen(
            [sys.executable, str(script), *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def lines(self) -> list[Any]:
        """Give all that it says; it must end well and say nothing else."""
        said, errors = self._process.communicate(timeout=DEADLINE_S)
        assert (self._process.returncode, errors) == (0, ""), errors
        return [json.loads(line) for line in said.splitlines()]

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path, state: Path, service: FeatBitServer) -> Iterator[Any]:
    programs: list[Program] = []

    def start(text: str, flush_interval_s: float = 0.1) -> Program:
        programs.append(Program(text, tmp_path, service, flush_interval_s))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


def arrived(service: FeatBitServer) -> Counter[str]:
    """Count the exposures that have arrived, by user."""
    return Counter(event["user"]["keyId"] for event in service.events if event.get("variations"))


def tracked(service: FeatBitServer) -> Counter[str]:
    """Count the metrics that have arrived, by their name."""
    return Counter(metric["eventName"] for event in service.events for metric in event.get("metrics", []))


def shown(counts: dict[str, Any]) -> str:
    """Give counts as they are printed."""
    return ", ".join(f"{len(found) if isinstance(found, list) else found} {what}" for what, found in counts.items())


THOUSAND_FORKS = """
import re
from flagmw.processes import read_environment
FORKS = int(os.environ["FORKS"])

def opened():
    for number in os.listdir("/proc/self/fd"):
        try:
            yield re.sub(r"[0-9]+|-[0-9a-f]{12}|.*/", "", os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the folder itself, which was open while it was listed
            pass

def counts():
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        # a file of events has its offset once some of it is delivered, and may be a new one at any moment
        "descriptors": sorted(name for name in opened() if not name.endswith(".offset")),
        # processes that were killed are shown no more, and their files are removed by those who look
        "files": len([name for name in files() if not re.search(r"process-|[.]offset$", name)]),
        "shown by flagmw status": len(read_environment(client.provider.place().path()).processes),
    }

def settled():
    # once they stay as they are
    client.flush(20)
    last, since = counts(), time.monotonic()
    while time.monotonic() < since + 2:
        time.sleep(0.1)
        if (now := counts()) != last:
            last, since = now, time.monotonic()
    return last

assert client.wait_until_ready(20), client.status
read("first"); client.track({"key": "first", "name": "n"}, "first", 1)
before = settled()

stopping = threading.Event()
def often(action, pause_s):
    def run():
        number = 0
        while not stopping.wait(pause_s):
            number += 1
            action(number)
    return threading.Thread(target=run)

workers = [
    often(lambda number: read("parent"), 0.0005),
    often(lambda number: client.track({"key": "parent", "name": "n"}, f"parent-{number}", 1), 0.005),
    often(lambda number: client.flush(5), 0.01),
]
for worker in workers: worker.start()

def child(number):
    signal.alarm(20)  # its deadline: a child that hangs is killed, and seen
    try:
        right = read(f"child-{number}", "fixed") == "right" and read(f"child-{number}") in ("old", "new")
        if number % 20 == 0:
            client.track({"key": "c", "name": "n"}, f"child-{number}", 1)
            right = client.close(10) and right
        os._exit(0 if right else 3)
    except BaseException:
        traceback.print_exc()
        os._exit(4)

ends = {}
for number in range(FORKS):
    pid = os.fork()
    if not pid:
        child(number)
    status = os.waitpid(pid, 0)[1]
    ends[status] = ends.get(status, 0) + 1
stopping.set()
for worker in workers: worker.join()
flushed = client.flush(20)
until(lambda: settled() == before, 60)
say({"ends": ends, "flushed": flushed, "before": before, "after": settled()})
client.close(10)
"""


@pytest.mark.timeout(240)
def test_a_thousand_forks_while_everything_is_under_way_leave_nothing_behind(
    service: FeatBitServer, start: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORKS", str(FORKS))
    service.put_flag(featbit.flag("fixed", values=("right", "wrong"), kind="string", serves=0))
    done = threading.Event()

    def sync() -> None:
        serves = 0
        while not done.wait(0.02):
            serves = 1 - serves
            service.put_flag(banner(serves=serves))

    changing = threading.Thread(target=sync)
    changing.start()
    try:
        [found] = start(THOUSAND_FORKS).lines()
    finally:
        done.set()
        changing.join()
    with capsys.disabled():
        before, after = found["before"], found["after"]
        print(f"\n{FORKS} forks: how the children ended {found['ends']}\nbefore {shown(before)}\nafter  {shown(after)}")
    assert found["ends"] == {"0": FORKS}
    assert found["flushed"]
    assert found["after"] == found["before"]
    expected = {f"child-{number}" for number in range(FORKS)}
    until(lambda: expected <= arrived(service).keys(), "the events of all children arrive")


# --- multiprocessing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_that_returns_has_delivered_its_events(service: FeatBitServer, start: Any, method: str) -> None:
    """Nobody else is there who would; and its queue would wait for a minute."""
    start(
        f"""
        import multiprocessing
        def work():
            assert client.wait_until_ready(20)
            read("child")
            client.track({{"key": "c", "name": "n"}}, "done", 1)
        if __name__ == "__main__":
            children = [multiprocessing.get_context({method!r}).Process(target=work) for _ in range(3)]
            for child in children: child.start()
            for child in children: child.join()
            assert [child.exitcode for child in children] == [0, 0, 0]
        """,
        flush_interval_s=60.0,
    ).lines()
    assert tracked(service) == {"done": 3}
    assert arrived(service) == {"child": 3}


def test_a_pools_children_know_of_changes_and_deliver(service: FeatBitServer, start: Any) -> None:
    start(
        """
        import multiprocessing
        def work(number):
            assert client.wait_until_ready(20)
            return read(f"job-{number}")
        if __name__ == "__main__":
            client.start()
            with multiprocessing.get_context("fork").Pool(3) as pool:
                assert set(pool.map(work, range(30))) == {"old"}
                pool.close()
                pool.join()
        """
    ).lines()
    expected = {f"job-{number}" for number in range(30)}
    until(lambda: expected <= arrived(service).keys(), "the events of all jobs arrive", 5.0)


# --- forks of forks, and threads ----------------------------------------------------------------------------------


def test_a_daemon_that_forked_twice_syncs_and_delivers(service: FeatBitServer, start: Any) -> None:
    program = start(
        """
        assert client.wait_until_ready(20)
        read("parent")
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                say(read("daemon"))
                assert until(lambda: read("daemon") == "new"), client.status
                client.track({"key": "d", "name": "n"}, "daemon", 1)
                sys.exit(0)
            os._exit(0)
        os.wait()
        client.close(10)
        """,
        flush_interval_s=60.0,
    )
    until(lambda: service.connects >= 1, "somebody has connected")
    service.put_flag(banner(serves=1))
    assert program.lines()[0] in {OLD, NEW}
    until(lambda: tracked(service) == {"daemon": 1}, "the daemon's event arrives", 5.0)


def test_threads_that_come_at_once_after_a_fork_share_one_state_and_one_file(start: Any) -> None:
    [found] = start(
        """
        assert client.wait_until_ready(20)
        read("parent")
        barrier, states, values = threading.Barrier(8), [], []
        pid = os.fork()
        if pid == 0:
            def come():
                barrier.wait()
                values.append(read("child"))
                states.append(client._processes.state)
            comers = [threading.Thread(target=come) for _ in range(8)]
            for comer in comers: comer.start()
            for comer in comers: comer.join()
            own = [name for name in files() if f"-{os.getpid()}-" in name and name.endswith(".spool")]
            names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("flagmw"))
            say([values, len(set(map(id, states))), len(own), len(names) - len(set(names))])
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    ).lines()
    assert found == [[OLD] * 8, 1, 1, 0]


def test_a_fork_while_a_library_of_ours_is_imported_and_a_client_is_built_hangs_nobody(
    start: Any, service: FeatBitServer
) -> None:
    found = start(
        """
        def new_client():
            return Client(FeatBit(secret, streaming_url=stream_url, event_url=url))
        building = new_client()
        builders = [threading.Thread(target=building.start) for _ in range(4)]
        for builder in builders: builder.start()
        for _ in range(50):
            if (pid := os.fork()) == 0:
                signal.alarm(20)
                building.start()
                new_client().start()
                os._exit(0)
            say(os.waitpid(pid, 0)[1])
        for builder in builders: builder.join()
        building.close(10)
        """
    ).lines()
    assert found == [0] * 50


def test_a_child_keeps_no_connection_of_its_parents(service: FeatBitServer, start: Any) -> None:
    """The service would go on to send to it, and not learn that the parent has gone."""
    program = start(
        """
        assert client.wait_until_ready(20)
        pid = os.fork()
        if pid == 0:
            for stream in (0, 1, 2):
                os.close(stream)
            time.sleep(5)
            os._exit(0)
        os._exit(0)
        """
    )
    until(lambda: service.connects >= 1, "the parent has connected")
    try:
        until(lambda: service.connections == 0, "the service sees the parent's end", 4.0)
    finally:
        program.kill()
