"""Requests: one deadline for each, nothing read without bound, secrets for one origin only."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from flagmw.errors import ProtocolError, TransportError
from flagmw.line import Overdue
from flagmw.session import Answer
from tests.unit.network_support import QUICK, SECRET, Peer, RawServer, free_port
from tests.unit.session_support import HEADERS, answering, failing, get, saying, session

# --- asking and being answered --------------------------------------------------------------------------------


def test_an_answer_has_status_headers_in_lower_case_and_body() -> None:
    with RawServer(answering(b'{"a":1}', "418 I'm a teapot", ETag='"x"', Last_Modified="then")) as server:
        answer = get(server)
    assert (answer.status, answer.body) == (418, b'{"a":1}')
    assert (answer.headers["etag"], answer.headers["last-modified"]) == ('"x"', "then")


def test_method_path_headers_and_body_arrive_as_given() -> None:
    requests_seen = []

    def serve(peer: Peer) -> None:
        requests_seen.append(peer.read_request())
        requests_seen.append(peer.read_exactly(5).decode())
        peer.answer()

    with RawServer(serve) as server, session() as made:
        made.request("POST", f"http://{server.peer}/track?a=b", {**HEADERS, "Content-Type": "text/x"}, b"hello", 10)
    head = requests_seen[0].split("\r\n")
    assert head[0] == "POST /track?a=b HTTP/1.1"
    assert {f"Host: {server.peer}", f"Authorization: {SECRET}", "Content-Type: text/x", "Content-Length: 5"} <= set(
        head
    )
    assert "Accept-Encoding: gzip" in head
    assert requests_seen[1] == "hello"


def test_an_answer_shows_neither_headers_nor_body() -> None:
    answer = Answer(status=200, headers={"set-cookie": SECRET}, body=SECRET.encode())
    assert SECRET not in repr(answer)


def test_a_connection_is_kept_for_the_next_request() -> None:
    with RawServer(answering()) as server, session() as made:
        for _ in range(3):
            made.request("GET", f"http://{server.peer}/", HEADERS)
    assert server.accepted == 1


@pytest.mark.parametrize("body", [b"", b"x" * 70_000])
def test_a_body_without_a_length_ends_with_the_connection(body: bytes) -> None:
    with RawServer(saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)) as server:
        assert get(server, max_bytes=100_000).body == body


def test_a_body_in_chunks_is_put_together() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with RawServer(saying(answer)) as server:
        assert get(server).body == b"abcde"


def test_an_answer_without_a_body_is_an_answer() -> None:
    with RawServer(saying(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")) as server:
        assert get(server).status == 304


# --- a connection that was kept -------------------------------------------------------------------------------


def closing_after_one(peer: Peer) -> None:
    """Answer one request and hang up when the second one comes."""
    peer.read_request()
    peer.answer()
    peer.read_request()


def test_a_kept_connection_that_the_server_closes_on_use_is_replaced_unnoticed() -> None:
    with RawServer(closing_after_one) as server, session() as made:
        for _ in range(3):
            assert made.request("GET", f"http://{server.peer}/", HEADERS).status == 200


def test_what_may_have_been_done_is_not_asked_for_a_second_time() -> None:
    with RawServer(closing_after_one) as server, session() as made:
        made.request("POST", f"http://{server.peer}/", HEADERS, b"")
        with pytest.raises(TransportError, match="closed the connection without an answer"):
            made.request("POST", f"http://{server.peer}/", HEADERS, b"")


def test_a_fresh_connection_that_is_closed_is_not_tried_twice() -> None:
    with RawServer(Peer.read_request) as server:
        with pytest.raises(TransportError, match="closed the connection without an answer"):
            get(server)
        assert server.accepted == 1


def test_a_kept_connection_that_stalls_is_not_tried_twice() -> None:
    asked = []

    def serve(peer: Peer) -> None:
        while True:
            asked.append(peer.read_request())
            if len(asked) == 1:
                peer.answer()

    with RawServer(serve) as server, session(QUICK) as made:
        made.request("GET", f"http://{server.peer}/", HEADERS)
        with pytest.raises(Overdue):
            made.request("GET", f"http://{server.peer}/", HEADERS)
    assert len(asked) == 2


# --- compression and size -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b"x" * 900)), ("GZip", gzip.compress(b"x" * 900)), ("deflate", zlib.compress(b"x" * 900))],
)
def test_a_compressed_body_is_unpacked(encoding: str, packed: bytes) -> None:
    with RawServer(answering(packed, Content_Encoding=encoding)) as server:
        assert get(server).body == b"x" * 900


@pytest.mark.parametrize("body", [b"x" * 1000, b""])
def test_a_body_of_the_largest_size_is_taken(body: bytes) -> None:
    with RawServer(answering(gzip.compress(body), Content_Encoding="gzip")) as server:
        assert get(server).body == body


def test_a_body_that_grows_too_large_in_unpacking_is_refused_before_it_has() -> None:
    packed = gzip.compress(b"\0" * 100_000_000, 1)
    with RawServer(answering(packed, Content_Encoding="gzip")) as server, session() as made:
        made.request("GET", f"http://{server.peer}/", HEADERS, None, 200_000_000)  # imports what it needs
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match="answered with more than 1000 bytes"):
                made.request("GET", f"http://{server.peer}/", HEADERS, None, 1000)
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


def test_a_body_that_is_too_large_is_refused_by_its_declared_length() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8589934592\r\n\r\n"
    assert str(failing(saying(answer, Peer.hold))).endswith("answered with more than 1000 bytes")


def test_a_body_that_is_too_large_is_refused_while_it_is_read() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x" * 65536)

    assert str(failing(serve)).endswith("answered with more than 1000 bytes")


def test_an_encoding_that_was_not_asked_for_is_refused() -> None:
    assert isinstance(failing(answering(b"...", Content_Encoding="br")), ProtocolError)


@pytest.mark.parametrize("packed", [b"no gzip", b"\x1f\x8b\x08\x00" + b"\xff" * 30])
def test_what_cannot_be_unpacked_is_refused(packed: bytes) -> None:
    assert isinstance(failing(answering(packed, Content_Encoding="gzip")), ProtocolError)


# --- answers that go wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"\x16\x03\x01\x00\x05", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/9 200\r\n\r\n"],
)
def test_what_is_no_http_is_a_protocol_error(answer: bytes) -> None:
    assert isinstance(failing(saying(answer)), ProtocolError)


def test_a_header_line_without_end_is_a_protocol_error() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            peer.send(b"x" * 65536)

    assert isinstance(failing(serve), ProtocolError)


def test_headers_without_end_are_a_protocol_error() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            peer.send(b"X-Header: x\r\n" * 1000)

    assert isinstance(failing(serve), ProtocolError)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(range(256)))[:-20],
    ],
)
def test_an_answer_that_breaks_off_is_an_error(answer: bytes) -> None:
    assert str(failing(saying(answer))).endswith("broke its answer off")


def test_a_reset_is_told() -> None:
    assert str(failing(saying(b"", Peer.reset))).endswith("reset the connection")


def test_a_refused_connection_is_told() -> None:
    port = free_port()
    with session() as made, pytest.raises(TransportError, match=f"^127.0.0.1:{port} refused the connection$"):
        made.request("GET", f"http://127.0.0.1:{port}/{SECRET}", HEADERS)


@pytest.mark.parametrize("url", ["", "nothing", "ftp://h/", "http://", f"http://h:x/{SECRET}"])
def test_an_address_that_is_none_is_an_error_that_does_not_show_it(url: str) -> None:
    with session() as made, pytest.raises(TransportError) as caught:
        made.request("GET", url, HEADERS)
    assert SECRET not in str(caught.value)


def test_a_header_that_would_break_out_of_its_line_is_an_error_that_does_not_show_it() -> None:
    with RawServer(answering()) as server, session() as made, pytest.raises(TransportError) as caught:
        made.request("GET", f"http://{server.peer}/", {"Authorization": f"{SECRET}\r\nX: y"})
    assert SECRET not in str(caught.value)
