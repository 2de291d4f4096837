"""The health app as real servers serve it, alone and inside of frameworks' apps, without an option for them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ALONE = """
import flagmw
from flagmw.providers import FlagFile

app = flagmw.health_app(flagmw.Client(FlagFile("flags.json")))
"""

IN_STARLETTE = """
import flagmw
from flagmw.providers import FlagFile
from starlette.applications import Starlette
from starlette.routing import Route

app = Starlette(routes=[Route("/health", flagmw.health_app(flagmw.Client(FlagFile("flags.json"))))])
"""

IN_FASTAPI = """
import fastapi, flagmw
from flagmw.providers import FlagFile

app = fastapi.FastAPI()
app.add_route("/health", flagmw.health_app(flagmw.Client(FlagFile("flags.json"))))
"""

IN_FLASK = """
import flagmw, flask
from flagmw.providers import FlagFile

app = flask.Flask(__name__)
health = flagmw.health_app(flagmw.Client(FlagFile("flags.json")))

@app.get("/health")
def answer():
    return health
"""

IN_WERKZEUG = """
import flagmw
from flagmw.providers import FlagFile
from werkzeug.middleware.dispatcher import DispatcherMiddleware

def site(environ, start_response):
    start_response("404 Not Found", [])
    return []

app = DispatcherMiddleware(site, {"/health": flagmw.health_app(flagmw.Client(FlagFile("flags.json")))})
"""

GUNICORN = ["-m", "gunicorn", "--bind", "fd://{fd}", "served:app"]
UVICORN = ["-m", "uvicorn", "--fd", "{fd}", "served:app"]
HYPERCORN = ["-m", "hypercorn", "--bind", "fd://{fd}", "served:app"]
DAPHNE = ["-m", "daphne", "--fd", "{fd}", "served:app"]
GUNICORN_ASGI = ["-m", "gunicorn", "--bind", "fd://{fd}", "-k", "asgi", "served:app"]
WAITRESS = ["-c", "import served, socket, waitress; waitress.serve(served.app, sockets=[socket.socket(fileno={fd})])"]

DEADLINE_S = 30.0


@contextmanager
def serving(command: list[str], source: str, folder: Path) -> Iterator[str]:
    """Serve an app on a socket that listens already; give the URL of its health."""
    (folder / "served.py").write_text(source)
    (folder / "flags.json").write_text(
        '{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}'
    )
    with socket.socket() as listener, (folder / "log").open("w") as log:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        fd = listener.fileno()
        server = subprocess.Popen(
            [sys.executable, *(part.format(fd=fd) for part in command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            pass_fds=[fd],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/health"
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            finally:
                server.kill()
                server.wait(timeout=10)


def ask(url: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Ask once."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=DEADLINE_S) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, {k.lower(): v for k, v in answer.headers.items()}, answer.read()


@pytest.mark.parametrize(
    ("command", "source"),
    [
        (GUNICORN, ALONE),
        (GUNICORN_ASGI, ALONE),
        (UVICORN, ALONE),
        (HYPERCORN, ALONE),
        (DAPHNE, ALONE),
        (WAITRESS, ALONE),
        (UVICORN, IN_STARLETTE),
        (UVICORN, IN_FASTAPI),
        (GUNICORN, IN_FLASK),
        (GUNICORN, IN_WERKZEUG),
    ],
    ids=[
        "gunicorn",
        "gunicorn asgi",
        "uvicorn",
        "hypercorn",
        "daphne",
        "waitress",
        "Starlette",
        "FastAPI",
        "Flask",
        "WSGI",
    ],
)
def test_a_server_serves_it(command: list[str], source: str, tmp_path: Path) -> None:
    with serving(command, source, tmp_path) as url:
        code, headers, body = ask(url)
        head_code, _, head_body = ask(url, "HEAD")
    told: Any = json.loads(body)
    assert (code, told["is_ready"], headers["cache-control"], head_code, head_body) == (200, True, "no-store", 200, b"")


def test_a_process_whose_file_breaks_is_not_ready_any_more_when_the_time_is_over(tmp_path: Path) -> None:
    source = ALONE.replace('FlagFile("flags.json"))', 'FlagFile("flags.json")), max_stale_s=0.5')
    with serving(GUNICORN, source, tmp_path) as url:
        assert ask(url)[0] == 200
        (tmp_path / "flags.json").write_text("{")
        deadline = time.monotonic() + DEADLINE_S
        while (code := ask(url)[0]) == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert code == 503
