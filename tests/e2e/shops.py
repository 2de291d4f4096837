"""Runs an example app as a user would, and looks at it as visitors do."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

APPS = Path(__file__).parents[2] / "example_apps"
NAMES = ("django_shop", "fastapi_shop", "flask_shop")
WORKERS = 2
DEADLINE_S = 30.0
"""For what is not measured: generous, since the machine may be busy."""

PAUSE_S = 0.01
"""Between two looks at a condition."""


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Look at a condition until it holds; fail when it does not within the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s in vain until {what}"
        time.sleep(PAUSE_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def copy_app(name: str, target: Path) -> None:
    """Copy an app, and what starts it, to where its flag file may be edited."""
    shutil.copytree(APPS / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(APPS / "run.py", target)


def run_command(name: str, directory: Path, port: int | str, **options: Any) -> subprocess.Popen[str]:
    """Start `run.py` on a copy of the apps."""
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment = {**inherited, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "run.py", name], cwd=directory, env=environment, text=True, start_new_session=True, **options
    )


class Worker:
    """One process of a server, asked over a connection that stays with it."""

    def __init__(self, port: int) -> None:
        """Connect to whichever worker takes the connection."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        try:
            self.pid: int = self._ask()["pid"]
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def flags(self) -> dict[str, Any]:
        """Give the flags as this worker has them for a visitor without cookies."""
        answer = self._ask()
        assert answer["pid"] == self.pid
        flags: dict[str, Any] = answer["flags"]
        return flags

    def _ask(self) -> Any:
        self._connection.request("GET", "/flags.json")
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return json.loads(body)

    def close(self) -> None:
        self._connection.close()


class Shop:
    """An example app in a directory of its own, served by two workers."""

    def __init__(self, name: str, directory: Path) -> None:
        """Start it, and wait until both workers answer."""
        copy_app(name, directory)
        self.name = name
        self.flag_file = directory / name / "flags.yaml"
        self.shipped = self.flag_file.read_text(encoding="utf-8")
        self.port = free_port()
        self._log = directory / "server.log"
        with self._log.open("w") as log:
            self.process = run_command(name, directory, self.port, stdout=log, stderr=subprocess.STDOUT)
        try:
            workers = self._find_workers(None)
        except BaseException:
            self.kill()
            raise
        self.pids = frozenset(worker.pid for worker in workers)
        for worker in workers:
            worker.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def visitor(self) -> httpx.Client:
        """Give a browser with cookies of its own, which opens a connection for each request."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(base_url=self.url, timeout=DEADLINE_S, follow_redirects=True, limits=limits)

    @contextmanager
    def workers(self) -> Iterator[list[Worker]]:
        """Connect to each of the workers that were there from the start."""
        workers = self._find_workers(self.pids)
        try:
            yield workers
        finally:
            for worker in workers:
                worker.close()

    def themes(self) -> dict[int, Any]:
        """Give the theme flag as each worker has it, by process id."""
        with self.workers() as workers:
            return {worker.pid: worker.flags()["shop-theme"] for worker in workers}

    def _find_workers(self, pids: frozenset[int] | None) -> list[Worker]:
        found: dict[int, Worker] = {}

        def connect() -> bool:
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            try:
                worker = Worker(self.port)
            except (OSError, http.client.HTTPException):  # it does not listen yet
                return False
            if worker.pid in found:
                worker.close()
            else:
                assert pids is None or worker.pid in pids, f"a worker was replaced:\n{self.log()}"
                found[worker.pid] = worker
            return len(found) == WORKERS

        try:
            wait_until(connect, f"{WORKERS} workers answer")
        except BaseException:
            for worker in found.values():
                worker.close()
            raise
        return list(found.values())

    # --- flags ----------------------------------------------------------------------------------------------

    def edit_banner(self, banner: str) -> None:
        """Give the theme in force another banner, in the way of an editor that writes the file anew."""
        shown = re.search(r"defaultVariant: (\w+)  # <-- try this first", self.shipped)
        assert shown is not None, "the line to try first is gone"
        pattern = rf"(?m)^(      {shown[1]}:\n        banner: ).*$"
        text, count = re.subn(pattern, lambda found: found[1] + json.dumps(banner), self.shipped)
        assert count == 1
        self.flag_file.write_text(text, encoding="utf-8")

    def break_flags(self) -> int:
        """Name a variation that the theme does not have; gives the number of the line."""
        text, count = re.subn(r"defaultVariant: \w+(  # <-- try this first)", r"defaultVariant: dsk\1", self.shipped)
        assert count == 1
        self.flag_file.write_text(text, encoding="utf-8")
        return next(number for number, line in enumerate(text.splitlines(), start=1) if "dsk" in line)

    def restore_flags(self) -> None:
        """Put the shipped flags back in force, in each worker."""
        self.edit_banner("restored")  # a file that differs from any before, so that its arrival can be seen
        self.wait_for_banner("restored")
        self.flag_file.write_text(self.shipped, encoding="utf-8")
        self._wait_for(lambda banner: banner != "restored", "the shipped flags are in force")

    def wait_for_banner(self, banner: str) -> None:
        """Wait until each worker serves a banner."""
        self._wait_for(lambda served: served == banner, f"the banner is {banner!r}")

    def _wait_for(self, is_right: Callable[[str], bool], what: str) -> None:
        with self.workers() as workers:
            wait_until(lambda: all(is_right(banner_of(worker)) for worker in workers), what)

    # --- the server -----------------------------------------------------------------------------------------

    def log(self) -> str:
        """Give all that was written to the terminal."""
        return self._log.read_text(encoding="utf-8")

    def errors(self) -> list[str]:
        """Give the errors that flagmw has logged."""
        return [line for line in self.log().splitlines() if "ERROR flagmw" in line]

    def stop(self) -> int:
        """Press Ctrl-C, as a terminal does: all processes get the signal. Gives the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End what is left of the server."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)


def banner_of(worker: Worker) -> str:
    banner: str = worker.flags()["shop-theme"]["value"]["banner"]
    return banner


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- pages ------------------------------------------------------------------------------------------------------

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """A page as a browser would read it.

    Attributes:
        problems: what is wrong with its markup.
        buttons: what each button sends its form to, by the button's text.
        hidden: the hidden fields of its forms.
        text: what a person reads.
    """

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.url = str(response.url)
        self.problems: list[str] = []
        self.buttons: dict[str, str] = {}
        self.hidden: dict[str, str] = {}
        self.text = ""
        self._open: list[str] = []
        self._ids: set[str] = set()
        self._labels: set[str] = set()
        self._fields: set[str] = set()
        self._headings = 0
        self._action: str | None = None
        self.feed(response.text)
        self.close()
        self._conclude()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, dict(attrs))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes nothing")
        if tag == "button":
            self._action = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._action is not None and data.strip():
            self.buttons[data.strip()] = self._action

    def _start(self, tag: str, attributes: dict[str, str | None]) -> None:
        name = attributes.get("id")
        if name:
            if name in self._ids:
                self.problems.append(f"two elements have the id {name!r}")
            self._ids.add(name)
        if tag == "html" and not attributes.get("lang"):
            self.problems.append("the page does not say its language")
        if tag == "h1":
            self._headings += 1
        if tag == "svg" and "aria-hidden" not in attributes and not attributes.get("aria-label"):
            self.problems.append(f"the picture at {self.getpos()} has no label")
        if tag == "label":
            self._labels.add(attributes.get("for") or "")
        if tag == "button":
            self._action = attributes.get("formaction") or ""
        if tag == "input" and attributes.get("type") == "hidden":
            self.hidden[attributes.get("name") or ""] = attributes.get("value") or ""
        elif tag == "input":
            self._fields.add(name or "")
        for link in ("href", "src"):
            target = urljoin(self.url, attributes.get(link) or "")
            if not target.startswith((urljoin(self.url, "/"), "data:")):
                self.problems.append(f"{target} is elsewhere")

    def _conclude(self) -> None:
        self.problems += [f"<{tag}> is not closed" for tag in self._open]
        self.problems += [f"the field {name!r} has no label" for name in self._fields - self._labels]
        if self._headings != 1:
            self.problems.append(f"the page has {self._headings} main headings")


def press(visitor: httpx.Client, button: str) -> httpx.Response:
    """Press a button on the product page."""
    page = Page(visitor.get("/"))
    return visitor.post(urljoin(page.url, page.buttons[button]), data=page.hidden)
