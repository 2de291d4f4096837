"""Publishing to a collector over real sockets: what arrives, and what a bad collector costs."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw.usage.functions import CodeBase
from flagmw.usage.scavenger.publisher import CollectorPublisher
from tests.e2e.collecting import (
    API_KEY,
    BEGAN_AT,
    HOUR_S,
    MINUTE_S,
    PATIENCE_S,
    App,
    config_for,
    go_on,
    levels,
    patient_collector,
    process,
    publisher_for,
)
from tests.services.scavenger_server import CODE_BASE, INVOCATIONS, METHODS, Failure, ScavengerServer
from tests.unit.network_support import Peer, RawServer, free_port

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
    with patient_collector() as server:
        yield server


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(autouse=True)
def _hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flagmw")


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
    assert time.monotonic() - began_s < PATIENCE_S


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
