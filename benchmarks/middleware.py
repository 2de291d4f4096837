"""What flags cost a request: a "hello" with and without the middleware, a first read and a repeated read.

Prints ratios of one run, in which both sides take turns. `docs/benchmarks.md` tells how to read them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from io import BytesIO
from typing import Any
from wsgiref.util import FileWrapper

import fastapi
import flask
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import flagmw
import flagmw_flask
import flagmw_starlette
from benchmarks.timing import Against, Pace, Run, against, in_turn, nanoseconds, statement, table, verdict
from flagmw import Client, UserContext, asgi, wsgi
from flagmw.accessor import Flags
from flagmw.http import AnonymousCookie
from flagmw.providers import Static

HELLO = b"Hello, World!"
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
CLIENT = Client(Static({"flags": {"new-checkout": FLAG}}))

RATIO_GOAL = 1.02
ADDED_GOAL_NS = 1_500
READ_GOAL_NS = 150

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
AsgiApp = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

# --- requests, as servers make them -------------------------------------------------------------------------

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "RAW_URI": "/",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "gunicorn/27.0.1",
    "REMOTE_ADDR": "203.0.113.7",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "localhost:8000",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "de,en-GB;q=0.8,en;q=0.5",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_COOKIE": "sessionid=8e2f6a3b1c9d4e5f",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": BytesIO(),
    "wsgi.errors": BytesIO(),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": FileWrapper,
    "wsgi.input_terminated": True,
    "gunicorn.socket": None,
}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [
        (name[5:].replace("_", "-").lower().encode(), str(value).encode())
        for name, value in ENVIRON.items()
        if name.startswith("HTTP_")
    ],
    "client": ("203.0.113.7", 50000),
    "server": ("127.0.0.1", 8000),
}


def wsgi_requests(app: WsgiApp, **more: str) -> Run:
    """Serve requests as a WSGI server does."""

    def write(_: bytes) -> None: ...

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        return write

    environ = {**ENVIRON, **more}

    def run(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            body = app(environ.copy(), start_response)
            for _chunk in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()
        return time.perf_counter() - began

    return run


def asgi_requests(app: AsgiApp) -> Run:
    """Serve requests as an ASGI server does, each in the context of its own that a task would have."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None: ...

    async def serve(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            await app({**SCOPE, "headers": list(SCOPE["headers"]), "state": {}}, receive, send)
        return time.perf_counter() - began

    runner = asyncio.Runner()
    return lambda number: runner.run(serve(number))


# --- apps that say hello ------------------------------------------------------------------------------------


def bare_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


async def bare_asgi(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": HELLO})


def flask_app() -> flask.Flask:
    app = flask.Flask("hello")

    @app.get("/")
    def hello() -> flask.Response:
        return flask.Response(HELLO, mimetype="text/plain")

    return app


def flask_app_with_flags() -> flask.Flask:
    app = flask_app()
    flagmw_flask.Flags(app, CLIENT)
    return app


def django_hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(HELLO, content_type="text/plain")


urlpatterns = [path("", django_hello)]
COMMON = "django.middleware.common.CommonMiddleware"


def django_app(*middleware: str) -> WSGIHandler:
    """Make a handler; Django's settings are the process's, so the apps are made one after the other."""
    if not django_settings.configured:
        django_settings.configure(
            ALLOWED_HOSTS=["localhost"],
            INSTALLED_APPS=["flagmw_django"],
            ROOT_URLCONF=__name__,
            SECRET_KEY="only for measuring",
            FLAGMW={"PROVIDER": CLIENT.provider},
        )
        import django

        django.setup()
    django_settings.MIDDLEWARE = [*middleware, COMMON]
    return WSGIHandler()


async def starlette_hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(HELLO)


def starlette_app(*middleware: Middleware) -> Starlette:
    return Starlette(routes=[Route("/", starlette_hello)], middleware=middleware)


def fastapi_app(*middleware: Middleware) -> fastapi.FastAPI:
    app = fastapi.FastAPI(middleware=list(middleware))

    @app.get("/")
    async def hello() -> dict[str, str]:
        return {"message": "Hello, World!"}

    return app


def hello_pairs() -> dict[str, tuple[Run, Run]]:
    """Give each host's hello with and without the middleware."""
    with_flags = Middleware(flagmw_starlette.FlagMiddleware, client=CLIENT)
    return {
        "hello, Flask": (wsgi_requests(flask_app_with_flags()), wsgi_requests(flask_app())),
        "hello, Django": (
            wsgi_requests(django_app("flagmw_django.FlagMiddleware")),
            wsgi_requests(django_app()),
        ),
        "hello, FastAPI": (asgi_requests(fastapi_app(with_flags)), asgi_requests(fastapi_app())),
        "hello, Starlette": (asgi_requests(starlette_app(with_flags)), asgi_requests(starlette_app())),
        "hello, bare WSGI": (wsgi_requests(wsgi.FlagMiddleware(bare_wsgi, CLIENT)), wsgi_requests(bare_wsgi)),
        "hello, bare ASGI": (asgi_requests(asgi.FlagMiddleware(bare_asgi, CLIENT)), asgi_requests(bare_asgi)),
    }


# --- reading ------------------------------------------------------------------------------------------------


def reading_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    environ["flagmw.flags"].is_enabled("new-checkout")
    return bare_wsgi(environ, start_response)


def known_user(environ: dict[str, Any]) -> UserContext:
    return UserContext("user-1", country="DE")


def first_reads() -> dict[str, tuple[Run, Run]]:
    """Give a request that reads one flag, and the same that reads none."""
    seen: list[tuple[str, str]] = []

    def remember(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        seen.extend(headers)
        return lambda _: None

    anonymous = wsgi.FlagMiddleware(reading_wsgi, CLIENT, anonymous=AnonymousCookie(secret="only for measuring"))
    anonymous(ENVIRON.copy(), remember)
    cookie = next(value for name, value in seen if name == "Set-Cookie").partition(";")[0]
    known = wsgi.FlagMiddleware(reading_wsgi, CLIENT, known_user)
    without = wsgi.FlagMiddleware(bare_wsgi, CLIENT)
    return {
        "first read, user known": (wsgi_requests(known), wsgi_requests(without)),
        "first read, visitor with our cookie": (
            wsgi_requests(anonymous, HTTP_COOKIE=cookie),
            wsgi_requests(without, HTTP_COOKIE=cookie),
        ),
        "first read, new visitor": (wsgi_requests(anonymous), wsgi_requests(without)),
    }


class _Holder:
    """Stands for a framework's request: something with the accessor at `flags`."""

    __slots__ = ("flags",)

    def __init__(self, flags: Flags) -> None:
        self.flags = flags


def repeated_reads() -> dict[str, tuple[Run, Run]]:
    """Give reads of a flag that the request has read before, and an attribute access to compare them with."""
    kept: list[Flags] = []

    def keeping(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        kept.append(environ["flagmw.flags"])
        return reading_wsgi(environ, start_response)

    wsgi_requests(wsgi.FlagMiddleware(keeping, CLIENT, known_user))(1)
    request = _Holder(kept[0])
    nothing = statement("request.flags", request=request)

    def through_proxy(number: int) -> float:
        from flagmw.binding import current_flags

        token = current_flags.set(request.flags)
        try:
            return statement("flags.is_enabled('new-checkout')", flags=flagmw.flags)(number)
        finally:
            current_flags.reset(token)

    return {
        "repeated read, request.flags.variation": (
            statement("request.flags.variation('new-checkout')", request=request),
            nothing,
        ),
        "repeated read, request.flags.is_enabled": (
            statement("request.flags.is_enabled('new-checkout')", request=request),
            nothing,
        ),
        "repeated read, flagmw.flags.is_enabled": (through_proxy, nothing),
    }


# --- printing -----------------------------------------------------------------------------------------------


def measured(pair: tuple[Run, Run], pace: Pace) -> Against:
    first, second = in_turn(pair, pace)
    return against(first, second)


def row(name: str, found: Against, goal: str, met: str) -> list[str]:
    return [
        name,
        nanoseconds(found.ns),
        nanoseconds(found.other_ns),
        f"{found.ratio:.3f}",
        nanoseconds(found.added_ns),
        goal,
        met,
    ]


def main() -> None:
    pace = Pace.from_arguments(__doc__ or "")
    CLIENT.start()
    heads = ["what", "with ns", "without ns", "ratio", "added ns", "goal", "met"]
    rows = []
    for name, pair in hello_pairs().items():
        found = measured(pair, pace)
        is_bare = "bare" in name
        goal = f"added < {ADDED_GOAL_NS:,}" if is_bare else f"ratio <= {RATIO_GOAL}, added < {ADDED_GOAL_NS:,}"
        is_met = found.added_ns < ADDED_GOAL_NS and (is_bare or found.ratio <= RATIO_GOAL)
        rows.append(row(name, found, goal, verdict(is_met=is_met)))
    rows.extend(row(name, measured(pair, pace), "none", "") for name, pair in first_reads().items())
    for name, pair in repeated_reads().items():
        found = measured(pair, pace)
        has_goal = "request.flags" in name
        goal = f"with < {READ_GOAL_NS}" if has_goal else "none"
        rows.append(row(name, found, goal, verdict(is_met=found.ns < READ_GOAL_NS) if has_goal else ""))
    table("What flags cost a request", heads, rows)


if __name__ == "__main__":
    main()
