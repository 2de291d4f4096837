"""Real Celery workers: tasks see the users of web requests, every process follows the flags, and no event is lost at any end."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import flask
import pytest
from celery import signature
from celery.result import AsyncResult
from werkzeug.test import Client as Browser

import flagmw
import flagmw_celery
import flagmw_flask
from flagmw import Client
from tests.e2e.matrix.running import ROOT, Running, environment_of
from tests.e2e.matrix.served.broker import celery_app
from tests.e2e.matrix.services import Event, OfFeatBit, OfHackle

DEADLINE_S = 30.0
LOOK_S = 0.02
CHILDREN = 3
LATE_S = 3600.0
"""A worker that waits so long for others of its events sends them at its end, or never."""


def wait_until(condition: Callable[[], object], what: str) -> float:
    """Wait until something is true; give how long that took."""
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < DEADLINE_S, f"waited {DEADLINE_S:g} s in vain for {what}"
        time.sleep(LOOK_S)
    return time.monotonic() - begun_s


def dsn_of(service: OfHackle | OfFeatBit, **options: object) -> str:
    """Give what a client is configured with."""
    scheme = "hackle" if isinstance(service, OfHackle) else "featbit"
    given: dict[str, object] = {"tls": "false", **({"poll_interval_s": 0.5} if scheme == "hackle" else {}), **options}
    query = "&".join(f"{name}={value}" for name, value in given.items())
    return f"{scheme}://{quote(service.secret, safe='')}@127.0.0.1:{service.server.port}?{query}"


class Shop:
    """A web app in this process, which queues tasks, and workers in others, which run them.

    Args:
        service: where flags come from.
        folder: for messages, results and marks.
        dsn_options: are added to the DSN of the workers.
    """

    def __init__(self, service: OfHackle | OfFeatBit, folder: Path, **dsn_options: object) -> None:
        self.service = service
        self.folder = folder
        (folder / "served").mkdir(parents=True)
        self.dsn = dsn_of(service, event_flush_interval_s=LATE_S, **dsn_options)
        self.flag = service.keys[0]
        self.queue = celery_app(folder)
        self.web = Client(dsn_of(service))
        flagmw_celery.Flags(self.queue, self.web)
        self._browser = Browser(self._app())
        self._users = itertools.count()
        self._running: list[Running] = []

    def _app(self) -> flask.Flask:
        app = flask.Flask("shop")
        app.secret_key = "a secret of the tests"

        def user(request: flask.Request) -> dict[str, str]:
            return {"key": request.args["user"], "plan": "pro"}

        flagmw_flask.Flags(app, self.web, user=user)

        @app.get("/<task>")
        def page(task: str) -> dict[str, Any]:
            options = json.loads(flask.request.args["options"])
            sent = self.queue.send_task(task, **options)
            reads = flask.request.args["reads"] == "yes"
            return {"task": sent.id, "value": flagmw.flags.variation(self.flag) if reads else None}

        return app

    # --- the worker -------------------------------------------------------------------------------------------

    def start(self, *arguments: str, command: str = "worker", **environment: str) -> Running:
        """Start a worker, or another command of Celery's."""
        name = f"{command}-{len(self._running)}"
        running = Running(
            lambda _: [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "tests.e2e.celery_shop",
                command,
                "-l",
                "INFO",
                *arguments,
            ],
            {
                "FLAGMW_DSN": self.dsn,
                "FLAGMW_STATE_DIR": os.environ["FLAGMW_STATE_DIR"],
                "SHOP_FOLDER": str(self.folder),
                "SHOP_FLAG": json.dumps(self.flag),
                **environment,
            },
            self.folder / f"{name}.log",
        )
        self._running.append(running)
        return running

    def worker(self, *arguments: str, pool: str = "prefork", children: int = CHILDREN, **environment: str) -> Running:
        """Start a worker and wait until it takes tasks."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        running = self.start("-P", pool, "-c", str(children), *quiet, *arguments, **environment)

        def is_ready() -> bool:
            running.check()
            return " ready." in running.log()

        wait_until(is_ready, "the worker")
        return running

    def close(self) -> None:
        for running in self._running:
            running.kill_all()
        self.web.close(0.0)
        self.queue.close()

    # --- tasks --------------------------------------------------------------------------------------------------

    def ask(self, task: str = "shop.look", *, reads: bool = False, **options: Any) -> tuple[str, Any, AsyncResult]:
        """Have a request of a new user queue a task; give the user, what the request was served, and the result."""
        user = f"user-{next(self._users)}"
        query = {"user": user, "options": json.dumps(options), "reads": "yes" if reads else "no"}
        answer = self._browser.get(f"/{task}", query_string=query)
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        return user, answer.json["value"], AsyncResult(answer.json["task"], app=self.queue)

    def result(self, found: AsyncResult) -> Any:
        """Wait for what a task gives."""
        return found.get(timeout=DEADLINE_S, interval=LOOK_S)

    def run(self, count: int) -> list[dict[str, Any]]:
        """Run so many tasks to their end."""
        return [self.result(found) for _, _, found in [self.ask() for _ in range(count)]]

    def busy(self, count: int = CHILDREN, **options: Any) -> None:
        """Have so many tasks under way that have been served what they are served."""
        users = [self.ask(args=[DEADLINE_S], **options)[0] for _ in range(count)]
        wait_until(lambda: set(users) <= self.served(), "tasks under way")

    def served(self) -> set[str]:
        """Give the users who were served something in a task."""
        return {path.name for path in (self.folder / "served").iterdir()}

    # --- events -------------------------------------------------------------------------------------------------

    def due(self) -> set[Event]:
        """Give the events that the tasks so far have told."""
        return {Event(user, str(name)) for user in self.served() for name in (self.flag, "purchase")}

    def arrived(self) -> set[Event]:
        """Give those that have arrived."""
        return {arrival.event for arrival in self.service.arrivals()} & self.due()

    def adopt(self) -> None:
        """Start a process of the same app once, until nothing is left."""
        environment = environment_of({"FLAGMW_DSN": self.dsn, "FLAGMW_STATE_DIR": os.environ["FLAGMW_STATE_DIR"]})
        command = [sys.executable, "-m", "tests.e2e.matrix.adopter"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def check_events(self, what: str) -> None:
        """See that each event has arrived, and counts once; a service that has ids of events drops repeats by them."""
        before, due = len(self.arrived()), self.due()
        begun_s = time.monotonic()
        if before < len(due):
            self.adopt()
        lost = due - self.arrived()
        arrivals = [arrival for arrival in self.service.arrivals() if arrival.event in due]
        once = {(arrival.event, arrival.id) for arrival in arrivals if arrival.id}
        counts = Counter([event for event, _ in once] + [arrival.event for arrival in arrivals if not arrival.id])
        twice = {event for event, count in counts.items() if count > 1}
        print(
            f"{what}: {len(due)} events due, {before} arrived by the end, {len(due) - before - len(lost)} adopted in "
            f"{time.monotonic() - begun_s:.2f} s, {len(lost)} lost, {len(twice)} twice, "
            f"{len(arrivals) - sum(counts.values())} repeats"
        )
        assert due
        assert (lost, twice) == (set(), set())


@pytest.fixture(params=[OfHackle, OfFeatBit], ids=["hackle", "featbit"])
def service(request: pytest.FixtureRequest) -> Iterator[OfHackle | OfFeatBit]:
    with request.param() as found:
        yield found


@pytest.fixture
def shop(service: OfHackle | OfFeatBit, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(service, tmp_path / "shop")
    yield found
    found.close()


only_hackle = pytest.mark.parametrize("service", [OfHackle], ids=["hackle"], indirect=True)


def end(running: Running, number: int, *, again_s: float = DEADLINE_S) -> float:
    """Send a signal to a worker, and wait until all its processes are gone; give how long that took.

    Args:
        running: the worker.
        number: of the signal.
        again_s: it is sent anew after so long, as by somebody who loses patience.
    """
    begun_s = sent_s = time.monotonic()
    running.signal(number)

    def has_ended() -> bool:
        nonlocal sent_s
        if time.monotonic() - sent_s > again_s:
            sent_s = time.monotonic()
            running.signal(number)
        return running.has_ended() and not running.pids()

    wait_until(has_ended, "the worker's end")
    return time.monotonic() - begun_s


# --- users and flags --------------------------------------------------------------------------------------------


def test_a_task_sees_the_user_and_the_value_of_the_request(shop: Shop) -> None:
    shop.worker()
    user, value, found = shop.ask(reads=True)
    told = shop.result(found)
    assert (told["user"], told["value"], told["plan"]) == (user, value, "pro")


def test_a_task_that_a_task_has_queued_sees_the_user(shop: Shop) -> None:
    shop.worker()
    user, _, found = shop.ask("shop.relay")
    told = shop.result(AsyncResult(shop.result(found), app=shop.queue))
    assert (told["user"], told["plan"]) == (user, "pro")


@pytest.mark.parametrize("environment", [{}, {"SHOP_EARLY": "yes"}, {"SHOP_START_METHOD": "spawn"}], ids=str)
def test_all_children_follow_the_flags(shop: Shop, environment: dict[str, Any]) -> None:
    shop.worker(**environment)
    pids: set[int] = set()

    def all_have_worked() -> bool:
        pids.update(told["pid"] for told in shop.run(CHILDREN * 2))
        return len(pids) == CHILDREN

    wait_until(all_have_worked, "each child to run a task")
    shop.service.change()
    values: dict[int, str] = dict.fromkeys(pids, shop.service.before)

    def all_have_it() -> bool:
        values.update({told["pid"]: told["value"] for told in shop.run(CHILDREN * 2)})
        return set(values.values()) == {shop.service.after}

    print(
        f"{type(shop.service).__name__} {environment}: all {CHILDREN} children in {wait_until(all_have_it, 'the change'):.2f} s"
    )


# --- ends -------------------------------------------------------------------------------------------------------

ENDS = {
    "warm stop": signal.SIGTERM,
    "cold stop": signal.SIGQUIT,
    "interrupted twice": signal.SIGINT,
    "killed": signal.SIGKILL,
}


@only_hackle
@pytest.mark.parametrize("how", ["warm stop", "cold stop", "killed"])
def test_no_event_is_lost_when_an_idle_worker_ends(shop: Shop, how: str) -> None:
    running = shop.worker()
    shop.run(20)
    took_s = end(running, ENDS[how])
    shop.check_events(f"{how}, idle, {took_s:.2f} s")


@only_hackle
@pytest.mark.parametrize("how", ["cold stop", "interrupted twice", "killed"])
def test_no_event_is_lost_when_a_busy_worker_ends(shop: Shop, how: str) -> None:
    running = shop.worker()
    shop.run(10)
    shop.busy()
    took_s = end(running, ENDS[how], again_s=1.0)
    shop.check_events(f"{how}, busy, {took_s:.2f} s")


def test_a_warm_stop_waits_for_its_tasks_and_sends_their_events(shop: Shop) -> None:
    running = shop.worker()
    asked = [shop.ask(args=[1.0]) for _ in range(CHILDREN)]
    wait_until(lambda: {user for user, _, _ in asked} <= shop.served(), "tasks under way")
    took_s = end(running, signal.SIGTERM)
    assert all(found.successful() for _, _, found in asked)
    assert shop.arrived() == shop.due()
    print(f"warm stop, tasks of 1 s under way: {took_s:.2f} s, {len(shop.due())} events arrived without an adopter")


@only_hackle
def test_a_child_that_is_recycled_sends_its_events_itself(shop: Shop) -> None:
    shop.worker("--max-tasks-per-child", "1")
    told = shop.run(10)
    assert len({one["pid"] for one in told}) == 10
    took_s = wait_until(lambda: shop.arrived() == shop.due(), "the events of recycled children")
    print(f"recycled after each of 10 tasks: the last of {len(shop.due())} events {took_s:.2f} s after the last task")
    shop.check_events("recycled")


@only_hackle
def test_no_event_of_a_task_beyond_its_time_limit_is_lost(shop: Shop) -> None:
    running = shop.worker()
    shop.run(5)
    shop.busy(2, time_limit=1)
    wait_until(lambda: running.log().count("TimeLimitExceeded(") >= 2, "the time limit to strike")
    assert len(shop.run(CHILDREN * 2)) == CHILDREN * 2
    took_s = end(running, signal.SIGTERM)
    shop.check_events(f"time limit, then a warm stop of {took_s:.2f} s")


@only_hackle
def test_the_error_callback_of_a_task_beyond_its_time_limit_runs_for_nobody(shop: Shop) -> None:
    shop.worker()
    shop.busy(1, time_limit=1, link_error=signature("shop.look", app=shop.queue, immutable=True))
    wait_until(lambda: "None" in shop.served(), "the error callback, which the main process queues")


@only_hackle
def test_a_task_that_is_interrupted_by_its_soft_limit_leaves_flags_to_the_next(shop: Shop) -> None:
    running = shop.worker(children=1)
    shop.busy(1, soft_time_limit=1)
    wait_until(lambda: "SoftTimeLimitExceeded(" in running.log(), "the soft time limit to strike")
    user, _, found = shop.ask()
    assert shop.result(found)["user"] == user


@only_hackle
def test_no_event_is_lost_when_children_are_killed_in_the_middle_of_tasks(shop: Shop) -> None:
    running = shop.worker()
    pids = {told["pid"] for told in shop.run(10)}
    shop.busy()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert not pids & {told["pid"] for told in shop.run(CHILDREN * 2)}
    took_s = end(running, signal.SIGTERM)
    shop.check_events(f"{len(pids)} children killed, then a warm stop of {took_s:.2f} s")


# --- other pools --------------------------------------------------------------------------------------------------


@only_hackle
@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_a_task_in_another_pool_sees_its_user_while_others_run(shop: Shop, pool: str) -> None:
    shop.worker(pool=pool)
    asked = [shop.ask(reads=True, args=[0.05]) for _ in range(20)]
    told = [shop.result(found) for _, _, found in asked]
    assert [(one["user"], one["value"]) for one in told] == [(user, value) for user, value, _ in asked]


@only_hackle
@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
@pytest.mark.parametrize("how", ["warm stop", "killed"])
def test_no_event_is_lost_in_another_pool(shop: Shop, pool: str, how: str) -> None:
    running = shop.worker(pool=pool)
    shop.run(20)
    took_s = end(running, ENDS[how])
    shop.check_events(f"{pool}, {how}, {took_s:.2f} s")


# --- who connects -------------------------------------------------------------------------------------------------


def met() -> list[Path]:
    """Give what flagmw has put where the processes of the host meet."""
    return [path for path in Path(os.environ["FLAGMW_STATE_DIR"]).rglob("*") if path.is_file()]


@only_hackle
def test_a_worker_whose_tasks_read_no_flag_never_connects(shop: Shop) -> None:
    running = shop.worker()
    for _ in range(CHILDREN * 2):
        shop.result(shop.ask("shop.idle")[2])
    print(f"warm stop of a worker that never used flagmw: {end(running, signal.SIGTERM):.2f} s")
    assert (shop.service.server.tcp_accepted, met()) == (0, [])


@only_hackle
def test_the_main_process_of_a_worker_never_connects(shop: Shop) -> None:
    running = shop.worker()
    shop.run(CHILDREN)
    users = {path.name.split("-")[1] for path in met() if path.name.startswith(("process-", "events-"))}
    assert users
    assert str(running.pid) not in users


@only_hackle
def test_beat_never_connects(shop: Shop) -> None:
    beat = shop.start("-s", str(shop.folder / "schedule"), command="beat", SHOP_BEAT_S="0.1")
    wait_until(lambda: len(list((shop.folder / "queue").iterdir())) > 1, "tasks that beat has queued")
    end(beat, signal.SIGTERM)
    assert (shop.service.server.tcp_accepted, met()) == (0, [])


@only_hackle
def test_a_task_that_beat_has_queued_runs_for_nobody(shop: Shop) -> None:
    shop.worker("-B", "-s", str(shop.folder / "schedule"), SHOP_BEAT_S="0.1", SHOP_BEAT_TASK="shop.look")
    wait_until(lambda: "None" in shop.served(), "a task of beat's")
    assert shop.served() == {"None"}


# --- delivery at the end of each task -----------------------------------------------------------------------------


@pytest.mark.parametrize("service", [OfHackle], ids=["hackle"], indirect=True)
def test_with_flush_a_tasks_events_are_there_before_the_next_task(service: OfHackle, tmp_path: Path) -> None:
    shop = Shop(service, tmp_path / "shop", event_durability="memory")
    try:
        shop.worker(children=1, SHOP_OPTIONS=json.dumps({"flush": DEADLINE_S}))
        shop.result(shop.ask()[2])
        due = shop.due()
        shop.result(shop.ask("shop.idle")[2])
        assert due <= shop.arrived()
    finally:
        shop.close()
