"""gRPC's unary calls over our own connections, each under one deadline.

gRPC's own library is not used: its threads and locks do not survive a fork of the application. HTTP/2's framing is
done by h2, which knows no sockets. The only file that imports it, and not before a connection is wanted.

Source: gRPC over HTTP/2, as its specification has it.
"""

from __future__ import annotations

import selectors
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from flagmw.connecting import Connector, Target
from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.lifecycle.imports import import_optional
from flagmw.line import Interrupted, Line, Overdue

MAX_ANSWER_BYTES = 64 * 1024
"""No message that a collector answers with is anywhere near as large."""

LEAST_LARGE_BYTES = 16 * 1024
"""What is refused and smaller than this was not refused for its size."""

ALPN = ("h2",)
"""What TLS offers where gRPC is spoken."""

_PIECE_BYTES = 64 * 1024
_MAX_TEXT_CHARS = 200
_MAX_TIMEOUT_MS = 10**8 - 1
_PREFIX = struct.Struct(">BI")
_FRAME_HEAD_BYTES = 9
_SETTINGS = b"\4"

_OK, _UNKNOWN, _RESOURCE_EXHAUSTED, _UNAUTHENTICATED = 0, 2, 8, 16
_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


class Refused(TransportError):
    """The other side answered with a status that says no."""


class TooLarge(Refused):
    """The message has more bytes than the other side takes."""


class Gone(TransportError):
    """The other side ends the connection and has not done what it was asked to."""


@dataclass(slots=True, kw_only=True)
class _Reply:
    """What has come of an answer."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    is_over: bool = False
    reset_by: int | None = None

    @property
    def status(self) -> str | None:
        """What gRPC calls status; it is with the headers when there is no message."""
        return self.trailers.get("grpc-status", self.headers.get("grpc-status"))

    @property
    def text(self) -> str:
        """What goes with the status."""
        text = unquote(self.trailers.get("grpc-message", self.headers.get("grpc-message", "")))
        return "".join(character for character in text if character.isprintable())[:_MAX_TEXT_CHARS]


def is_available() -> bool:
    """Tell whether h2 is installed."""
    return import_optional("h2.connection") is not None


class Channel:
    """One connection for calls, one after another. Needs h2, see `is_available`; belongs to one thread.

    Args:
        connector: opens it.
        target: where to.
        monotonic: the clock for deadlines.
        timeout_s: how long the other side has to show that it speaks HTTP/2, once it is connected.

    Raises:
        TransportError: there is no connection.
    """

    def __init__(self, connector: Connector, target: Target, monotonic: Callable[[], float], timeout_s: float) -> None:
        self._monotonic = monotonic
        self._events: Any = import_optional("h2.events")
        self._errors: Any = import_optional("h2.errors")
        self._fixed = (
            (":method", "POST"),
            (":scheme", "https" if target.is_secure else "http"),
            (":authority", target.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "flagmw"),
        )
        self._h2 = _new_connection()
        self._has_settings = False
        self._head = b""
        self._is_gone = False
        self._line: Line = connector.connect(target)
        try:
            self._line.deadline_s = monotonic() + timeout_s
            self._h2.initiate_connection()
            while not self._has_settings:
                self._flush()
                self._receive(0, _Reply())
        except BaseException:
            self._line.close()
            raise

    @property
    def peer(self) -> str:
        """Host and port, for messages."""
        return self._line.peer

    def close(self) -> None:
        """Say good-bye as far as that needs no waiting, and close the connection."""
        try:
            self._h2.close_connection()
            self._line.send_at_once(self._h2.data_to_send())
        except Exception:  # noqa: S110  # the library's state after errors; the connection is closed in any case
            pass
        self._line.close()

    def call(self, path: str, message: bytes, timeout_s: float) -> bytes:
        """Make a call.

        Args:
            path: of the method, such as `/Service/Method`.
            message: what is sent.
            timeout_s: for all of it.

        Returns:
            The message of the answer.

        Raises:
            AuthError: our key is not known.
            TooLarge: the message is too large.
            Refused: another status than OK; the connection can be used on.
            TransportError: anything else; the connection cannot be used any more.
        """
        if self._is_gone:
            raise Gone(f"{self.peer} ends the connection")
        self._line.deadline_s = self._monotonic() + timeout_s
        timeout = f"{min(int(timeout_s * 1000) + 1, _MAX_TIMEOUT_MS)}m"
        try:
            reply = self._exchange([(":path", path), *self._fixed, ("grpc-timeout", timeout)], message)
        except TransportError:
            raise
        except Exception as error:  # what the library says when the other side leads it astray
            raise ProtocolError(f"{self.peer} does not keep to HTTP/2 ({type(error).__name__})") from None
        return self._judge(reply, len(message))

    def _exchange(self, headers: list[tuple[str, str]], message: bytes) -> _Reply:
        """Send a call and receive what comes of it."""
        reply = _Reply()
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, headers)
        left = memoryview(_PREFIX.pack(0, len(message)) + message)
        while not reply.is_over:
            size = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(left))
            if size > 0:
                self._h2.send_data(stream, bytes(left[:size]), end_stream=size == len(left))
                left = left[size:]
            self._send(stream, reply)
            if not reply.is_over and (size <= 0 or self._is_readable()):
                self._receive(stream, reply)
        if left and reply.reset_by is None and not self._is_gone:  # the answer came before the message was sent
            self._h2.reset_stream(stream, self._errors.ErrorCodes.CANCEL)
            self._send(stream, reply)
        return reply

    # --- bytes ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._line.sendall(data)

    def _send(self, stream: int, reply: _Reply) -> None:
        """Send what is to be sent; when the other side has closed, look whether it has answered before."""
        try:
            self._flush()
        except (Interrupted, Overdue):
            raise
        except TransportError:
            while not reply.is_over:
                self._receive(stream, reply)

    def _is_readable(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _receive(self, stream: int, reply: _Reply) -> None:
        """Wait for bytes and take them in."""
        data = self._line.recv(_PIECE_BYTES)
        if not data:
            raise TransportError(f"{self.peer} closed the connection without an answer")
        self._head += data[: _FRAME_HEAD_BYTES - len(self._head)]
        try:
            # The library would wait for all of a frame that is far too long, which is what HTTP/1 looks like.
            events = self._h2.receive_data(data) if _begins_well(self._head) else None
        except Exception:  # the libraries' many ways to say that this is no HTTP/2
            events = None
        if events is None:
            raise ProtocolError(f"{self.peer} answered something that is no HTTP/2, which gRPC needs")
        self._take_in(events, stream, reply)
        if not reply.is_over and self._is_gone:
            raise Gone(f"{self.peer} ends the connection")
        if not reply.is_over:
            self._flush()  # acknowledgements

    def _take_in(self, events: Iterable[Any], stream: int, reply: _Reply) -> None:
        kinds = self._events
        for event in events:
            if isinstance(event, kinds.RemoteSettingsChanged):
                self._has_settings = True
            elif isinstance(event, kinds.ConnectionTerminated):
                self._is_gone = True
            elif isinstance(event, kinds.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, kinds.ResponseReceived):
                reply.headers = dict(event.headers)
            elif isinstance(event, kinds.TrailersReceived):
                reply.trailers = dict(event.headers)
            elif isinstance(event, kinds.DataReceived):
                reply.body += event.data
                if len(reply.body) > MAX_ANSWER_BYTES:
                    raise ProtocolError(f"{self.peer} answered with more than {MAX_ANSWER_BYTES} bytes")
            elif isinstance(event, kinds.StreamEnded):
                reply.is_over = True
            elif isinstance(event, kinds.StreamReset):
                if not reply.is_over:
                    reply.reset_by = int(event.error_code)
                reply.is_over = True

    # --- what it means ----------------------------------------------------------------------------------------

    def _judge(self, reply: _Reply, size: int) -> bytes:
        """Give the answer's message, or say what is wrong."""
        http = reply.headers.get(":status", "")
        status = reply.status
        if status is None:
            raise self._without_status(reply, http, size)
        if not (status.isascii() and status.isdecimal()) or len(status) > 2:
            raise ProtocolError(f"{self.peer} answered with a status that gRPC does not have")
        code, text = int(status), reply.text
        name = _CODES[code] if code < len(_CODES) else f"status {code}"
        said = f"{self.peer} answered {name}" + (f": {text}" if text else "")
        if code == _UNAUTHENTICATED:
            raise AuthError(said)
        if code != _OK:
            is_for_size = code == _RESOURCE_EXHAUSTED or (code == _UNKNOWN and (not text or "413" in text))
            raise (TooLarge if is_for_size and size >= LEAST_LARGE_BYTES else Refused)(said)
        if len(reply.body) < _PREFIX.size:
            raise ProtocolError(f"{self.peer} answered OK without a message")
        flag, length = _PREFIX.unpack_from(reply.body)
        if flag or length != len(reply.body) - _PREFIX.size:
            raise ProtocolError(f"{self.peer} answered with a message that is compressed or cut off")
        return bytes(reply.body[_PREFIX.size :])

    def _without_status(self, reply: _Reply, http: str, size: int) -> TransportError:
        if reply.reset_by == self._errors.ErrorCodes.REFUSED_STREAM:
            return Gone(f"{self.peer} did not take the call")
        if http == "413" and size >= LEAST_LARGE_BYTES:
            return TooLarge(f"{self.peer} answered HTTP 413")
        if http and http != "200":
            return Refused(f"{self.peer} answered HTTP {http}; is it a collector, and does it get HTTP/2?")
        return ProtocolError(f"{self.peer} broke its answer off")


def _begins_well(head: bytes) -> bool:
    """Tell whether a connection begins as HTTP/2 has it: with settings, in a frame of less than 64 KiB."""
    return head[:1] in (b"", b"\0") and head[3:4] in (b"", _SETTINGS)


def _new_connection() -> Any:
    config: Any = import_optional("h2.config")
    connection: Any = import_optional("h2.connection")
    settings: Any = import_optional("h2.settings")
    made = connection.H2Connection(config=config.H2Configuration(client_side=True, header_encoding="latin-1"))
    made.local_settings = settings.Settings(
        client=True,
        initial_values={
            settings.SettingCodes.ENABLE_PUSH: 0,
            settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_ANSWER_BYTES,
        },
    )
    return made
