"""What tests of the network layer need: small servers that do exactly as told, wires, and a receiver that remembers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from flagmw.core.snapshot import Snapshot
from flagmw.errors import TransportError
from flagmw.lifecycle.threads import Background
from flagmw.network import Network
from flagmw.transports import Delivery, Source
from tests.unit.support import until

DEADLINE_S = 10.0
TLS_FOLDER = Path(__file__).parent / "tls"
SECRET = "the-secret-of-the-tests"

QUICK = Network(connect_timeout_s=0.4, read_timeout_s=0.4, proxy="")
PATIENT = Network(connect_timeout_s=DEADLINE_S, read_timeout_s=DEADLINE_S, proxy="")


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._read = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self._read += more
        found, self._read = self._read.split(mark, 1)
        return found

    def read_exactly(self, count: int) -> bytes:
        while len(self._read) < count:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self._read += more
        found, self._read = self._read[:count], self._read[count:]
        return found

    def read_request(self) -> str:
        """Read the head of a request."""
        return self.read_until(b"\r\n\r\n").decode()

    def answer(self, body: bytes = b"{}", status: str = "200 OK", **headers: str) -> None:
        """Answer a request."""
        fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {text}" for name, text in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def accept_stream(self) -> str:
        """Read a handshake and take it; gives the request."""
        request = self.read_request()
        self.send(switching(request))
        return request

    def frame(self, data: bytes, opcode: int = 1, *, fin: bool = True) -> None:
        """Send a frame."""
        self.send(frame(data, opcode, fin=fin))

    def read_frame(self) -> tuple[int, bytes]:
        """Read a client's frame: opcode and payload."""
        first, second = self.read_exactly(2)
        assert second & 0x80, "a client has to mask"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.read_exactly(2))
        mask = self.read_exactly(4)
        payload = self.read_exactly(length)
        return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))

    def hold(self) -> None:
        """Say nothing until the client goes away."""
        with contextlib.suppress(OSError):
            while self.socket.recv(65536):
                pass

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def switching(request: str) -> bytes:
    """Give the answer that takes a handshake."""
    (key,) = (line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def frame(data: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """Make a server's frame."""
    first = bytes([(0x80 if fin else 0) | opcode])
    if len(data) < 126:
        return first + bytes([len(data)]) + data
    if len(data) < 2**16:
        return first + b"\x7e" + struct.pack("!H", len(data)) + data
    return first + b"\x7f" + struct.pack("!Q", len(data)) + data


class RawServer:
    """Serves each connection in a thread, by a function; a context manager.

    Args:
        serve: given the connection; what it raises because the client went away is no error.
        certificate: speak TLS with this one of the tests' certificates.
    """

    def __init__(self, serve: Callable[[Peer], object], *, certificate: str | None = None) -> None:
        self._serve = serve
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(TLS_FOLDER / f"{certificate}.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.errors: list[BaseException] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    @property
    def peer(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(DEADLINE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._handle, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handle(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            self._serve(Peer(sock))
        except (OSError, EOFError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        assert not self.errors, self.errors


def free_port() -> int:
    """Give a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Memory:
    """A receiver that remembers what was delivered.

    Attributes:
        takes: whether documents are taken without an error.
    """

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.takes = True
        self.deliveries: list[Delivery] = []

    def dump(self) -> None:
        return None

    def deliver(self, delivery: Delivery) -> bool:
        self.deliveries.append(delivery)
        return self.takes

    @property
    def texts(self) -> list[str]:
        """The documents that came."""
        return [
            document.content.decode()
            for delivery in self.deliveries
            for document in delivery.documents
            if isinstance(document.content, bytes)
        ]

    @property
    def errors(self) -> list[TransportError]:
        """The errors that came."""
        return [delivery.error for delivery in self.deliveries if delivery.error is not None]


@dataclass
class Running:
    """A source in its thread."""

    memory: Memory
    thread: Background

    def stop(self) -> float:
        """Stop the source; gives how long that took, in seconds."""
        return until(lambda: self.thread.stop(DEADLINE_S))

    @property
    def has_ended(self) -> bool:
        return not self.thread._thread.is_alive()


@contextmanager
def running(source: Source, memory: Memory | None = None) -> Iterator[Running]:
    """Run a source in a thread, as a client does."""
    memory = memory or Memory()
    source.open(memory)
    thread = Background("flagmw-source", source.run, source.wake)
    thread.start()
    try:
        yield Running(memory, thread)
    finally:
        assert thread.stop(DEADLINE_S), "the source did not stop"


@dataclass
class Wire:
    """A stream's wire that says what the test wants."""

    address: str
    name: str = "Test stream"
    ping: str | None = "ping"
    refusal_codes: frozenset[int] = frozenset({4003})
    secret_headers: Mapping[str, str] = field(default_factory=lambda: {"Authorization": SECRET})

    def url(self) -> str:
        return self.address

    def headers(self) -> Mapping[str, str]:
        return self.secret_headers

    def greeting(self, snapshot: Snapshot | None) -> str | None:
        return "everything" if snapshot is None else f"since {snapshot.revision}"


@dataclass
class Question:
    """A poll's wire that asks what the test wants."""

    address: str
    name: str = "Test config"

    def url(self, snapshot: Snapshot | None) -> str:
        return self.address if snapshot is None else f"{self.address}?since={snapshot.revision}"

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": SECRET}


def descriptors() -> int:
    """Count the open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
