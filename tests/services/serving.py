"""What the test servers of all flag services share: a thread, a port, a record of what came, and waiting for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.services import wire
from tests.services.faults import Endpoint, Fault, FaultPlan
from tests.services.front import FaultProxy
from tests.services.loops import LoopThread

WAIT_S = 10.0
"""How long `wait_for` waits unless told otherwise."""

FAREWELL_S = 0.5
"""What clients that came past the front get to close their connections."""

PAUSE_S = 0.002
"""Between two looks at what is still open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request, or the handshake of a stream, as it arrived.

    Attributes:
        headers: by lower-case name.
        body: as sent, possibly compressed.
        at_s: on the monotonic clock.
        fault: what kept it from the server; None means that the server has handled it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at_s: float
    fault: Fault | None = None

    def json(self) -> Any:
        """Decode the body."""
        return json.loads(self.body)


class ServiceServer:
    """A server on loopback, to be used as a context manager.

    What clients connect to is a `FaultProxy`, which passes everything on to Starlette under uvicorn unless it was told to
    misbehave. The properties may be read from any thread, and are snapshots. A process that is forked while a server runs
    holds its port open, too, until it ends.

    Args:
        port: where to listen; 0 means any free port.

    Attributes:
        compresses: whether HTTP answers are compressed for clients that accept gzip.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.compresses = False
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._errors: list[str] = []
        self._port = port
        self._plan = FaultPlan(on_strike=self._notify)
        self._loop: LoopThread | None = None
        self._front: FaultProxy
        self._uvicorn: _Uvicorn
        self._inner_port = 0

    # --- what a service adds ----------------------------------------------------------------------------------

    def _routes(self) -> Sequence[BaseRoute]:
        """Give what the service answers to."""
        raise NotImplementedError

    def _endpoint_of(self, method: str, path: str) -> Endpoint:
        """Tell which endpoint a request is for."""
        raise NotImplementedError

    # --- life -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen; returns when clients can connect."""
        assert self._loop is None, "the server was started already"
        self._loop = LoopThread(f"test-{type(self).__name__}")
        try:
            self._loop.run(self._start())
        except BaseException:
            self._loop.close()
            raise

    async def _start(self) -> None:
        # asyncio spares only sockets that name their protocol the delays of Nagle's algorithm (40 ms per message)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        self._inner_port = listener.getsockname()[1]
        self._uvicorn = _Uvicorn(Starlette(routes=self._routes()), listener)
        await self._uvicorn.begin()
        self._front = FaultProxy(
            upstream_port=self._inner_port,
            plan=self._plan,
            endpoint_of=self._endpoint_of,
            on_request=self._on_faulty_request,
            on_change=self._notify,
        )
        self._front.port = self._port
        await self._front.listen()
        self._port = self._front.port

    def close(self) -> None:
        """End every connection and stop listening; may be called twice."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        try:
            loop.run(self._close())
        finally:
            loop.close()

    async def _close(self) -> None:
        await self._front.refuse()
        await self._uvicorn.end()

    # --- addresses --------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port of the front, which stays the same over `refuse` and `listen`."""
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def direct_url(self) -> str:
        """Where the server is without its front: a little faster, and never faulty. For benchmarks."""
        return f"http://127.0.0.1:{self._inner_port}"

    @property
    def direct_ws_url(self) -> str:
        return f"ws://127.0.0.1:{self._inner_port}"

    # --- what came --------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """All requests so far in the order of arrival, handshakes and refused ones included."""
        with self._changed:
            return list(self._requests)

    def requests_to(self, endpoint: Endpoint) -> list[Request]:
        """Give the requests for one endpoint."""
        return [item for item in self.requests if self._endpoint_of(item.method, item.path) is endpoint]

    @property
    def errors(self) -> list[str]:
        """What clients did that the service would not understand, in words."""
        with self._changed:
            return list(self._errors)

    @property
    def tcp_accepted(self) -> int:
        """How many TCP connections were made to the front so far."""
        return self._front.accepted

    @property
    def tcp_open(self) -> int:
        """How many TCP connections to the front are open."""
        return self._front.open

    @property
    def faults_struck(self) -> int:
        """How many requests and connections a fault was applied to."""
        return self._plan.struck

    def wait_for(self, condition: Callable[[Self], object], timeout_s: float = WAIT_S, what: str = "") -> None:
        """Wait until something is true of this server; it is looked at whenever something happens here.

        Args:
            condition: called with the server; must not block.
            timeout_s: when to give up.
            what: is hoped for, for the message.

        Raises:
            AssertionError: it did not become true in time.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: condition(self), timeout_s)
        assert came, f"waited {timeout_s:g} s in vain for {what or 'a condition'}; {self._summary()}"

    def clear(self) -> None:
        """Forget what came so far: requests, events, messages, errors."""
        with self._changed:
            self._forget()

    def _forget(self) -> None:
        self._requests.clear()
        self._errors.clear()

    def _summary(self) -> str:
        return f"{len(self.requests)} requests, {self.tcp_open} TCP connections open, errors: {self.errors}"

    # --- misbehaviour -----------------------------------------------------------------------------------------

    def misbehave(self, fault: Fault, *, on: Endpoint = Endpoint.ANY, times: int | None = None) -> None:
        """Have a fault strike the next requests to an endpoint; faults told earlier come first.

        Args:
            fault: see `tests.services.faults`.
            on: to which requests.
            times: to how many of them; None means to all until `behave`.
        """
        self._plan.add(fault, on, times)

    def behave(self, on: Endpoint | None = None) -> None:
        """Be good to new requests again; connections that suffer already go on suffering."""
        self._plan.clear(on)

    def strike(self, fault: Fault) -> int:
        """Have a fault strike all open streams now.

        Returns:
            Their number.
        """
        return self._running.run(self._front.strike(fault))

    def refuse(self) -> None:
        """Close the port, and reset all connections; `listen` opens the same port again."""
        self._running.run(self._front.refuse())

    def listen(self) -> None:
        """Open the port again after `refuse`."""
        self._running.run(self._front.listen())

    # --- for the services -------------------------------------------------------------------------------------

    @property
    def _running(self) -> LoopThread:
        assert self._loop is not None, "the server does not run"
        return self._loop

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _record(self, request: Request) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def _complain(self, error: str) -> None:
        with self._changed:
            self._errors.append(error)
            self._changed.notify_all()

    def _on_faulty_request(self, head: wire.Head, body: bytes, fault: Fault) -> None:
        self._record(
            Request(
                method=head.first[0],
                path=head.path,
                query=head.query,
                headers=head.headers,
                body=body,
                at_s=time.monotonic(),
                fault=fault,
            )
        )

    def _http(self, method: str, path: str, handler: Callable[[Request], Response]) -> Route:
        """Give a route whose requests are recorded before they are handled."""

        async def endpoint(received: StarletteRequest) -> Response:
            request = Request(
                method=received.method,
                path=received.url.path,
                query=dict(received.query_params),
                headers=dict(received.headers),
                body=await received.body(),
                at_s=time.monotonic(),
            )
            self._record(request)
            response = handler(request)
            if self.compresses and "gzip" in request.headers.get("accept-encoding", "") and response.body:
                response = _compressed(response)
            self._notify()
            return response

        return Route(path, endpoint, methods=[method])


class _Uvicorn:
    """uvicorn, begun and ended on an event loop that is not its own."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            http="h11",
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            ws_ping_interval=None,  # only clients ping in these protocols
            ws_per_message_deflate=False,  # the front reads frames
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    async def begin(self) -> None:
        await self._server.startup(sockets=[self._listener])
        await self._server.on_tick(0)

    async def end(self) -> None:
        """Stop; quicker than uvicorn's own way, which pauses for its clients' sake."""
        for server in self._server.servers:
            server.close()
        self._listener.close()
        state = self._server.server_state
        for connection in list(state.connections):
            connection.shutdown()
        abort_at_s = time.monotonic() + FAREWELL_S
        while state.connections or state.tasks:
            await asyncio.sleep(PAUSE_S)
            if time.monotonic() > abort_at_s:
                for connection in list(state.connections):
                    connection.transport.abort()


def _compressed(response: Response) -> Response:
    names = {"content-length", "content-encoding"}
    kept = {name: value for name, value in response.headers.items() if name not in names}
    headers = {**kept, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(gzip.compress(response.body, 1), status_code=response.status_code, headers=headers)


def json_response(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Give an answer with a JSON body."""
    return JSONResponse(content, status_code=status, headers=dict(headers or {}))
