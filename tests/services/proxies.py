"""A forward proxy that keeps a record: CONNECT for streams and TLS, absolute URLs for plain HTTP.

with ForwardProxy(user="ana", password="s3cret") as proxy:
    ...                                     # have a client use proxy.url, or 127.0.0.1 and proxy.port
    assert proxy.passed[0].method == "CONNECT"
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.services import wire
from tests.services.loops import LoopThread

CHUNK_BYTES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A request to the proxy.

    Attributes:
        method: CONNECT, or what a plain request had.
        target: `host:port` of a CONNECT, else the URL.
        headers: by lower-case name.
        status: what the proxy answered, or passed back.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    status: int


class ForwardProxy:
    """A proxy on loopback; a context manager.

    Args:
        user: with a password, who may use the proxy (Basic); others get 407.
        password: of the user.

    Attributes:
        refuses_with: a status to answer everything with, such as 502; None means to work.
    """

    def __init__(self, *, user: str | None = None, password: str = "") -> None:
        self.refuses_with: int | None = None
        self.port = 0
        self._credentials = None if user is None else base64.b64encode(f"{user}:{password}".encode()).decode()
        self._changed = threading.Condition()
        self._passed: list[Passed] = []
        self._loop = LoopThread("test-proxy")
        self._server = self._loop.run(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def passed(self) -> list[Passed]:
        """What was asked of the proxy so far, refused requests included."""
        with self._changed:
            return list(self._passed)

    def wait_for(self, condition: Callable[[Self], object], timeout_s: float = 10.0) -> None:
        """Wait until something is true of the proxy; it is looked at for each request."""
        with self._changed:
            came = self._changed.wait_for(lambda: condition(self), timeout_s)
        assert came, f"waited {timeout_s:g} s in vain; passed: {self.passed}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port and all connections."""
        self._loop.call(self._server.close)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await wire.read_head(reader)) is not None:
                await self._handle(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _handle(self, request: wire.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body, _ = await wire.read_body(reader, request)
        refusal = self._refusal(request)
        if refusal is not None:
            self._record(request, refusal)
            head, _ = wire.answer(refusal, headers=(("Proxy-Authenticate", 'Basic realm="tests"'),))
            writer.write(head)
            await writer.drain()
        elif request.first[0] == "CONNECT":
            await self._connect(request, reader, writer)
        else:
            await self._forward(request, body, writer)

    def _refusal(self, request: wire.Head) -> int | None:
        if self.refuses_with is not None:
            return self.refuses_with
        if self._credentials is None:
            return None
        return None if request.headers.get("proxy-authorization") == f"Basic {self._credentials}" else 407

    async def _connect(self, request: wire.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open a tunnel; the connection ends with it."""
        host, _, port = request.first[1].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            self._record(request, 200)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ways = [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            far_writer.close()
        raise asyncio.IncompleteReadError(b"", None)

    async def _forward(self, request: wire.Head, body: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass one plain request on, over a connection of its own."""
        url = urlsplit(request.first[1])
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        lines = request.raw.decode("latin-1").split("\r\n")[1:]
        kept = [line for line in lines if not line.lower().startswith("proxy-")]
        far_reader, far_writer = await asyncio.open_connection(url.hostname, url.port or 80)
        try:
            far_writer.write("\r\n".join([f"{request.first[0]} {path} HTTP/1.1", *kept]).encode("latin-1") + body)
            answer = await wire.read_head(far_reader)
            if answer is None:
                raise ConnectionResetError
            self._record(request, answer.status)
            raw = b"" if answer.status in {204, 304} else (await wire.read_body(far_reader, answer))[0]
            writer.write(answer.raw + raw)
            await writer.drain()
        finally:
            far_writer.close()

    def _record(self, request: wire.Head, status: int) -> None:
        method, target, _ = request.first
        with self._changed:
            self._passed.append(Passed(method=method, target=target, headers=request.headers, status=status))
            self._changed.notify_all()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
