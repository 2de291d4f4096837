"""A web app of many functions, each process of which runs other ones and writes down itself which; for the usage agent.

A process runs each function once at most, so that a function must be in the store as often as it is in the ground truth.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from flagmw.usage.store import StoredUsage, read_usage
from tests.e2e.matrix.running import ROOT, Running

FILES = 6
PER_FILE = 20
DEADLINE_S = 40.0
LOOK_S = 0.02

FLOOR = """
def make(number):
    def made():
        return number
    return made

""" + "\n".join(
    f"""
class Shelf{number}:
    def take(self):
        return {number}
"""
    if number % 4 == 0
    else f"""
async def take{number}():
    return {number}
"""
    if number % 4 == 1
    else f"""
def take{number}(count=1, *, fast: bool = True) -> int:
    return {number}
"""
    for number in range(PER_FILE)
)

APP = """
import asyncio, json, os, threading
from importlib import import_module
from flagmw.usage import Agent, UsageConfig

FOLDER = os.path.dirname(os.path.abspath(__file__))
agent = Agent(UsageConfig(**json.loads(os.environ["WATCHED"])))
if "WATCHED_STARTS_LATE" not in os.environ:
    agent.start()

FLOORS = [import_module(f"floors.floor{number}") for number in range(%(files)d)]
PLACES = [(floor, number) for floor in FLOORS for number in range(%(per_file)d)]

if "WATCHED_STARTS_LATE" in os.environ:
    agent.start()

def note(signature):
    # one write, which is kept whatever happens to the process
    descriptor = os.open(f"{FOLDER}/truth-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{signature}\\n".encode())
    finally:
        os.close(descriptor)

class Walk:
    def __init__(self):
        self.pid = 0
        self.places = []
        self.lock = threading.Lock()

    def step(self):
        with self.lock:
            if self.pid != os.getpid():
                self.pid = os.getpid()
                start = self.pid * 7 %% len(PLACES)
                self.places = PLACES[start:] + PLACES[:start]
            if not self.places:
                return None
            floor, number = self.places.pop()
        name = floor.__name__
        if number %% 4 == 0:
            note(f"{name}.Shelf{number}.take(self)")
            return getattr(floor, f"Shelf{number}")().take()
        if number %% 4 == 1:
            note(f"{name}.take{number}()")
            try:
                getattr(floor, f"take{number}")().send(None)
            except StopIteration as end:
                return end.value
        note(f"{name}.take{number}(count)")
        return getattr(floor, f"take{number}")()

walk = Walk()

def at_import():
    note("app.at_import()")

at_import()

def application(environ, start_response):
    agent.touch()
    walk.step()
    threading.Event().wait(0.01)  # so that others of the workers have their turn
    body = json.dumps({"pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                agent.shutdown(5.0)
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    agent.touch()
    walk.step()
    await asyncio.sleep(0.01)
    body = json.dumps({"pid": os.getpid()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
""" % {"files": FILES, "per_file": PER_FILE}  # noqa: UP031  # it has braces


TASKS = """
import os
from pathlib import Path
import app
from tests.e2e.matrix.served.broker import celery_app

celery = celery_app(Path(app.FOLDER) / "queue")

@celery.task(name="walk")
def walk():
    app.agent.touch()
    app.walk.step()
    return os.getpid()
"""


class WatchedApp:
    """The app in a folder, with its store and its ground truth.

    Args:
        folder: an empty one.
        settings: of the agent, beyond what it needs.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.store = folder / "usage.db"
        self.settings = {
            "packages": [""],
            "codebase": [str(folder)],
            "app_name": "watched",
            "store": str(self.store),
            "store_interval_s": 60.0,
            "exit_timeout_s": 10.0,  # the machine may be busy
            **settings,
        }
        (folder / "floors").mkdir()
        (folder / "floors" / "__init__.py").touch()
        for number in range(FILES):
            (folder / "floors" / f"floor{number}.py").write_text(FLOOR)
        (folder / "app.py").write_text(APP)
        (folder / "tasks.py").write_text(TASKS)

    def environment(self) -> dict[str, str]:
        """Give what a process of the app needs."""
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in self.settings.items()}
        return {
            "PYTHONPATH": f"{ROOT}:{self.folder}",
            "WATCHED": json.dumps(settings),
            "FLAGMW_STATE_DIR": str(self.folder / "state"),
            "PYTHONWARNINGS": "ignore::DeprecationWarning",  # servers fork with threads
        }

    def serve(self, command: Callable[[int], Sequence[str]], **environment: str) -> Running:
        """Start a server, and wait until it answers."""
        running = Running(command, {**self.environment(), **environment}, self.folder / "server.log")
        try:
            deadline_s = time.monotonic() + DEADLINE_S
            while not self.ask(running):
                running.check()
                assert time.monotonic() < deadline_s, f"it does not answer:\n{running.log()[-3000:]}"
                time.sleep(LOOK_S)
        except BaseException:
            running.kill_all()
            raise
        return running

    def ask(self, running: Running) -> int:
        """Ask over a connection of its own; gives the worker's process id, 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10.0)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
            return int(json.loads(body)["pid"]) if response.status == 200 else 0
        except (OSError, http.client.HTTPException, ValueError):
            return 0
        finally:
            connection.close()

    def ask_until(self, running: Running, is_enough: Callable[[Counter[int]], bool], visitors: int = 6) -> Counter[int]:
        """Ask from several threads until the answers of the workers are enough."""
        answers: Counter[int] = Counter()
        deadline_s = time.monotonic() + DEADLINE_S
        ended = threading.Event()

        def visit() -> None:
            while not ended.is_set() and time.monotonic() < deadline_s:
                pid = self.ask(running)
                if pid:
                    answers[pid] += 1
                else:
                    ended.wait(LOOK_S)

        threads = [threading.Thread(target=visit, daemon=True) for _ in range(visitors)]
        for thread in threads:
            thread.start()
        while not is_enough(answers.copy()) and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
        ended.set()
        for thread in threads:
            thread.join(20)
        assert is_enough(answers), f"only {dict(answers)}:\n{running.log()[-3000:]}"
        return answers

    # --- what came of it --------------------------------------------------------------------------------------

    def truth(self) -> dict[int, list[str]]:
        """Give what ran by its own account: the signatures by process id."""
        return {
            int(path.name.removeprefix("truth-")): path.read_text().split("\n")[:-1]
            for path in self.folder.glob("truth-*")
        }

    def expected(self) -> Counter[str]:
        """Give in how many processes each function ran."""
        return Counter(signature for signatures in self.truth().values() for signature in signatures)

    def usage(self) -> StoredUsage:
        return read_usage(self.store)

    def stored(self) -> Counter[str]:
        """Give in how many intervals each function ran, for those that the ground truth speaks of."""
        spoken = (*(f"floors.floor{number}." for number in range(FILES)), "app.at_import(")
        return Counter({
            one.function.signature: one.intervals
            for one in self.usage().functions
            if one.intervals and one.function.signature.startswith(spoken) and ".made(" not in one.function.signature
        })  # fmt: skip

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the store in SQL."""
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(query).fetchall()

    def check(self) -> None:
        """Compare the store with the ground truth: every call of every process, once."""
        expected, stored = self.expected(), self.stored()
        missing, surplus = expected - stored, stored - expected
        assert not missing, f"missing: {dict(missing)}"
        assert not surplus, f"too often: {dict(surplus)}"
        self.check_sums()
        by_uuid = dict(self.rows("SELECT uuid, pid FROM processes"))
        assert {by_uuid[uuid] for (uuid,) in self.rows("SELECT process FROM publications")} >= set(self.truth())

    def wait_stored(self) -> None:
        """Wait until all that has run is stored, while the server goes on."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not self.store.exists() or self.expected() - self.stored():
            assert time.monotonic() < deadline_s, f"missing: {dict(self.expected() - self.stored())}"
            time.sleep(LOOK_S)

    def check_sums(self) -> None:
        """See that the publications add up to what is stored, and that each process has one identity."""
        ((published,),) = self.rows("SELECT sum(functions) FROM publications")
        ((counted,),) = self.rows("SELECT sum(intervals) FROM invocations")
        assert published == counted
        by_uuid = dict(self.rows("SELECT uuid, pid FROM processes"))
        assert len(set(by_uuid.values())) == len(by_uuid), "a process has two identities"


def gunicorn(*options: str, app: str = "app:application") -> Callable[[int], Sequence[str]]:
    """Give gunicorn's command line, with four workers."""
    return lambda port: [
        sys.executable, "-m", "gunicorn", "--no-control-socket", "-w", "4", "-b", f"127.0.0.1:{port}", *options, app
    ]  # fmt: skip


def uwsgi(*options: str) -> Callable[[int], Sequence[str]]:
    """Give uWSGI's command line, with three workers."""
    program = Path(sys.executable).parent / "uwsgi"
    return lambda port: [
        str(program), "--home", sys.prefix, "--http-socket", f"127.0.0.1:{port}", "--processes", "3", "--need-app",
        "--enable-threads", "--die-on-term", "--disable-logging", "--module", "app:application", *options,
    ]  # fmt: skip
