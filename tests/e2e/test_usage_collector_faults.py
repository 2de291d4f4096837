"""Publishing to bad collectors, with large code bases, and in odd surroundings."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flagmw.usage.functions import CodeBase
from flagmw.usage.scavenger.publisher import CollectorPublisher
from tests.e2e.collecting import (
    API_KEY,
    HOUR_S,
    MINUTE_S,
    PATIENCE_S,
    App,
    code_base,
    function,
    go_on,
    levels,
    patient_collector,
    publisher_for,
)
from tests.services.blackhole import BlackHole
from tests.services.proxies import ForwardProxy
from tests.services.scavenger_server import CODE_BASE, INVOCATIONS, POLL, Failure, ScavengerServer
from tests.unit.h2_support import Asked, H2Peer, serving
from tests.unit.network_support import TLS_FOLDER, Peer, RawServer


@pytest.fixture
def collector() -> Iterator[ScavengerServer]:
    with patient_collector() as server:
        yield server


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(autouse=True)
def _hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flagmw")


# --- a collector that does not behave -----------------------------------------------------------------------


def took(publisher: CollectorPublisher, app: App) -> float:
    """Tell how long a turn takes once its time has come."""
    app.pass_time(publisher.run(app))
    began_s = time.monotonic()
    publisher.run(app)
    return time.monotonic() - began_s


BAD = {
    "holds": Peer.hold,
    "resets": Peer.reset,
    "closes": lambda peer: peer.read_request() and None,
    "garbage": lambda peer: peer.send(b"\x00\xff" * 100) or peer.hold(),
    "another protocol": lambda peer: peer.send(b"SSH-2.0-OpenSSH\r\n") or peer.hold(),
}


def drip(peer: Peer) -> None:
    """Answer, one byte at a time, for ever."""
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    stopping = threading.Event()
    while not stopping.wait(0.01):
        peer.send(b" ")


@pytest.mark.parametrize("serve", [*BAD.values(), drip], ids=[*BAD, "drips"])
def test_a_server_that_is_no_collector_costs_no_more_than_its_time(app: App, serve: Callable[[Peer], Any]) -> None:
    with RawServer(serve) as server:
        publisher = publisher_for(f"http://{server.peer}", http_connect_timeout_s=0.3, http_read_timeout_s=0.3)
        assert took(publisher, app) < PATIENCE_S
        assert publisher.problem is not None


@pytest.mark.parametrize("serve", BAD.values(), ids=BAD)
def test_a_port_that_takes_no_grpc_costs_no_more_than_its_time(app: App, serve: Callable[[Peer], Any]) -> None:
    with ScavengerServer() as collector, RawServer(serve) as bad:
        right, collector.grpc_port = collector.grpc_port, bad.port
        publisher = publisher_for(collector.url, http_connect_timeout_s=0.3, http_read_timeout_s=0.3)
        ran = app.call("index")
        assert took(publisher, app) < PATIENCE_S
        assert publisher.problem is not None
        collector.grpc_port = right
        go_on(publisher, app, until=lambda: collector.invoked("shop"))
        assert collector.invoked("shop") == ran


def test_a_host_that_takes_no_connection_costs_no_more_than_its_time(app: App) -> None:
    with BlackHole() as hole:
        publisher = publisher_for(hole.url, http_connect_timeout_s=0.3, http_read_timeout_s=0.3)
        assert took(publisher, app) < PATIENCE_S
        assert "did not let us connect" in str(publisher.problem)


def test_a_collector_that_takes_calls_and_never_answers_costs_no_more_than_its_time(
    collector: ScavengerServer, app: App
) -> None:
    collector.fail(POLL, Failure(code=None, delay_s=60.0))
    publisher = publisher_for(collector.url, http_read_timeout_s=0.3)
    assert took(publisher, app) < PATIENCE_S
    assert "did not answer in time" in str(publisher.problem)


def test_a_turn_that_waits_is_ended_at_once_and_says_nothing(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    collector.fail(POLL, Failure(code=None, delay_s=60.0))
    publisher = publisher_for(collector.url, http_read_timeout_s=60.0)
    app.pass_time(publisher.run(app))
    turn = threading.Thread(target=publisher.run, args=(app,))
    turn.start()
    collector.wait_for(lambda server: server._counts[POLL], what="a call")
    publisher.wake()
    turn.join(10.0)
    assert not turn.is_alive()
    assert levels(caplog) == []


def test_a_turn_that_waits_to_find_the_collector_is_ended_at_once(app: App) -> None:
    asked = threading.Event()

    def serve(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        peer.hold()

    with RawServer(serve) as server:
        publisher = publisher_for(f"http://{server.peer}", http_read_timeout_s=60.0)
        app.pass_time(publisher.run(app))
        turn = threading.Thread(target=publisher.run, args=(app,))
        turn.start()
        assert asked.wait(10.0)
        publisher.wake()
        turn.join(10.0)
        assert not turn.is_alive()


def test_a_collector_that_ends_the_connection_is_asked_again_at_once(app: App) -> None:
    methods: list[str] = []

    def answer(other: H2Peer, asked: Asked) -> None:
        methods.append(asked.headers[":path"].rpartition("/")[2])
        if len(methods) % 2:
            other.h2.close_connection()
            other.flush()
        else:
            other.answer(asked.stream)

    with ScavengerServer() as collector, RawServer(serving(answer)) as server:
        collector.grpc_port = server.port
        publisher = publisher_for(collector.url)
        app.pass_time(publisher.run(app))
        publisher.run(app)
    assert publisher.problem is None
    assert methods == [POLL, POLL, CODE_BASE, CODE_BASE, INVOCATIONS, INVOCATIONS]


def test_a_turn_that_begins_when_it_was_ended_does_not_wait(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    app.pass_time(publisher.run(app))
    publisher.wake()
    assert publisher.run(app) == 0.0
    assert collector.calls == []
    publisher.run(app)
    assert collector.calls != []


# --- large code bases ---------------------------------------------------------------------------------------


def large(count: int) -> CodeBase:
    functions = tuple(function(f"function_{number}", f"shop.module_{number % 500}") for number in range(count))
    return CodeBase(functions=functions, fingerprint="large")


def test_more_functions_than_the_limit_are_not_sent_and_said_once(
    collector: ScavengerServer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(large(150_000))
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=HOUR_S)
    assert collector.calls_of(CODE_BASE) == []
    assert levels(caplog) == ["WARNING"]
    assert "there are 150000 functions, more than max_functions=100000" in str(publisher.problem)
    assert app.scans < 30


def test_with_a_higher_limit_150_000_functions_arrive_in_parts() -> None:
    with ScavengerServer(poll_s=120, publish_s=120) as collector:
        app = App(large(150_000))
        go_on(publisher_for(collector.url, max_functions=200_000), app, for_s=30.0)
        calls = collector.calls_of(CODE_BASE)
        assert len(calls) > 1
        assert len(collector.functions("shop")) == 150_000
        assert len({call.message.common_data.code_base_fingerprint for call in calls}) == len(calls)
        assert len({call.message.common_data.published_at_millis for call in calls}) == 1


def test_messages_that_are_too_large_are_halved_until_they_are_taken(app: App) -> None:
    with ScavengerServer(poll_s=120, publish_s=120, max_message_bytes=60_000) as collector:
        app = App(large(3_000))
        go_on(publisher_for(collector.url), app, for_s=30.0)
        assert len(collector.functions("shop")) == 3_000


@pytest.mark.parametrize(("code", "text"), [("UNKNOWN", ""), ("UNKNOWN", "HTTP status code 413")])
def test_what_collectors_say_of_too_large_messages_is_understood(
    collector: ScavengerServer, code: str, text: str
) -> None:
    collector.fail(CODE_BASE, Failure(code=code, text=text, calls={0, 1}))
    app = App(large(3_000))
    go_on(publisher_for(collector.url), app, for_s=30.0)
    assert len(collector.functions("shop")) == 3_000
    first, second, third, *_ = [len(call.message.entry) for call in collector.calls_of(CODE_BASE)]
    assert (first, second <= first / 2, third <= second / 2) == (3_000, True, True)


def test_a_refusal_that_was_not_for_the_size_does_not_keep_messages_small(collector: ScavengerServer) -> None:
    collector.fail(CODE_BASE, Failure(code="UNKNOWN"))  # as for a workspace that its operator has switched off
    app = App(large(3_000))
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=600.0)
    collector.heal()
    go_on(publisher, app, until=collector.snapshot)
    assert [len(call.message.entry) for call in collector.calls_of(CODE_BASE) if call.code == "OK"] == [3_000]


def test_a_code_base_in_parts_outlives_the_collectors_clean_up() -> None:
    with ScavengerServer(poll_s=120, publish_s=120, max_message_bytes=60_000) as collector:
        app = App(large(1_000))
        collector.clock = lambda: app.wall_s
        go_on(publisher_for(collector.url), app, for_s=30.0)
        collector.clean_up()
        assert len(collector.snapshot()) == 1_000


def test_what_was_broken_off_between_parts_is_gone_on_with() -> None:
    with ScavengerServer(poll_s=120, publish_s=120, retry_s=60, max_message_bytes=100_000) as collector:
        app = App(large(3_000))
        collector.clock = lambda: app.wall_s
        publisher = publisher_for(collector.url)
        collector.fail(CODE_BASE, Failure(calls={2}))
        go_on(publisher, app, for_s=200.0)
        sent = [call.message for call in collector.calls_of(CODE_BASE) if call.code == "OK"]
        assert sum(len(message.entry) for message in sent) == 3_000
        assert len({message.common_data.published_at_millis for message in sent}) == 1
        collector.clean_up()
        assert len(collector.snapshot()) == 3_000


def test_many_invocations_arrive_in_parts(app: App) -> None:
    with ScavengerServer(poll_s=120, publish_s=120, max_message_bytes=60_000) as collector:
        app.ran = {f"{number:032x}" for number in range(10_000)}
        go_on(publisher_for(collector.url), app, for_s=30.0)
        assert len(collector.invoked("shop")) == 10_000


def test_a_code_base_without_functions_is_not_sent_and_said_once(
    collector: ScavengerServer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(code_base())
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=HOUR_S)
    assert levels(caplog) == ["WARNING"]
    assert "no function of packages=['shop'] was found below codebase=['.']" in str(publisher.problem)
    app.found = code_base("index")
    go_on(publisher, app, until=collector.snapshot)
    assert publisher.problem is None


def test_functions_that_would_break_snapshots_are_left_out(
    collector: ScavengerServer, caplog: pytest.LogCaptureFixture
) -> None:
    bad = (function("f", "(old)"), function("f", "app\udc80"))
    go_on(
        publisher_for(collector.url),
        App(CodeBase(functions=(*bad, function("good")), fingerprint="f")),
        for_s=HOUR_S,
    )
    assert [row.signature for row in collector.snapshot()] == ["shop.views.good(request)"]
    assert levels(caplog) == ["WARNING"]


# --- surroundings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h2.connection", "google.protobuf.message_factory"])
def test_a_missing_library_is_named_once(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    publisher = publisher_for(collector.url)
    app.pass_time(publisher.run(app))
    assert publisher.run(app) == math.inf
    assert publisher.finish(app, 1.0)
    assert levels(caplog) == ["ERROR"]
    assert "pip install 'flagmw[scavenger]'" in str(publisher.problem)


def test_a_proxy_connects_us_to_both_ports(collector: ScavengerServer, app: App) -> None:
    with ForwardProxy(user="ana", password="5ecret") as proxy:
        ran = app.call("index")
        go_on(publisher_for(collector.url, proxy=f"http://ana:5ecret@127.0.0.1:{proxy.port}"), app, for_s=30.0)
        assert collector.invoked("shop") == ran
        assert {(passed.method, passed.status) for passed in proxy.passed} == {("GET", 200), ("CONNECT", 200)}


def test_a_collector_behind_https_is_spoken_to_in_secret(app: App) -> None:
    protocols: list[str | None] = []
    methods: list[str] = []

    def answer(other: H2Peer, asked: Asked) -> None:
        methods.append(asked.headers[":path"].rpartition("/")[2])
        other.answer(asked.stream)  # all intervals are the default ones

    def serve(peer: Peer) -> None:
        socket: Any = peer.socket
        protocols.append(socket.selected_alpn_protocol())
        if protocols[-1] == "h2":
            serving(answer)(peer)
        else:
            peer.read_request()
            peer.answer(b'{"collectorUrl": "127.0.0.1:%d"}' % server.port)

    server = RawServer(serve, certificate="loopback")
    assert server._context is not None
    server._context.set_alpn_protocols(["h2", "http/1.1"])
    with server:
        publisher = publisher_for(f"https://{server.peer}", ca_file=str(TLS_FOLDER / "loopback.crt"))
        go_on(publisher, app, until=lambda: INVOCATIONS in methods)
    assert publisher.problem is None
    assert protocols == [None, "h2"]
    assert methods == [POLL, CODE_BASE, INVOCATIONS]


def test_a_collector_whose_certificate_nobody_trusts_is_sent_nothing(app: App) -> None:
    with RawServer(Peer.hold, certificate="loopback") as server:
        publisher = publisher_for(f"https://{server.peer}")
        app.pass_time(publisher.run(app))
        publisher.run(app)
        assert "its certificate is not trusted" in str(publisher.problem)


def test_names_that_are_too_long_are_cut_and_said_once(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    go_on(publisher_for(collector.url, app_version="v" * 200), app, for_s=HOUR_S)
    assert {found.app_version for found in collector.processes.values()} == {"v" * 80}
    assert levels(caplog) == ["WARNING"]


def test_the_key_is_in_no_line_of_the_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScavengerServer() as collector:
        publisher = publisher_for(collector.url)
        go_on(publisher, app, for_s=30.0)
        collector.close()
        go_on(publisher, app, for_s=10 * MINUTE_S)
    assert API_KEY not in caplog.text
