"""One connection whose every wait ends: at a deadline for all of it, or when another thread says so.

The libraries above bound each read on its own, so that a peer that sends one byte at a time holds them for ever.
A `Line` is what they get for a socket instead. How one is opened is `connecting`'s.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import selectors
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flagmw.errors import ProtocolError, TransportError
from flagmw.lifecycle.descriptors import close_in_children
from flagmw.lifecycle.imports import import_optional
from flagmw.lifecycle.waker import Waker

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

MAX_HEAD_BYTES = 64 * 1024
"""A longer status line with headers is none."""

MAX_RETRY_AFTER_S = 300.0
"""A service that asks for a longer pause is asked again all the same."""


class Interrupted(TransportError):
    """Another thread asked to stop."""


class Overdue(TransportError):
    """A deadline passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and headers of an answer; names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)


class Line:
    """A connection, non-blocking beneath, that looks like a socket to websocket-client and http.client.

    Belongs to one thread. Its methods raise nothing but `TransportError`: `Interrupted` when the waker was used,
    `Overdue` when `deadline_s` has passed, and else what has happened to the peer.

    Attributes:
        deadline_s: when waiting ends, by the monotonic clock.
        heard_s: when the last bytes came.
        peer: host and port, for messages.
    """

    def __init__(self, sock: socket.socket, peer: str, waker: Waker, monotonic: Callable[[], float]) -> None:
        self.deadline_s = math.inf
        self.heard_s = monotonic()
        self.peer = peer
        self._sock = sock
        self._waker = waker
        self._monotonic = monotonic
        self._ahead = b""
        self._files = 0
        self._is_closed = False
        self._owner = os.getpid()
        self._want_read: tuple[type[OSError], ...] = ()
        self._want_write: tuple[type[OSError], ...] = ()
        close_in_children(self)

    # --- waiting ----------------------------------------------------------------------------------------------

    def _do(self, call: Callable[[], T], event: int) -> T:
        """Make a non-blocking call again and again until it is done."""
        while True:
            self._check()
            try:
                return call()
            except (BlockingIOError, InterruptedError):
                wanted = event
            except OSError as error:
                if isinstance(error, self._want_read):
                    wanted = selectors.EVENT_READ
                elif isinstance(error, self._want_write):
                    wanted = selectors.EVENT_WRITE
                else:
                    raise TransportError(explain(self.peer, error)) from None
            self.wait(wanted)

    def wait(self, event: int) -> None:
        """Wait until the socket is ready to be read or written."""
        try:
            self._wait(event)
        except OSError as error:  # no more descriptors, for example
            raise TransportError(explain(self.peer, error)) from None

    def _wait(self, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, event)
            selector.register(self._waker.fileno(), selectors.EVENT_READ)
            is_ready = False
            while not is_ready:
                self._check()
                left_s = self.deadline_s - self._monotonic()
                ready = selector.select(None if left_s == math.inf else left_s)
                is_ready = any(key.fileobj is self._sock for key, _ in ready)

    def _check(self) -> None:
        if self._waker.woken:
            raise Interrupted(f"{self.peer}: asked to stop")
        if self._monotonic() >= self.deadline_s:
            raise Overdue(f"{self.peer} did not answer in time")

    # --- what libraries use of a socket -----------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """Give at most `size` bytes as soon as there are any; none at the end of the stream."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        data = self._do(partial(self._sock.recv, size), selectors.EVENT_READ)
        self.heard_s = self._monotonic()
        return data

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self._do(partial(self._sock.send, view), selectors.EVENT_WRITE) :]

    def send_at_once(self, data: bytes) -> None:
        """Send a last few bytes as far as that goes without waiting, woken or not; never raises."""
        with contextlib.suppress(OSError):  # it was a courtesy
            self._sock.send(data)

    def fileno(self) -> int:
        """Give the socket's descriptor."""
        return self._sock.fileno()

    def settimeout(self, timeout_s: float | None) -> None:
        """Do nothing: `deadline_s` rules."""

    def makefile(self, mode: str, *_: object, **__: object) -> io.BufferedReader:
        """Give a file to read from; as with a socket, the connection stays open until the file is closed, too."""
        self._files += 1
        return io.BufferedReader(_LineReader(self))

    def close(self) -> None:
        """Close the connection, when no file made from it is open any more."""
        self._is_closed = True
        if self._files > 0:
            return
        if self._owner == os.getpid():
            # A forked child may hold this socket as well; the other side is to learn now that it is not used any more.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def detach(self) -> int:
        """Give the descriptor away: in a forked child, which closes it and says nothing to the peer."""
        return self._sock.detach()

    def file_closed(self) -> None:
        """Take note that a file made from this line was closed."""
        self._files -= 1
        if self._is_closed:
            self.close()

    # --- beginning a connection -------------------------------------------------------------------------------

    def reach(self, address: Any) -> None:
        """Connect the socket."""
        try:
            code = self._sock.connect_ex(address)
        except OSError as error:
            raise TransportError(explain(self.peer, error)) from None
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EINTR):
            self.wait(selectors.EVENT_WRITE)
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise TransportError(explain(self.peer, OSError(code, os.strerror(code))))

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on."""
        module = load_ssl()
        self._want_read, self._want_write = (module.SSLWantReadError,), (module.SSLWantWriteError,)
        try:
            wrapped = context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise TransportError(explain(self.peer, error)) from None
        self._sock = wrapped
        self._do(wrapped.do_handshake, selectors.EVENT_READ)

    def read_head(self) -> Head:
        """Read status line and headers of an HTTP answer; what follows them stays to be received."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_HEAD_BYTES or not b"HTTP/".startswith(bytes(data[:5])):
                raise ProtocolError(f"{self.peer} answered something that is no HTTP")
            more = self.recv(4096)
            if not more:
                raise TransportError(f"{self.peer} closed the connection without an answer")
            data += more
        self._ahead = bytes(data[end + 4 :])
        return _head_of(self.peer, bytes(data[:end]))

    @property
    def has_unread(self) -> bool:
        """Whether bytes were read with a head that do not belong to it."""
        return bool(self._ahead)


class _LineReader(io.RawIOBase):
    def __init__(self, line: Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._line.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._line.file_closed()


def explain(peer: str, error: Exception) -> str:
    """Say in few words what happened to a connection; nothing but host and port of the address is named."""
    if isinstance(error, ConnectionRefusedError):
        return f"{peer} refused the connection"
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)):
        return f"{peer} reset the connection"
    refusal = getattr(error, "verify_message", None)
    if refusal:
        return f"{peer}: its certificate is not trusted: {refusal}; name the certificates to trust with ca_file"
    reason = getattr(error, "reason", None)  # of TLS
    if isinstance(reason, str):
        return f"{peer}: TLS failed: {reason}"
    return f"{peer}: {getattr(error, 'strerror', None) or type(error).__name__}"


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Tell how long a service wants to be left alone: 0 when it does not say, and never longer than our limit.

    Args:
        headers: of its answer, names in lower case.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    dates: Any = import_optional("email.utils")
    try:
        # The service's own clock tells what it means by a date; ours may be wrong.
        left = dates.parsedate_to_datetime(text) - dates.parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(float(left.total_seconds()), 0.0), MAX_RETRY_AFTER_S)


def _head_of(peer: str, data: bytes) -> Head:
    first, *lines = data.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not first.startswith("HTTP/") or len(parts[1]) != 3 or not parts[1].isdecimal():
        raise ProtocolError(f"{peer} answered something that is no HTTP")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Head(status=int(parts[1]), headers=headers)


def load_ssl() -> Any:
    """Give the module `ssl`, which is imported when it is needed.

    Raises:
        TransportError: this Python has none.
    """
    module = import_optional("ssl")
    if module is None:
        raise TransportError("this Python was built without TLS")
    return module
