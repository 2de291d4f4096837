"""The streaming source: when it comes back, when it gives up, how it is stopped."""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flagmw.core.snapshot import Snapshot
from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.network import Network
from flagmw.transports.streaming import StreamSource
from tests.unit.network_support import (
    PATIENT,
    QUICK,
    SECRET,
    TLS_FOLDER,
    Memory,
    Peer,
    RawServer,
    Wire,
    frame,
    free_port,
    running,
    switching,
)
from tests.unit.stream_support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    close_frame,
    failure,
    saying,
    stream,
)
from tests.unit.support import until

# --- being refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [b"", b"invalid request, close by server", b"\xff"])
def test_a_close_code_of_refusal_ends_the_attempts(reason: bytes) -> None:
    memory = Memory()
    with RawServer(saying(close_frame(4003, reason))) as server:
        with running(stream(server), memory) as source:
            until(lambda: source.has_ended)
        assert server.accepted == 1
    assert [type(error) for error in memory.errors] == [AuthError]
    assert str(memory.errors[0]) == (
        f"Test stream: {server.peer} refuses our secret (close code 4003); not trying again"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_handshake_that_is_refused_ends_the_attempts(status: int) -> None:
    memory = Memory()
    body = f"<h1>{SECRET}</h1>".encode() * 10_000

    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.answer(body, f"{status} No")

    with RawServer(serve) as server, running(stream(server), memory) as source:
        until(lambda: source.has_ended)
        assert server.accepted == 1
    assert [type(error) for error in memory.errors] == [AuthError]
    assert str(memory.errors[0]) == f"Test stream: {server.peer} refuses our secret (HTTP {status}); not trying again"


# --- failing and coming back ----------------------------------------------------------------------------------


def answering(status: str, **headers: str) -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"{}", status, **headers)

    return serve


def told(error: TransportError) -> str:
    """Give an error's text without the address."""
    name, _, text = str(error).partition(": ")
    assert name == "Test stream"
    return text.partition(" ")[2]


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 502, 503])
def test_another_answer_to_the_handshake_is_tried_again(status: int) -> None:
    assert told(failure(answering(f"{status} Some reason"))) == f"answered HTTP {status}; trying again"


def test_a_redirect_is_not_followed() -> None:
    with RawServer(Peer.read_request) as other:
        failure(answering("302 Found", Location=f"http://{other.peer}/"))
        assert other.accepted == 0


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4000, 4001])
def test_any_other_close_code_is_tried_again(code: int) -> None:
    assert told(failure(saying(close_frame(code)))) == f"closed the stream (close code {code}); trying again"


def test_a_close_is_answered() -> None:
    heard: list[tuple[int, bytes]] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.send(close_frame(1012))
        while True:
            heard.append(peer.read_frame())

    with RawServer(serve) as server, running(stream(server, first_retry_delay_s=60.0, max_retry_delay_s=60.0)):
        until(lambda: len(heard) == 2)
    assert heard[1] == (CLOSE, struct.pack("!H", 1000))


def test_a_close_without_a_code_is_tried_again() -> None:
    assert told(failure(saying(frame(b"", CLOSE)))) == "closed the stream (close code 1005); trying again"


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        pytest.param(Peer.reset, "reset the connection", id="reset at once"),
        pytest.param(Peer.read_request, "closed the connection without an answer", id="hang-up in the handshake"),
        pytest.param(saying(then=Peer.reset), "reset the connection", id="reset"),
        pytest.param(saying(then=lambda _: None), "closed the connection", id="hang-up"),
        pytest.param(saying(frame(b"message")[:4], then=lambda _: None), "closed the connection", id="torn frame"),
        pytest.param(saying(b"\x81", then=lambda _: None), "closed the connection", id="torn frame header"),
    ],
)
def test_a_connection_that_ends_is_opened_again(serve: Callable[[Peer], object], expected: str) -> None:
    assert told(failure(serve)) in (f"{expected}; trying again", "reset the connection; trying again")


def test_a_half_closed_connection_is_opened_again() -> None:
    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.socket.shutdown(1)
        peer.hold()

    assert told(failure(serve)) == "closed the connection; trying again"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_a_handshake_that_is_answered_by_no_websocket_is_a_protocol_error(answer: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)

    assert isinstance(failure(serve), ProtocolError)


def test_garbage_instead_of_a_handshake_is_a_protocol_error() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"this is no HTTP\r\n\r\n")

    assert isinstance(failure(serve), ProtocolError)


def test_a_refused_connection_is_tried_again_until_it_is_taken() -> None:
    port = free_port()
    memory = Memory()
    source = StreamSource(Wire(f"ws://127.0.0.1:{port}"), PATIENT, first_retry_delay_s=0.01, max_retry_delay_s=0.01)
    with running(source, memory):
        until(lambda: len(memory.errors) >= 3)
    assert {str(error) for error in memory.errors} == {
        f"Test stream: 127.0.0.1:{port} refused the connection; trying again"
    }


def test_an_error_of_the_wire_is_told_without_its_text_and_tried_again() -> None:
    class Broken(Wire):
        def url(self) -> str:
            raise ValueError(SECRET)

    memory = Memory()
    with running(StreamSource(Broken(""), PATIENT, first_retry_delay_s=0.01), memory):
        until(lambda: len(memory.errors) >= 2)
    assert str(memory.errors[0]) == "Test stream: unexpected ValueError; trying again"


def test_each_attempt_asks_the_wire_for_a_fresh_address() -> None:
    requests: list[str] = []

    class Counting(Wire):
        count = 0

        def url(self) -> str:
            self.count += 1
            return f"{self.address}/{self.count}"

    counting = Counting("")
    with RawServer(lambda peer: requests.append(peer.accept_stream())) as server:
        counting.address = f"ws://{server.peer}"
        with running(stream(server, wire=counting)):
            until(lambda: len(requests) >= 3)
    assert [request.split(" ")[1] for request in requests[:3]] == ["/1", "/2", "/3"]


# --- when nothing comes ---------------------------------------------------------------------------------------


def test_a_handshake_that_is_not_answered_is_given_up_in_time() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.hold()

    assert told(failure(serve, QUICK)) == "did not answer in time; trying again"


def test_a_handshake_that_drips_is_given_up_in_time() -> None:
    def serve(peer: Peer) -> None:
        for byte in switching(peer.read_request()):
            peer.send(bytes([byte]))
            time.sleep(0.02)  # the misbehaviour itself

    assert told(failure(serve, QUICK)) == "did not answer in time; trying again"


def test_a_connection_on_which_nothing_comes_for_three_pings_is_opened_again() -> None:
    began = time.monotonic()
    error = failure(saying(), ping_interval_s=0.1)
    assert told(error) == "gave no sign of life for 0.3 s; trying again"
    assert 0.25 < time.monotonic() - began < 3.0


@pytest.mark.parametrize("sign", [frame(b"pong"), frame(b"", PONG), frame(b"", PING), frame(b"\xff", BINARY)])
def test_any_frame_is_a_sign_of_life(sign: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.accept_stream()
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            peer.send(sign)
            time.sleep(0.03)  # as a server at intervals
        peer.frame(b"done")
        peer.hold()

    memory = Memory()
    with RawServer(serve) as server, running(stream(server, ping_interval_s=0.2), memory):
        until(lambda: memory.texts[-1:] == ["done"])
        assert memory.errors == []


def test_a_message_that_drips_for_ever_is_given_up() -> None:
    def serve(peer: Peer) -> None:
        peer.accept_stream()
        for byte in frame(b"x" * 1000):
            peer.send(bytes([byte]))
            time.sleep(0.02)  # the misbehaviour itself

    assert told(failure(serve, ping_interval_s=0.1)) == "does not get a message to its end; trying again"


def test_a_large_message_may_take_longer_than_silence_may_last() -> None:
    data = frame(b"x" * 100_000)

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        for place in range(0, len(data), 4_000):
            peer.send(data[place : place + 4_000])
            time.sleep(0.04)  # a slow network
        peer.hold()

    memory = Memory()
    with RawServer(serve) as server, running(stream(server, ping_interval_s=0.2), memory):
        until(lambda: memory.texts)
        assert memory.errors == []


def test_the_time_that_a_message_takes_to_be_put_in_force_is_no_silence() -> None:
    class Slow(Memory):
        def deliver(self, delivery: Any) -> bool:
            time.sleep(0.9)  # compiling
            return super().deliver(delivery)

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.frame(b"large")
        while True:
            if peer.read_frame() == (1, b"ping"):
                peer.frame(b"pong")

    memory = Slow()
    with RawServer(serve) as server, running(stream(server, ping_interval_s=0.2), memory):
        until(lambda: len(memory.texts) >= 2)
        assert memory.errors == []


def test_a_service_that_does_not_read_is_given_up_in_time() -> None:
    def serve(peer: Peer) -> None:
        peer.accept_stream()
        while True:
            peer.frame(b"x" * 100, PING)  # and the answers are not read

    assert told(failure(serve, replace(QUICK, read_timeout_s=0.2))) in (
        "did not answer in time; trying again",
        "gave no sign of life for 30 s; trying again",
    )


# --- waiting between attempts ---------------------------------------------------------------------------------


class Slept(threading.Event):
    """An event that remembers how long it was to be waited for, and does not wait.

    Attributes:
        delays: in seconds.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.delays: list[float] = []
        self._count = count

    def wait(self, timeout: float | None = None) -> bool:
        self.delays.append(timeout or 0.0)
        if len(self.delays) == self._count:
            self.set()
        return super().wait(0)


def delays(serve: Callable[[Peer], object], count: int, **options: Any) -> list[float]:
    """Give the waits between the attempts."""
    stopping = Slept(count)
    with RawServer(serve) as server:
        source = stream(server, random=lambda: 1.0, **options)
        source.open(Memory())
        source.run(stopping)
    return stopping.delays


def test_waits_between_attempts_double_up_to_the_largest() -> None:
    waits = delays(answering("500 No"), 5, first_retry_delay_s=0.05, max_retry_delay_s=0.2)
    assert waits == [0.05, 0.1, 0.2, 0.2, 0.2]


@pytest.mark.parametrize(("asked", "expected"), [("1", 2.0), ("120", 120.0), ("86400", 300.0)])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_pause_that_the_service_asks_for_is_observed_up_to_five_minutes(
    status: str, asked: str, expected: float
) -> None:
    serve = answering(status, Retry_After=asked)
    assert delays(serve, 1, first_retry_delay_s=2.0, max_retry_delay_s=60.0) == [expected]


def test_only_a_connection_that_was_open_for_a_minute_begins_with_short_waits_again() -> None:
    now = [1000.0]
    runs = iter([1.0, 1.0, 61.0, 1.0, 60.0, 1.0])
    stopping = Slept(6)

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.read_frame()  # the greeting: the source has taken note of the time
        now[0] += next(runs)

    with RawServer(serve) as server:
        source = StreamSource(
            Wire(f"ws://{server.peer}"),
            Network(proxy="", connect_timeout_s=1e6, read_timeout_s=1e6),
            ping_interval_s=1e6,
            monotonic=lambda: now[0],
            random=lambda: 1.0,
        )
        source.open(Memory())
        source.run(stopping)
    assert stopping.delays == [1.0, 2.0, 1.0, 2.0, 4.0, 8.0]


# --- stopping -------------------------------------------------------------------------------------------------


def test_stopping_says_goodbye() -> None:
    heard: list[tuple[int, bytes]] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        while True:
            heard.append(peer.read_frame())

    with RawServer(serve) as server, running(stream(server)) as source:
        until(lambda: heard)
        source.stop()
        until(lambda: len(heard) == 2)
    assert heard[1] == (CLOSE, struct.pack("!H", 1000))


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(Peer.hold, id="in the handshake"),
        pytest.param(saying(), id="while nothing comes"),
        pytest.param(saying(frame(b"half a message")[:5]), id="in the middle of a frame"),
        pytest.param(saying(b"\x81\x7f" + struct.pack("!Q", 2**20) + b"x" * 1000), id="in the middle of a large frame"),
        pytest.param(answering("500 No"), id="between attempts"),
    ],
)
def test_stopping_takes_less_than_a_second(serve: Callable[[Peer], object]) -> None:
    come = threading.Event()

    def noted(peer: Peer) -> None:
        come.set()
        serve(peer)

    with RawServer(noted) as server:
        source = stream(server, first_retry_delay_s=60.0, max_retry_delay_s=60.0)
        with running(source) as run:
            assert come.wait(10)
            assert run.stop() < 1.0


def test_a_source_that_is_stopped_before_it_runs_does_not_connect() -> None:
    with RawServer(Peer.hold) as server:
        source = stream(server)
        source.open(Memory())
        stopping = threading.Event()
        stopping.set()
        source.wake()
        source.run(stopping)
        assert server.accepted == 0


def test_a_source_that_was_never_opened_ends_at_once() -> None:
    StreamSource(Wire("ws://flags.example"), PATIENT).run(threading.Event())


# --- networks, and what is not shown --------------------------------------------------------------------------


def test_a_stream_with_tls_through_a_proxy_works() -> None:
    from tests.services.proxies import ForwardProxy

    memory = Memory()
    with RawServer(saying(frame(b"hello")), certificate="loopback") as server, ForwardProxy() as proxy:
        network = Network(proxy=proxy.url, ca_file=str(TLS_FOLDER / "loopback.crt"))
        with running(stream(server, network, wire=Wire(f"wss://{server.peer}/")), memory):
            until(lambda: memory.texts == ["hello"])
        assert [passed.target for passed in proxy.passed] == [server.peer]


def test_a_certificate_that_nobody_vouches_for_is_an_error() -> None:
    memory = Memory()
    wire = Wire("")
    with RawServer(Peer.hold, certificate="loopback") as server:
        wire.address = f"wss://{server.peer}/"
        with running(stream(server, wire=wire), memory):
            until(lambda: memory.errors)
    assert "its certificate is not trusted: self-signed certificate" in str(memory.errors[0])


def test_a_header_that_would_break_out_of_its_line_is_not_sent() -> None:
    memory = Memory()
    wire = Wire("", secret_headers={"Authorization": f"{SECRET}\r\nX-Mine: 1"})
    with RawServer(Peer.hold) as server:
        wire.address = f"ws://{server.peer}"
        with running(stream(server, wire=wire), memory):
            until(lambda: memory.errors)
    assert str(memory.errors[0]) == f"Test stream: {server.peer} cannot be asked: a header is not valid; trying again"


def test_nothing_that_is_logged_shows_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failure(saying(frame(b"one"), close_frame(1011, SECRET.encode())))
    assert caplog.records
    assert SECRET not in caplog.text


def test_the_snapshot_is_read_anew_for_each_greeting() -> None:
    seen: list[Snapshot | None] = []

    class Asking(Wire):
        def greeting(self, snapshot: Snapshot | None) -> str | None:
            seen.append(snapshot)
            return None

    wire = Asking("")
    with RawServer(saying(then=lambda _: None)) as server:
        wire.address = f"ws://{server.peer}"
        with running(stream(server, wire=wire)):
            until(lambda: len(seen) >= 2)
