"""Bringing flags once, in the calling thread: what a warming master does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.providers.bootstrapping import BootstrappedSource, OfflineSource
from flagmw.status import Role
from flagmw.transports import Source
from flagmw.transports.file import FileSource
from flagmw.transports.polling import PollingSource
from flagmw.transports.pulse import Pulse
from flagmw.transports.shared import SharedSource
from flagmw.transports.streaming import StreamSource
from tests.services.blackhole import BlackHole
from tests.unit.network_support import (
    PATIENT,
    SECRET,
    Memory,
    Peer,
    Question,
    RawServer,
    Wire,
    descriptors,
    frame,
    running,
)
from tests.unit.shared_support import Hub, Numbers, file_in, place_in, receiving
from tests.unit.stream_support import saying, stream
from tests.unit.support import until

LIMIT_S = 0.3


def polled(url: str) -> PollingSource:
    return PollingSource(Question(f"{url}/{SECRET}"), PATIENT, interval_s=60.0)


def streamed(url: str) -> StreamSource:
    return StreamSource(Wire(f"{url}/streaming?token={SECRET}"), PATIENT)


def fetched(source: Source, timeout_s: float = 5.0) -> Numbers:
    """Fetch, and see that nothing is left of it."""
    numbers = Numbers()
    before = descriptors(), threading.active_count()
    source.fetch(numbers, timeout_s)
    until(lambda: (descriptors(), threading.active_count()) == before)  # the server's end is in this process, too
    return numbers


def test_a_poll_brings_its_document() -> None:
    with RawServer(lambda peer: peer.answer(b"7")) as server:
        assert fetched(polled(f"http://{server.peer}")).number == 7
        assert server.accepted == 1


def test_a_stream_brings_its_first_flags_and_takes_its_leave() -> None:
    heard: list[tuple[int, bytes]] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        heard.append(peer.read_frame())
        peer.send(frame(b"no number") + frame(b"7"))
        heard.append(peer.read_frame())

    with RawServer(serve) as server:
        assert fetched(stream(server)).number == 7
        until(lambda: len(heard) == 2)
    assert heard[0] == (1, b"everything")
    assert heard[1][0] == 8


def test_a_stream_ends_when_flags_at_hand_are_confirmed() -> None:
    numbers = Numbers(7)
    with RawServer(saying(frame(b"7"))) as server:
        stream(server).fetch(numbers, 5.0)
    assert numbers.seen == [7]
    assert numbers.errors == []


@pytest.mark.parametrize("kind", ["poll", "stream"])
@pytest.mark.parametrize("how", ["black hole", "silent", "dripping"])
def test_a_service_that_does_not_answer_is_given_up_in_time(kind: str, how: str) -> None:
    def serve(peer: Peer) -> None:
        if how == "dripping":
            peer.read_request()
            for byte in b"HTTP/1.1 200 OK and so on, for ever and ever, and longer than anybody waits":
                peer.send(bytes([byte]))
                time.sleep(0.05)
        peer.hold()

    with BlackHole() as hole, RawServer(serve) as server:
        address = hole.url.removeprefix("http://") if how == "black hole" else server.peer
        source: Source = polled(f"http://{address}") if kind == "poll" else streamed(f"ws://{address}")
        numbers = Numbers()
        began = time.monotonic()
        source.fetch(numbers, LIMIT_S)
        took_s = time.monotonic() - began
    assert LIMIT_S / 3 < took_s < LIMIT_S + 0.2
    assert [type(error) for error in numbers.errors] != []
    assert "trying again" not in str(numbers.errors[0])
    assert SECRET not in str(numbers.errors[0])


def test_a_stream_that_says_nothing_of_flags_is_given_up_in_time() -> None:
    numbers = Numbers()
    with RawServer(saying(frame(b"no number"))) as server:
        began = time.monotonic()
        stream(server).fetch(numbers, LIMIT_S)
        took_s = time.monotonic() - began
    assert took_s < LIMIT_S + 0.2
    assert [isinstance(error, TransportError) for error in numbers.errors] == [True]


@pytest.mark.parametrize("kind", ["poll", "stream"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [("403 No", AuthError), ("503 Later", TransportError), ("garbage", ProtocolError)],
)
def test_why_there_are_no_flags_is_delivered(kind: str, answer: str, expected: type[TransportError]) -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        if answer == "garbage":
            peer.send(b"no HTTP at all\r\n\r\n")
        else:
            peer.answer(status=answer)
        peer.hold()

    with RawServer(serve) as server:
        source: Source = polled(f"http://{server.peer}") if kind == "poll" else streamed(f"ws://{server.peer}")
        numbers = fetched(source)
    (error,) = numbers.errors
    assert type(error) is expected
    assert "trying again" not in str(error)


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "flags.json").write_text("7")
    source = FileSource([tmp_path / "flags.json"], max_bytes=100, poll_interval_s=1.0, wall_clock=time.time)
    assert fetched(source).number == 7


def test_offline_the_bootstrap_document_is_there() -> None:
    assert fetched(OfflineSource(b"7")).number == 7


# --- bootstrap ----------------------------------------------------------------------------------------------------


def test_a_bootstrap_document_counts_only_where_the_service_brings_nothing() -> None:
    with RawServer(lambda peer: peer.answer(b"7")) as server:
        numbers = fetched(BootstrappedSource(b"3", polled(f"http://{server.peer}")))
    assert numbers.seen == [7]
    with RawServer(lambda peer: peer.answer(status="503 Later")) as server:
        numbers = fetched(BootstrappedSource(b"3", polled(f"http://{server.peer}")))
    assert numbers.seen == [3]
    assert numbers.snapshot is not None
    assert numbers.snapshot.is_stale


def test_flags_that_the_host_shares_precede_the_bootstrap_document(tmp_path: Path) -> None:
    hub = Hub(number=7)
    SharedSource(hub.source, place_in(tmp_path), pushes=True).fetch(Numbers(), 1.0)
    numbers = Numbers()
    shared = SharedSource(hub.source, place_in(tmp_path), pushes=True)
    BootstrappedSource(b"3", shared).open(numbers)
    assert numbers.seen == [3]  # nobody has written anything yet

    source = SharedSource(hub.source, place_in(tmp_path), pushes=True)
    with receiving(source, Numbers()):
        until(file_in(tmp_path).exists)
    numbers = Numbers()
    BootstrappedSource(b"3", SharedSource(hub.source, place_in(tmp_path), pushes=True)).open(numbers)
    assert numbers.seen == [7]


def test_bootstrap_flags_are_never_shared(tmp_path: Path) -> None:
    hub = Hub(error=TransportError("the hub is down"))
    numbers = Numbers()
    source = BootstrappedSource(b"3", SharedSource(hub.source, place_in(tmp_path), pushes=True, period_s=0.05))
    with receiving(source, numbers):
        until(lambda: source.role is Role.LEADER)
        assert numbers.number == 3
        assert not file_in(tmp_path).exists()
        hub.number = 7
        hub.fail(None)
        until(file_in(tmp_path).exists)
        assert numbers.number == 7


def test_bootstrap_flags_are_no_place_to_resume_from() -> None:
    heard: list[bytes] = []

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        heard.append(peer.read_frame()[1])
        peer.send(frame(b"7"))
        peer.hold()

    with RawServer(serve) as server, receiving(BootstrappedSource(b"3", stream(server)), Numbers()):
        until(lambda: heard == [b"everything"])


# --- signs of life ------------------------------------------------------------------------------------------------


def test_a_pulse_tells_how_long_a_thread_is_overdue() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])
    assert pulse.last_s is None
    pulse.rest()
    now[0] = 101.0
    assert pulse.last_s == 100.0
    pulse.rest(5.0)
    assert pulse.last_s == 101.0
    now[0] = 106.0
    assert pulse.last_s == 106.0
    now[0] = 110.0
    assert pulse.last_s == 106.0


def lives(source: Source) -> bool:
    heartbeat_s = source.heartbeat_s
    return heartbeat_s is not None and time.monotonic() - heartbeat_s < 1.0


@pytest.mark.parametrize("make", [polled, streamed])
def test_sources_live_while_they_wait_and_are_silent_when_they_have_ended(make: Callable[[str], Source]) -> None:
    with BlackHole() as hole:
        source = make(hole.url if make is polled else hole.ws_url)
        assert source.heartbeat_s is None
        with running(source):
            until(lambda: lives(source))
        ended_s = source.heartbeat_s
        assert ended_s is not None
        until(lambda: time.monotonic() > ended_s + 0.05)
        assert source.heartbeat_s == ended_s


def test_a_source_that_a_callback_holds_up_gives_no_sign_of_life() -> None:
    class Stuck(Memory):
        def deliver(self, delivery: object) -> bool:
            entered.set()
            return leave.wait(5.0)

    entered, leave = threading.Event(), threading.Event()
    with RawServer(saying(frame(b"7"))) as server:
        source = stream(server)
        with running(source, Stuck()):
            assert entered.wait(5.0)
            held_s = source.heartbeat_s
            assert held_s is not None
            until(lambda: time.monotonic() > held_s + 0.05)
            assert source.heartbeat_s == held_s
            leave.set()
            until(lambda: source.heartbeat_s != held_s)


def test_a_stream_agrees_only_while_it_is_connected_and_has_heard_of_flags() -> None:
    go_on, go_away = threading.Event(), threading.Event()

    def serve(peer: Peer) -> None:
        peer.accept_stream()
        peer.read_frame()
        go_on.wait(5.0)
        peer.frame(b"7")
        go_away.wait(5.0)

    with RawServer(serve) as server:
        source = stream(server, first_retry_delay_s=5.0, max_retry_delay_s=5.0)
        with running(source):
            until(lambda: lives(source))
            assert source.agreed_s is None
            go_on.set()
            until(lambda: source.agreed_s is not None)
            go_away.set()
            until(lambda: source.agreed_s is None)


def test_files_agree_when_all_of_them_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    source = FileSource([path], max_bytes=100, poll_interval_s=0.02, wall_clock=time.time)
    source.open(Memory())
    assert source.agreed_s is None
    path.write_text(json.dumps({}))
    with running(source):
        until(lambda: source.agreed_s is not None and lives(source))
