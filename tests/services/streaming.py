"""The stream of FeatBit and featureflag.co from the server's side: sockets, data-sync, ping, and pushing of patches."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from tests.leaks import remember
from tests.services.serving import Request, ServiceServer
from tests.services.tokens import RefusedError, decode_token

CLOSE_REFUSED = 4003
CLOSE_TEXT = "invalid request, close by server"
TOKEN_LIFE_MS = 30_000
MESSAGE_LIMIT_BYTES = 8192
"""What the service reads of one client message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMessage:
    """A message that a client sent over its stream.

    Attributes:
        connection: the number of the connection, counted from 1.
        data: decoded from JSON.
        at_s: on the monotonic clock.
    """

    connection: int
    data: Any
    at_s: float


@dataclass(eq=False, slots=True)
class _Socket:
    number: int
    websocket: WebSocket
    outbox: asyncio.Queue[str | int] = field(default_factory=asyncio.Queue)
    synced_revision: int | None = None
    """The revision of the store that the client was answered with; None before it asked."""


class StreamingServer(ServiceServer):
    """A server with `/streaming`, which pushes each change to everybody who has asked for data.

    Attributes:
        clock_offset_s: how far the server's clock is ahead, for the check of tokens.
        answers_pings: false makes it leave the pings of the protocol unanswered (`Stall` silences all).
        rewrite: called with each data-sync message before it is sent; gives what is sent instead.
    """

    PONG: Mapping[str, Any]

    def __init__(self, secret: str, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.secret = remember(secret)
        self.clock_offset_s = 0.0
        self.answers_pings = True
        self.rewrite: Callable[[dict[str, Any]], Any] | None = None
        self._sockets: set[_Socket] = set()
        self._numbers = itertools.count(1)
        self._connects = 0
        self._rejections: list[str] = []
        self._messages: list[ClientMessage] = []
        self._events: list[dict[str, Any]] = []
        self._revision = 0

    # --- what a service adds ----------------------------------------------------------------------------------

    def _check_handshake(self, query: Mapping[str, str]) -> None:
        """Raise RefusedError unless the client may stream."""
        raise NotImplementedError

    def _answer_sync(self, data: Any) -> dict[str, Any] | None:
        """Give the data for a data-sync request; None means no answer. The store is locked meanwhile."""
        raise NotImplementedError

    # --- what came --------------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many streams are open that were not refused."""
        with self._changed:
            return len(self._sockets)

    @property
    def synced(self) -> int:
        """How many open streams were answered a data-sync, and are pushed changes from then on."""
        with self._changed:
            return sum(socket.synced_revision is not None for socket in self._sockets)

    @property
    def connects(self) -> int:
        """How many streams were opened so far and not refused."""
        with self._changed:
            return self._connects

    @property
    def rejections(self) -> list[str]:
        """Why streams were closed with 4003, in words, one for each."""
        with self._changed:
            return list(self._rejections)

    @property
    def messages(self) -> list[ClientMessage]:
        """What clients sent over their streams."""
        with self._changed:
            return list(self._messages)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The items of all event posts that were accepted, in the order of arrival."""
        with self._changed:
            return list(self._events)

    def _forget(self) -> None:
        super()._forget()
        self._messages.clear()
        self._events.clear()
        self._rejections.clear()

    def _summary(self) -> str:
        counts = f"{self.connections} streams, {self.connects} connects, {len(self.events)} events"
        return f"{super()._summary()}, {counts}, rejections: {self.rejections}"

    # --- pushing ----------------------------------------------------------------------------------------------

    def push(self, message: Any) -> None:
        """Send a message to every open stream as it is: text as given, anything else as JSON."""
        text = message if isinstance(message, str) else encode(message)
        self._running.call(self._broadcast, text, None)

    def close_streams(self, code: int = 1001) -> None:
        """Close every open stream in the orderly way, as a restart of the service does."""
        self._running.call(self._broadcast, code, None)

    def _push_patch(self, data: Mapping[str, Any]) -> None:
        """Push a change that was just stored; call it with the store locked."""
        self._revision += 1
        if self._loop is not None:
            message = self._rewritten({"messageType": "data-sync", "data": data})
            self._loop.call(self._broadcast, encode(message), self._revision)

    def _rewritten(self, message: dict[str, Any]) -> Any:
        return message if self.rewrite is None else self.rewrite(message)

    def _broadcast(self, what: str | int, revision: int | None) -> None:
        with self._changed:
            sockets = list(self._sockets)
        for socket in sockets:
            knows = socket.synced_revision is None or revision is None or socket.synced_revision >= revision
            if revision is None or not knows:
                socket.outbox.put_nowait(what)

    # --- the stream -------------------------------------------------------------------------------------------

    def _routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/streaming", self._stream)]

    async def _stream(self, websocket: WebSocket) -> None:
        query = dict(websocket.query_params)
        self._record(
            Request(
                method="GET",
                path=websocket.url.path,
                query=query,
                headers=dict(websocket.headers),
                body=b"",
                at_s=time.monotonic(),
            )
        )
        await websocket.accept()
        try:
            self._check_handshake(query)
        except RefusedError as refusal:
            with self._changed:
                self._rejections.append(str(refusal))
                self._changed.notify_all()
            await websocket.close(CLOSE_REFUSED, CLOSE_TEXT)
            return
        socket = _Socket(number=next(self._numbers), websocket=websocket)
        with self._changed:
            self._sockets.add(socket)
            self._connects += 1
            self._changed.notify_all()
        sender = asyncio.ensure_future(self._send(socket))
        try:
            await self._receive(socket)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            with self._changed:
                self._sockets.discard(socket)
                self._changed.notify_all()

    async def _send(self, socket: _Socket) -> None:
        while True:
            match await socket.outbox.get():
                case str() as text:
                    await socket.websocket.send_text(text)
                case code:
                    await socket.websocket.close(code)

    async def _receive(self, socket: _Socket) -> None:
        while True:
            frame = await socket.websocket.receive()
            if frame["type"] == "websocket.disconnect":
                return
            text: str = frame.get("text") or (frame.get("bytes") or b"").decode(errors="replace")
            try:
                message = json.loads(text)
            except ValueError:
                self._complain("a client sent text that is not JSON")
                continue
            with self._changed:
                self._messages.append(ClientMessage(connection=socket.number, data=message, at_s=time.monotonic()))
                self._handle(socket, message, len(text.encode()))
                self._changed.notify_all()

    def _handle(self, socket: _Socket, message: Any, size_bytes: int) -> None:
        """Answer a message of a client; the store is locked."""
        if size_bytes > MESSAGE_LIMIT_BYTES:
            self._complain(f"a client message has {size_bytes} bytes")
        elif not isinstance(message, dict) or not {"messageType", "data"} <= message.keys():
            self._complain("a client message lacks messageType or data")
        elif (kind := str(message["messageType"]).lower()) == "ping":
            if self.answers_pings:
                socket.outbox.put_nowait(encode(self.PONG))
        elif kind == "echo":
            socket.outbox.put_nowait(encode(message))
        elif kind == "data-sync":
            answer = self._answer_sync(message["data"])
            if answer is None:
                self._complain(f"no answer to data-sync {message['data']!r}")
            else:
                text = encode(self._rewritten({"messageType": "data-sync", "data": answer}))
                socket.outbox.put_nowait(text)
                socket.synced_revision = self._revision

    def _decode_token(self, query: Mapping[str, str], *, may_be_from_future: bool) -> str:
        """Give the secret in the token of a handshake, if the token is fresh."""
        token = decode_token(query.get("token", ""))
        age_ms = (time.time() + self.clock_offset_s) * 1000 - token.time_ms
        if age_ms > TOKEN_LIFE_MS or (age_ms < -TOKEN_LIFE_MS and not may_be_from_future):
            raise RefusedError(f"the token is {age_ms / 1000:.1f} s old")
        return token.secret


def encode(message: Any) -> str:
    """Write JSON as the services do: compact."""
    return json.dumps(message, separators=(",", ":"))
