"""What a large environment costs: 10,000 flags, 20 MB of JSON, from FeatBit's and featureflag.co's servers.

Prints how long a full message takes until it is in force, how much memory it needs for good, and how long a patch of
one flag takes, each in a process of its own. The official FeatBit client loads the same message in the same run; it is
given no patches, for which it has no public way in. `docs/benchmarks.md` tells how to read the figures.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from statistics import median
from typing import Any

from benchmarks.timing import table, verdict
from flagmw import Client
from flagmw.core.documents import Document
from flagmw.transports.memory import MemoryChannel, MemorySource

FLAGS = 10_000
QUICK_FLAGS = 100
PATCHES = 51
GOAL_PATCH_MS = 5.0

Row = dict[str, float]
Envelope = dict[str, Any]


class Fed:
    """A provider whose messages this script hands over; everything else is as in an application."""

    def __init__(self, dialect: Callable[[], Any]) -> None:
        self.dialect = dialect
        self.channel = MemoryChannel(Document(name="stream", content=b'{"messageType": "pong", "data": {}}'))

    def source(self) -> MemorySource:
        """Give the source of what is handed over."""
        return MemorySource(self.channel)

    def sink(self) -> None:
        """Send nothing."""

    def place(self) -> None:
        return None

    def cache(self) -> None:
        """Keep nothing."""


def environment(service: str, flags: int) -> Envelope:
    """Build an environment as its server would send it."""
    from tests.services import environments

    return dict(getattr(environments, service).large_environment(flags))


def patch_of(service: str, envelope: Envelope, number: int) -> Envelope:
    """Give the message that changes one flag: it is off from now on, and newer than anything before."""
    flags = envelope["data"]["featureFlags"]
    flag = copy.deepcopy(flags[number * 7 % len(flags)])
    if service == "featbit":
        flag.update(isEnabled=not flag["isEnabled"], updatedAt=f"2040-01-01T00:00:{number:02d}.000Z")
    else:
        is_on = flag["ff"]["status"] == "Enabled"
        flag["ff"]["status"] = "Disabled" if is_on else "Enabled"
        flag["timestamp"] = 2_208_988_800_000 + number
    data = {"eventType": "patch", "featureFlags": [flag], "segments": []}
    return {"messageType": "data-sync", "data": data}


def resident_mb() -> float:
    """Give the memory that this process holds now."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def ours(service: str, flags: int) -> Row:
    """Hand the messages to a client."""
    envelope = environment(service, flags)
    secret = "N2QxYy00YjVlLSUyMDIyMDMxMTA5MzAwMF9fMzZfXzQ2X185OF9fZGVmYXVsdF85ZjI3Yw=="
    if service == "featbit":
        from flagmw.dialects.featbit import FeatBitDialect

        provider = Fed(FeatBitDialect)
    else:
        from flagmw.dialects.featureflag_co import FeatureFlagCoDialect

        provider = Fed(lambda: FeatureFlagCoDialect(secret))
    text = json.dumps(envelope).encode()
    patches = [json.dumps(patch_of(service, envelope, number)).encode() for number in range(PATCHES)]
    del envelope
    with Client(provider) as client:
        before_mb = resident_mb()
        took_ms = timed(lambda: provider.channel.put(Document(name="stream", content=text)))
        after_mb = resident_mb()
        assert client.status.flags == flags, client.status
        patch_ms = [timed(lambda: provider.channel.put(Document(name="stream", content=one))) for one in patches]  # noqa: B023  # called at once
    return row(text, flags, took_ms, after_mb - before_mb, patch_ms)


def official(service: str, flags: int) -> Row:
    """Have the official client read the full message."""
    from tests.services.official_clients import FeatBitCalls

    text = json.dumps(environment(service, flags))
    nothing = {"eventType": "full", "featureFlags": [], "segments": []}
    client: Any = FeatBitCalls(bootstrap=json.dumps({"messageType": "data-sync", "data": nothing})).client
    before_mb = resident_mb()
    took_ms = timed(lambda: client.initialize_from_external_json(text))
    return row(text.encode(), flags, took_ms, resident_mb() - before_mb, [])


def row(text: bytes, flags: int, took_ms: float, memory_mb: float, patch_ms: list[float]) -> Row:
    """Put the figures together."""
    return {
        "flags": flags,
        "message_mb": len(text) / 1e6,
        "load_ms": took_ms,
        "memory_mb": memory_mb,
        "patch_ms": median(patch_ms) if patch_ms else -1.0,
        "worst_patch_ms": max(patch_ms) if patch_ms else -1.0,
    }


def timed(action: Callable[[], object]) -> float:
    """Give the milliseconds that something takes."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


def alone(measure: Callable[[str, int], Row], service: str, flags: int) -> Row:
    """Measure in a process of its own, whose memory holds nothing else."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (service, flags))


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few flags: the figures mean little")
    flags = QUICK_FLAGS if parser.parse_args().quick else FLAGS
    logging.disable(logging.CRITICAL)
    measures = (
        ("flagmw, FeatBit", ours, "featbit"),
        ("flagmw, featureflag.co", ours, "featureflag_co"),
        ("fb-python-sdk", official, "featbit"),
    )
    rows = []
    for name, measure, service in measures:
        found = alone(measure, service, flags)
        goal = [f"patch < {GOAL_PATCH_MS:g} ms", verdict(is_met=found["patch_ms"] < GOAL_PATCH_MS)]
        patches = [f"{found['patch_ms']:.2f}", f"{found['worst_patch_ms']:.2f}"]
        if measure is official:
            goal, patches = ["none", ""], ["", ""]
        figures = [f"{found['message_mb']:.1f}", f"{found['load_ms']:,.0f}", f"{found['memory_mb']:.0f}", *patches]
        rows.append([name, f"{found['flags']:,.0f}", *figures, *goal])
    heads = ["client", "flags", "message MB", "load ms", "memory MB", "patch ms", "worst ms", "goal", "met"]
    table("A full message, then patches of one flag each", heads, rows)


if __name__ == "__main__":
    main()
