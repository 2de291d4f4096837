"""The memory that is each worker's own, with 10,000 flags: preloaded in the master or not, with `gc.freeze()` or without."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from random import Random
from statistics import mean
from typing import Any

from benchmarks.process_parts.apart import apart, in_a_fork, wait_for
from benchmarks.timing import Pace, table
from flagmw import Client
from flagmw.providers import FeatBit
from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer

FLAGS = 10_000
QUICK_FLAGS = 60
QUICK_AGREED_S = 0.1
WORKERS = 4
EVALUATIONS = 20_000
READY_S = 100.0
AGREED_S = 2.0
"""So long after the first flags a worker has met the others, looked at their file and heard from the service."""

HEADS = ["4 workers", "forked MB", "in sync MB", "in use MB", "collected MB", "first answer ms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the master does before it forks."""

    name: str
    warms: bool = True
    freezes: bool = False
    shared: bool = True


WAYS = (
    Way(name="warm() and gc.freeze() in the master", freezes=True),
    Way(name="warm() in the master"),
    Way(name="the first, with shared=False", freezes=True, shared=False),
    Way(name="the second, with shared=False", shared=False),
    Way(name="not preloaded", warms=False),
)


def own_mb() -> float:
    """Give the memory that no other process has a part in."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        sizes = [line.split() for line in file if line.startswith(("Private_Clean", "Private_Dirty"))]
    return sum(int(size[1]) for size in sizes) / 1024


def master(pipe: Connection, way: Way, flags: int, agreed_s: float, where: dict[str, Any]) -> None:
    """Fork the workers, one after another, and keep them until all have told."""
    client = Client(FeatBit(where.pop("secret"), events=False, shared=way.shared, **where))
    if way.warms:
        assert client.warm(READY_S)
    if way.freezes:
        gc.collect()
        gc.freeze()
    ends, end = os.pipe()
    children = [in_a_fork(partial(_work, client, flags, agreed_s, ends, end), pipe) for _ in range(WORKERS)]
    os.close(ends)
    pipe.recv()
    os.close(end)
    for child in children:
        os.waitpid(child, 0)


def _work(client: Client, flags: int, agreed_s: float, ends: int, end: int, pipe: Connection) -> None:
    """Do what workers do for a while: evaluate many flags, and let the collector run as it will sooner or later."""
    os.close(end)
    forked_mb = own_mb()
    began = time.monotonic()
    assert client.wait_until_ready(READY_S)
    first_ms = (time.monotonic() - began) * 1e3
    until_s = time.monotonic() + agreed_s
    wait_for(lambda: time.monotonic() > until_s and client.status.heartbeat_age_s is not None)
    assert client.status.flags == flags, client.status
    synced_mb = own_mb()
    draw = Random(os.getpid())
    for number in range(EVALUATIONS):
        user = {"key": f"u-{number % 1_000}", "name": "Ana", "country": "de", "age": 30}
        client.variation(f"flag-{draw.randrange(flags):05d}", user, None)
    used_mb = own_mb()
    gc.collect()
    pipe.send((forked_mb, synced_mb, used_mb, own_mb(), first_ms))
    os.read(ends, 1)  # until the master closes its end, or is gone


def measured(way: Way, flags: int, agreed_s: float, where: Mapping[str, Any]) -> list[float]:
    """Give the means of the workers."""
    with apart(master, way, flags, agreed_s, dict(where)) as process:
        told = [process.hear() for _ in range(WORKERS)]
        process.tell("end")
    return [mean(values) for values in zip(*told, strict=True)]


def report(pace: Pace) -> None:
    """Print the table."""
    is_quick = pace.rounds <= 3
    flags, agreed_s = (QUICK_FLAGS, QUICK_AGREED_S) if is_quick else (FLAGS, AGREED_S)
    rows = []
    with FeatBitServer() as server:
        server.load(featbit.large_environment(flags))
        where = {"secret": server.secret, "streaming_url": server.ws_url, "event_url": server.url}
        for way in WAYS:
            *sizes, first_ms = measured(way, flags, agreed_s, where)
            rows.append([way.name, *[f"{size:.1f}" for size in sizes], f"{first_ms:,.0f}"])
    table(f"{flags:,} flags, private memory per worker", HEADS, rows)
