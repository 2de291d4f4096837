"""Finding a collector: what it is asked, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from flagmw.connecting import Target
from flagmw.errors import TransportError
from flagmw.session import HttpSession
from flagmw.usage.scavenger.bootstrap import find_collector, target_of
from tests.unit.network_support import PATIENT, QUICK, Peer, RawServer

KEY = "a&b =/?5ecret"


def found(serve: Callable[[Peer], object], path: str = "", network: object = PATIENT) -> Target:
    with RawServer(serve) as server, closing(HttpSession(PATIENT if network is PATIENT else QUICK)) as session:
        return find_collector(session, f"http://{server.peer}{path}", KEY)


def refused(serve: Callable[[Peer], object], network: object = PATIENT) -> str:
    with pytest.raises(TransportError) as caught:
        found(serve, network=network)
    assert "5ecret" not in str(caught.value)
    return str(caught.value)


def answering(body: bytes, status: str = "200 OK") -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.answer(body, status)

    return serve


def test_a_collector_says_where_it_takes_grpc() -> None:
    assert found(answering(b'{\n  "collectorUrl": "10.0.0.1:8080",\n "other": 1\n}')) == Target(
        host="10.0.0.1", port=8080, is_secure=False
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", "/javaagent"), ("/", "/javaagent"), ("/prefix", "/prefix/javaagent"), ("/prefix//", "/prefix/javaagent")],
)
def test_the_key_is_written_so_that_it_stays_one(path: str, expected: str) -> None:
    requests = []

    def serve(peer: Peer) -> None:
        requests.append(peer.read_request().splitlines()[0])
        peer.answer(b'{"collectorUrl": "h:1"}')

    found(serve, path)
    assert requests == [f"GET {expected}/v5/initConfig?licenseKey=a%26b%20%3D%2F%3F5ecret HTTP/1.1"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>",
        b"[]",
        b"\xff",
        b"[" * 60_000,
        b"{}",
        b'{"collectorUrl": ""}',
        b'{"collectorUrl": 5}',
        b'{"collectorUrl": "http://h:1"}',
        b'{"collectorUrl": "h:port"}',
    ],
)
def test_an_answer_that_does_not_say_where_is_an_error(body: bytes) -> None:
    assert "is server_url that of a collector?" in refused(answering(body))


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Oops", "204 No Content"])
def test_another_status_is_an_error(status: str) -> None:
    assert f"answered HTTP {status[:3]}" in refused(answering(b'{"collectorUrl": "h:1"}', status))


def test_an_endless_answer_is_an_error() -> None:
    assert "more than 65536 bytes" in refused(answering(b" " * 70_000))


def test_a_server_that_never_answers_is_given_up() -> None:
    assert "did not answer in time" in refused(Peer.hold, network=QUICK)


@pytest.mark.parametrize(
    ("collector_url", "server_url", "expected"),
    [
        ("h:8080", "http://h:8080", ("h", 8080, False)),
        ("h", "http://h", ("h", 80, False)),
        ("h", "http://h:8080", ("h", 80, False)),
        ("[::1]:8080", "http://[::1]:8080", ("::1", 8080, False)),
        ("h:8443", "https://h:8443", ("h", 8443, True)),
        ("h", "https://h", ("h", 443, True)),
        ("H:443", "https://h", ("h", 443, True)),
        ("h:8080", "https://h", ("h", 8080, False)),
        ("other", "https://h", ("other", 80, False)),
    ],
)
def test_tls_is_spoken_to_the_server_that_was_asked_by_https(
    collector_url: str, server_url: str, expected: tuple[str, int, bool]
) -> None:
    target = target_of(collector_url, server_url)
    assert target is not None
    assert (target.host, target.port, target.is_secure) == expected


@pytest.mark.parametrize("text", ["", ":80", "h:0", "h:99999", "u@h:1", "h:1/x", "h:1?x", "h :1", "h\n:1", "[::1"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert target_of(text, "http://h") is None
