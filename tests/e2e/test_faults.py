"""Flag services that misbehave, each in each way: callers notice nothing, flags stay, and all is well again afterwards.

A client streams from FeatBit or polls Hackle. While its service misbehaves, a thread goes on evaluating a flag.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from flagmw import Client, State
from flagmw.network import Network
from flagmw.providers import FeatBit, Hackle, StreamOptions
from tests.leaks import remember
from tests.services.environments import featbit, hackle
from tests.services.faults import (
    GARBAGE,
    At,
    CloseWith,
    Drip,
    Endpoint,
    Fault,
    Giant,
    HalfClose,
    Hangup,
    Reset,
    Side,
    Stall,
    Status,
)
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer
from tests.services.proxies import ForwardProxy
from tests.unit.support import until

PATIENCE_S = 20.0
CLOSE_S = 1.0
BOUNDED = Network(connect_timeout_s=0.5, read_timeout_s=0.5, proxy="")
STREAM = StreamOptions(ping_interval_s=0.3, first_retry_delay_s=0.02, max_retry_delay_s=0.1)
USER = {"key": "u-1", "name": "Ann", "id": "u-1"}


# --- the services ---------------------------------------------------------------------------------------------


class Streamed:
    """FeatBit, streamed."""

    endpoint = Endpoint.STREAM
    name = "FeatBit stream"

    def __init__(self) -> None:
        self.server = FeatBitServer()

    def provider(self, network: Network) -> FeatBit:
        server = self.server
        return FeatBit(
            server.secret,
            streaming_url=server.ws_url,
            event_url=server.url,
            stream=STREAM,
            network=network,
            events=False,
        )

    def put(self, *, is_on: bool) -> None:
        self.server.put_flag(featbit.boolean_flag("f", serves=is_on))

    def is_on(self, client: Client) -> bool:
        return client.is_enabled("f", USER)

    def begin(self, fault: Fault) -> None:
        """Misbehave from now on; whoever is connected has to come back."""
        self.server.misbehave(fault, on=self.endpoint)
        self.server.strike(Reset())

    def secret(self) -> str:
        return self.server.secret


class Polled:
    """Hackle, polled."""

    endpoint = Endpoint.CONFIG
    name = "Hackle config"

    def __init__(self) -> None:
        self.server = HackleServer()
        self.server.sends_etag = self.server.sends_last_modified = False  # a body for each request

    def provider(self, network: Network) -> Hackle:
        server = self.server
        return Hackle(
            server.sdk_key,
            sdk_url=server.url,
            event_url=server.url,
            poll_interval_s=0.05,
            network=network,
            events=False,
        )

    def put(self, *, is_on: bool) -> None:
        workspace = hackle.small_workspace()
        workspace["featureFlags"][0]["execution"]["defaultRule"] = hackle.serve(82 if is_on else 81)
        self.server.load(workspace)

    def is_on(self, client: Client) -> bool:
        return client.is_enabled(7, USER)

    def begin(self, fault: Fault) -> None:
        """Misbehave from now on."""
        self.server.misbehave(fault, on=self.endpoint)

    def secret(self) -> str:
        return self.server.sdk_key


Service = Streamed | Polled


@dataclass
class Scene:
    """A client in sync with its service, the flag on, and somebody who evaluates it all the time."""

    service: Service
    client: Client
    proxy: ForwardProxy | None
    seen: set[Any] = field(default_factory=set)
    hole: Hole | None = None

    def state(self) -> State:
        return self.client.status.state

    def error(self) -> str:
        return self.client.status.error or ""


@contextmanager
def scene(kind: type[Service], *, by_proxy: bool = False) -> Iterator[Scene]:
    with ExitStack() as stack:
        service = kind()
        stack.enter_context(service.server)
        remember(service.secret())
        proxy = stack.enter_context(ForwardProxy()) if by_proxy else None
        service.put(is_on=True)
        client = Client(service.provider(BOUNDED if proxy is None else replace(BOUNDED, proxy=proxy.url)))
        stack.callback(client.close)
        assert client.wait_until_ready(PATIENCE_S)
        made = Scene(service, client, proxy)
        stack.enter_context(_evaluating(made))
        until(lambda: made.seen)
        yield made
        if made.hole is not None:
            made.hole.close()


@contextmanager
def _evaluating(made: Scene) -> Iterator[None]:
    """Evaluate the flag all the time, and keep what came, values or exceptions."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.001):
            try:
                made.seen.add(made.service.is_on(made.client))
            except BaseException as error:
                made.seen.add(repr(error))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE_S)


class Hole:
    """A port with a full backlog, in the place of a server that just closed it."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", port), backlog=0)]
        while self._fits_one_more(port):
            assert len(self._sockets) < 64, "the backlog never fills up"

    def _fits_one_more(self, port: int) -> bool:
        filler = socket.socket()
        self._sockets.append(filler)
        filler.settimeout(0)
        filler.connect_ex(("127.0.0.1", port))
        return bool(select.select([], [filler], [], 0.2)[1])

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


# --- the misbehaviours ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One misbehaviour.

    Attributes:
        begin: lets it begin.
        end: lets it end.
        told: what the status then says.
        by_proxy: whether the client goes through a proxy.
    """

    begin: Callable[[Scene], object]
    told: str
    end: Callable[[Scene], object] = lambda made: made.service.server.behave()
    by_proxy: bool = False


def fault(what: Fault, told: str) -> Case:
    return Case(lambda made: made.service.begin(what), told)


def _refuse(made: Scene) -> None:
    made.service.server.refuse()


def _swallow(made: Scene) -> None:
    made.service.server.refuse()
    made.hole = Hole(made.service.server.port)


def _come_back(made: Scene) -> None:
    if made.hole is not None:
        made.hole.close()
    made.service.server.listen()


def _let_the_proxy(refuse_with: int | None) -> Callable[[Scene], None]:
    def change(made: Scene) -> None:
        assert made.proxy is not None
        made.proxy.refuses_with = refuse_with
        made.service.server.strike(Reset())

    return change


LATE = "did not answer in time"
SILENT = "gave no sign of life"
GONE = "the connection"

ANYWHERE = {
    "drop": fault(Reset(), GONE),
    "drop in the answer": fault(Reset(at=At.HEAD, after_bytes=9), GONE),
    "hang-up": fault(Hangup(), GONE),
    "stall": fault(Stall(), LATE),
    "stall in the answer": fault(Stall(at=At.HEAD, after_bytes=9), LATE),
    "slow drip": fault(Drip(interval_s=0.02), LATE),
    "429": fault(Status(code=429, retry_after="1"), "answered HTTP 429"),
    "404": fault(Status(code=404), "answered HTTP 404"),
    "500": fault(Status(code=500), "answered HTTP 500"),
    "503": fault(Status(code=503), "answered HTTP 503"),
    "giant": fault(Giant(), "more than 67108864 bytes"),
    "refused port": Case(_refuse, "refused the connection", _come_back),
    "black hole": Case(_swallow, "did not let us connect in 0.5 s", _come_back),
}
STREAMED = {
    **ANYWHERE,
    "drop of the stream": fault(Reset(at=At.BODY), GONE),
    "drop in a frame": fault(Reset(at=At.BODY, after_bytes=20), GONE),
    "stall of the stream": fault(Stall(at=At.BODY), SILENT),
    "half-close": fault(HalfClose(), GONE),
    "half-close of what it hears": fault(HalfClose(side=Side.RECEIVE), SILENT),
    "slow drip of a frame": fault(Drip(at=At.BODY, interval_s=0.05), "does not get a message to its end"),
    "close 1011": fault(CloseWith(code=1011), "closed the stream (close code 1011)"),
    "close 1000": fault(CloseWith(code=1000), "closed the stream (close code 1000)"),
    "proxy refusing": Case(_let_the_proxy(502), "does not connect us to", _let_the_proxy(None), by_proxy=True),
    "proxy asking for a password": Case(_let_the_proxy(407), "(HTTP 407)", _let_the_proxy(None), by_proxy=True),
}
POLLED = {
    **ANYWHERE,
    "drop in the body": fault(Reset(at=At.BODY, after_bytes=20), GONE),
    "stall in the body": fault(Stall(at=At.BODY, after_bytes=20), LATE),
    "half-close in the body": fault(HalfClose(after_bytes=20), "broke its answer off"),
    "slow drip of the body": fault(Drip(at=At.BODY, interval_s=0.05), LATE),
    "proxy refusing": Case(_let_the_proxy(502), "answered HTTP 502", _let_the_proxy(None), by_proxy=True),
}
CASES = [
    pytest.param(kind, case, id=f"{kind.__name__.lower()}: {name}")
    for kind, cases in ((Streamed, STREAMED), (Polled, POLLED))
    for name, case in cases.items()
]

REFUSALS = [
    pytest.param(Streamed, CloseWith(code=4003), "refuses our secret (close code 4003); not trying again", id="4003"),
    pytest.param(Streamed, Status(code=401), "refuses our secret (HTTP 401); not trying again", id="streamed: 401"),
    pytest.param(Streamed, Status(code=403), "refuses our secret (HTTP 403); not trying again", id="streamed: 403"),
    pytest.param(Polled, Status(code=401), "refuses our secret (HTTP 401); not trying again", id="polled: 401"),
    pytest.param(Polled, Status(code=403), "refuses our secret (HTTP 403); not trying again", id="polled: 403"),
]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what a person who looks at the log reads."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "flagmw" and record.levelno >= logging.INFO and "flags changed" not in record.getMessage()
    ]


# --- what must hold -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_flags_stay_while_it_lasts_and_a_later_change_is_seen(
    kind: type[Service], case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with scene(kind, by_proxy=case.by_proxy) as made:
        case.begin(made)
        until(lambda: made.state() is State.INTERRUPTED and case.told in made.error(), PATIENCE_S)
        assert made.error().startswith(f"{kind.name}: ")
        assert made.seen == {True}
        case.end(made)
        until(lambda: made.state() is State.OK, PATIENCE_S)
        assert made.seen == {True}
        made.service.put(is_on=False)
        until(lambda: made.seen == {True, False}, PATIENCE_S)
    began, healed = told(caplog)
    assert began.startswith(f"{kind.name}: ")
    assert began.endswith("; trying again; the last good flags stay in force")
    assert healed.startswith("flags are in sync again after ")


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_closing_in_the_middle_of_it_takes_less_than_a_second(kind: type[Service], case: Case) -> None:
    with scene(kind, by_proxy=case.by_proxy) as made:
        case.begin(made)
        until(lambda: made.state() is State.INTERRUPTED and case.told in made.error(), PATIENCE_S)
        began = time.monotonic()
        assert made.client.close(CLOSE_S)
        assert time.monotonic() - began < CLOSE_S
        until(lambda: made.seen == {True})


@pytest.mark.parametrize(("kind", "what", "expected"), REFUSALS)
def test_a_refusal_ends_the_attempts_with_one_clear_error_and_flags_stay(
    kind: type[Service], what: Fault, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    with scene(kind) as made:
        made.service.begin(what)
        until(lambda: made.state() is State.OFF, PATIENCE_S)
        struck = made.service.server.faults_struck
        assert made.error() == f"{kind.name}: 127.0.0.1:{made.service.server.port} {expected}"
        made.service.server.behave()
        made.service.put(is_on=False)
        assert not _changes(lambda: made.service.server.faults_struck - struck, 0.5)
        assert made.seen == {True}
        assert made.client.close(CLOSE_S)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().startswith(f"{kind.name}: ") for record in errors] == [True]


def _changes(read: Callable[[], object], for_s: float) -> bool:
    """Tell whether something changes within some time."""
    before = read()
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        if read() != before:
            return True
        time.sleep(0.01)  # between two looks
    return False


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_on_a_stream_is_skipped_and_ends_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with scene(Streamed) as made:
        server = made.service.server
        assert server.strike(GARBAGE[name]) == 1
        assert server.strike(GARBAGE[name]) == 1
        made.service.put(is_on=False)
        until(lambda: made.seen == {True, False}, PATIENCE_S)
        assert made.state() is State.OK
        assert isinstance(server, FeatBitServer)
        assert server.connects == 1
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 1


DOCUMENTS = {"empty", "wrong items"}
"""What is no garbage to Hackle: no body says that nothing has changed, and each definition may have defects."""


@pytest.mark.parametrize("name", sorted(GARBAGE.keys() - DOCUMENTS))
def test_garbage_instead_of_a_document_leaves_the_flags_and_is_got_over(name: str) -> None:
    with scene(Polled) as made:
        made.service.begin(GARBAGE[name])
        made.service.server.wait_for(lambda server: server.faults_struck >= 2, PATIENCE_S)
        assert made.seen == {True}
        made.service.server.behave()
        made.service.put(is_on=False)
        until(lambda: made.seen == {True, False}, PATIENCE_S)
        until(lambda: made.state() is State.OK, PATIENCE_S)


@pytest.mark.parametrize("kind", [Streamed, Polled])
def test_a_client_whose_service_is_down_from_the_start_gives_defaults_and_catches_up(kind: type[Service]) -> None:
    service = kind()
    with service.server as server:
        remember(service.secret())
        service.put(is_on=True)
        server.refuse()
        with Client(service.provider(BOUNDED)) as client:
            until(lambda: client.status.error, PATIENCE_S)
            assert (client.status.state, service.is_on(client)) == (State.INITIALIZING, False)
            server.listen()
            until(lambda: service.is_on(client), PATIENCE_S)
            assert client.status.state is State.OK


@pytest.mark.parametrize("kind", [Streamed, Polled])
def test_a_client_that_never_connects_is_closed_within_a_second(kind: type[Service]) -> None:
    service = kind()
    with service.server as server:
        remember(service.secret())
        server.refuse()
        hole = Hole(server.port)
        client = Client(service.provider(Network(proxy="", connect_timeout_s=60.0)))
        client.start()
        began = time.monotonic()
        assert client.close(CLOSE_S)
        assert time.monotonic() - began < CLOSE_S
        hole.close()


# --- for ever -------------------------------------------------------------------------------------------------

CHILD = """
import json, os, sys, threading
from flagmw import Client
from flagmw.network import Network
from flagmw.providers import FeatBit, StreamOptions

secret, ws_url, url = sys.stdin.readline().split()
provider = FeatBit(secret, streaming_url=ws_url, event_url=url, network=Network(proxy=""), events=False,
                   stream=StreamOptions(first_retry_delay_s=0.0005, max_retry_delay_s=0.0005))
with Client(provider) as client:
    assert client.wait_until_ready(20)
    for line in sys.stdin:
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print(json.dumps({
            "resident_bytes": resident, "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(), "is_on": client.is_enabled("f", {"key": "u-1", "name": "Ann"}),
        }), flush=True)
"""


def _is_back(server: FeatBitServer, wanted: int) -> bool:
    return server.connects >= wanted and server.synced == 1


def _settled(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Measure the child when it waits for messages, which takes a descriptor or two."""
    assert child.stdin is not None
    assert child.stdout is not None
    measured: list[dict[str, Any]] = []
    while len(measured) < 5 or len({one["descriptors"] for one in measured[-5:]}) > 1:
        assert len(measured) < 500, measured[-5:]
        child.stdin.write("measure\n")
        measured.append(json.loads(child.stdout.readline()))
        time.sleep(0.02)  # between two looks
    return measured[-1]


def test_a_thousand_reconnects_leave_memory_descriptors_and_threads_as_they_were() -> None:
    with FeatBitServer() as server:
        remember(server.secret)
        server.put_flag(featbit.boolean_flag("f"))
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        with child:
            assert child.stdin is not None
            child.stdin.write(f"{server.secret} {server.ws_url} {server.url}\n")
            server.wait_for(lambda s: s.synced == 1, PATIENCE_S)
            measured = []
            for count in (200, 1000):
                server.misbehave(CloseWith(code=1012), on=Endpoint.STREAM, times=count // 2)
                server.misbehave(Reset(at=At.BODY, after_bytes=10), on=Endpoint.STREAM, times=count // 2)
                wanted = server.connects + count
                server.strike(Reset())
                server.wait_for(partial(_is_back, wanted=wanted), 90.0)
                measured.append(_settled(child))
            child.stdin.close()
            assert child.wait(PATIENCE_S) == 0
    before, after = measured
    assert after["resident_bytes"] - before["resident_bytes"] < 2_000_000
    assert (after["descriptors"], after["threads"]) == (before["descriptors"], before["threads"])
    assert after["is_on"] is True
