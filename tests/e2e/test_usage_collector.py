"""Publishing to a collector over real sockets: what arrives, and what a bad collector costs."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw.usage.functions import CodeBase
from flagmw.usage.scavenger.publisher import CollectorPublisher
from tests.e2e.collecting import API_KEY, BEGAN_AT, App, code_base, config_for, function, go_on, process, publisher_for
from tests.services.blackhole import BlackHole
from tests.services.proxies import ForwardProxy
from tests.services.scavenger_server import CODE_BASE, INVOCATIONS, METHODS, POLL, Failure, ScavengerServer
from tests.unit.h2_support import Asked, H2Peer, serving
from tests.unit.network_support import TLS_FOLDER, Peer, RawServer, free_port

MINUTE_S = 60.0
HOUR_S = 3600.0


FORKING = """
import os, sys, threading
from tests.e2e.collecting import App, go_on, publisher_for

def publish(name):
    app = App()
    app.call(name)
    publisher = publisher_for(sys.argv[1], force_interval_s=0.01, scheduler_interval_s=0.01)
    return publisher.finish(app, 10.0) and publisher.problem is None

def go_on_publishing():
    while True:
        publish("index")

threading.Thread(target=go_on_publishing, daemon=True).start()
assert publish("buy")
for _ in range(10):
    child = os.fork()
    if not child:
        os._exit(0 if publish("sell") else 3)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
os._exit(0)
"""


@pytest.fixture
def collector() -> Iterator[ScavengerServer]:
    """A collector that wants to be asked every two minutes."""
    with ScavengerServer(api_keys={API_KEY}, poll_s=120, publish_s=120, retry_s=60) as server:
        yield server


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(autouse=True)
def _hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flagmw")


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.levelno >= logging.WARNING]


# --- a collector that is well -------------------------------------------------------------------------------


def test_what_exists_and_what_ran_are_in_the_snapshot(collector: ScavengerServer, app: App) -> None:
    app.call("index", "buy")
    go_on(publisher_for(collector.url), app, for_s=30.0)
    shown = {row.signature: row.invoked_at_millis is not None for row in collector.snapshot()}
    assert shown == {
        "shop.views.index(request)": True,
        "shop.views.buy(request)": True,
        "shop.views.sell(request)": False,
    }


def test_what_ran_is_dated_by_the_beginning_of_its_interval(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=100.0)
    app.call("buy")
    go_on(publisher, app, for_s=100.0)
    started = [call.message.recording_interval_started_at_millis for call in collector.calls_of(INVOCATIONS)]
    assert started[:2] == [int(BEGAN_AT * 1000), int(BEGAN_AT * 1000) + 10_000]


def test_the_collectors_intervals_are_kept(collector: ScavengerServer, app: App) -> None:
    turns = go_on(publisher_for(collector.url), app, for_s=HOUR_S)
    assert [round(turn - turns[1]) for turn in turns[1:]] == list(range(0, 3600, 120))


def test_a_code_base_is_published_once(collector: ScavengerServer, app: App) -> None:
    go_on(publisher_for(collector.url), app, for_s=HOUR_S)
    assert len(collector.calls_of(CODE_BASE)) == 1


def test_the_process_is_named(collector: ScavengerServer, app: App) -> None:
    go_on(publisher_for(collector.url, app_version="1.2"), app, for_s=30.0)
    (found,) = collector.processes.items()
    assert (found[0], found[1].app_name, found[1].environment, found[1].hostname, found[1].app_version) == (
        "uuid-1",
        "shop",
        "test",
        "host-1",
        "1.2",
    )


def test_a_publisher_that_is_well_has_no_problem_and_logs_nothing(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=HOUR_S)
    assert publisher.problem is None
    assert publisher.published_at is not None
    assert caplog.messages == []


def test_making_a_publisher_connects_to_nothing() -> None:
    with RawServer(Peer.hold) as server:
        publisher_for(f"http://{server.peer}").wake()
        assert server.accepted == 0


def test_nothing_happens_before_the_initial_delay(collector: ScavengerServer, app: App) -> None:
    assert publisher_for(collector.url, scheduler_initial_delay_s=30.0).run(app) == 30.0
    assert collector.init_config_queries == []


def test_processes_do_not_come_all_at_once(collector: ScavengerServer, app: App) -> None:
    late = CollectorPublisher(config_for(collector.url), process(), random=lambda: 0.999)
    assert late.run(app) == pytest.approx(15.0, abs=0.1)


def test_forced_intervals_are_in_place_of_the_collectors(collector: ScavengerServer, app: App) -> None:
    turns = go_on(publisher_for(collector.url, force_interval_s=30.0), app, for_s=300.0)
    assert [round(turn - turns[1]) for turn in turns[1:]] == list(range(0, 300, 30))


# --- a collector that is away -------------------------------------------------------------------------------


def test_nothing_is_lost_while_the_collector_is_away_at_the_start(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publisher_for(collector.url)
    collector.close()
    early = app.call("index")
    go_on(publisher, app, for_s=HOUR_S)
    assert publisher.problem is not None
    assert "refused the connection" in publisher.problem
    collector.start()
    late = app.call("buy")
    go_on(publisher, app, until=lambda: collector.invoked("shop"))
    assert collector.invoked("shop") == early | late
    assert levels(caplog) == ["WARNING"]
    assert caplog.messages[-1].startswith("the Scavenger collector takes usage again, after ")
    assert publisher.problem is None


def test_a_collector_that_is_away_at_the_start_is_looked_for_again_soon(app: App) -> None:
    turns = go_on(publisher_for(f"http://127.0.0.1:{free_port()}"), app, for_s=100.0)
    assert [turn - turns[0] for turn in turns] == [0.0, 10.0, 20.0, 40.0, 80.0]


def test_a_collector_that_is_away_for_long_is_left_alone_for_longer(app: App) -> None:
    turns = go_on(publisher_for(f"http://127.0.0.1:{free_port()}"), app, for_s=HOUR_S)
    assert len(turns) < 20


def test_nothing_is_lost_while_the_collector_is_away_in_between(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=30.0)
    collector.close()
    ran = app.call("index")
    go_on(publisher, app, for_s=10 * MINUTE_S)
    ran |= app.call("buy")
    go_on(publisher, app, for_s=10 * MINUTE_S)
    collector.start()
    go_on(publisher, app, until=lambda: collector.invoked("shop") == ran)
    assert collector.invoked("shop") == ran


def test_what_could_not_be_published_is_published_as_it_was(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=30.0)
    collector.fail(INVOCATIONS, Failure(calls={1}))
    app.call("buy")
    go_on(publisher, app, for_s=5 * MINUTE_S)
    _, failed, repeated, *_ = collector.calls_of(INVOCATIONS)
    assert (failed.code, repeated.code) == ("UNAVAILABLE", "OK")
    assert failed.message == repeated.message
    assert len(failed.message.entry) == 1


def test_a_collector_that_has_moved_is_found_again(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=30.0)
    collector.close()
    collector.grpc_port = 0
    collector.start()
    ran = app.call("index")
    go_on(publisher, app, until=lambda: collector.invoked("shop") == ran)
    assert len(collector.init_config_queries) == 2


def test_after_a_long_gap_the_code_base_is_there_again(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    collector.clock = lambda: app.wall_s
    go_on(publisher, app, for_s=30.0)
    app.pass_time(2 * HOUR_S)
    collector.clean_up()
    assert collector.fingerprints("shop") == []
    go_on(publisher, app, for_s=30.0)
    assert len(collector.fingerprints("shop")) == 1
    collector.clean_up()
    assert len(collector.snapshot()) == 3


# --- a collector that says no -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_key_stops_publishing_with_one_error(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    collector.fail(method, Failure(code="UNAUTHENTICATED", text=f"unknown key {API_KEY}"))
    publisher = publisher_for(collector.url)
    go_on(publisher, app, until=lambda: collector.calls_of(method))
    asked = len(collector.calls)
    assert publisher.run(app) == math.inf
    assert publisher.finish(app, 5.0)
    assert len(collector.calls) == asked
    assert levels(caplog) == ["ERROR"]
    assert "does not know api_key" in str(publisher.problem)
    assert API_KEY not in caplog.text + str(publisher.problem)


def test_a_key_that_the_collector_does_not_know_is_refused_by_it(app: App) -> None:
    with ScavengerServer(api_keys={"another"}) as collector:
        publisher = publisher_for(collector.url)
        go_on(publisher, app, until=lambda: collector.calls)
        assert publisher.run(app) == math.inf


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNKNOWN", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_a_refusal_is_said_once_and_what_ran_is_kept(
    collector: ScavengerServer, app: App, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    collector.fail(INVOCATIONS, Failure(code=code, text="because"))
    publisher = publisher_for(collector.url)
    ran = app.call("index")
    go_on(publisher, app, for_s=HOUR_S)
    assert levels(caplog) == ["WARNING"]
    assert f"answered {code}: because" in str(publisher.problem)
    collector.heal()
    go_on(publisher, app, until=lambda: collector.invoked("shop"))
    assert collector.invoked("shop") == ran


def test_a_code_base_that_is_refused_is_tried_again(collector: ScavengerServer, app: App) -> None:
    collector.fail(CODE_BASE, Failure(calls={0, 1}))
    app.call("index")
    go_on(publisher_for(collector.url), app, until=lambda: collector.invoked("shop"))
    assert [call.code for call in collector.calls_of(CODE_BASE)] == ["UNAVAILABLE", "UNAVAILABLE", "OK"]


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
        assert took(publisher, app) < 3.0
        assert publisher.problem is not None


@pytest.mark.parametrize("serve", BAD.values(), ids=BAD)
def test_a_port_that_takes_no_grpc_costs_no_more_than_its_time(app: App, serve: Callable[[Peer], Any]) -> None:
    with ScavengerServer() as collector, RawServer(serve) as bad:
        right, collector.grpc_port = collector.grpc_port, bad.port
        publisher = publisher_for(collector.url, http_connect_timeout_s=0.3, http_read_timeout_s=0.3)
        ran = app.call("index")
        assert took(publisher, app) < 3.0
        assert publisher.problem is not None
        collector.grpc_port = right
        go_on(publisher, app, until=lambda: collector.invoked("shop"))
        assert collector.invoked("shop") == ran


def test_a_host_that_takes_no_connection_costs_no_more_than_its_time(app: App) -> None:
    with BlackHole() as hole:
        publisher = publisher_for(hole.url, http_connect_timeout_s=0.3, http_read_timeout_s=0.3)
        assert took(publisher, app) < 3.0
        assert "did not let us connect" in str(publisher.problem)


def test_a_collector_that_takes_calls_and_never_answers_costs_no_more_than_its_time(
    collector: ScavengerServer, app: App
) -> None:
    collector.fail(POLL, Failure(code=None, delay_s=60.0))
    publisher = publisher_for(collector.url, http_read_timeout_s=0.3)
    assert took(publisher, app) < 3.0
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


# --- the end of a process -----------------------------------------------------------------------------------


def test_a_process_that_leaves_sends_what_ran_last(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=30.0)
    ran = app.call("sell")
    publisher.wake()
    assert publisher.finish(app, 5.0)
    assert collector.invoked("shop") == ran


def test_a_process_that_lives_for_a_moment_is_seen(collector: ScavengerServer, app: App) -> None:
    ran = app.call("index")
    assert publisher_for(collector.url).finish(app, 5.0)
    assert collector.invoked("shop") == ran
    assert len(collector.snapshot()) == 3


def test_a_process_that_leaves_sends_what_had_failed_and_what_ran_since(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    go_on(publisher, app, for_s=30.0)
    collector.fail(INVOCATIONS, Failure())
    ran = app.call("index")
    go_on(publisher, app, until=lambda: len(app.taken) == 2)
    collector.heal()
    ran |= app.call("buy")
    assert publisher.finish(app, 5.0)
    assert collector.invoked("shop") == ran


def test_leaving_twice_sends_once(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    app.call("index")
    assert publisher.finish(app, 5.0)
    asked = len(collector.calls)
    assert publisher.finish(app, 5.0)
    assert len(collector.calls) == asked


def test_leaving_is_not_held_up_by_a_collector_that_never_answers(collector: ScavengerServer, app: App) -> None:
    collector.fail(CODE_BASE, Failure(code=None, delay_s=60.0))
    began_s = time.monotonic()
    assert not publisher_for(collector.url, http_read_timeout_s=60.0).finish(app, 0.3)
    assert time.monotonic() - began_s < 3.0


def test_being_asked_to_stop_again_does_not_end_the_last_publication(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    ran = app.call("index")

    class Woken(App):
        def code_base(self) -> CodeBase:
            publisher.wake()
            return app.code_base()

        def take(self) -> Any:
            publisher.wake()
            return app.take()

    assert publisher.finish(Woken(), 5.0)
    assert collector.invoked("shop") == ran


def test_after_leaving_it_can_go_on(collector: ScavengerServer, app: App) -> None:
    publisher = publisher_for(collector.url)
    publisher.finish(app, 5.0)
    ran = app.call("buy")
    go_on(publisher, app, until=lambda: collector.invoked("shop"))
    assert collector.invoked("shop") == ran


def test_children_that_are_forked_while_others_publish_publish_too(collector: ScavengerServer) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, collector.url],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["0"] * 10, "")


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
