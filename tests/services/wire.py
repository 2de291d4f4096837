"""HTTP/1.1 and WebSocket at the level of bytes, as far as the servers of the tests need them."""

from __future__ import annotations

import asyncio
import http
import struct
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first part of a request or an answer.

    Attributes:
        raw: all bytes, with the empty line.
        first: the request line or the status line, in its three parts.
        headers: by lower-case name; of repeated ones the last.
    """

    raw: bytes
    first: tuple[str, str, str]
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.first[1]).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.first[1]).query, keep_blank_values=True))

    @property
    def status(self) -> int:
        return int(self.first[1])


def parse_head(raw: bytes) -> Head:
    """Read a head that ends with its empty line."""
    lines = raw.decode("latin-1").split("\r\n")
    one, two, three = (*lines[0].split(" ", 2), "", "")[:3]
    pairs = (line.partition(":") for line in lines[1:] if line)
    return Head(raw=raw, first=(one, two, three), headers={name.lower(): value.strip() for name, _, value in pairs})


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read a head; None when the connection ended instead."""
    try:
        return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError:
        return None


async def read_body(reader: asyncio.StreamReader, head: Head) -> tuple[bytes, bytes]:
    """Read the body that belongs to a head.

    Returns:
        The bytes as they came, and the body they stand for.
    """
    if head.headers.get("transfer-encoding", "").lower() != "chunked":
        body = await reader.readexactly(int(head.headers.get("content-length", "0")))
        return body, body
    raw, body = b"", b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        raw += size + chunk
        body += chunk[:-2]
        if len(chunk) == 2:
            return raw, body


def answer(status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> tuple[bytes, bytes]:
    """Write the head and the body of an HTTP answer."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1"), body


def frame_head(opcode: int, length: int) -> bytes:
    """Write the beginning of a frame from the server: final, not masked."""
    if length < 126:
        return struct.pack("!BB", 0x80 | opcode, length)
    if length < 2**16:
        return struct.pack("!BBH", 0x80 | opcode, 126, length)
    return struct.pack("!BBQ", 0x80 | opcode, 127, length)


def frame(opcode: int, payload: bytes) -> bytes:
    """Write a whole frame from the server."""
    return frame_head(opcode, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Write a close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame that a server sent, with its header."""
    head = await reader.readexactly(2)
    length = head[1] & 0x7F
    if length == 126:
        head += await reader.readexactly(2)
        (length,) = struct.unpack("!H", head[2:])
    elif length == 127:
        head += await reader.readexactly(8)
        (length,) = struct.unpack("!Q", head[2:])
    return head + await reader.readexactly(length)
