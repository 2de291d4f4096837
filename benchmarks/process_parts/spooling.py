"""What events cost the request that sees flags: three exposures of one user, written to the spool before it is answered."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.process_parts.apart import FEATBIT_SECRET, HACKLE_KEY, apart
from benchmarks.timing import Against, Pace, Run, against, in_turn, table, verdict
from flagmw import Client, UserContext
from flagmw.core.records import Exposure
from flagmw.core.snapshot import settled
from flagmw.providers import EventOptions, FeatBit, Hackle, StreamOptions
from flagmw.wsgi import FlagMiddleware
from tests.services.environments import featbit, hackle

GOAL_US = 15.0
NOWHERE = "http://127.0.0.1:9"
"""Refuses connections, so that no delivery competes with the requests; it is tried again after longer and longer pauses."""

LONG_S = 3_600.0
ROOM_BYTES = 4 << 30
ROOM_EVENTS = 10_000_000
"""More than is measured, so that nothing is dropped, which would be cheaper."""

KINDS: Mapping[str, EventOptions | bool] = {
    "process": EventOptions(max_spool_bytes=ROOM_BYTES, capacity=ROOM_EVENTS),
    "memory": EventOptions(durability="memory", capacity=ROOM_EVENTS),
    "no events": False,
}
HEADS = ["what", "spool us", "other us", "ratio", "added us", "goal", "met"]

Read = Callable[[Any], None]


def featbit_client(events: EventOptions | bool, folder: str) -> Client:
    flags = [featbit.flag(key, values=("on", "off"), kind="string") for key in ("one", "two", "three")]
    stream = StreamOptions(first_retry_delay_s=LONG_S, max_retry_delay_s=LONG_S)
    return Client(
        FeatBit(
            FEATBIT_SECRET,
            streaming_url=NOWHERE.replace("http", "ws"),
            event_url=NOWHERE,
            bootstrap=featbit.environment(flags),
            stream=stream,
            events=events,
            shared=False,
            state_dir=folder,
        )
    )


def hackle_client(events: EventOptions | bool, folder: str) -> Client:
    return Client(
        Hackle(
            HACKLE_KEY,
            sdk_url=NOWHERE,
            event_url=NOWHERE,
            bootstrap=hackle.small_workspace(),
            poll_interval_s=LONG_S,
            events=events,
            shared=False,
            state_dir=folder,
        )
    )


def read_featbit(flags: Any) -> None:
    flags.variation("one", "off")
    flags.variation("two", "off")
    flags.variation("three", "off")


def read_hackle(flags: Any) -> None:
    flags.variation(42, "A")
    flags.is_enabled(7)
    flags.config("banner", "none")


SERVICES: Mapping[str, tuple[Callable[[EventOptions | bool, str], Client], Read]] = {
    "FeatBit": (featbit_client, read_featbit),
    "Hackle": (hackle_client, read_hackle),
}


# --- requests -----------------------------------------------------------------------------------------------


def user_of(number: int) -> UserContext:
    attributes = {"country": "DE", "plan": "pro", "age": 30}
    return UserContext(f"user-{number}", name="Ana", attributes=attributes)


def requests(client: Client, read: Read) -> Run:
    """Serve requests of which each has a user of its own and reads three flags."""
    numbers = count()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        read(environ["flagmw.flags"])
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        return lambda _: None

    served: Any = FlagMiddleware(app, client, lambda environ: user_of(next(numbers)), anonymous=False)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "localhost", "wsgi.url_scheme": "http"}

    def run(number: int) -> float:
        began = time.thread_time()
        for _ in range(number):
            served(environ.copy(), start_response)
        return time.thread_time() - began

    return run


@contextmanager
def clients(service: str) -> Iterator[dict[str, Client]]:
    """Start a client of each kind, all with the same flags."""
    make, _ = SERVICES[service]
    with ExitStack() as stack:
        started = {}
        for kind, events in KINDS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flagmw-bench-"))
            started[kind] = client = make(events, folder)
            client.start()
            stack.callback(client.close, 0.1)
            assert client.wait_until_ready(10.0), client.status
        yield started


def writing(client: Client, keys: list[str]) -> Run:
    """Hand over the exposures of a request, as the middleware does: encoding and one write, and nothing else."""
    snapshot = client.snapshot()
    assert snapshot is not None
    outcomes = {key: settled(snapshot.flags[key].evaluate(user_of(0)), "A") for key in keys}

    def run(number: int) -> float:
        users = [user_of(place) for place in range(number)]
        batches = [
            [Exposure(key, user, outcomes[key], snapshot.revision, time.time(), "A") for key in keys] for user in users
        ]
        began = time.thread_time()
        for batch in batches:
            client.hand_over(batch)
        return time.thread_time() - began

    return run


KEYS = {"FeatBit": ["one", "two", "three"], "Hackle": ["ab_test/42", "feature_flag/7", "remote_config/banner"]}


def body(pipe: Connection, service: str, pace: Pace) -> None:
    """Measure one service's clients in turn."""
    with clients(service) as started:
        read = SERVICES[service][1]
        runs = [requests(client, read) for client in started.values()]
        spool, memory, none, alone = in_turn([*runs, writing(started["process"], KEYS[service])], pace)
        status = started["process"].status
        assert status.events is not None
        assert status.events.dropped == 0, status
        assert status.events.waiting > 0, status
        pipe.send((against(spool, none), against(spool, memory), against(alone, alone)))


def report(pace: Pace) -> None:
    """Print the table."""
    rows = []
    for service in SERVICES:
        with apart(body, service, pace) as process:
            over_none, over_memory, alone = process.hear()
        goal, met = f"added < {GOAL_US:g}", verdict(is_met=over_memory.added_ns < GOAL_US * 1e3)
        rows.append(row(f"{service}, against events in memory", over_memory, goal, met))
        rows.append(row(f"{service}, against no events", over_none, "none", ""))
        rows.append([f"{service}, encoding and writing alone", f"{alone.ns / 1e3:.1f}", "", "", "", "none", ""])
    table("A request with 3 exposures of one user", HEADS, rows)


def row(name: str, found: Against, goal: str, met: str) -> list[str]:
    figures = [
        f"{found.ns / 1e3:.1f}",
        f"{found.other_ns / 1e3:.1f}",
        f"{found.ratio:.3f}",
        f"{found.added_ns / 1e3:.1f}",
    ]
    return [name, *figures, goal, met]
