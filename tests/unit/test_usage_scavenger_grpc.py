"""gRPC's calls over our own connections, with peers of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h2.errors
import h2.events
import pytest

from flagmw.connecting import Connector, Target
from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.lifecycle.waker import Waker
from flagmw.line import Interrupted, Overdue
from flagmw.network import Network
from flagmw.usage.scavenger.grpc import ALPN, LEAST_LARGE_BYTES, Channel, Gone, Refused, TooLarge
from tests.unit.h2_support import Asked, H2Peer, serving
from tests.unit.network_support import PATIENT, TLS_FOLDER, Peer, RawServer

LARGE = b"x" * LEAST_LARGE_BYTES
QUICK_S = 0.3
PATIENT_S = 10.0


@contextmanager
def channel_to(
    server: RawServer, *, network: Network = PATIENT, is_secure: bool = False, waker: Waker | None = None
) -> Iterator[Channel]:
    waker = waker or Waker()
    connector = Connector(network, waker, time.monotonic, alpn=ALPN)
    target = Target(host="127.0.0.1", port=server.port, is_secure=is_secure)
    try:
        channel = Channel(connector, target, time.monotonic, network.read_timeout_s)
        try:
            yield channel
        finally:
            channel.close()
    finally:
        waker.close()


def called(serve: Callable[[Peer], object], message: bytes = b"", timeout_s: float = PATIENT_S) -> bytes:
    """Make one call of a server."""
    with RawServer(serve) as server, channel_to(server) as channel:
        return channel.call("/Service/Method", message, timeout_s)


def refused(serve: Callable[[Peer], object], message: bytes = b"", timeout_s: float = PATIENT_S) -> TransportError:
    """Make one call of a server that does not answer it well."""
    with pytest.raises(TransportError) as caught:
        called(serve, message, timeout_s)
    return caught.value


# --- calls that are answered --------------------------------------------------------------------------------


def test_a_call_gives_the_answers_message() -> None:
    assert (
        called(serving(lambda other, asked: other.answer(asked.stream, b"re:" + asked.message)), b"hello")
        == b"re:hello"
    )


def test_a_call_says_what_grpc_wants_to_know() -> None:
    seen: list[dict[str, str]] = []

    def answer(other: H2Peer, asked: Asked) -> None:
        seen.append(asked.headers)
        other.answer(asked.stream)

    with RawServer(serving(answer)) as server, channel_to(server) as channel:
        channel.call("/Service/Method", b"", 2.0)
    assert seen == [
        {
            ":path": "/Service/Method",
            ":method": "POST",
            ":scheme": "http",
            ":authority": server.peer,
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "flagmw",
            "grpc-timeout": "2001m",
        }
    ]


def test_one_connection_carries_one_call_after_another() -> None:
    with (
        RawServer(serving(lambda other, asked: other.answer(asked.stream, asked.message))) as server,
        channel_to(server) as channel,
    ):
        assert [channel.call("/S/M", bytes([number]), PATIENT_S) for number in range(5)] == [
            b"\0",
            b"\1",
            b"\2",
            b"\3",
            b"\4",
        ]
        assert server.accepted == 1


@pytest.mark.parametrize("window", [1, 1_000, 70_000])
def test_a_message_waits_until_the_other_side_has_room(window: int) -> None:
    message = bytes(range(256)) * (1 if window == 1 else 1_200)
    assert (
        called(
            serving(
                lambda other, asked: other.answer(asked.stream, asked.message[:1] + asked.message[-1:]), window=window
            ),
            message,
        )
        == b"\x00\xff"
    )


def test_an_answer_in_many_pieces_is_one() -> None:
    def serve(peer: Peer) -> None:
        other = H2Peer(peer)
        asked = other.next_call()
        other.h2.send_headers(asked.stream, [(":status", "200")])
        for piece in (b"\0\0", b"\0\0\x04", b"", b"ab", b"cd"):
            other.h2.send_data(asked.stream, piece)
            other.flush()
        other.h2.send_headers(asked.stream, [("grpc-status", "0")], end_stream=True)
        other.flush()
        peer.hold()

    assert called(serve) == b"abcd"


def test_a_sign_of_life_is_answered() -> None:
    acknowledged = threading.Event()

    def serve(peer: Peer) -> None:
        other = H2Peer(peer)
        asked = other.next_call()
        other.h2.ping(b"12345678")
        other.flush()
        while not isinstance(other.next_event(), h2.events.PingAckReceived):
            pass
        acknowledged.set()
        other.answer(asked.stream)

    called(serve)
    assert acknowledged.is_set()


# --- calls that are refused ---------------------------------------------------------------------------------


def test_an_unknown_key_is_an_error_of_its_own() -> None:
    error = refused(serving(lambda other, asked: other.refuse(asked.stream, "16", "clé inconnue")))
    assert isinstance(error, AuthError)
    assert str(error).endswith(" answered UNAUTHENTICATED: clé inconnue")


def test_what_another_status_says_is_told() -> None:
    error = refused(serving(lambda other, asked: other.refuse(asked.stream, "3", "app_name: 100% wrong\n\x1b[31m")))
    assert type(error) is Refused
    assert str(error).endswith(" answered INVALID_ARGUMENT: app_name: 100% wrong[31m")


def test_an_endless_text_is_cut() -> None:
    assert len(str(refused(serving(lambda other, asked: other.refuse(asked.stream, "13", "x" * 10_000))))) < 300


@pytest.mark.parametrize(
    ("status", "text"), [("8", "larger than max"), ("2", ""), ("2", "HTTP status code 413"), ("8", "")]
)
def test_a_message_that_is_too_large_is_an_error_of_its_own(status: str, text: str) -> None:
    error = refused(serving(lambda other, asked: other.refuse(asked.stream, status, text)), LARGE)
    assert isinstance(error, TooLarge)


@pytest.mark.parametrize(("status", "text"), [("8", "quota"), ("2", "")])
def test_a_small_message_was_not_refused_for_its_size(status: str, text: str) -> None:
    assert type(refused(serving(lambda other, asked: other.refuse(asked.stream, status, text)), b"small")) is Refused


def test_another_unknown_error_is_none_of_size() -> None:
    assert type(refused(serving(lambda other, asked: other.refuse(asked.stream, "2", "oops")), LARGE)) is Refused


def test_http_413_is_too_large() -> None:
    assert isinstance(refused(serving(lambda other, asked: other.refuse_by_http(asked.stream, "413")), LARGE), TooLarge)


def test_another_status_of_http_is_told() -> None:
    error = refused(serving(lambda other, asked: other.refuse_by_http(asked.stream, "404")))
    assert "answered HTTP 404; is it a collector" in str(error)


def test_a_connection_can_be_used_on_after_a_refusal() -> None:
    def answer(other: H2Peer, asked: Asked) -> None:
        if asked.message == b"no":
            other.refuse(asked.stream, "3")
        else:
            other.answer(asked.stream, b"yes")

    with RawServer(serving(answer)) as server, channel_to(server) as channel:
        with pytest.raises(Refused):
            channel.call("/S/M", b"no", PATIENT_S)
        assert channel.call("/S/M", b"", PATIENT_S) == b"yes"


def test_a_refusal_that_comes_before_the_message_was_sent_is_heard() -> None:
    def serve(peer: Peer) -> None:
        other = H2Peer(peer, window=100, lets_on=False)
        other.refuse(other.next_call(at_once=True).stream, "8", "too large")
        while not isinstance(other.next_event(), h2.events.StreamReset):
            pass
        asked = other.next_call()
        other.answer(asked.stream, b"small enough")

    with RawServer(serve) as server, channel_to(server) as channel:
        with pytest.raises(TooLarge):
            channel.call("/S/M", LARGE, PATIENT_S)
        assert channel.call("/S/M", b"small", PATIENT_S) == b"small enough"


def test_a_refusal_ends_the_sending_although_there_is_room() -> None:
    def serve(peer: Peer) -> None:
        other = H2Peer(peer, window=2**30, lets_on=False)
        other.refuse(other.next_call(at_once=True).stream, "8", "too large")
        gone.wait(PATIENT_S)

    gone = threading.Event()
    with RawServer(serve) as server, channel_to(server) as channel:
        with pytest.raises(TooLarge):
            channel.call("/S/M", bytes(2**26), PATIENT_S)
        gone.set()


def test_a_refusal_before_the_connection_is_closed_is_heard() -> None:
    def serve(peer: Peer) -> None:
        other = H2Peer(peer, lets_on=False)
        other.refuse_by_http(other.next_call(at_once=True).stream, "413")
        other.h2.close_connection()
        other.flush()

    assert isinstance(refused(serve, LARGE), TooLarge)


# --- peers that do not keep to the protocol -----------------------------------------------------------------


def test_a_call_that_the_other_side_did_not_take_can_be_made_again() -> None:
    def answer(other: H2Peer, asked: Asked) -> None:
        other.h2.reset_stream(asked.stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        other.flush()

    assert isinstance(refused(serving(answer)), Gone)


def test_a_call_on_a_connection_that_the_other_side_ends_can_be_made_again() -> None:
    def answer(other: H2Peer, asked: Asked) -> None:
        other.h2.close_connection()
        other.flush()

    assert isinstance(refused(serving(answer)), Gone)


def test_a_connection_that_has_been_ended_takes_no_more_calls() -> None:
    def serve(peer: Peer) -> None:
        other = H2Peer(peer)
        asked = other.next_call()
        other.h2.send_headers(asked.stream, [(":status", "200"), ("grpc-status", "3")], end_stream=True)
        other.h2.close_connection()
        other.flush()
        peer.hold()

    with RawServer(serve) as server, channel_to(server) as channel:
        with pytest.raises(Refused):
            channel.call("/S/M", b"", PATIENT_S)
        with pytest.raises(Gone):
            channel.call("/S/M", b"", PATIENT_S)


def test_a_call_that_is_broken_off_is_an_error() -> None:
    def answer(other: H2Peer, asked: Asked) -> None:
        other.h2.reset_stream(asked.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        other.flush()

    assert "broke its answer off" in str(refused(serving(answer)))


def test_a_peer_that_closes_says_nothing() -> None:
    assert "closed the connection without an answer" in str(refused(lambda peer: H2Peer(peer).next_call() and None))


def test_a_peer_that_resets_is_named() -> None:
    def serve(peer: Peer) -> None:
        H2Peer(peer).next_call()
        peer.reset()

    assert "reset the connection" in str(refused(serve))


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b"\xff" * 100, b"SSH-2.0-x\r\n" * 9]
)
def test_what_is_no_http_2_is_an_error(said: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.send(said)
        peer.hold()

    error = refused(serve)
    assert isinstance(error, ProtocolError)
    assert "is no HTTP/2" in str(error)


def answer_of(raw: bytes, status: str = "0") -> TransportError:
    return refused(serving(lambda other, asked: other.answer(asked.stream, raw=raw, status=status)))


@pytest.mark.parametrize(
    ("raw", "status", "part"),
    [
        (b"", "0", "OK without a message"),
        (b"\1\0\0\0\0", "0", "compressed or cut off"),
        (b"\0\0\0\0\5abc", "0", "compressed or cut off"),
        (b"\0\0\0\0\0", "x", "a status that gRPC does not have"),
        (b"\0\0\0\0\0", "１", "a status that gRPC does not have"),
        (b"\0\0\0\0\0", "99", "answered status 99"),
    ],
)
def test_an_answer_that_grpc_does_not_have_is_an_error(raw: bytes, status: str, part: str) -> None:
    status = status.encode().decode("latin-1")
    assert part in str(answer_of(raw, status))


def test_an_endless_answer_is_refused() -> None:
    def answer(other: H2Peer, asked: Asked) -> None:
        other.h2.send_headers(asked.stream, [(":status", "200")])
        for _ in range(6):
            other.h2.send_data(asked.stream, b"x" * 10_000)
            other.flush()
        while True:
            other.next_event()
            while other.h2.local_flow_control_window(asked.stream) >= 10_000:
                other.h2.send_data(asked.stream, b"x" * 10_000)
                other.flush()

    assert "answered with more than 65536 bytes" in str(refused(serving(answer)))


# --- time ---------------------------------------------------------------------------------------------------


def test_a_peer_that_says_nothing_at_all_is_given_up_in_time() -> None:
    network = Network(connect_timeout_s=PATIENT_S, read_timeout_s=QUICK_S, proxy="")
    began_s = time.monotonic()
    with RawServer(Peer.hold) as server, pytest.raises(Overdue), channel_to(server, network=network):
        pass
    assert QUICK_S <= time.monotonic() - began_s < PATIENT_S


def test_a_call_that_is_never_answered_ends_in_time() -> None:
    began_s = time.monotonic()
    assert isinstance(refused(serving(lambda other, asked: None), timeout_s=QUICK_S), Overdue)
    assert QUICK_S <= time.monotonic() - began_s < PATIENT_S


def test_a_message_for_which_there_is_never_room_ends_in_time() -> None:
    def serve(peer: Peer) -> None:
        H2Peer(peer, window=10, lets_on=False).next_call(at_once=True)
        peer.hold()

    assert isinstance(refused(serve, LARGE, QUICK_S), Overdue)


def test_signs_of_life_do_not_put_off_the_end() -> None:
    def serve(peer: Peer) -> None:
        other = H2Peer(peer)
        other.next_call()
        while True:
            other.h2.ping(b"12345678")
            other.flush()
            while not isinstance(other.next_event(), h2.events.PingAckReceived):
                pass

    began_s = time.monotonic()
    assert isinstance(refused(serve, timeout_s=QUICK_S), Overdue)
    assert time.monotonic() - began_s < PATIENT_S


def test_another_thread_can_end_a_call() -> None:
    waker = Waker()

    def serve(peer: Peer) -> None:
        H2Peer(peer).next_call()
        waker.wake()
        peer.hold()

    with RawServer(serve) as server, channel_to(server, waker=waker) as channel, pytest.raises(Interrupted):
        channel.call("/S/M", b"", PATIENT_S)


# --- ways to the other side ---------------------------------------------------------------------------------


def test_tls_offers_http_2() -> None:
    chosen: list[Any] = []

    def serve(peer: Peer) -> None:
        socket: Any = peer.socket
        chosen.append(socket.selected_alpn_protocol())
        serving(lambda other, asked: other.answer(asked.stream, b"in secret"))(peer)

    network = Network(connect_timeout_s=PATIENT_S, proxy="", ca_file=str(TLS_FOLDER / "loopback.crt"))
    server = RawServer(serve, certificate="loopback")
    assert server._context is not None
    server._context.set_alpn_protocols(["h2"])
    with server, channel_to(server, network=network, is_secure=True) as channel:
        assert channel.call("/S/M", b"", PATIENT_S) == b"in secret"
    assert chosen == ["h2"]


class Together(Peer):
    """Says what comes first together with what comes next."""

    first = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(self.first + data)
        self.first = b""


def through_a_proxy(serve: Callable[[Peer], object]) -> bytes:
    """Make a call by a proxy, to a collector that it alone knows."""
    with RawServer(serve) as server:
        network = Network(proxy=f"http://ana:5ecret@{server.peer}")
        waker = Waker()
        try:
            connector = Connector(network, waker, time.monotonic, alpn=ALPN)
            target = Target(host="collector.test", port=8080, is_secure=False)
            channel = Channel(connector, target, time.monotonic, PATIENT_S)
            try:
                return channel.call("/S/M", b"", PATIENT_S)
            finally:
                channel.close()
        finally:
            waker.close()


def test_a_collector_that_speaks_first_is_heard_through_a_proxy() -> None:
    requests = []

    def serve(peer: Peer) -> None:
        requests.append(peer.read_request().splitlines())
        other = Together(peer.socket)
        other.first = b"HTTP/1.1 200 Connection established\r\n\r\n"
        serving(lambda other, asked: other.answer(asked.stream, b"heard"))(other)

    assert through_a_proxy(serve) == b"heard"
    assert requests == [
        [
            "CONNECT collector.test:8080 HTTP/1.1",
            "Host: collector.test:8080",
            "Proxy-Authorization: Basic YW5hOjVlY3JldA==",
        ]
    ]


def test_a_proxy_that_does_not_connect_us_is_named() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.answer(status="407 Proxy Authentication Required")

    with pytest.raises(TransportError, match=r"does not connect us to collector\.test:8080 \(HTTP 407\)"):
        through_a_proxy(serve)


def test_a_certificate_that_nobody_trusts_is_refused() -> None:
    server = RawServer(Peer.hold, certificate="loopback")
    with (
        server,
        pytest.raises(TransportError, match="its certificate is not trusted"),
        channel_to(server, is_secure=True),
    ):
        pass
