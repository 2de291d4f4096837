"""Django under uvicorn, with a database file: each request has a thread of its own for sync code, and reading a flag
in the event loop waits for it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0


class Server:
    """A uvicorn process that serves the test project."""

    def __init__(self, directory: Path) -> None:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.contrib.django_app.settings",
            "FLAGMW_TEST_DATABASE": str(directory / "db.sqlite3"),
            "PYTHONWARNINGS": "always",
        }
        django = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(django, cwd=ROOT, env=environment, check=True, timeout=DEADLINE_S)
        command = [sys.executable, "-m", "uvicorn", "tests.contrib.django_app.asgi:application", "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--no-access-log"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        self._lines: list[str] = []
        self.url = self._wait_for_url()

    def _wait_for_url(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)
            found = re.search(r"running on (http://\S+)", line)
            if found:
                return found[1]
        pytest.fail("uvicorn ended: " + "".join(self._lines))

    @contextmanager
    def client(self, name: str | None = None) -> Iterator[httpx.Client]:
        """Give a browser, in which a user is logged in if one is named."""
        with httpx.Client(base_url=self.url, timeout=DEADLINE_S) as client:
            if name is not None:
                client.get("/sign-in-async/", params={"name": name}).raise_for_status()
            yield client

    def stop(self) -> str:
        """Stop, and give what was logged."""
        self._process.terminate()
        _, rest = self._process.communicate(timeout=DEADLINE_S)
        return "".join(self._lines) + rest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("uvicorn"))
    yield server
    log = server.stop()
    for complaint in ("Traceback", "never awaited", "never retrieved", "was destroyed", "could not be built"):
        assert complaint not in log, log


def seen(client: httpx.Client, path: str = "/show-async/") -> dict[str, Any]:
    response = client.get(path)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def test_the_first_read_in_an_async_view_finds_the_user(server: Server) -> None:
    with server.client("ada") as client:
        found = seen(client)
    assert (found["on"], found["name"]) == (True, "ada")


def test_the_user_is_found_below_sync_code_below_async_code(server: Server) -> None:
    with server.client("ada") as client:
        assert seen(client, "/show-nested/")["name"] == "ada"


def test_an_async_view_without_a_session_is_nobodys(server: Server) -> None:
    with server.client() as client:
        first, second = seen(client), seen(client)
    assert first["name"] is None
    assert first["key"] == second["key"]


def test_many_users_at_once_each_get_their_own_flags(server: Server) -> None:
    names = ["ada", "bob", "cyd", "dan"]

    def read_often(client: httpx.Client) -> set[tuple[str, bool]]:
        return {(found["name"], found["on"]) for found in (seen(client) for _ in range(20))}

    with ExitStack() as stack, ThreadPoolExecutor(len(names)) as threads:
        clients = [stack.enter_context(server.client(name)) for name in names]
        answers = list(threads.map(read_often, clients))
    assert answers == [{(name, name == "ada")} for name in names]


def test_a_streamed_body_reads_the_flags_of_its_request(server: Server) -> None:
    with server.client() as client:
        parts = client.get("/streamed-async/").text
    assert parts in {"oldold", "newnew"}  # that page changes the flag for the next request
