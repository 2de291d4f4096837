"""What a client costs at the start of a process while the service is there, refuses, is silent, or is slow."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

from benchmarks.timing import Pace, table, verdict
from tests.services.blackhole import BlackHole
from tests.services.faults import At, Drip, Stall
from tests.services.featbit_server import FeatBitServer
from tests.services.featureflag_co_server import FeatureFlagCoServer
from tests.services.hackle_server import HackleServer

ROUNDS = 3
QUICK_ROUNDS = 1
GOAL_MS = 50.0
OFFICIAL_S = 30.0
"""When a client that is still being constructed is ended."""

Urls = tuple[str, str]
"""For HTTP and for WebSockets."""

HEADS = ["provider", "service", "import ms", "construct ms", "first flag ms", "first request ms"]
HEADS += ["its own client's ms", "goal", "met"]
FAULTS: Mapping[str, Stall | Drip] = {
    "silent": Stall(at=At.REQUEST),
    "slow, 20 ms a byte": Drip(at=At.HEAD),
}


@contextmanager
def endpoints(make: Callable[[], Any]) -> Iterator[dict[str, Urls]]:
    """Run a service of each kind."""
    with ExitStack() as stack:
        found: dict[str, Urls] = {}
        for kind in ("there", *FAULTS):
            server = stack.enter_context(make())
            if kind in FAULTS:
                server.misbehave(FAULTS[kind])
            found[kind] = (server.url, server.ws_url)
        refusing = make()
        with refusing:
            found["refuses"] = (refusing.url, refusing.ws_url)
        hole = stack.enter_context(BlackHole())
        found["takes no connection"] = (hole.url, hole.ws_url)
        yield found


@contextmanager
def services() -> Iterator[list[dict[str, Any]]]:
    """Give what is constructed, for each provider and each kind of service."""
    featbit, featureflag_co, hackle = FeatBitServer(), FeatureFlagCoServer(), HackleServer()

    def options_of(provider: str, http: str, ws: str) -> dict[str, Any]:
        match provider:
            case "FeatBit" | "FeatBit, polling":
                polling = provider.endswith("polling")
                return {"streaming_url": ws, "event_url": http, "polling": polling}
            case "featureflag.co":
                return {"streaming_uri": ws, "base_uri": http}
            case _:
                return {"sdk_url": http, "event_url": http}

    makers: dict[str, tuple[str, str, Callable[[], Any]]] = {
        "FeatBit": ("FeatBit", featbit.secret, lambda: FeatBitServer(featbit.secret)),
        "FeatBit, polling": ("FeatBit", featbit.secret, lambda: FeatBitServer(featbit.secret)),
        "featureflag.co": ("FeatureFlagCo", featureflag_co.secret, lambda: FeatureFlagCoServer(featureflag_co.secret)),
        "Hackle": ("Hackle", hackle.sdk_key, lambda: HackleServer(hackle.sdk_key)),
    }
    with ExitStack() as stack:
        given = []
        for name, (provider, secret, make) in makers.items():
            for kind, (http, ws) in stack.enter_context(endpoints(make)).items():
                options = options_of(name, http, ws)
                of = {"name": name, "kind": kind, "provider": provider, "arguments": [secret], "options": options}
                given.append({**of, "secret": secret, "url": http, "ws_url": ws})
        yield given


def begin(given: Mapping[str, Any]) -> subprocess.Popen[str]:
    """Start a process that constructs a client."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.process_parts.constructed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    process.stdin = None
    return process


def end(process: subprocess.Popen[str], timeout_s: float) -> dict[str, float] | None:
    """Give what a process measured, None when it did not come to an end."""
    try:
        told, _ = process.communicate(timeout=timeout_s)
        return dict(json.loads(told)) if told else None
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def official_ms(given: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Construct the services' own clients, all at the same time, since mostly they wait."""
    own = {"FeatBit": "featbit", "Hackle": "hackle"}
    begun = {
        (one["name"], one["kind"]): begin({**one, "official": own[one["name"]]}) for one in given if one["name"] in own
    }
    found = {}
    for place, process in begun.items():
        told = end(process, OFFICIAL_S)
        found[place] = f"{told['construct']:,.0f}" if told is not None else f"> {OFFICIAL_S * 1e3:,.0f}"
    return found


def report(pace: Pace) -> None:
    """Print the table."""
    is_quick = pace.rounds <= 3
    rows = []
    with services() as given, tempfile.TemporaryDirectory(prefix="flagmw-bench-") as folder:
        asked = [one for one in given if not is_quick or one["kind"] in {"there", "refuses"}]
        theirs = {} if is_quick else official_ms(given)
        for one in asked:
            found = []
            for number in range(QUICK_ROUNDS if is_quick else ROUNDS):
                one["options"]["state_dir"] = f"{folder}/{one['name']}-{one['kind']}-{number}"
                told = end(begin(one), OFFICIAL_S)
                assert told is not None, one
                found.append(told)
            steps = {step: median(told[step] for told in found) for step in found[0]}
            shown = [f"{steps[step]:,.1f}" for step in ("import", "construct", "evaluate", "request")]
            goal, met = f"construct < {GOAL_MS:g}", verdict(is_met=steps["construct"] < GOAL_MS)
            rows.append([one["name"], one["kind"], *shown, theirs.get((one["name"], one["kind"]), ""), goal, met])
    table("The first client of a process", HEADS, rows)
