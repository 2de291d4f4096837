"""A client that sees every byte, for tests of what servers and their faults put on the wire."""

from __future__ import annotations

import base64
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Self

from tests.services import wire
from tests.services.streaming import StreamingServer
from tests.services.tokens import build_token

DEADLINE_S = 10.0


class RawClient:
    """One TCP connection to loopback; a context manager.

    Args:
        port: to connect to.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        try:
            self._socket.settimeout(DEADLINE_S)
            self._socket.connect(("127.0.0.1", port))
        except BaseException:
            self._socket.close()
            raise
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send an HTTP request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def read(self, limit_bytes: int = 2**16) -> bytes:
        """Give what comes next; nothing means that the server will not send any more."""
        if self._read:
            data, self._read = self._read, b""
            return data
        return self._socket.recv(limit_bytes)

    def read_exactly(self, count: int) -> bytes:
        """Read so many bytes.

        Raises:
            EOFError: the server stopped sending before.
        """
        data = b""
        while len(data) < count:
            part = self.read()
            if not part:
                raise EOFError(f"{len(data)} bytes of {count}")
            data += part
        self._read = data[count:] + self._read
        return data[:count]

    def read_to_end(self) -> bytes:
        """Read until the server stops sending."""
        data = b""
        while part := self.read():
            data += part
        return data

    def read_head(self) -> wire.Head:
        """Read the head of an answer."""
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            raw += self.read_exactly(1)
        return wire.parse_head(raw)

    def read_answer(self) -> tuple[wire.Head, bytes]:
        """Read an answer with its body."""
        head = self.read_head()
        return head, self.read_exactly(int(head.headers.get("content-length", "0")))

    def is_silent(self, for_s: float = 0.3) -> bool:
        """Tell whether nothing comes for a while: no byte, no end."""
        if self._read:
            return False
        self._socket.settimeout(for_s)
        try:
            self._read = self._socket.recv(2**16)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(DEADLINE_S)
        return False

    # --- WebSocket --------------------------------------------------------------------------------------------

    def upgrade(self, path: str) -> None:
        """Ask for a WebSocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.request(
            "GET",
            path,
            {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"},
        )

    def send_frame(self, opcode: int, payload: bytes) -> None:
        """Send a short frame, masked as a client's has to be."""
        assert len(payload) < 126
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.send(struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload)) + mask + masked)

    def read_frame_head(self) -> tuple[int, int]:
        """Read the beginning of a frame: its opcode and the length that it declares."""
        first, length = self.read_exactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.read_exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read_exactly(8))
        return first & 0x0F, length

    def read_frame(self) -> tuple[int, bytes]:
        """Read a frame: its opcode and its payload."""
        opcode, length = self.read_frame_head()
        return opcode, self.read_exactly(length)


def stream_path(server: StreamingServer) -> str:
    """Give the path and query of a handshake that the server takes."""
    token = build_token(server.secret, time_ms=int(time.time() * 1000), position=7)
    return f"/streaming?token={token}&type=server"


def open_stream(server: StreamingServer) -> RawClient:
    """Connect and shake hands; the server's first frame is yet to come."""
    client = RawClient(server.port)
    try:
        client.upgrade(stream_path(server))
        head = client.read_head()
        assert head.status == 101, head.raw
    except BaseException:
        client.close()
        raise
    return client
