"""A line: every wait on it ends, and it is enough of a socket for the libraries above."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from flagmw.errors import ProtocolError, TransportError
from flagmw.lifecycle.waker import Waker
from flagmw.line import MAX_HEAD_BYTES, Interrupted, Line, Overdue, retry_after_s


@dataclass
class Pair:
    line: Line
    far: socket.socket
    waker: Waker


@pytest.fixture
def pair() -> Iterator[Pair]:
    with _pair() as made:
        yield made


@contextmanager
def _pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    near.settimeout(0)
    waker = Waker()
    line = Line(near, "flags.example:443", waker, time.monotonic)
    try:
        yield Pair(line, far, waker)
    finally:
        near.close()
        far.close()
        waker.close()


def bounded(line: Line, seconds: float = 0.2) -> float:
    now = time.monotonic()
    line.deadline_s = now + seconds
    return now


def test_a_wait_ends_at_the_deadline(pair: Pair) -> None:
    began = bounded(pair.line)
    with pytest.raises(Overdue, match=r"flags\.example:443 did not answer in time"):
        pair.line.recv(1)
    assert 0.1 < time.monotonic() - began < 1.0


def test_the_deadline_is_for_all_reads_together(pair: Pair) -> None:
    began = bounded(pair.line)
    with pytest.raises(Overdue):
        _listen_to_drips(pair)
    assert time.monotonic() - began < 1.0


def _listen_to_drips(pair: Pair) -> None:
    while True:
        pair.far.send(b"x")
        pair.line.recv(1)


def test_a_wait_ends_when_another_thread_wakes_it(pair: Pair) -> None:
    timer = threading.Timer(0.05, pair.waker.wake)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        pair.line.recv(1)
    assert time.monotonic() - began < 1.0
    timer.join()


def test_who_was_woken_reads_nothing_more(pair: Pair) -> None:
    pair.far.send(b"x")
    pair.waker.wake()
    with pytest.raises(Interrupted):
        pair.line.recv(1)


def test_waking_twice_and_after_the_end_does_no_harm() -> None:
    waker = Waker()
    waker.wake()
    assert waker.fileno() >= 0
    for _ in range(100_000):
        waker.wake()
    waker.close()
    waker.wake()
    assert waker.woken


def test_sending_to_somebody_who_does_not_read_ends_at_the_deadline(pair: Pair) -> None:
    began = bounded(pair.line)
    with pytest.raises(Overdue):
        pair.line.sendall(b"x" * 100_000_000)
    assert time.monotonic() - began < 2.0


def test_sending_to_somebody_who_does_not_read_ends_when_another_thread_wakes_it(pair: Pair) -> None:
    timer = threading.Timer(0.05, pair.waker.wake)
    timer.start()
    with pytest.raises(Interrupted):
        pair.line.sendall(b"x" * 100_000_000)
    timer.join()


def test_everything_that_is_sent_arrives(pair: Pair) -> None:
    data = bytes(range(256)) * 20_000
    got = bytearray()

    def read() -> None:
        while more := pair.far.recv(65536):
            got.extend(more)

    reader = threading.Thread(target=read)
    reader.start()
    pair.line.sendall(data)
    pair.line.close()
    reader.join(10)
    assert got == data


def test_the_end_of_the_stream_is_nothing_to_read(pair: Pair) -> None:
    pair.far.close()
    assert pair.line.recv(1) == b""


def test_a_last_word_is_said_even_by_who_was_woken(pair: Pair) -> None:
    pair.waker.wake()
    pair.line.send_at_once(b"bye")
    assert pair.far.recv(3) == b"bye"


def test_a_last_word_to_nobody_is_no_error(pair: Pair) -> None:
    pair.far.close()
    pair.line.send_at_once(b"bye")
    pair.line.send_at_once(b"bye")


def test_what_happened_to_the_peer_is_a_transport_error(pair: Pair) -> None:
    pair.far.close()
    with pytest.raises(TransportError, match=r"flags\.example:443 reset the connection"):
        pair.line.sendall(b"x" * 1_000_000)


def test_when_something_was_heard_is_remembered(pair: Pair) -> None:
    began = pair.line.heard_s
    while time.monotonic() <= began:
        pass
    pair.far.send(b"x")
    pair.line.recv(1)
    assert pair.line.heard_s > began


def test_a_file_keeps_a_closed_line_open_until_it_is_closed_itself(pair: Pair) -> None:
    file = pair.line.makefile("rb")
    pair.line.close()
    pair.far.sendall(b"still here\n")
    assert file.readline() == b"still here\n"
    file.close()
    assert pair.line.fileno() == -1


def test_closing_a_file_leaves_an_open_line_open(pair: Pair) -> None:
    pair.line.makefile("rb").close()
    assert pair.line.fileno() >= 0


def test_the_other_side_learns_of_the_end_though_a_child_holds_the_socket(pair: Pair) -> None:
    held_by_a_child = os.dup(pair.line.fileno())
    pair.line.close()
    pair.far.settimeout(5.0)
    assert pair.far.recv(1) == b""
    os.close(held_by_a_child)


def test_a_forked_child_that_closes_its_copy_does_not_end_the_connection_of_its_parent() -> None:
    code = (
        "import os, socket, time\n"
        "from flagmw.lifecycle.waker import Waker\n"
        "from flagmw.line import Line\n"
        "near, far = socket.socketpair()\n"
        "near.settimeout(0)\n"
        "line = Line(near, 'peer', Waker(), time.monotonic)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    line.close()\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "far.sendall(b'still here')\n"
        "print(line.recv(20).decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "still here\n"


# --- heads of answers -----------------------------------------------------------------------------------------


def test_a_head_is_read_and_what_follows_it_stays(pair: Pair) -> None:
    pair.far.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-Two:  2 \r\n\r\nrest")
    head = pair.line.read_head()
    assert (head.status, dict(head.headers)) == (101, {"upgrade": "websocket", "x-two": "2"})
    assert (pair.line.has_unread, pair.line.recv(2), pair.line.recv(9), pair.line.has_unread) == (
        True,
        b"re",
        b"st",
        False,
    )


@pytest.mark.parametrize(
    "text",
    [
        b"garbage",
        b"\0" * 50,
        b"HTTPS/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"X 200 OK\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_head_is_a_protocol_error_at_once(text: bytes, pair: Pair) -> None:
    bounded(pair.line, 5.0)
    pair.far.sendall(text)
    with pytest.raises(ProtocolError, match=r"flags\.example:443 answered something that is no HTTP"):
        pair.line.read_head()


def test_a_head_without_end_is_refused(pair: Pair) -> None:
    bounded(pair.line, 5.0)
    feeder = threading.Thread(target=pair.far.sendall, args=(b"HTTP/1.1 200 OK\r\n" + b"x" * (MAX_HEAD_BYTES + 5000),))
    feeder.start()
    with pytest.raises(ProtocolError):
        pair.line.read_head()
    feeder.join(5)


def test_a_peer_that_goes_before_its_head_is_complete_is_an_error(pair: Pair) -> None:
    pair.far.sendall(b"HTTP/1.1 200 OK\r\n")
    pair.far.close()
    with pytest.raises(TransportError, match="closed the connection without an answer"):
        pair.line.read_head()


# --- being asked to wait --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("86400", 300.0),
        ("9" * 400, 300.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("²", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:30 GMT", 0.0),
        ("Wed, 21 Oct 2025 07:28:00 GMT", 300.0),
    ],
)
def test_a_pause_is_read_in_seconds_or_as_a_date_by_the_services_clock(text: str, expected: float) -> None:
    assert retry_after_s({"retry-after": text, "date": "Wed, 21 Oct 2015 07:28:00 GMT"}) == expected


def test_a_date_without_the_services_clock_says_nothing() -> None:
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}) == 0.0
