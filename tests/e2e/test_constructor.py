"""What a broken service costs at the start: constructing touches no network, and nothing waits longer than it may."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flagmw import Client, UserContext
from flagmw.providers import FeatBit, FeatureFlagCo, Hackle
from flagmw.status import State
from flagmw.wsgi import FlagMiddleware
from tests.services.blackhole import BlackHole
from tests.services.faults import At, Drip, Stall
from tests.services.featbit_server import FeatBitServer
from tests.services.featureflag_co_server import FeatureFlagCoServer
from tests.services.hackle_server import HackleServer

BUSY_S = 3.0
"""What a busy machine may add to anything; a client that waits for a service which never answers takes longer."""

WAIT_S = 0.2
ANA = UserContext("ana")
DEFAULT = "the caller's default"


class Place:
    """Where a service is.

    Attributes:
        accepted: gives how many connections came so far; always 0 where none is taken.
    """

    def __init__(self, http: str, ws: str, accepted: Callable[[], int] = lambda: 0) -> None:
        self.http = http
        self.ws = ws
        self.accepted = accepted


Server = FeatBitServer | FeatureFlagCoServer | HackleServer


@contextmanager
def refusing(server: Server) -> Iterator[Place]:
    with server:
        place = Place(server.url, server.ws_url)
    yield place


@contextmanager
def without_a_listener(server: Server) -> Iterator[Place]:
    with BlackHole() as hole:
        yield Place(hole.url, hole.ws_url)


@contextmanager
def silent(server: Server) -> Iterator[Place]:
    with server:
        server.misbehave(Stall(at=At.REQUEST))
        yield Place(server.url, server.ws_url, lambda: server.tcp_accepted)


@contextmanager
def slow(server: Server) -> Iterator[Place]:
    with server:
        server.misbehave(Drip(at=At.HEAD, interval_s=0.5))
        yield Place(server.url, server.ws_url, lambda: server.tcp_accepted)


SERVERS: dict[str, Callable[[], Server]] = {
    "featbit": FeatBitServer,
    "featbit polling": FeatBitServer,
    "featureflag.co": FeatureFlagCoServer,
    "hackle": HackleServer,
}
FAULTS = {"refuses": refusing, "takes no connection": without_a_listener, "is silent": silent, "is slow": slow}


@pytest.fixture(params=[(service, fault) for service in SERVERS for fault in FAULTS], ids=" ".join)
def constructing(request: pytest.FixtureRequest) -> Iterator[tuple[Callable[[], Client], Place]]:
    """Give what constructs a client of a service that is broken, and where that is."""
    service, fault = request.param
    server = SERVERS[service]()
    with FAULTS[fault](server) as place:
        clients: list[Client] = []

        def construct() -> Client:
            clients.append(Client(provider_of(service, server, place)))
            return clients[-1]

        yield construct, place
        for client in clients:
            client.close(WAIT_S)


def provider_of(service: str, server: Any, place: Place) -> Any:
    if service == "hackle":
        return Hackle(server.sdk_key, sdk_url=place.http, event_url=place.http)
    if service == "featureflag.co":
        return FeatureFlagCo(server.secret, streaming_uri=place.ws, base_uri=place.http)
    polling = service.endswith("polling")
    return FeatBit(server.secret, streaming_url=place.ws, event_url=place.http, polling=polling)


def took_s(action: Callable[[], object]) -> float:
    began_s = time.monotonic()
    action()
    return time.monotonic() - began_s


Constructing = tuple[Callable[[], Client], Place]


def test_constructing_returns_at_once_and_makes_no_connection(constructing: Constructing) -> None:
    construct, place = constructing
    assert took_s(construct) < BUSY_S
    assert place.accepted() == 0


def test_the_first_evaluation_gives_the_default_at_once(constructing: Constructing) -> None:
    client = constructing[0]()
    values: list[Any] = []
    assert took_s(lambda: values.append(client.variation("checkout", ANA, DEFAULT))) < BUSY_S
    assert values == [DEFAULT]


def test_the_first_request_waits_no_longer_than_start_wait(constructing: Constructing) -> None:
    client = constructing[0]()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["flagmw.flags"].variation("checkout", DEFAULT).encode()]

    served: Any = FlagMiddleware(app, client, anonymous=False, start_wait=WAIT_S)
    bodies: list[Any] = []
    assert took_s(lambda: bodies.append(served({}, lambda *_: None))) < WAIT_S + BUSY_S
    assert bodies == [[DEFAULT.encode()]]


def test_waiting_for_flags_honours_its_time(constructing: Constructing) -> None:
    client = constructing[0]()
    answers: list[bool] = []
    waited_s = took_s(lambda: answers.append(client.wait_until_ready(WAIT_S)))
    assert WAIT_S * 0.9 <= waited_s < WAIT_S + BUSY_S
    assert answers == [False]
    assert client.status.state is State.INITIALIZING


def test_warming_honours_its_time(constructing: Constructing) -> None:
    client = constructing[0]()
    answers: list[bool] = []
    assert took_s(lambda: answers.append(client.warm(WAIT_S))) < WAIT_S + BUSY_S
    assert answers == [False]


def test_closing_honours_its_time(constructing: Constructing) -> None:
    client = constructing[0]()
    client.start()
    client.track(ANA, "purchase")
    assert took_s(lambda: client.close(WAIT_S)) < WAIT_S + BUSY_S


CONSTRUCTING_ALONE = """
import os, threading
from flagmw import Client
from flagmw.providers import FeatBit, FeatureFlagCo, Hackle

before = set(os.listdir("/proc/self/fd"))
http, ws, secret, ffc_secret = os.environ["PLACES"].split()
Client(FeatBit(secret, streaming_url=ws, event_url=http))
Client(FeatBit(secret, streaming_url=ws, event_url=http, polling=True))
Client(FeatureFlagCo(ffc_secret, streaming_uri=ws, base_uri=http))
Client(Hackle("key", sdk_url=http, event_url=http))
print(threading.active_count(), len(set(os.listdir("/proc/self/fd")) - before), len(os.listdir(os.environ["FLAGMW_STATE_DIR"])))
"""


def test_importing_and_constructing_start_no_thread_and_open_nothing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BlackHole() as hole:
        places = f"{hole.url} {hole.ws_url} {FeatBitServer().secret} {FeatureFlagCoServer().secret}"
        monkeypatch.setenv("PLACES", places)
        monkeypatch.setenv("FLAGMW_STATE_DIR", str(tmp_path))
        ran = subprocess.run([sys.executable, "-c", CONSTRUCTING_ALONE], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("1 0 0\n", "")
