"""From a fork to the first right answer while the service is down: 300 flags that were inherited, or lie in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.process_parts.apart import apart, in_a_fork, percentile, wait_for
from benchmarks.timing import Pace, table, verdict
from flagmw import Client
from flagmw.lifecycle.places import VARIABLE
from flagmw.providers import FeatBit
from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer

FLAGS = 300
FORKS = 60
QUICK_FORKS = 3
GOAL_MS = 5.0
READY_S = 20.0
KEY = "flag-00007"
USER = {"key": "u-1", "name": "Ana", "country": "de", "age": 30}
HEADS = ["first flags from", "median ms", "p95 ms", "max ms", "of it the fork", "right", "goal", "met"]


def master(pipe: Connection, keeps: str, forks: int, where: dict[str, Any]) -> None:
    """Fork children that ask for a flag at once, and say how long each had to wait for the answer.

    Args:
        pipe: to the script.
        keeps: "inherited" fetches the flags before the forks, "file" leaves them in the file of a process that is gone.
        forks: how many.
        where: the service.
    """
    client = Client(FeatBit(where.pop("secret"), events=False, **where))
    wanted = right_answer()
    if keeps == "inherited":
        assert client.warm(READY_S)
    elif keeps == "file":
        _wait(in_a_fork(lambda _: _lead(client), pipe))
    pipe.send("ready")
    pipe.recv()
    for _ in range(forks):
        began_ns = time.monotonic_ns()
        child = in_a_fork(lambda ours: _ask(client, ours, began_ns, wanted), pipe)  # noqa: B023  # forked at once
        _wait(child)


def _lead(client: Client) -> None:
    """Write the file as a worker does that is alone on the host, and end as workers do."""
    assert client.wait_until_ready(READY_S)
    wait_for(lambda: any(Path(os.environ[VARIABLE]).glob("*/flags")))
    client.close()


def _ask(client: Client, pipe: Connection, began_ns: int, wanted: Any) -> None:
    forked_ns = time.monotonic_ns()
    value = client.variation(KEY, USER, None)
    while value != wanted and time.monotonic_ns() - began_ns < READY_S * 1e9:
        time.sleep(0.0002)
        value = client.variation(KEY, USER, None)
    pipe.send((value == wanted, (forked_ns - began_ns) / 1e6, (time.monotonic_ns() - began_ns) / 1e6))


def _wait(child: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def environment() -> dict[str, Any]:
    return dict(featbit.large_environment(FLAGS))


def right_answer() -> Any:
    """Give what an offline client with the same flags says."""
    with Client(FeatBit("", offline=True, bootstrap=environment())) as client:
        value = client.variation(KEY, USER, None)
    assert value is not None
    return value


def measured(keeps: str, forks: int) -> list[tuple[bool, float, float]]:
    """Give for each fork whether the answer was right, how long the fork took, and how long all did, in milliseconds."""
    with FeatBitServer() as server:
        server.load(environment())
        where = {"secret": server.secret, "streaming_url": server.ws_url, "event_url": server.url}
        with apart(master, keeps, forks, where) as process:
            assert process.hear() == "ready"
            if keeps != "service":
                server.close()
            process.tell("go")
            return [process.hear() for _ in range(forks)]


ROWS: dict[str, tuple[str, Callable[[float], list[str]]]] = {
    "inherited": (
        "the parent, service down",
        lambda p95: [f"p95 < {GOAL_MS:g} ms", verdict(is_met=p95 < GOAL_MS)],
    ),
    "file": ("the file alone, service down", lambda p95: ["none", ""]),
    "service": ("the service, on loopback", lambda p95: ["none", ""]),
}


def report(pace: Pace) -> None:
    """Print the table."""
    forks = FORKS if pace.rounds > QUICK_FORKS else QUICK_FORKS
    rows = []
    for keeps, (name, goal) in ROWS.items():
        found = measured(keeps, forks)
        times = [took for _, _, took in found]
        figures = [f"{value:.1f}" for value in (median(times), percentile(times, 0.95), max(times))]
        fork = f"{median([forked for _, forked, _ in found]):.1f}"
        right = f"{sum(is_right for is_right, _, _ in found)} of {forks}"
        rows.append([name, *figures, fork, right, *goal(percentile(times, 0.95))])
    table(f"{FLAGS} flags, from the fork to the first right answer", HEADS, rows)
