"""Each misbehaviour of the test servers is really to be seen on the wire, by a client that looks at the bytes."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services import wire
from tests.services.blackhole import BlackHole
from tests.services.faults import (
    GARBAGE,
    At,
    CloseWith,
    Drip,
    Endpoint,
    Garbage,
    Giant,
    HalfClose,
    Hangup,
    Reset,
    Side,
    Stall,
    Status,
)
from tests.services.featbit_server import FeatBitServer
from tests.services.raw import RawClient, open_stream, stream_path

TRACK = "/api/public/insight/track"
LATEST = "/api/public/sdk/server/latest-all"
FULL_SYNC = b'{"messageType":"data-sync","data":{"timestamp":0}}'
PING = b'{"messageType":"ping","data":null}'
EVENTS = b'[{"user":{"keyId":"u-1","name":"Ana","customizedProperties":[]}}]'
INTERVAL_S = 0.002


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer() as running:
        running.put_flag({"key": "banner", "variations": [], "rules": []})
        yield running


def poll(client: RawClient, server: FeatBitServer) -> None:
    client.request("GET", LATEST, {"Authorization": server.secret})


def track(client: RawClient, server: FeatBitServer) -> None:
    client.request("POST", TRACK, {"Authorization": server.secret}, EVENTS)


def sync(client: RawClient) -> dict[str, Any]:
    """Ask for all data over a stream, and read the answer."""
    client.send_frame(wire.TEXT, FULL_SYNC)
    opcode, payload = client.read_frame()
    assert opcode == wire.TEXT
    message: dict[str, Any] = json.loads(payload)
    return message


# --- requests that get no whole answer ----------------------------------------------------------------------------


def test_a_request_that_is_reset_does_not_reach_the_server(server: FeatBitServer) -> None:
    server.misbehave(Reset(), on=Endpoint.EVENTS)
    with RawClient(server.port) as client:
        track(client, server)
        with pytest.raises(ConnectionResetError):
            client.read()
    assert server.events == []


def test_a_request_that_was_kept_from_the_server_is_recorded_with_its_fault(server: FeatBitServer) -> None:
    server.misbehave(Reset(), on=Endpoint.EVENTS)
    with RawClient(server.port) as client:
        track(client, server)
        server.wait_for(lambda s: s.requests)
    assert [(item.path, item.body, item.fault) for item in server.requests] == [(TRACK, EVENTS, Reset())]


def test_a_reset_of_the_answer_comes_after_the_server_has_handled_the_request(server: FeatBitServer) -> None:
    server.misbehave(Reset(at=At.HEAD), on=Endpoint.EVENTS)
    with RawClient(server.port) as client:
        track(client, server)
        with pytest.raises(ConnectionResetError):
            client.read()
    assert len(server.events) == 1


def test_a_reset_in_the_middle_of_a_body_comes_after_the_bytes_before_it(server: FeatBitServer) -> None:
    server.misbehave(Reset(at=At.BODY, after_bytes=10), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        client.read_head()
        assert client.read_exactly(10) == b'{"messageT'
        with pytest.raises(ConnectionResetError):
            client.read()


def test_a_reset_in_the_middle_of_the_headers_comes_after_the_bytes_before_it(server: FeatBitServer) -> None:
    server.misbehave(Reset(at=At.HEAD, after_bytes=12), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        assert client.read_exactly(12) == b"HTTP/1.1 200"
        with pytest.raises(ConnectionResetError):
            client.read()


def test_a_hangup_ends_the_connection_in_the_orderly_way(server: FeatBitServer) -> None:
    server.misbehave(Hangup(), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        assert client.read_to_end() == b""


def test_a_hangup_in_the_middle_leaves_the_body_shorter_than_declared(server: FeatBitServer) -> None:
    server.misbehave(Hangup(at=At.BODY, after_bytes=5), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        head = client.read_head()
        assert client.read_to_end() == b'{"mes'
        assert int(head.headers["content-length"]) > 5


@pytest.mark.parametrize("at", [At.ACCEPT, At.REQUEST, At.HEAD])
def test_a_stalled_request_is_never_answered(server: FeatBitServer, at: At) -> None:
    server.misbehave(Stall(at=at), on=Endpoint.ANY)
    with RawClient(server.port) as client:
        poll(client, server)
        server.wait_for(lambda s: s.faults_struck)
        assert client.is_silent()


def test_a_stall_in_the_middle_of_a_body_leaves_the_rest_out(server: FeatBitServer) -> None:
    server.misbehave(Stall(at=At.BODY, after_bytes=5), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        client.read_head()
        assert client.read_exactly(5) == b'{"mes'
        assert client.is_silent()


def test_a_stall_at_accept_leaves_what_the_client_sends_unread(server: FeatBitServer) -> None:
    server.misbehave(Stall(at=At.ACCEPT))
    with RawClient(server.port) as client:
        client._socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.send(b"x" * 2**26)


def test_a_stalled_connection_is_let_go_when_its_client_goes(server: FeatBitServer) -> None:
    server.misbehave(Stall(), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        server.wait_for(lambda s: s.faults_struck)
    server.wait_for(lambda s: s.tcp_open == 0)


def test_a_half_closed_answer_ends_while_the_connection_stays(server: FeatBitServer) -> None:
    server.misbehave(HalfClose(at=At.BODY, after_bytes=5), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        client.read_head()
        assert client.read_to_end() == b'{"mes'
        assert server.tcp_open == 1


def test_a_connection_can_be_reset_before_anything_is_said(server: FeatBitServer) -> None:
    server.misbehave(Reset(at=At.ACCEPT))
    with pytest.raises(ConnectionResetError), RawClient(server.port) as client:  # connecting may see it already
        client.read()


def test_a_connection_can_be_closed_before_anything_is_said(server: FeatBitServer) -> None:
    server.misbehave(Hangup(at=At.ACCEPT))
    with RawClient(server.port) as client:
        assert client.read_to_end() == b""


# --- answers that are whole, and wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 502, 503])
@pytest.mark.parametrize("endpoint", [Endpoint.CONFIG, Endpoint.EVENTS, Endpoint.STREAM], ids=lambda item: item.value)
def test_a_status_on_command_is_what_the_client_reads(server: FeatBitServer, endpoint: Endpoint, code: int) -> None:
    server.misbehave(Status(code=code), on=endpoint)
    with RawClient(server.port) as client:
        match endpoint:
            case Endpoint.CONFIG:
                poll(client, server)
            case Endpoint.EVENTS:
                track(client, server)
            case _:
                client.upgrade(stream_path(server))
        assert client.read_answer()[0].status == code
    assert (server.events, server.connects) == ([], 0)


def test_too_many_requests_says_when_to_come_again(server: FeatBitServer) -> None:
    server.misbehave(Status(code=429, retry_after="7"), on=Endpoint.EVENTS)
    with RawClient(server.port) as client:
        track(client, server)
        assert client.read_head().headers["retry-after"] == "7"


def test_a_refused_request_leaves_the_connection_good_for_another(server: FeatBitServer) -> None:
    server.misbehave(Status(code=500), on=Endpoint.EVENTS, times=1)
    with RawClient(server.port) as client:
        track(client, server)
        assert client.read_answer()[0].status == 500
        track(client, server)
        assert client.read_answer()[0].status == 200


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_over_http_is_the_body_of_a_good_answer(server: FeatBitServer, name: str) -> None:
    server.misbehave(GARBAGE[name], on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        head, body = client.read_answer()
    assert (head.status, body) == (200, GARBAGE[name].payload)


def test_a_giant_body_is_declared_and_does_not_come(server: FeatBitServer) -> None:
    server.misbehave(Giant(declared_bytes=2**40, sent_bytes=1000), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        assert client.read_head().headers["content-length"] == str(2**40)
        assert client.read_exactly(1000) == b" " * 1000
        assert client.is_silent()


def test_a_giant_body_can_really_come(server: FeatBitServer) -> None:
    size = 32 * 2**20
    server.misbehave(Giant(declared_bytes=size, sent_bytes=size), on=Endpoint.CONFIG, times=1)
    with RawClient(server.port) as client:
        poll(client, server)
        client.read_head()
        left = size
        while left:
            left -= len(client.read(min(left, 2**20)))
        poll(client, server)
        assert client.read_answer()[0].status == 200


@pytest.mark.parametrize("at", [At.HEAD, At.BODY])
def test_a_dripping_answer_takes_its_time_and_is_right(server: FeatBitServer, at: At) -> None:
    server.misbehave(Drip(at=at, interval_s=INTERVAL_S), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        poll(client, server)
        started_s = time.monotonic()
        head, body = client.read_answer()
        took_s = time.monotonic() - started_s
    assert json.loads(body) == server.envelope()
    assert took_s > INTERVAL_S * (len(body) - 1 + (len(head.raw) if at is At.HEAD else 0))


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_that_is_reset_in_the_handshake_never_opens(server: FeatBitServer) -> None:
    server.misbehave(Reset(at=At.HEAD, after_bytes=20), on=Endpoint.STREAM)
    with RawClient(server.port) as client:
        client.upgrade(stream_path(server))
        client.read_exactly(20)
        with pytest.raises(ConnectionResetError):
            client.read()


def test_a_stream_can_be_reset_in_the_middle_of_a_message(server: FeatBitServer) -> None:
    server.misbehave(Reset(at=At.BODY, after_bytes=30), on=Endpoint.STREAM)
    with open_stream(server) as client:
        client.send_frame(wire.TEXT, FULL_SYNC)
        _, length = client.read_frame_head()
        with pytest.raises(ConnectionResetError):
            client.read_exactly(length)


def test_a_stream_that_stalls_in_the_handshake_never_opens(server: FeatBitServer) -> None:
    server.misbehave(Stall(at=At.HEAD, after_bytes=10), on=Endpoint.STREAM)
    with RawClient(server.port) as client:
        client.upgrade(stream_path(server))
        client.read_exactly(10)
        assert client.is_silent()


def test_a_stream_that_stalls_after_the_handshake_answers_no_message_and_no_ping(server: FeatBitServer) -> None:
    server.misbehave(Stall(at=At.BODY), on=Endpoint.STREAM)
    with open_stream(server) as client:
        client.send_frame(wire.TEXT, FULL_SYNC)
        client.send_frame(wire.TEXT, PING)
        client.send_frame(wire.PING, b"there?")
        server.wait_for(lambda s: len(s.messages) == 2)
        assert client.is_silent()


def test_a_good_stream_answers_control_pings(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        client.send_frame(wire.PING, b"there?")
        assert client.read_frame() == (wire.PONG, b"there?")


def test_pings_of_the_protocol_can_go_unanswered_while_data_comes(server: FeatBitServer) -> None:
    server.answers_pings = False
    with open_stream(server) as client:
        client.send_frame(wire.TEXT, PING)
        assert sync(client)["messageType"] == "data-sync"
        assert client.is_silent()


def test_an_open_stream_can_stall(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        sync(client)
        assert server.strike(Stall(at=At.BODY)) == 1
        server.put_flag({"key": "later", "variations": [], "rules": []})
        client.send_frame(wire.PING, b"there?")
        assert client.is_silent()


def test_a_stalled_stream_is_let_go_when_its_client_goes(server: FeatBitServer) -> None:
    server.misbehave(Stall(at=At.BODY), on=Endpoint.STREAM)
    with open_stream(server):
        server.wait_for(lambda s: s.connections == 1)
    server.wait_for(lambda s: (s.connections, s.tcp_open) == (0, 0))


def test_a_stream_whose_server_stops_sending_is_still_heard(server: FeatBitServer) -> None:
    server.misbehave(HalfClose(side=Side.SEND), on=Endpoint.STREAM)
    with open_stream(server) as client:
        assert client.read() == b""
        client.send_frame(wire.TEXT, PING)
        server.wait_for(lambda s: s.messages, what="the ping")


def test_a_stream_whose_server_stops_listening_still_sends(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        sync(client)
        server.strike(HalfClose(side=Side.RECEIVE))
        client.send_frame(wire.TEXT, PING)
        server.put_flag({"key": "later", "variations": [], "rules": []})
        assert json.loads(client.read_frame()[1])["data"]["featureFlags"][0]["key"] == "later"
        assert client.is_silent()
        assert len(server.messages) == 1


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_on_a_stream_is_a_frame_between_good_ones(server: FeatBitServer, name: str) -> None:
    server.misbehave(GARBAGE[name], on=Endpoint.STREAM)
    with open_stream(server) as client:
        opcode = wire.BINARY if GARBAGE[name].binary else wire.TEXT
        assert client.read_frame() == (opcode, GARBAGE[name].payload)
        assert sync(client)["data"]["eventType"] == "full"


def test_garbage_can_be_sent_into_an_open_stream(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        sync(client)
        server.strike(Garbage(payload=b"{", count=2))
        assert [client.read_frame() for _ in range(2)] == [(wire.TEXT, b"{")] * 2


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4003, 4999])
def test_a_stream_can_be_closed_with_a_code_right_after_the_handshake(server: FeatBitServer, code: int) -> None:
    server.misbehave(CloseWith(code=code, reason="so it is"), on=Endpoint.STREAM)
    with open_stream(server) as client:
        assert client.read_frame() == (wire.CLOSE, struct.pack("!H", code) + b"so it is")


def test_an_open_stream_can_be_closed_with_a_code_and_then_ends(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        sync(client)
        server.strike(CloseWith(code=4003))
        assert client.read_frame()[1][:2] == struct.pack("!H", 4003)
        assert client.read_to_end() == b""
    server.wait_for(lambda s: (s.connections, s.tcp_open) == (0, 0))


def test_a_giant_frame_is_declared_and_does_not_come(server: FeatBitServer) -> None:
    server.misbehave(Giant(declared_bytes=2**62, sent_bytes=1000), on=Endpoint.STREAM)
    with open_stream(server) as client:
        assert client.read_frame_head() == (wire.TEXT, 2**62)
        assert client.read_exactly(1000) == b" " * 1000
        assert client.is_silent()


def test_nothing_comes_after_a_giant_frame_that_did_not(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        sync(client)
        server.strike(Giant(declared_bytes=2**62, sent_bytes=10))
        client.read_frame_head()
        client.read_exactly(10)
        server.put_flag({"key": "later", "variations": [], "rules": []})
        assert client.is_silent()


def test_a_giant_frame_can_really_come(server: FeatBitServer) -> None:
    size = 32 * 2**20
    server.misbehave(Giant(declared_bytes=size, sent_bytes=size), on=Endpoint.STREAM)
    with open_stream(server) as client:
        assert client.read_frame_head() == (wire.TEXT, size)
        left = size
        while left:
            left -= len(client.read(min(left, 2**20)))
        assert sync(client)["data"]["eventType"] == "full"


@pytest.mark.parametrize("at", [At.HEAD, At.BODY])
def test_a_dripping_stream_takes_its_time_and_is_right(server: FeatBitServer, at: At) -> None:
    server.misbehave(Drip(at=at, interval_s=INTERVAL_S), on=Endpoint.STREAM)
    started_s = time.monotonic()
    with open_stream(server) as client:
        message = sync(client)
        took_s = time.monotonic() - started_s
    assert message == server.envelope()
    assert took_s > INTERVAL_S * (len(json.dumps(message, separators=(",", ":"))) - 1)


# --- when, where and how often ------------------------------------------------------------------------------------


def test_a_fault_strikes_as_often_as_told(server: FeatBitServer) -> None:
    server.misbehave(Status(code=500), on=Endpoint.CONFIG, times=2)
    server.misbehave(Status(code=502), on=Endpoint.CONFIG, times=1)
    codes = []
    with RawClient(server.port) as client:
        for _ in range(4):
            poll(client, server)
            codes.append(client.read_answer()[0].status)
    assert codes == [500, 500, 502, 200]
    assert server.faults_struck == 3


def test_a_fault_strikes_until_the_server_behaves(server: FeatBitServer) -> None:
    server.misbehave(Status(code=500), on=Endpoint.CONFIG)
    with RawClient(server.port) as client:
        for _ in range(3):
            poll(client, server)
            assert client.read_answer()[0].status == 500
        server.behave()
        poll(client, server)
        assert client.read_answer()[0].status == 200


def test_a_fault_strikes_one_endpoint_only(server: FeatBitServer) -> None:
    server.misbehave(Status(code=500), on=Endpoint.EVENTS)
    with RawClient(server.port) as client:
        poll(client, server)
        assert client.read_answer()[0].status == 200


def test_a_server_that_behaves_on_one_endpoint_may_go_on_with_another(server: FeatBitServer) -> None:
    server.misbehave(Status(code=500), on=Endpoint.EVENTS)
    server.misbehave(Status(code=503), on=Endpoint.CONFIG)
    server.behave(Endpoint.EVENTS)
    with RawClient(server.port) as client:
        track(client, server)
        assert client.read_answer()[0].status == 200
        poll(client, server)
        assert client.read_answer()[0].status == 503


def test_a_fault_before_the_path_is_known_cannot_be_for_one_endpoint(server: FeatBitServer) -> None:
    with pytest.raises(ValueError, match="path"):
        server.misbehave(Stall(at=At.ACCEPT), on=Endpoint.STREAM)


# --- ports --------------------------------------------------------------------------------------------------------


def test_a_server_that_refuses_resets_its_connections(server: FeatBitServer) -> None:
    with open_stream(server) as client:
        sync(client)
        server.refuse()
        with pytest.raises(ConnectionResetError):
            client.read()


def test_a_server_that_refuses_cannot_be_connected_to(server: FeatBitServer) -> None:
    server.refuse()
    with pytest.raises(ConnectionRefusedError):
        RawClient(server.port)


def test_a_server_that_refused_comes_back_on_the_same_port_with_its_flags(server: FeatBitServer) -> None:
    server.refuse()
    server.listen()
    with open_stream(server) as client:
        assert [flag["key"] for flag in sync(client)["data"]["featureFlags"]] == ["banner"]


def test_connecting_to_a_black_hole_hangs() -> None:
    import socket

    with BlackHole() as hole, socket.socket() as client:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.connect(("127.0.0.1", hole.port))
