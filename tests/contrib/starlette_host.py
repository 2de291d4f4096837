"""How the tests drive Starlette and FastAPI apps: with Starlette's own test client."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from flagmw import Client
from flagmw.accessor import Flags
from flagmw.http import AnonymousCookie
from flagmw_starlette import FlagMiddleware
from tests.contrib.support import COOKIE, HOST_NAME, PEER, Reply, View, Visit

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def encoded(headers: Mapping[str, str] | None) -> dict[bytes, bytes]:
    """Write headers in UTF-8, as browsers write what is not ASCII."""
    return {name.encode(): value.encode() for name, value in (headers or {}).items()}


def browser_of(app: ASGIApp) -> TestClient:
    """Make a test client that has the address that the tests expect."""
    return TestClient(app, base_url=f"http://{HOST_NAME}", client=(PEER, 50000))


def visit_of(browser: TestClient) -> Visit:
    """Send requests with a test client, without cookies of earlier ones."""

    def visit(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
        browser.cookies.clear()
        response = browser.get(f"{'https' if https else 'http'}://{HOST_NAME}{path}", headers=encoded(headers))
        return Reply(status=response.status_code, headers=list(response.headers.multi_items()), body=response.content)

    return visit


def websocket_visit_of(browser: TestClient) -> Visit:
    """Open websockets with a test client and take the first text."""

    def visit(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
        browser.cookies.clear()
        url = f"{'wss' if https else 'ws'}://{HOST_NAME}{path}"
        with browser.websocket_connect(url, headers=encoded(headers)) as session:
            text = session.receive_text()
            raw: list[tuple[bytes, bytes]] = session.extra_headers or []
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
        return Reply(status=200, headers=pairs, body=text.encode())

    return visit


async def text_of(view: View, flags: Flags) -> str:
    """Call a plain or async view and write down what it gives."""
    result = view(flags)
    return json.dumps(await result if inspect.isawaitable(result) else result)


class StarletteHost:
    """A Starlette app with async endpoints."""

    visit_of = staticmethod(visit_of)

    @contextmanager
    def serve(
        self,
        view: View,
        client: Client,
        *,
        user: Callable[[Any], Any] | None = None,
        anonymous: AnonymousCookie | bool = COOKIE,
        trusted_proxies: int = 0,
        vary: str = "",
    ) -> Iterator[Visit]:
        middleware = Middleware(
            FlagMiddleware, client=client, user=user, anonymous=anonymous, trusted_proxies=trusted_proxies
        )
        app = self.app(view, {"Vary": vary} if vary else {}, middleware)
        with browser_of(app) as browser:
            yield self.visit_of(browser)

    def app(self, view: View, headers: dict[str, str], middleware: Middleware) -> ASGIApp:
        """Make the app."""
        return Starlette(routes=[self.route(view, headers)], middleware=[middleware])

    def route(self, view: View, headers: dict[str, str]) -> BaseRoute:
        async def endpoint(request: Request) -> Response:
            return Response(await text_of(view, request.state.flags), headers=headers)

        return Route("/{path:path}", endpoint)


class SyncStarletteHost(StarletteHost):
    """A Starlette app with plain endpoints, which run in threads."""

    def route(self, view: View, headers: dict[str, str]) -> BaseRoute:
        def endpoint(request: Request) -> Response:
            return Response(json.dumps(view(request.state.flags)), headers=headers)

        return Route("/{path:path}", endpoint)


class StarletteWebSocketHost(StarletteHost):
    """A Starlette app with a websocket endpoint."""

    visit_of = staticmethod(websocket_visit_of)

    def route(self, view: View, headers: dict[str, str]) -> BaseRoute:
        async def endpoint(websocket: WebSocket) -> None:
            text = await text_of(view, websocket.state.flags)
            await websocket.accept()
            await websocket.send_text(text)
            await websocket.close()

        return WebSocketRoute("/{path:path}", endpoint)
