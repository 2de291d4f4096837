"""`health_app`: answers whether a process's flags are current; one object that is a WSGI app and an ASGI app.

Needs nothing but the client. The answer is about the process that gives it; `flagmw status` tells of all of a host.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flagmw.client import Client
from flagmw.errors import ConfigError
from flagmw.status import Status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

MAX_STALE_S = 60.0
METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAnswer:
    """An answer, for frameworks in which a view is neither a WSGI app nor an ASGI app.

    Attributes:
        status: 200, 503, or 405 for another method than GET and HEAD.
        headers: by name.
        body: JSON; empty for HEAD.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class HealthApp:
    """Answers 200 when this process's flags are current, else 503, on every path. See `health_app`."""

    def __init__(self, client: Client, max_stale_s: float, *, starts: bool) -> None:
        self._client = client
        self._max_stale_s = max_stale_s
        self._starts = starts

    def answer(self, method: str = "GET") -> HealthAnswer:
        """Make the answer.

        Args:
            method: of the request.
        """
        if method not in METHODS:
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, {"problem": "only GET and HEAD"}, method)
        if self._starts:
            self._client.snapshot()
        status = self._client.status
        problem = problem_of(status, self._max_stale_s)
        told: dict[str, Any] = {"is_ready": problem is None, "problem": problem, **asdict(status)}
        for name in ("age_s", "heartbeat_age_s", "revision_age_s"):
            told[name] = None if told[name] is None else round(max(told[name], 0.0), 3)
        return _answer(HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE, told, method)

    def __call__(self, request: Any, /, *more: Any) -> Any:
        """Answer a request, as WSGI app (environ, start_response) or as ASGI app (scope, receive, send).

        Servers that do not see that this is an ASGI app take it for one of ASGI 2, and call it with the scope alone.
        """
        if len(more) == 1:
            return self._serve_wsgi(request, *more)
        if more:
            return self._serve_asgi(request, *more)

        async def instance(receive: Receive, send: Send) -> None:
            await self._serve_asgi(request, receive, send)

        return instance

    def __repr__(self) -> str:
        """Show the client, whose repr holds no secret."""
        return f"<HealthApp {self._client!r}>"

    def _serve_wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.answer(environ["REQUEST_METHOD"])
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers.items()))
        return [answer.body]

    async def _serve_asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await _live(receive, send)
        elif kind == "http":
            answer = self.answer(scope["method"])
            headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        else:
            raise ValueError(f"the health app serves http, not {kind}")


def health_app(client: Client, max_stale_s: float = MAX_STALE_S, *, starts: bool = True) -> HealthApp:
    """Make an app that answers 200 when this process has flags that are current, else 503, with a small JSON body.

    Args:
        client: the app's.
        max_stale_s: how long ago the flags may have been known to be the newest, in seconds. Above the poll interval
            of a service that is polled. `math.inf` is content with any flags, however old, such as the last good ones
            while a service is down.
        starts: whether a request starts a client that this process has not used yet. Without that a server which is
            only sent requests when it is ready would wait for ever.

    Raises:
        ConfigError: an argument that is not what it should be.
    """
    if not isinstance(client, Client):
        raise ConfigError(f"client must be a flagmw.Client, got {type(client).__name__}")
    is_number = isinstance(max_stale_s, (int, float)) and not isinstance(max_stale_s, bool)
    if not is_number or math.isnan(max_stale_s) or max_stale_s <= 0:
        raise ConfigError(f"max_stale_s must be a number of seconds above 0, got {max_stale_s!r}")
    return HealthApp(client, float(max_stale_s), starts=starts)


def problem_of(status: Status, max_stale_s: float) -> str | None:
    """Say why a process's flags are not current.

    Args:
        status: of the process.
        max_stale_s: how long ago they may have been known to be the newest.

    Returns:
        The reason, None when they are.
    """
    why = f": {status.error}" if status.error else ""
    if status.age_s is None:
        return f"no flags have arrived{why}"
    if status.revision_age_s is None:
        is_content = max_stale_s == math.inf
        return None if is_content else f"the flags in force are of an earlier time, and nothing newer has come{why}"
    if status.revision_age_s > max_stale_s:
        return f"the flags were last known to be the newest {status.revision_age_s:.0f} s ago{why}"
    return None


def _answer(status: HTTPStatus, told: Mapping[str, Any], method: str) -> HealthAnswer:
    body = json.dumps(told).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(METHODS)
    return HealthAnswer(status=status.value, headers=headers, body=b"" if method == "HEAD" else body)


async def _live(receive: Receive, send: Send) -> None:
    """Answer a server that asks an app to start and to stop; this one has nothing to do."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "lifespan.startup.complete"})
