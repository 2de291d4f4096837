"""From a change at the service to the last of 8 worker processes: with one connection for all, and with one each."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from multiprocessing.connection import Connection
from random import Random
from statistics import median
from typing import Any

from benchmarks.process_parts.apart import PATIENCE_S, apart, in_a_fork, percentile
from benchmarks.propagation import KEY, flag
from benchmarks.timing import Pace, table, verdict
from flagmw import Client, UserContext
from flagmw.providers import FeatBit
from tests.services.featbit_server import FeatBitServer

WORKERS = 8
CHANGES = 120
QUICK_CHANGES = 4
READY_S = 20.0
BETWEEN_S = (0.02, 0.15)
"""Between two changes, each time another pause: a follower that looks at a clock's beat meets them at any moment of it."""

USER = UserContext("u-1", name="Ana")
HEADS = ["8 workers", "median ms", "p95 ms", "p99 ms", "max ms", "connections", "goal", "met"]
GOALS: Mapping[bool, str] = {True: "median < 60, p99 < 120", False: "median < 20"}


def master(pipe: Connection, shared: bool, where: dict[str, Any]) -> None:
    """Fork the workers as a server with a preloaded app does, and wait for the end."""
    client = Client(FeatBit(where.pop("secret"), events=False, shared=shared, **where))
    assert client.warm(READY_S)
    ends, end = os.pipe()
    children = [in_a_fork(partial(_work, client, number, ends, end), pipe) for number in range(WORKERS)]
    os.close(ends)
    pipe.recv()
    os.close(end)
    for child in children:
        os.waitpid(child, 0)


def _work(client: Client, number: int, ends: int, end: int, pipe: Connection) -> None:
    """Tell of each value that the flag has, as soon as it has it."""
    os.close(end)

    def tell(_: frozenset[str]) -> None:
        value = client.variation(KEY, USER, -1)
        pipe.send((number, value, time.monotonic_ns()))

    client.on_change(tell)
    assert client.wait_until_ready(READY_S)
    tell(frozenset())
    os.read(ends, 1)  # until the master closes its end, or is gone


def measured(*, shared: bool, changes: int) -> tuple[list[list[float]], int]:
    """Change the flag so many times.

    Returns:
        For each change, the milliseconds that it took to each worker; and the connections at the service.
    """
    draw = Random(7)
    with FeatBitServer() as server:
        server.put_flag(flag(0))
        where = {"secret": server.secret, "streaming_url": server.ws_url, "event_url": server.url}
        with apart(master, shared, where) as process:
            for _ in range(WORKERS):
                process.hear()
            wanted = 1 if shared else WORKERS
            server.wait_for(lambda one: one.synced >= wanted, PATIENCE_S)
            took = []
            for number in range(1, changes + 1):
                time.sleep(draw.uniform(*BETWEEN_S))
                changed_ns = time.monotonic_ns()
                server.put_flag(flag(number))
                seen: dict[int, float] = {}
                while len(seen) < WORKERS:
                    worker, value, seen_ns = process.hear()
                    if value == number:
                        seen.setdefault(worker, (seen_ns - changed_ns) / 1e6)
                took.append(list(seen.values()))
            connections = server.connections
            process.tell("end")
    return took, connections


def report(pace: Pace) -> None:
    """Print the table."""
    changes = CHANGES if pace.rounds > QUICK_CHANGES else QUICK_CHANGES
    rows = []
    for shared in (True, False):
        took, connections = measured(shared=shared, changes=changes)
        last = [max(times) for times in took]
        each = [value for times in took for value in times]
        is_met = median(last) < 60 and percentile(last, 0.99) < 120 if shared else median(last) < 20
        how = "shared" if shared else "one connection each"
        rows.append([f"{how}, the last", *figures(last), str(connections), GOALS[shared], verdict(is_met=is_met)])
        rows.append([f"{how}, any", *figures(each), "", "none", ""])
    table(f"{changes} changes of a flag, from the service to the workers", HEADS, rows)


def figures(times: list[float]) -> list[str]:
    values = (median(times), percentile(times, 0.95), percentile(times, 0.99), max(times))
    return [f"{value:.1f}" for value in values]
