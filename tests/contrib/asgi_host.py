"""How the tests drive ASGI apps without any framework: a small server."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from flagmw.accessor import Flags
from tests.contrib.support import (
    HOST_NAME,
    PEER,
    Reply,
    View,
)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def scope_for(
    path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False, kind: str = "http"
) -> dict[str, Any]:
    scheme = {"http": "http", "websocket": "ws"}[kind] + ("s" if https else "")
    scope = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", HOST_NAME.encode())]
        + [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": (PEER, 50000),
        "server": (HOST_NAME, 80),
        "state": {},
    }
    if kind == "http":
        scope["method"] = "GET"
    return scope


class Connection:
    """The server's side of one connection.

    Attributes:
        sent: the messages that the app sent.
    """

    def __init__(self, *incoming: Message) -> None:
        self._incoming = list(incoming)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return self._incoming.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def serve(self, app: App, scope: Scope) -> Reply:
        """Run the app and take its answer."""
        await app(scope, self.receive, self.send)
        start = next(message for message in self.sent if message["type"] in ("http.response.start", "websocket.accept"))
        parts = [message["body"] for message in self.sent if message["type"] == "http.response.body"]
        parts += [message["text"].encode() for message in self.sent if message["type"] == "websocket.send"]
        return Reply(
            status=start.get("status", 200),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())],
            body=b"".join(parts),
        )


REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
CONNECT: Message = {"type": "websocket.connect"}


def get(app: App, scope: Scope | None = None) -> Reply:
    """Send one request."""
    return asyncio.run(Connection(REQUEST).serve(app, scope if scope is not None else scope_for()))


def connect(app: App, scope: Scope | None = None) -> Reply:
    """Open a websocket and take what the app sends."""
    return asyncio.run(Connection(CONNECT).serve(app, scope if scope is not None else scope_for(kind="websocket")))


async def result_of(view: View, flags: Flags) -> bytes:
    """Call a plain or async view."""
    result = view(flags)
    return json.dumps(await result if inspect.isawaitable(result) else result).encode()


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def app_of(view: View) -> App:
    """Make an app for requests and websockets that answers with what a view gives, as JSON."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        body = await result_of(view, scope["state"]["flags"])
        if scope["type"] == "http":
            await answer(send, body)
        else:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": body.decode()})

    return app
