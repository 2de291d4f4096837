"""Runs one of the apps beside this file, with a usage agent or an independent tracer, and prints what was seen as JSON.

    python drive.py {truth|ours|official} {flask_orders|django_library|fastapi_tasks} [COLLECTOR_URL]

Needs the app's framework, and flagmw or the official agent where that is asked for; nothing of the tests, since the
official agent lives in an environment of its own.
"""

from __future__ import annotations

import ast
import http.client
import json
import os
import sys
import tempfile
import threading
import time
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
DEADLINE_S = 60.0

REQUESTS: dict[str, list[tuple[str, str, str, dict[str, str]]]] = {
    "flask_orders": [
        ("GET", "/", "", {}),
        ("GET", "/order/7", "", {}),
        ("GET", "/order/missing", "", {}),
        ("GET", "/stream", "", {}),
        ("GET", "/async?q=now", "", {}),
        ("GET", "/admin/report/2026", "", {}),
        ("POST", "/admin/order", "tea=100;jam=400", {}),
    ],
    "django_library": [
        ("GET", "/", "", {}),
        ("GET", "/shelf/abc", "", {"X-Staff": "yes"}),
        ("GET", "/shelf/abc", "", {}),
        ("GET", "/book/3", "", {}),
        ("POST", "/book/3", "", {}),
        ("GET", "/page", "", {}),
        ("GET", "/slow", "", {}),
    ],
    "fastapi_tasks": [
        ("GET", "/tasks/tea", "", {"x-user": "ada"}),
        ("GET", "/tasks/unknown", "", {}),
        ("POST", "/tasks/?page=2", '{"name": " jam "}', {"content-type": "application/json"}),
        ("GET", "/stream", "", {}),
        ("GET", "/broken", "", {}),
    ],
}


# --- the apps under a server ----------------------------------------------------------------------------------


class ThreadingServer(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = False


class QuietHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving_wsgi(app: Any) -> Iterator[int]:
    with ThreadingServer(("127.0.0.1", 0), QuietHandler) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(DEADLINE_S)


@contextmanager
def serving_asgi(app: Any) -> Iterator[int]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the server has not started")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)


def serving(name: str) -> Any:
    """Import an app and serve it, on a port of its own."""
    if name == "flask_orders":
        from flask_orders import create_app

        return serving_wsgi(create_app())  # type: ignore[no-untyped-call]  # as people write them
    if name == "fastapi_tasks":
        from fastapi_tasks.main import app

        return serving_asgi(app)
    os.environ["LIBRARY_DB"] = str(Path(tempfile.mkdtemp()) / "library.db")
    os.environ["DJANGO_SETTINGS_MODULE"] = "django_library.settings"
    import django
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    return serving_wsgi(get_wsgi_application())


def drive(name: str) -> list[str]:
    """Serve an app, and make its requests twice."""
    answers = []
    with serving(name) as port:
        for method, path, body, headers in REQUESTS[name] * 2:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            answers.append(f"{response.status} {response.read().decode()}")
            connection.close()
    return answers


def until(condition: Callable[[], Any], otherwise: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise SystemExit(otherwise)
        time.sleep(0.01)


# --- who watches ----------------------------------------------------------------------------------------------


class Tracer:
    """Sees each call of a package by the interpreter's own profiling hook, and names functions by their source."""

    def __init__(self, package: str) -> None:
        self._folder = str(HERE / package) + os.sep
        self._ran: set[tuple[str, int, str]] = set()

    def __enter__(self) -> Tracer:
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(self._folder):
                self._ran.add((code.co_filename, code.co_firstlineno, code.co_name))

    def signatures(self) -> set[str]:
        """Give the signatures of the functions that ran; lambdas, comprehensions, classes and modules have none."""
        names: dict[tuple[str, int, str], str] = {}
        for path in Path(self._folder).rglob("*.py"):
            module = ".".join(path.relative_to(HERE).with_suffix("").parts)
            _name_functions(ast.parse(path.read_text(encoding="utf-8")), str(path), module, (), names)
        return {names[ran] for ran in self._ran if ran in names}


def _name_functions(
    node: ast.AST, path: str, module: str, classes: tuple[str, ...], names: dict[tuple[str, int, str], str]
) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            parameters = [argument.arg for argument in child.args.args]
            parameters += [f"*{child.args.vararg.arg}"] if child.args.vararg else []
            parameters += [f"**{child.args.kwarg.arg}"] if child.args.kwarg else []
            name = ".".join([module, *classes, child.name])
            names[path, first, child.name] = f"{name}({', '.join(parameters)})"
        inner = (*classes, child.name) if isinstance(child, ast.ClassDef) else ()
        _name_functions(child, path, module, inner, names)


@contextmanager
def official(package: str, url: str) -> Iterator[None]:
    from scavenger import Agent, Config

    agent = Agent(
        Config(
            server_url=url,
            api_key="key",
            codebase=[str(HERE)],
            packages=[package],
            exclude_packages=[],
            decorators=[],
            exclude_init=False,
            app_name=package,
            scheduler_initial_delay_seconds=1,
            scheduler_interval_seconds=1,
            force_interval_seconds=1,
        )
    )
    agent.start()
    time.sleep(2.5)  # it publishes nothing at its end unless a poll has succeeded, and tells nobody of that
    try:
        yield
        time.sleep(2.5)  # its queue has no end that could be waited for
    finally:
        agent.shutdown()


@contextmanager
def ours(package: str, url: str) -> Iterator[None]:
    from flagmw.usage import Agent, UsageConfig

    agent = Agent(
        UsageConfig(
            server_url=url,
            api_key="key",
            codebase=(str(HERE),),
            packages=(package,),
            app_name=package,
            store=None,
            scheduler_initial_delay_s=0.1,
            scheduler_interval_s=0.1,
            force_interval_s=0.5,
        )
    )
    agent.start()
    try:
        yield
    finally:
        if not agent.shutdown(timeout=DEADLINE_S):
            raise SystemExit(f"the last publication did not go out: {agent.status}")


def main(mode: str, name: str, url: str = "") -> None:
    sys.path.insert(0, str(HERE))
    seen: list[str] = []
    error = None
    answers: list[str] = []
    try:
        if mode == "truth":
            with Tracer(name) as tracer:
                answers = drive(name)
            seen = sorted(tracer.signatures())
        else:
            with ours(name, url) if mode == "ours" else official(name, url):
                answers = drive(name)
    except Exception as raised:  # the official agent breaks some apps, and that is shown
        if mode != "official":
            raise
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps({"seen": seen, "answers": answers, "error": error}), file=sys.__stdout__)
    sys.__stdout__.flush()  # type: ignore[union-attr]  # it is there
    if mode == "official":
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
