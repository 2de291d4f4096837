"""What tests of the streaming source need: sources that come back soon, and servers that say what they are told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from flagmw.errors import TransportError
from flagmw.network import Network
from flagmw.transports.streaming import StreamSource
from tests.unit.network_support import (
    PATIENT,
    SECRET,
    Memory,
    Peer,
    RawServer,
    Wire,
    frame,
    running,
)
from tests.unit.support import until

CLOSE, PING, PONG, BINARY, CONTINUATION = 8, 9, 10, 2, 0


def stream(server: RawServer, network: Network = PATIENT, *, wire: Wire | None = None, **options: Any) -> StreamSource:
    options = {"first_retry_delay_s": 0.02, "max_retry_delay_s": 0.02, **options}
    return StreamSource(wire or Wire(f"ws://{server.peer}/streaming?token={SECRET}"), network, **options)


def saying(*frames: bytes, then: Callable[[Peer], object] = Peer.hold) -> Callable[[Peer], None]:
    """Take the handshake, and say something."""

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        for data in frames:
            peer.send(data)
        then(peer)

    return serve


def first_then(first: Callable[[Peer], object], then: Callable[[Peer], object]) -> Callable[[Peer], None]:
    """Serve the first connection in one way, and all others in another."""
    count = iter(range(1_000_000))

    def serve(peer: Peer) -> None:
        (first if next(count) == 0 else then)(peer)

    return serve


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(struct.pack("!H", code) + reason, CLOSE)


def failure(serve: Callable[[Peer], object], network: Network = PATIENT, **options: Any) -> TransportError:
    """Give the first error, and see that the source then comes back and takes a message."""
    with RawServer(first_then(serve, saying(frame(b"back")))) as server:
        memory = Memory()
        with running(stream(server, network, **options), memory):
            until(lambda: memory.texts[-1:] == ["back"])
        assert server.accepted >= 2
    assert SECRET not in str(memory.errors[0])
    assert f"127.0.0.1:{server.port}" in str(memory.errors[0])
    return memory.errors[0]
