"""Messages of a flag service as they come: one WebSocket, kept open, watched, opened again whenever it ends.

What is said on it comes from the dialect's `StreamWire`. The only file that imports websocket-client, of which it
uses the frames. The handshake is our own, on a `Line`: the library's reads without bound, follows redirects with the
secret in its headers, and keeps cookies for the whole process.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from traceback import format_tb
from typing import Any

from flagmw.connecting import Connector, Target
from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.lifecycle.backoff import Backoff
from flagmw.lifecycle.chance import chance
from flagmw.lifecycle.imports import import_optional
from flagmw.lifecycle.waker import Waker
from flagmw.line import Interrupted, Line, Overdue, retry_after_s
from flagmw.network import Network
from flagmw.once import LogOnce
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver, StreamWire
from flagmw.transports.pulse import Pulse

logger = logging.getLogger("flagmw")

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

SILENT_PINGS = 3
"""A connection is given up when nothing came for this many ping intervals."""

MIN_PACE_BYTES_PER_S = 10_000
"""Slower than this, with `SILENT_PINGS` of grace, a message does not come: somebody lets it drip."""

MIN_FETCH_S = 0.01
"""A single connection may always take this long."""

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GOING = 1000


class Refused(TransportError):
    """The service answered the handshake with a status that may pass.

    Attributes:
        pause_s: for how long it asks to be left alone.
    """

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class StreamSource:
    """Brings the messages of one service.

    Args:
        wire: what the service says and hears.
        network: timeouts, proxy and certificates.
        ping_interval_s: how often the service is asked for a sign of life.
        first_retry_delay_s: the bound of the first wait after a failure; it doubles with each.
        max_retry_delay_s: the largest such bound.
        max_message_bytes: a larger message ends the connection.
        monotonic: the clock for all that is measured.
        random: spreads the waits; gives a number in [0, 1).
    """

    background = True
    local = False
    awaited = True
    role = Role.ALONE

    def __init__(
        self,
        wire: StreamWire,
        network: Network,
        *,
        ping_interval_s: float = 10.0,
        first_retry_delay_s: float = 1.0,
        max_retry_delay_s: float = 60.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance,
    ) -> None:
        self._wire = wire
        self._network = network
        self._ping_interval_s = ping_interval_s
        self._max_message_bytes = max_message_bytes
        self._monotonic = monotonic
        self._backoff = Backoff(first_s=first_retry_delay_s, max_s=max_retry_delay_s, random=random)
        self._waker = Waker()
        self._connector = Connector(network, self._waker, monotonic)
        self._receiver: Receiver | None = None
        self._log_once = LogOnce(logger)
        self._opened_s: float | None = None
        self._deadline_s = math.inf
        self._line: Line | None = None
        self._has_delivered = False
        self._pulse = Pulse(monotonic)
        self._patience_s = network.connect_timeout_s + network.read_timeout_s

    @property
    def heartbeat_s(self) -> float | None:
        """When the thread in `run` gave its last sign of life, see `Pulse`; None before the first."""
        return self._pulse.last_s

    @property
    def agreed_s(self) -> float | None:
        """When the service last gave a sign of life on a connection on which it has sent what is newer."""
        line = self._line
        return line.heard_s if line is not None and self._has_delivered else None

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Connect, deliver the first messages until flags have come, and close again, in this thread and within that time.

        Looking up the host's name is not bounded.
        """
        self._deadline_s = self._monotonic() + timeout_s
        bounded_s = max(min(self._network.connect_timeout_s, timeout_s), MIN_FETCH_S)
        network = replace(self._network, connect_timeout_s=bounded_s)
        self._connector = Connector(network, self._waker, self._monotonic)
        try:
            self._attempt(_FirstFlags(receiver))
        except (_Enough, Interrupted):
            return
        except TransportError as error:
            kind = next((known for known in (AuthError, ProtocolError) if isinstance(error, known)), TransportError)
            receiver.deliver(Delivery(error=kind(f"{self._wire.name}: {error}")))
        except (
            Exception
        ) as error:  # a defect of ours, or of the library, whose text may hold what we said to the service
            logger.debug("%s ended by an error at\n%s", self._wire.name, "".join(format_tb(error.__traceback__)))
            receiver.deliver(Delivery(error=TransportError(f"{self._wire.name}: unexpected {type(error).__name__}")))
        finally:
            self._waker.close()

    def open(self, receiver: Receiver) -> None:
        """Take note of who receives; everything comes from the network."""
        self._receiver = receiver

    def wake(self) -> None:
        """End whatever `run` is waiting for. Any thread may call; never waits or raises."""
        self._waker.wake()

    def run(self, stopping: threading.Event) -> None:
        """Keep a connection open, and deliver what it brings, until the event is set or the service refuses us."""
        receiver = self._receiver
        if receiver is None:
            return
        try:
            while not stopping.is_set():
                self._opened_s = None
                pause_s = 0.0
                self._pulse.rest(self._patience_s)
                try:
                    self._attempt(receiver)
                except Interrupted:
                    return
                except AuthError as error:
                    receiver.deliver(Delivery(error=AuthError(f"{self._wire.name}: {error}; not trying again")))
                    return
                except TransportError as error:
                    pause_s = error.pause_s if isinstance(error, Refused) else 0.0
                    kind = ProtocolError if isinstance(error, ProtocolError) else TransportError
                    receiver.deliver(Delivery(error=kind(f"{self._wire.name}: {error}; trying again")))
                except Exception as error:  # a defect of ours, or of the library: the next attempt may go well
                    # Its text may hold what we said to the service.
                    logger.debug(
                        "%s ended by an error at\n%s", self._wire.name, "".join(format_tb(error.__traceback__))
                    )
                    text = f"{self._wire.name}: unexpected {type(error).__name__}; trying again"
                    receiver.deliver(Delivery(error=TransportError(text)))
                pause_s = max(self._delay_s(), pause_s)
                self._pulse.rest(pause_s)
                stopping.wait(pause_s)
        finally:
            self._pulse.rest()
            self._waker.close()

    def _delay_s(self) -> float:
        return self._backoff.next_s(None if self._opened_s is None else self._monotonic() - self._opened_s)

    def _attempt(self, receiver: Receiver) -> None:
        """Connect, and take messages until that ends, which raises why."""
        target = Target.of(self._wire.url())
        line = self._connector.connect(target)
        try:
            self._bound(line)
            _shake_hands(line, target, self._wire.headers())
            self._opened_s = self._monotonic()
            self._line, self._has_delivered = line, False
            logger.debug("%s: connected to %s", self._wire.name, line.peer)
            frames = _Frames(line, self._max_message_bytes, SILENT_PINGS * self._ping_interval_s, self._monotonic)
            try:
                self._converse(line, frames, receiver)
            except (Interrupted, _Enough):
                frames.say_goodbye()
                raise
        finally:
            self._line = None
            line.close()

    def _converse(self, line: Line, frames: _Frames, receiver: Receiver) -> None:
        self._say(line, frames, self._wire.greeting(receiver.snapshot))
        ping_at_s = self._monotonic() + self._ping_interval_s
        message = _Message(line.peer, self._max_message_bytes)
        while True:
            line.deadline_s = min(ping_at_s, frames.dead_at_s, self._deadline_s)
            self._pulse.rest(line.deadline_s - self._monotonic())
            try:
                opcode, data, is_last = frames.receive()
            except Overdue:
                now = self._monotonic()
                if now >= self._deadline_s:
                    raise
                if now >= frames.dead_at_s:
                    raise TransportError(frames.complaint()) from None
                if now >= ping_at_s:
                    self._ping(line, frames)
                    ping_at_s = now + self._ping_interval_s
                continue
            if opcode == _PING:
                self._bound(line)
                frames.send(_PONG, data)
            elif opcode == _CLOSE:
                frames.say_goodbye()
                self._hear_goodbye(line, data)
            elif opcode != _PONG and (text := message.add(opcode, data, is_last=is_last)) is not None:
                self._deliver(receiver, message.is_text, text)
            line.heard_s = self._monotonic()  # while a message was put in force, nobody listened

    def _ping(self, line: Line, frames: _Frames) -> None:
        if self._wire.ping is not None:
            self._say(line, frames, self._wire.ping)
        else:
            self._bound(line)
            frames.send(_PING, b"")

    def _say(self, line: Line, frames: _Frames, text: str | None) -> None:
        if text is not None:
            self._bound(line)
            frames.send(_TEXT, text.encode())

    def _bound(self, line: Line) -> None:
        """Let sending end in time, should the other side not read."""
        line.deadline_s = min(self._monotonic() + self._network.read_timeout_s, self._deadline_s)

    def _deliver(self, receiver: Receiver, is_text: bool, data: bytes) -> None:
        name = self._wire.name
        if not is_text:
            self._log_once(logging.WARNING, "binary", "%s: a binary message was skipped", name)
            return
        try:
            data.decode()
        except UnicodeDecodeError:
            self._log_once(logging.WARNING, "text", "%s: a message that is no UTF-8 was skipped", name)
            return
        logger.debug("%s: a message of %d bytes", name, len(data))
        self._pulse.rest()
        receiver.deliver(Delivery(documents=(Document(name=name, content=data),), is_message=True))
        self._has_delivered = True

    def _hear_goodbye(self, line: Line, data: bytes) -> None:
        code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
        if code in self._wire.refusal_codes:
            raise AuthError(f"{line.peer} refuses our secret (close code {code})")
        raise TransportError(f"{line.peer} closed the stream (close code {code})")


class _Enough(Exception):
    """Flags have come, and more were not asked for."""


class _FirstFlags:
    """A receiver that ends the conversation when it has flags."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def snapshot(self) -> Snapshot | None:
        return self._receiver.snapshot

    def dump(self) -> Iterable[bytes] | None:
        return self._receiver.dump()

    def deliver(self, delivery: Delivery) -> bool:
        is_taken = self._receiver.deliver(delivery)
        snapshot = self._receiver.snapshot
        if is_taken and snapshot is not None and not snapshot.is_stale:
            raise _Enough
        return is_taken


class _Message:
    """Puts the parts of messages together."""

    def __init__(self, peer: str, max_bytes: int) -> None:
        self.is_text = True
        self._peer = peer
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._is_open = False

    def add(self, opcode: int, data: bytes, *, is_last: bool) -> bytes | None:
        """Take a frame with data; gives the message that it completes."""
        if self._is_open is not (opcode == _CONTINUATION):
            raise ProtocolError(f"{self._peer} sent the parts of a message in disorder")
        if not self._is_open:
            self.is_text = opcode == _TEXT
        self._is_open = not is_last
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._max_bytes:
            raise ProtocolError(f"{self._peer} sent a message of more than {self._max_bytes} bytes")
        if not is_last:
            return None
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size = [], 0
        return whole


class _Frames:
    """The frames on a line.

    Args:
        line: a WebSocket after its handshake.
        max_bytes: a larger frame is refused before it is read.
        silence_s: how long nothing may come.
        monotonic: the clock.
    """

    def __init__(self, line: Line, max_bytes: int, silence_s: float, monotonic: Callable[[], float]) -> None:
        library: Any = import_optional("websocket")
        self._abnf = library.ABNF
        self._broken = library.WebSocketException
        # Its own check of UTF-8 is written in Python, and takes seconds for a large message.
        self._buffer = library.frame_buffer(self._read, skip_utf8_validation=True)
        self._line = line
        self._max_bytes = max_bytes
        self._silence_s = silence_s
        self._monotonic = monotonic
        self._due_s = math.inf

    @property
    def dead_at_s(self) -> float:
        """When the connection is to be given up, unless more comes."""
        return min(self._line.heard_s + self._silence_s, self._due_s)

    def complaint(self) -> str:
        """Say why the connection is given up."""
        if self._due_s < math.inf:
            return f"{self._line.peer} does not get a message to its end"
        return f"{self._line.peer} gave no sign of life for {self._silence_s:g} s"

    def receive(self) -> tuple[int, bytes, bool]:
        """Give opcode, data and whether it is a message's last part; what came until `Overdue` is not lost."""
        try:
            frame = self._buffer.recv_frame()
        except self._broken:
            raise ProtocolError(f"{self._line.peer} sent something that is no WebSocket frame") from None
        self._due_s = math.inf
        return frame.opcode, frame.data, bool(frame.fin)

    def _read(self, size: int) -> bytes:
        declared = self._buffer.length
        if declared is not None and self._due_s == math.inf:
            _, *reserved, opcode, is_masked, _ = self._buffer.header
            if any(reserved) or is_masked or opcode not in self._abnf.OPCODES:
                raise ProtocolError(f"{self._line.peer} sent something that is no WebSocket frame")
            if declared > self._max_bytes:
                raise ProtocolError(f"{self._line.peer} sent a message of more than {self._max_bytes} bytes")
            self._due_s = self._monotonic() + self._silence_s + declared / MIN_PACE_BYTES_PER_S
        data = self._line.recv(size)
        if not data:
            raise TransportError(f"{self._line.peer} closed the connection")
        return data

    def send(self, opcode: int, data: bytes) -> None:
        """Send a frame."""
        self._line.sendall(self._abnf.create_frame(data, opcode).format())

    def say_goodbye(self) -> None:
        """Send a close frame if that can be done at once."""
        self._line.send_at_once(self._abnf.create_frame(struct.pack("!H", _GOING), _CLOSE).format())


def _shake_hands(line: Line, target: Target, headers: Mapping[str, str]) -> None:
    """Turn a fresh connection into a WebSocket.

    Raises:
        AuthError: the service refuses our secret.
        Refused: it answers with another status.
        TransportError: it does not answer, or not so.
    """
    key = base64.b64encode(os.urandom(16))
    fields = {
        "Host": target.authority,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key.decode(),
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    if any(sign in part for pair in fields.items() for part in pair for sign in "\r\n\0"):
        raise TransportError(f"{line.peer} cannot be asked: a header is not valid")
    request = [f"GET {target.resource} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    line.sendall("\r\n".join(request).encode())
    head = line.read_head()
    if head.status in (401, 403):
        raise AuthError(f"{line.peer} refuses our secret (HTTP {head.status})")
    if head.status != 101:
        raise Refused(f"{line.peer} answered HTTP {head.status}", retry_after_s(head.headers))
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_SUFFIX, usedforsecurity=False).digest()).decode()
    if head.headers.get("upgrade", "").lower() != "websocket" or head.headers.get("sec-websocket-accept") != accept:
        raise ProtocolError(f"{line.peer} speaks no WebSocket")
