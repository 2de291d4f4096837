"""Real WSGI servers whose workers are forked, with a flag service in this process: for tests of forks and hooks.

They listen on a Unix socket in a folder of their own. The app answers with its process id and a flag's value.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
DEADLINE_S = 40.0
"""For what is not measured: generous, since the machine may be busy."""

PAUSE_S = 0.02
OLD, NEW, DEFAULT = "old", "new", "the caller's"

APP = """
import json, os, sys, threading, time
from urllib.parse import parse_qs
import flagmw
from flagmw.providers import EventOptions, FeatBit

secret, stream_url, url = os.environ["TEST_SERVICE"].split()
events = EventOptions(flush_interval_s=0.1, exit_timeout_s=8.0)  # the machine may be busy
client = flagmw.configure(FeatBit(secret, streaming_url=stream_url, event_url=url, events=events))
imported_in = os.getpid()


def application(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    threads = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("flagmw"))
    begun = time.monotonic()
    value = client.variation("banner", {"key": query["user"], "name": "n"}, "the caller's") if "user" in query else None
    took_s = time.monotonic() - begun
    time.sleep(float(query.get("sleep", 0)))
    answer = {
        "pid": os.getpid(), "value": value, "threads": threads, "took_s": took_s, "imported_in": imported_in,
        "state": client.status.state,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


def until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Look at a condition until it holds, and give what it gave; fail when it does not within the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain until {what}"
        time.sleep(PAUSE_S)
    return found


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Host:
    """A server that runs.

    Attributes:
        folder: where it was started; holds its app.
        socket: where it listens.
        process: the one that was started.
        users: everybody who was served a flag by an answered request.
    """

    def __init__(self, folder: Path, service: FeatBitServer) -> None:
        self.folder = folder
        self.socket = str(folder / "s")
        self.service = service
        self.process: subprocess.Popen[bytes]
        self.users: set[str] = set()
        self._numbers = itertools.count(1)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it in a session of its own, and wait until it answers."""
        where = f"{self.service.secret} {self.service.ws_url} {self.service.url}"
        everything = {**os.environ, **environment, "TEST_SERVICE": where, "PYTHONUNBUFFERED": "1"}
        everything.pop("DJANGO_SETTINGS_MODULE", None)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=everything,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_it_answers(self, path: str = "/") -> None:
        """Wait for the first answer, to a request that reads no flag."""

        def answers() -> bool:
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            try:
                return bool(self.ask(path=path))
            except (OSError, http.client.HTTPException):
                return False

        until(answers, "the server answers")

    def ask(self, *, path: str = "/", timeout_s: float = DEADLINE_S, **query: Any) -> dict[str, Any]:
        """Make a request on a connection of its own."""
        connection = _UnixConnection(self.socket, timeout_s)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, f"{response.status} {body!r}\n{self.log()}"
            answer: dict[str, Any] = json.loads(body)
            return answer
        finally:
            connection.close()

    def visit(self, *, path: str = "/", **query: Any) -> dict[str, Any]:
        """Make a request that reads the flag, as somebody new, whose event must arrive if there was a flag."""
        user = f"user-{next(self._numbers)}"
        answer = self.ask(path=path, user=user, **query)
        if answer["value"] != DEFAULT:
            self.users.add(user)
        return answer

    def arrived(self) -> list[str]:
        """Everybody whose event has arrived at the service."""
        return [event["user"]["keyId"] for event in self.service.events]

    def wait_for_events(self) -> None:
        """Wait until the event of each visit has arrived."""
        until(lambda: set(self.arrived()) >= self.users, f"all events arrive\n{self.log()}")

    def visit_all(self, workers: int, *, path: str = "/") -> dict[int, Any]:
        """Visit each worker, by visits at the same time; gives the values by process id."""
        values: dict[int, Any] = {}

        def come(_: int) -> None:
            answer = self.visit(path=path, sleep=0.1)
            values[answer["pid"]] = answer["value"]

        def have_come() -> bool:
            with ThreadPoolExecutor(workers * 2) as pool:
                list(pool.map(come, range(workers * 2)))
            return len(values) >= workers

        until(have_come, f"{workers} workers answer")
        return values

    def wait_for_value(self, value: str, workers: int, *, path: str = "/") -> None:
        """Wait until each worker serves a value."""
        until(
            lambda: set(self.visit_all(workers, path=path).values()) == {value},
            f"every worker serves {value!r}\n{self.log()}",
        )

    def change_flag(self) -> None:
        """Have the service serve the other value."""
        self.service.put_flag(banner(serves=1))

    def log(self) -> str:
        """Give what the server has written."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it in an orderly way, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End all that is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)


def banner(*, serves: int = 0) -> dict[str, Any]:
    return featbit.flag("banner", values=(OLD, NEW), kind="string", serves=serves)


@pytest.fixture
def service() -> Iterator[FeatBitServer]:
    with FeatBitServer() as server:
        server.put_flag(banner())
        yield server


@contextmanager
def running(
    service: FeatBitServer,
    command: Callable[[str], Sequence[str]],
    *,
    files: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    first: str = "/",
) -> Iterator[Host]:
    """Run a server.

    Args:
        service: where its flags come from.
        command: gives the command line for the path of a socket.
        files: by name, besides or instead of `app.py`.
        environment: what is added to ours.
        first: the path that is asked for until it answers.
    """
    folder = Path(tempfile.mkdtemp(prefix="fmw"))  # short: a socket's path has 107 characters at most
    try:
        for name, text in {"app.py": APP, **(files or {})}.items():
            (folder / name).write_text(text)
        host = Host(folder, service)
        host.start(command(host.socket), environment or {})
        try:
            host.wait_until_it_answers(first)
            yield host
        finally:
            host.kill()
    finally:
        shutil.rmtree(folder)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
