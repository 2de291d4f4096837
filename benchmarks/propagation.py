"""How soon a changed flag is seen: from the moment the service has the change to a `variation` that gives it.

A FeatBit server on loopback pushes 200 changes of one flag. flagmw and the official client each watch the flag from a
process of their own, asking for its value every fifth of a millisecond, while both are connected at the same time.
`docs/benchmarks.md` tells how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks.timing import table, verdict
from tests.services.featbit_server import FeatBitServer

CHANGES = 200
QUICK_CHANGES = 5
GOAL_P99_MS = 20.0
ASK_EVERY_S = 0.0002
BETWEEN_S = 0.01
"""Between two changes, so that no change waits for the one before."""

PATIENCE_S = 20.0
KEY = "banner"
WATCHERS = {"flagmw": "flagmw", "fbclient": "fb-python-sdk, the official client"}


def flag(number: int) -> dict[str, Any]:
    """Give the flag in its state after so many changes."""
    served = {"id": "only", "rollout": [0, 1], "exptRollout": 1}
    return {
        "key": KEY,
        "name": KEY,
        "variationType": "number",
        "variations": [{"id": "only", "name": "only", "value": str(number)}],
        "targetUsers": [],
        "rules": [],
        "isEnabled": True,
        "disabledVariationId": "only",
        "fallthrough": {"dispatchKey": None, "includedInExpt": True, "variations": [served]},
        "exptIncludeAllTargets": True,
        "tags": [],
    }


# --- the watching processes ---------------------------------------------------------------------------------


@contextmanager
def reader(which: str, secret: str, stream_url: str, url: str) -> Iterator[Callable[[], Any]]:
    """Connect a client and give what asks it for the flag."""
    if which == "flagmw":
        from flagmw import Client, UserContext
        from flagmw.providers import FeatBit

        with Client(FeatBit(secret, streaming_url=stream_url, event_url=url, events=False)) as client:
            user = UserContext("u-1", name="Ana")
            yield lambda: client.variation(KEY, user, -1)
    else:
        from fbclient.client import FBClient
        from fbclient.config import Config

        official: Any = FBClient(Config(secret, url, stream_url), start_wait=PATIENCE_S)
        try:
            yield lambda: official.variation(KEY, {"key": "u-1", "name": "Ana"}, -1)
        finally:
            official.stop()


def watch(which: str, secret: str, stream_url: str, url: str, changes: int) -> None:
    """Print each new value with the moment it was first seen, in nanoseconds of the system's monotonic clock."""
    logging.disable(logging.CRITICAL)
    with reader(which, secret, stream_url, url) as read:
        seen = -1
        while seen < changes:
            value = read()
            if value != seen:
                seen = value
                print(value, time.monotonic_ns(), flush=True)
            time.sleep(ASK_EVERY_S)


# --- the changing process -----------------------------------------------------------------------------------


def measured(changes: int) -> dict[str, list[float]]:
    """Change the flag so many times.

    Returns:
        For each watcher, the milliseconds that each change took.
    """
    with FeatBitServer() as server:
        server.put_flag(flag(0))
        command = [sys.executable, "-m", "benchmarks.propagation"]
        where = [server.secret, server.ws_url, server.url, changes]
        watchers = {  # as one argument, since a secret may begin like an option
            which: subprocess.Popen(
                [*command, f"--watch={json.dumps([which, *where])}"], stdout=subprocess.PIPE, text=True
            )
            for which in WATCHERS
        }
        try:
            for watcher in watchers.values():
                until(watcher, 0)
            took_ms: dict[str, list[float]] = {which: [] for which in watchers}
            for number in range(1, changes + 1):
                time.sleep(BETWEEN_S)
                changed_ns = time.monotonic_ns()
                server.put_flag(flag(number))
                for which, watcher in watchers.items():
                    took_ms[which].append((until(watcher, number) - changed_ns) / 1e6)
            return took_ms
        finally:
            for watcher in watchers.values():
                watcher.kill()
                watcher.communicate()


def until(watcher: subprocess.Popen[str], number: int) -> int:
    """Give the moment at which a watcher saw a value."""
    assert watcher.stdout is not None
    for line in watcher.stdout:
        value, seen_ns = line.split()
        if int(value) == number:
            return int(seen_ns)
    raise RuntimeError(f"a watcher ended before it saw change {number}")


def percentile(values: list[float], share: float) -> float:
    """Give the value that so large a share of the values does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few changes: the figures mean little")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch:
        watch(*json.loads(arguments.watch))
        return
    changes = QUICK_CHANGES if arguments.quick else CHANGES
    found = measured(changes)
    ours = median(found["flagmw"])
    rows = []
    for which, name in WATCHERS.items():
        times = found[which]
        p99 = percentile(times, 0.99)
        goal = [f"p99 < {GOAL_P99_MS:g} ms", verdict(is_met=p99 < GOAL_P99_MS)] if which == "flagmw" else ["none", ""]
        figures = [f"{value:.2f}" for value in (median(times), percentile(times, 0.95), p99, max(times))]
        rows.append([name, *figures, f"{median(times) / ours:.2f}", *goal])
    heads = ["client", "median ms", "p95 ms", "p99 ms", "max ms", "ratio", "goal", "met"]
    table(f"{changes} changes of a flag, from the service to variation()", heads, rows)


if __name__ == "__main__":
    main()
