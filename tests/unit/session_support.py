"""What tests of `HttpSession` need: sessions, and servers that answer every request alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from flagmw.errors import TransportError
from flagmw.network import Network
from flagmw.session import Answer, HttpSession
from tests.unit.network_support import PATIENT, SECRET, Peer, RawServer

HEADERS = {"Authorization": SECRET}


@contextmanager
def session(network: Network = PATIENT) -> Iterator[HttpSession]:
    made = HttpSession(network)
    try:
        yield made
    finally:
        made.close()


def get(server: RawServer, network: Network = PATIENT, path: str = "/", max_bytes: int = 1000) -> Answer:
    with session(network) as made:
        return made.request("GET", f"http://{server.peer}{path}", HEADERS, None, max_bytes)


def answering(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> Callable[[Peer], None]:
    """Answer every request on a connection in the same way."""

    def serve(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(body, status, **headers)

    return serve


def saying(data: bytes, then: Callable[[Peer], object] | None = None) -> Callable[[Peer], None]:
    """Answer one request by some bytes."""

    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)
        if then is not None:
            then(peer)

    return serve


def failing(serve: Callable[[Peer], object], network: Network = PATIENT, max_bytes: int = 1000) -> TransportError:
    with RawServer(serve) as server, pytest.raises(TransportError) as caught:
        get(server, network, f"/{SECRET}?key={SECRET}", max_bytes)
    assert SECRET not in str(caught.value)
    assert "127.0.0.1:" in str(caught.value)
    return caught.value
