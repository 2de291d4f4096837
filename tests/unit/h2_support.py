"""The other side of a gRPC connection, frame by frame, for peers that misbehave."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.unit.network_support import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call, as it came: `message` is what was sent until then."""

    stream: int
    headers: dict[str, str]
    message: bytes
    is_whole: bool


class H2Peer:
    """The server's end of one connection.

    Args:
        peer: the connection.
        window: how many bytes the client may send before it is let on; None is HTTP/2's own.
        lets_on: whether the client is let on as it sends.
    """

    def __init__(self, peer: Peer, *, window: int | None = None, lets_on: bool = True) -> None:
        self.peer = peer
        self._lets_on = lets_on
        self._pending: list[h2.events.Event] = []
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config=config)
        if window is not None:
            codes = h2.settings.SettingCodes
            self.h2.local_settings = h2.settings.Settings(
                client=False, initial_values={codes.INITIAL_WINDOW_SIZE: window}
            )
        self.h2.initiate_connection()
        if window is not None and window > 2**16:
            self.h2.increment_flow_control_window(window)
        self.flush()

    def flush(self) -> None:
        self.peer.send(self.h2.data_to_send())

    def next_event(self) -> h2.events.Event:
        """Wait for the client."""
        while not self._pending:
            data = self.peer.socket.recv(65536)
            if not data:
                raise EOFError
            self._pending = list(self.h2.receive_data(data))
            if any(isinstance(event, h2.events.ConnectionTerminated) for event in self._pending):
                raise EOFError
            self.flush()
        return self._pending.pop(0)

    def next_call(self, *, at_once: bool = False) -> Asked:
        """Read a call; at once: only its headers."""
        headers: dict[str, str] = {}
        body = b""
        while True:
            event = self.next_event()
            if isinstance(event, h2.events.RequestReceived):
                headers = {str(name): str(value) for name, value in event.headers or ()}
                if at_once:
                    return Asked(stream=event.stream_id or 0, headers=headers, message=b"", is_whole=False)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
                if self._lets_on and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
                    self.flush()
            elif isinstance(event, h2.events.StreamEnded):
                return Asked(stream=event.stream_id or 0, headers=headers, message=body[5:], is_whole=True)

    def answer(self, stream: int, message: bytes = b"", *, raw: bytes | None = None, status: str = "0") -> None:
        """Answer a call with a message."""
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.h2.send_data(stream, struct.pack(">BI", 0, len(message)) + message if raw is None else raw)
        self.h2.send_headers(stream, [("grpc-status", status)], end_stream=True)
        self.flush()

    def refuse(self, stream: int, status: str, text: str = "") -> None:
        """Answer a call with nothing but a status."""
        fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status)]
        self.h2.send_headers(stream, [*fields, ("grpc-message", quote(text))], end_stream=True)
        self.flush()

    def refuse_by_http(self, stream: int, status: str) -> None:
        """Answer as a proxy does that knows nothing of gRPC."""
        self.h2.send_headers(stream, [(":status", status), ("content-type", "text/html")])
        self.h2.send_data(stream, b"<h1>no</h1>", end_stream=True)
        self.flush()


def serving(answer: Callable[[H2Peer, Asked], object], *, window: int | None = None) -> Callable[[Peer], None]:
    """Make what answers each call of a connection."""

    def serve(peer: Peer) -> None:
        other = H2Peer(peer, window=window)
        while True:
            answer(other, other.next_call())

    return serve
