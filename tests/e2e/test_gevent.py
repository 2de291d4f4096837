"""Flags in real gunicorn workers whose threads are greenlets: nothing that waits may hold up a request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.forking_hosts import APP, DEFAULT, NEW, OLD, Host, running, service
from tests.services.faults import At, Endpoint, Stall
from tests.services.featbit_server import FeatBitServer

__all__ = ["service"]

SILENCE_S = 5.0
CALM_S = 1.0
"""No request may take longer, on a machine that is busy with other tests, while something waits for much longer."""

USED_AT_IMPORT = APP + "\nassert client.wait_until_ready(20)\n"
"""With --preload that is before gevent has replaced anything."""

every_start = pytest.mark.parametrize("start", [[], ["--preload"]], ids=["", "preload"])
every_app = pytest.mark.parametrize("app", [APP, USED_AT_IMPORT], ids=["unused", "used-at-import"])
hooks = pytest.mark.parametrize(
    "configuration",
    ["", "from flagmw_gunicorn import post_fork, post_worker_init, worker_exit\n"],
    ids=["no-hooks", "hooks"],
)


def gunicorn(*options: str, workers: int) -> Callable[[str], Sequence[str]]:
    """Give the command line of a server with gevent workers."""
    return lambda socket: [
        sys.executable, "-W", "ignore", "-m", "gunicorn", "-k", "gevent", "--bind", f"unix:{socket}",
        "--workers", str(workers), *options, "--graceful-timeout", "10", "--no-control-socket", "app:application",
    ]  # fmt: skip


def slowest_s(host: Host, during_s: float) -> float:
    """Make requests that read a flag, one after another, and give the longest time that one took."""
    end_s = time.monotonic() + during_s
    slowest = 0.0
    while (begun_s := time.monotonic()) < end_s:
        host.visit()
        slowest = max(slowest, time.monotonic() - begun_s)
    return slowest


@every_start
@every_app
@hooks
def test_flags_are_right_change_and_are_told_of_in_every_worker(
    service: FeatBitServer, start: list[str], app: str, configuration: str
) -> None:
    files = {"app.py": app, "gunicorn.conf.py": configuration}
    with running(service, gunicorn(*start, workers=2), files=files) as host:
        host.wait_for_value(OLD, 2)
        host.change_flag()
        host.wait_for_value(NEW, 2)
        host.wait_for_events()
        assert host.stop() == 0


@every_start
@every_app
def test_requests_at_the_same_time_are_served_side_by_side(service: FeatBitServer, start: list[str], app: str) -> None:
    with running(service, gunicorn(*start, workers=1), files={"app.py": app}) as host:
        host.wait_for_value(OLD, 1)
        begun_s = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            assert {answer["value"] for answer in pool.map(lambda _: host.visit(sleep=1.0), range(10))} == {OLD}
        assert time.monotonic() - begun_s < 5.0


@every_start
@pytest.mark.parametrize("at", [At.REQUEST, At.HEAD, At.BODY], ids=lambda at: at.name.lower())
def test_no_request_waits_for_a_service_that_says_nothing(
    service: FeatBitServer, start: list[str], at: At, capsys: pytest.CaptureFixture[str]
) -> None:
    service.misbehave(Stall(at=at), on=Endpoint.STREAM)
    with running(service, gunicorn(*start, workers=1)) as host:
        assert host.visit()["value"] == DEFAULT
        service.wait_for(lambda server: server.requests_to(Endpoint.STREAM), what="the client to ask")
        slowest = slowest_s(host, SILENCE_S)
    with capsys.disabled():
        print(f"\ngevent{' preloaded' if start else ''}, flags silent from {at.name}: slowest {slowest * 1e3:.1f} ms")
    assert slowest < CALM_S


@every_start
def test_no_request_waits_for_events_that_nobody_takes(
    service: FeatBitServer, start: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    service.misbehave(Stall(at=At.HEAD), on=Endpoint.EVENTS)
    with running(service, gunicorn(*start, workers=1), files={"app.py": USED_AT_IMPORT}) as host:
        assert host.visit()["value"] == OLD
        service.wait_for(lambda server: server.requests_to(Endpoint.EVENTS), what="events to be sent")
        slowest = slowest_s(host, SILENCE_S)
    with capsys.disabled():
        print(f"\ngevent{' preloaded' if start else ''}, events silent: slowest {slowest * 1e3:.1f} ms")
    assert slowest < CALM_S


@every_start
def test_a_worker_that_leaves_delivers_its_last_events(service: FeatBitServer, start: list[str]) -> None:
    slow = APP.replace("flush_interval_s=0.1", "flush_interval_s=60.0")
    with running(service, gunicorn(*start, workers=2), files={"app.py": slow}) as host:
        host.wait_for_value(OLD, 2)
        assert host.stop() == 0
        host.wait_for_events()
