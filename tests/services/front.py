"""The TCP front of a test server: passes HTTP and WebSocket on byte for byte, and applies faults to them.

Starlette and uvicorn are honest; whatever a client is to suffer happens here, where half an answer, a reset or an impossible
frame can be had. The front knows just enough HTTP/1.1 to tell which endpoint a request is for, and enough WebSocket to put a
frame of its own between two others. It lives on the event loop of the server behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from tests.services import wire
from tests.services.faults import (
    At,
    CloseWith,
    Drip,
    Endpoint,
    Fault,
    FaultPlan,
    Garbage,
    Giant,
    HalfClose,
    Hangup,
    Reset,
    Side,
    Stall,
    Status,
)

CHUNK_BYTES = 2**16
FAREWELL_S = 1.0
"""How long a client may take to answer a close frame."""


class EndedError(Exception):
    """The connection is over."""


class _Outlet:
    """Where bytes leave for the client, as far and as fast as the fault in force lets them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.fault: Fault | None = None
        self.in_stream = False
        self.deaf = False
        self.lock = asyncio.Lock()
        self._reader = reader
        self._writer = writer
        self._interval_s: float | None = None
        self._seen_bytes = 0

    async def begin(self, part: At) -> None:
        """Say which part of the answer comes next."""
        async with self.lock:
            self._seen_bytes = 0
            await self._strike_if_due(part)

    async def write(self, part: At, data: bytes) -> None:
        """Send bytes; of a stream, whole frames."""
        async with self.lock:
            if self.fault is not None and self.fault.at is part:
                allowed = self.fault.after_bytes - self._seen_bytes
                await self._emit(data[:allowed])
                self._seen_bytes += len(data[:allowed])
                data = data[allowed:]
                await self._strike_if_due(part)
            await self._emit(data)

    async def _strike_if_due(self, part: At) -> None:
        fault = self.fault
        if fault is not None and fault.at is part and self._seen_bytes >= fault.after_bytes:
            self.fault = None
            await self.suffer(fault)

    async def suffer(self, fault: Fault) -> None:
        """Do what the fault says; returns if the connection goes on afterwards."""
        match fault:
            case Reset():
                self.reset()
                raise EndedError
            case Hangup():
                raise EndedError
            case Stall():
                await self._hold()
            case HalfClose(side=Side.SEND):
                self._writer.write_eof()
                await self._hold()
            case HalfClose():
                self.deaf = True
                self._writer.get_extra_info("socket").shutdown(socket.SHUT_RD)
            case Drip(interval_s=interval_s):
                self._interval_s = interval_s
            case Garbage():
                opcode = wire.BINARY if fault.binary else wire.TEXT
                for _ in range(fault.count):
                    await self._emit(wire.frame(opcode, fault.payload))
            case CloseWith(code=code, reason=reason):
                await self._emit(wire.close_frame(code, reason))
                await asyncio.sleep(FAREWELL_S)  # the client closes first, as a rule, which ends this
                raise EndedError
            case Giant():
                await self._emit(wire.frame_head(wire.TEXT, fault.declared_bytes))
                await self.fill(fault)
            case Status():
                raise AssertionError("a status is an answer to a request")

    async def fill(self, fault: Giant) -> None:
        """Send the bytes of something enormous."""
        left = fault.sent_bytes
        while left:
            part = min(left, CHUNK_BYTES)
            await self._emit(b" " * part)
            left -= part
        if fault.sent_bytes < fault.declared_bytes:
            await self._hold()

    async def _emit(self, data: bytes) -> None:
        if self._interval_s is None:
            self._writer.write(data)
            await self._writer.drain()
            return
        for byte in data:
            self._writer.write(bytes([byte]))
            await self._writer.drain()
            await asyncio.sleep(self._interval_s)

    async def _hold(self) -> None:
        """Wait until the client goes away, or the server closes."""
        if self.in_stream:
            await asyncio.Event().wait()  # who listens to the client ends this
        while await self._reader.read(CHUNK_BYTES):
            pass
        raise EndedError

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        transport = self._writer.transport
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()


class _Connection:
    def __init__(self, front: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_stream = False
        self.outlet = _Outlet(reader, writer)
        self._front = front
        self._reader = reader
        self._writer = writer
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.task = asyncio.ensure_future(self._serve())

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        with contextlib.suppress(OSError):
            self.outlet.reset()
        self.task.cancel()

    async def strike(self, fault: Fault) -> None:
        """Apply a fault to a stream that is open."""
        try:
            async with self.outlet.lock:
                await self.outlet.suffer(fault)
        except (EndedError, OSError):
            self.task.cancel()

    async def _serve(self) -> None:
        try:
            await self._answer_all()
        except (EndedError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if self._upstream is not None:
                self._upstream[1].transport.abort()
            self._writer.close()

    async def _answer_all(self) -> None:
        at_accept = self._front.plan.take(None)
        if isinstance(at_accept, Stall):
            await asyncio.Event().wait()
        if at_accept is not None:
            await self.outlet.suffer(at_accept)
        while (request := await wire.read_head(self._reader)) is not None:
            raw, body = await wire.read_body(self._reader, request)
            endpoint = self._front.endpoint_of(request.first[0], request.path)
            fault = self._front.plan.take(endpoint)
            if fault is not None and fault.at is At.REQUEST:
                self._front.on_request(request, body, fault)
                if not isinstance(fault, Status):
                    await self.outlet.suffer(fault)
                    fault = None
                else:
                    await self._refuse(fault)
                    continue
            await self._forward(request, raw, fault)

    async def _refuse(self, fault: Status) -> None:
        headers = fault.headers
        if fault.retry_after is not None:
            headers = (*headers, ("Retry-After", fault.retry_after))
        head, body = wire.answer(fault.code, fault.body, (("Content-Type", "application/json"), *headers))
        await self.outlet.write(At.HEAD, head + body)

    async def _forward(self, request: wire.Head, body: bytes, fault: Fault | None) -> None:
        """Have the server answer, and pass the answer on."""
        if self._upstream is None:
            self._upstream = await asyncio.open_connection("127.0.0.1", self._front.upstream_port)
        reader, writer = self._upstream
        writer.write(request.raw + body)
        answer = await wire.read_head(reader)
        if answer is None:
            raise EndedError
        if answer.status == 101:
            await self._stream(answer, fault)
        elif isinstance(fault, Garbage | Giant):
            await wire.read_body(reader, answer)
            await self._lie(fault)
        else:
            self.outlet.fault = fault
            await self.outlet.begin(At.HEAD)
            await self.outlet.write(At.HEAD, answer.raw)
            await self.outlet.begin(At.BODY)
            if answer.status not in {204, 304}:
                await self.outlet.write(At.BODY, (await wire.read_body(reader, answer))[0])
            self.outlet.fault = None

    async def _lie(self, fault: Garbage | Giant) -> None:
        """Answer 200 with a body that the server did not write."""
        kind = (("Content-Type", "application/json"),)
        if isinstance(fault, Garbage):
            head, body = wire.answer(200, fault.payload, kind)
            await self.outlet.write(At.BODY, head + body)
            return
        lines = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {fault.declared_bytes}\r\n\r\n"
        await self.outlet.write(At.HEAD, lines.encode())
        await self.outlet.fill(fault)

    async def _stream(self, answer: wire.Head, fault: Fault | None) -> None:
        self.outlet.fault = fault
        await self.outlet.begin(At.HEAD)
        await self.outlet.write(At.HEAD, answer.raw)
        self.is_stream = self.outlet.in_stream = True
        ways = [asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._speak())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_stream = False
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        raise EndedError

    async def _listen(self) -> None:
        assert self._upstream is not None
        writer = self._upstream[1]
        while data := await self._reader.read(CHUNK_BYTES):
            if self.outlet.deaf:  # the kernel still hands out what comes after SHUT_RD
                break
            writer.write(data)
            await writer.drain()
        if self.outlet.deaf:
            await asyncio.Event().wait()

    async def _speak(self) -> None:
        assert self._upstream is not None
        await self.outlet.begin(At.BODY)
        while True:
            await self.outlet.write(At.BODY, await wire.read_frame(self._upstream[0]))


class FaultProxy:
    """Listens for clients, and passes what they say on to a server.

    All methods belong to the event loop.

    Args:
        upstream_port: of the server, on loopback.
        plan: the faults to apply.
        endpoint_of: which endpoint a method and path are.
        on_request: called with a request that a fault kept from the server, its body and the fault.
        on_change: called when a connection was opened or closed.
    """

    def __init__(
        self,
        *,
        upstream_port: int,
        plan: FaultPlan,
        endpoint_of: Callable[[str, str], Endpoint],
        on_request: Callable[[wire.Head, bytes, Fault], None],
        on_change: Callable[[], None],
    ) -> None:
        self.upstream_port = upstream_port
        self.plan = plan
        self.endpoint_of = endpoint_of
        self.on_request = on_request
        self.port = 0
        self.accepted = 0
        self.open = 0
        self._on_change = on_change
        self._connections: set[_Connection] = set()
        self._strikes: set[asyncio.Future[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Open the port, the same one each time."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_address=True)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close the port, and reset the connections that are open."""
        if self._server is not None:
            # A connection that is being accepted while a server closes is leaked (CPython 3.13), so none is first.
            loop = asyncio.get_running_loop()
            for listener in self._server.sockets:
                loop.remove_reader(listener.fileno())
            for _ in range(2):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        if connections:
            await asyncio.wait([connection.task for connection in connections])

    async def strike(self, fault: Fault) -> int:
        """Apply a fault to each open stream at once; gives their number."""
        streams = [connection for connection in self._connections if connection.is_stream]
        for connection in streams:
            self._keep(asyncio.ensure_future(connection.strike(fault)))
        await asyncio.sleep(0)  # by now each has begun; some never end
        return len(streams)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        self.accepted += 1
        connection.task.add_done_callback(lambda _: self._forget(connection))
        self._changed()

    def _forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._changed()

    def _changed(self) -> None:
        self.open = len(self._connections)
        self._on_change()

    def _keep(self, task: asyncio.Future[None]) -> None:
        """Hold a task, which the loop itself would not."""
        self._strikes.add(task)
        task.add_done_callback(self._strikes.discard)
