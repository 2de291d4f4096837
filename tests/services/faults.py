"""What a server can do wrong on command, and the list of what it is to do wrong next.

A fault is a value: `server.misbehave(Reset(at=At.BODY, after_bytes=3), on=Endpoint.EVENTS, times=2)`. It strikes while a
request (the handshake of a stream is one, too) passes through the `FaultProxy` in front of the server.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace


class Endpoint(enum.Enum):
    """Which requests a fault is for."""

    ANY = "any"
    STREAM = "stream"
    CONFIG = "config"
    """Where documents are polled: `latest-all`, `latest-feature-flag`, a Hackle workspace."""
    EVENTS = "events"
    METRICS = "metrics"
    OTHER = "other"


class At(enum.Enum):
    """How far a request gets before a fault strikes."""

    ACCEPT = "accept"
    """The TCP connection is open, nothing was read; only for `Endpoint.ANY`, since nobody knows the path yet."""
    REQUEST = "request"
    """The request was read, and does not reach the server: an event that was posted is not counted."""
    HEAD = "head"
    """The server has handled the request; `after_bytes` of the status line and headers (of the handshake) got out."""
    BODY = "body"
    """The head got out, and `after_bytes` of the body, or of the frames of the stream."""


class Side(enum.Enum):
    """One of the two directions of a connection, as the server sees it."""

    SEND = "send"
    RECEIVE = "receive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Cut the connection with a TCP reset."""

    at: At = At.REQUEST
    after_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """Close the connection in the orderly way of TCP, but too early."""

    at: At = At.REQUEST
    after_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Keep the connection open and say nothing any more; on a stream, pings of either kind go unanswered."""

    at: At = At.REQUEST
    after_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfClose:
    """Shut one direction down and keep the other.

    SEND: the client reads the end of the stream, while the server goes on listening. RECEIVE: the server hears nothing
    any more, while what it sends still arrives; when the client goes away, the server does not learn it.
    """

    at: At = At.BODY
    after_bytes: int = 0
    side: Side = Side.SEND


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """Send one byte at a time, from the given point on."""

    at: At = At.HEAD
    after_bytes: int = 0
    interval_s: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Send what is no message: as a frame of its own, between good ones; over HTTP as body of a 200.

    Over HTTP the request still reaches the server.

    Attributes:
        payload: what is sent.
        binary: in a binary frame, not in a text frame.
        count: how many frames.
    """

    payload: bytes = b"this is not JSON"
    binary: bool = False
    count: int = 1
    after_bytes: int = 0

    @property
    def at(self) -> At:
        return At.BODY


GARBAGE = {
    "not JSON": Garbage(),
    "empty": Garbage(payload=b""),
    "binary": Garbage(payload=b'{"messageType":"pong","data":{}}\x00\xff', binary=True),
    "invalid UTF-8": Garbage(payload=b'{"messageType":"pong","data":"\xff\xfe"}'),
    "truncated JSON": Garbage(payload=b'{"messageType":"data-sync","data":{"eventType":"patch","featureFl'),
    "a list": Garbage(payload=b"[1,2,3]"),
    "a number": Garbage(payload=b"17"),
    "null": Garbage(payload=b"null"),
    "wrong types": Garbage(
        payload=b'{"messageType":"data-sync","data":{"eventType":"full","featureFlags":17,"segments":true},"experiments":4}'
    ),
    "wrong items": Garbage(
        payload=b'{"messageType":"data-sync","data":{"eventType":"patch","featureFlags":[3,null],"segments":["x"]},'
        b'"experiments":[7],"featureFlags":[null],"segments":["x"]}'
    ),
    "data is null": Garbage(payload=b'{"messageType":"data-sync","data":null}'),
    "deeply nested": Garbage(payload=b"[" * 200_000 + b"]" * 200_000),
    "a number of many digits": Garbage(payload=b'{"messageType":"data-sync","data":' + b"9" * 10_000 + b"}"),
}
"""One of each kind, by name, for tests that try them all. None of them may change a flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWith:
    """End a stream with a close frame; 4003 is how the services refuse a secret."""

    code: int = 4003
    reason: str = "invalid request, close by server"
    after_bytes: int = 0

    @property
    def at(self) -> At:
        return At.BODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Giant:
    """Announce an enormous frame (over HTTP: an enormous body), and send as much of it as told.

    Attributes:
        declared_bytes: what the frame header, or Content-Length, says.
        sent_bytes: how many bytes follow; when they are fewer, the server then stalls.
    """

    declared_bytes: int = 8 * 2**30
    sent_bytes: int = 2**16
    after_bytes: int = 0

    @property
    def at(self) -> At:
        return At.BODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Answer a request, or the handshake of a stream, with a status; the request does not reach the server."""

    code: int
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: str | None = None
    body: bytes = b'{"error":"on command"}'

    @property
    def at(self) -> At:
        return At.REQUEST

    @property
    def after_bytes(self) -> int:
        return 0


Fault = Reset | Hangup | Stall | HalfClose | Drip | Garbage | CloseWith | Giant | Status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Armed:
    fault: Fault
    on: Endpoint
    times: int | None


@dataclass(slots=True)
class FaultPlan:
    """The faults that wait for a request; may be used from any thread.

    Args:
        on_strike: called, without any lock held, whenever a fault was taken.
    """

    on_strike: Callable[[], None]
    _armed: list[_Armed] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _struck: int = 0

    def add(self, fault: Fault, on: Endpoint, times: int | None) -> None:
        """Have a fault strike the next requests that match; earlier faults come first.

        Args:
            fault: what is to happen.
            on: to which requests.
            times: to how many of them; None means until `clear`.
        """
        if fault.at is At.ACCEPT and on is not Endpoint.ANY:
            raise ValueError(f"a fault at ACCEPT strikes before the path is known: on must be ANY, not {on}")
        if isinstance(fault, CloseWith) and on is not Endpoint.STREAM:
            raise ValueError(f"only a stream can be closed with a code, not {on}")
        with self._lock:
            self._armed.append(_Armed(fault=fault, on=on, times=times))

    def clear(self, on: Endpoint | None = None) -> None:
        """Forget the faults for one endpoint, or all."""
        with self._lock:
            self._armed = [armed for armed in self._armed if on is not None and armed.on is not on]

    def take(self, endpoint: Endpoint | None) -> Fault | None:
        """Give the fault for a request, or for a connection of which nothing was read (None)."""
        with self._lock:
            fault = self._take(endpoint)
            if fault is None:
                return None
            self._struck += 1
        self.on_strike()
        return fault

    def _take(self, endpoint: Endpoint | None) -> Fault | None:
        for place, armed in enumerate(self._armed):
            if (armed.fault.at is At.ACCEPT) is not (endpoint is None):
                continue
            if endpoint is not None and armed.on not in {Endpoint.ANY, endpoint}:
                continue
            if armed.times is not None and armed.times <= 1:
                del self._armed[place]
            elif armed.times is not None:
                self._armed[place] = replace(armed, times=armed.times - 1)
            return armed.fault
        return None

    @property
    def struck(self) -> int:
        """How many requests and connections were given a fault so far."""
        with self._lock:
            return self._struck
