"""The streaming source: what it says and hears, and messages that are none."""

from __future__ import annotations

import logging
import struct
import time

import pytest

from flagmw.errors import ProtocolError
from tests.unit.network_support import (
    SECRET,
    Memory,
    Peer,
    RawServer,
    Wire,
    frame,
    running,
    switching,
)
from tests.unit.stream_support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    close_frame,
    failure,
    saying,
    stream,
)
from tests.unit.support import compiled, document, until

# --- saying and hearing ---------------------------------------------------------------------------------------


def test_the_handshake_asks_for_the_address_with_the_headers_of_the_wire() -> None:
    requests: list[str] = []

    def serve(peer: Peer) -> None:
        requests.append(peer.accept_stream())
        peer.hold()

    with RawServer(serve) as server, running(stream(server)):
        until(lambda: requests)
    lines = requests[0].split("\r\n")
    assert lines[0] == f"GET /streaming?token={SECRET} HTTP/1.1"
    assert {f"Host: {server.peer}", f"Authorization: {SECRET}", "Upgrade: websocket"} <= set(lines)


def test_without_flags_everything_is_asked_for() -> None:
    assert _greeting_of(Memory()) == "everything"


def test_with_flags_at_hand_only_what_is_newer_is_asked_for() -> None:
    memory = Memory()
    memory.snapshot = compiled(document({}))
    assert _greeting_of(memory) == f"since {memory.snapshot.revision}"


def _greeting_of(memory: Memory) -> str:
    greetings: list[str] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        greetings.append(peer.read_frame()[1].decode())
        peer.hold()

    with RawServer(serve) as server, running(stream(server), memory):
        until(lambda: greetings)
    return greetings[0]


def test_a_reconnect_resumes_from_the_flags_in_force_then() -> None:
    greetings: list[str] = []
    memory = Memory()

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        greetings.append(peer.read_frame()[1].decode())
        memory.snapshot = compiled(document({}))

    with RawServer(serve) as server, running(stream(server), memory):
        until(lambda: len(greetings) >= 2)
    assert greetings[1].startswith("since ")


def test_each_text_message_is_delivered_as_it_came() -> None:
    memory = Memory()
    frames = [frame(b'{"a":1}'), frame("ü".encode()), frame(b"no JSON"), frame(b"")]
    with RawServer(saying(*frames)) as server, running(stream(server), memory):
        until(lambda: len(memory.texts) == 4)
    assert memory.texts == ['{"a":1}', "ü", "no JSON", ""]
    assert all(delivery.is_message and delivery.error is None for delivery in memory.deliveries)
    assert memory.deliveries[0].documents[0].name == "Test stream"


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 3_000_000])
def test_messages_of_all_sizes_arrive_whole(size: int) -> None:
    memory = Memory()
    with RawServer(saying(frame(b"x" * size))) as server, running(stream(server), memory):
        until(lambda: memory.texts)
    assert memory.texts == ["x" * size]


def test_what_follows_the_handshake_in_the_same_packet_is_not_lost() -> None:
    memory = Memory()

    def serve(peer: Peer) -> None:
        peer.send(switching(peer.read_request()) + frame(b"first") + frame(b"second")[:3])
        peer.send(frame(b"second")[3:])
        peer.hold()

    with RawServer(serve) as server, running(stream(server), memory):
        until(lambda: memory.texts == ["first", "second"])


def test_a_message_in_parts_is_put_together_whatever_comes_between() -> None:
    memory = Memory()
    frames = [
        frame(b"a\xc3", 1, fin=False),
        frame(b"hello", PING),
        frame(b"\xbcb", CONTINUATION, fin=False),
        frame(b"", PONG),
        frame(b"", CONTINUATION),
        frame(b"next"),
    ]
    with RawServer(saying(*frames)) as server, running(stream(server), memory):
        until(lambda: memory.texts == ["aüb", "next"])


def test_a_ping_of_the_service_is_answered_with_its_data() -> None:
    answers: list[tuple[int, bytes]] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.read_frame()
        peer.frame(b"some data", PING)
        answers.append(peer.read_frame())
        peer.hold()

    with RawServer(serve) as server, running(stream(server)):
        until(lambda: answers)
    assert answers == [(PONG, b"some data")]


@pytest.mark.parametrize(("ping", "expected"), [("are you there", (1, b"are you there")), (None, (PING, b""))])
def test_the_service_is_asked_for_a_sign_of_life_at_intervals(ping: str | None, expected: tuple[int, bytes]) -> None:
    heard: list[tuple[float, tuple[int, bytes]]] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.read_frame()
        while True:
            heard.append((time.monotonic(), peer.read_frame()))
            peer.frame(b"pong")

    with RawServer(serve) as server:
        with running(stream(server, wire=Wire(f"ws://{server.peer}", ping=ping), ping_interval_s=0.2)) as running_one:
            until(lambda: len(heard) >= 4)
        assert running_one.memory.errors == []
    assert {message for _, message in heard[:4]} == {expected}
    assert 0.5 < heard[3][0] - heard[0][0] < 5.0


# --- messages that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (frame(b"\xff\xfe"), "a message that is no UTF-8 was skipped"),
        (frame(b"\xed\xa0\x80"), "a message that is no UTF-8 was skipped"),
        (frame(b'{"a":1}', BINARY), "a binary message was skipped"),
    ],
)
def test_a_message_that_is_no_text_is_skipped_and_told_once(
    bad: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory()
    with RawServer(saying(bad, bad, frame(b"good"), bad, frame(b"again"))) as server, running(stream(server), memory):
        until(lambda: memory.texts == ["good", "again"])
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"Test stream: {said}"]
    assert memory.errors == []


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(frame(b"x", CONTINUATION), id="a part of nothing"),
        pytest.param(frame(b"x", 1, fin=False) + frame(b"y", 1), id="a message in a message"),
        pytest.param(b"\xc1\x01x", id="compressed"),
        pytest.param(b"\x83\x01x", id="an opcode that is none"),
        pytest.param(frame(b"x", PING, fin=False), id="a ping in parts"),
        pytest.param(frame(b"\x03", CLOSE), id="half a close code"),
        pytest.param(close_frame(1005), id="a close code that must not be sent"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no frame at all"),
    ],
)
def test_what_is_no_websocket_is_a_protocol_error_and_the_stream_is_opened_again(bad: bytes) -> None:
    assert isinstance(failure(saying(bad)), ProtocolError)


@pytest.mark.parametrize(
    "giant",
    [
        pytest.param(b"\x81\x7f" + struct.pack("!Q", 8 * 2**30) + b"x" * 1000, id="declared"),
        pytest.param(b"\x81\x7f" + struct.pack("!Q", 2**64 - 1), id="the largest length"),
        pytest.param(frame(b"x" * 1001), id="one byte too many"),
        pytest.param(frame(b"x" * 600, 1, fin=False) + frame(b"x" * 600, CONTINUATION, fin=False), id="in parts"),
    ],
)
def test_a_giant_message_is_refused_before_it_is_read(giant: bytes) -> None:
    error = failure(saying(giant), max_message_bytes=1000)
    assert isinstance(error, ProtocolError)
    assert "sent a message of more than 1000 bytes; trying again" in str(error)


def test_a_message_of_the_largest_size_is_taken() -> None:
    memory = Memory()
    with RawServer(saying(frame(b"x" * 1000))) as server, running(stream(server, max_message_bytes=1000), memory):
        until(lambda: memory.texts == ["x" * 1000])
