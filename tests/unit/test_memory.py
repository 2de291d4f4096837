"""Nothing of a request waits for the garbage collector: some servers run without it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from flagmw import Client
from flagmw.asgi import FlagMiddleware as AsgiMiddleware
from flagmw.providers import Static
from flagmw.wsgi import FlagMiddleware


class Marker:
    """Something of the request whose end can be seen."""


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def client() -> Client:
    made = Client(Static({"f": True}))
    made.start()
    return made


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_a_wsgi_request_is_freed_when_it_is_done(client: Client, reads: bool, streams: bool) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if reads:
            assert environ["flagmw.flags"].is_enabled("f")
        start_response("200 OK", [])
        return iter([b"body"]) if streams else [b"body"]

    marker = Marker()
    gone = weakref.ref(marker)
    environ = {"marker": marker, "REQUEST_METHOD": "GET"}
    body: Any = FlagMiddleware(app, client)(environ, lambda *_: print)
    assert b"".join(body) == b"body"
    if streams:
        body.close()
    del marker, environ, body
    assert gone() is None


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("reads", [True, False])
def test_an_asgi_request_is_freed_when_it_is_done(client: Client, reads: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if reads:
            assert scope["state"]["flags"].is_enabled("f")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    async def request() -> weakref.ref[Marker]:
        marker = Marker()
        scope = {"type": "http", "marker": marker}
        await AsgiMiddleware(app, client)(scope, send, send)  # type: ignore[arg-type]  # nothing is received
        return weakref.ref(marker)

    assert asyncio.run(request())() is None
