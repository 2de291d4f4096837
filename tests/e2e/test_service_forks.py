"""A process that is forked from one with a running client: the flags are there at once, sync and events are its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.environments import featbit, hackle
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 20.0

SCRIPT = """
import json, os, sys, time
from flagmw import Client
from flagmw.providers import FeatBit, Hackle

service, secret, stream_url, url = sys.argv[1:5]
if service == "featbit":
    client, key, user = Client(FeatBit(secret, streaming_url=stream_url, event_url=url)), "banner", {"key": "u", "name": "n"}
else:
    client, key, user = Client(Hackle(secret, sdk_url=url, event_url=url, poll_interval_s=0.05)), 42, {"id": "u"}

def say(**what):
    sys.stdout.write(json.dumps({"is_child": child == 0, **what}) + "\\n")
    sys.stdout.flush()

child = None
assert client.wait_until_ready(15), client.status
first = client.variation(key, user, "default")
child = os.fork()
say(value=client.variation(key, user, "default"), threads=__import__("threading").active_count())
deadline = time.monotonic() + 15
while (value := client.variation(key, user, "default")) == first and time.monotonic() < deadline:
    time.sleep(0.01)
client.track(user, "child" if child == 0 else "parent", 1)
say(value=value, flushed=client.flush(15), state=client.status.state)
closed = client.close(5)
say(closed=closed)
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""


@pytest.fixture(params=["featbit", "hackle"])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    server: Any = FeatBitServer() if request.param == "featbit" else HackleServer()
    with server:
        if request.param == "featbit":
            server.put_flag(featbit.flag("banner", values=("old", "new"), kind="string", serves=0))
        else:
            server.load(workspace("A"))
        yield request.param, server


def workspace(winner: str) -> dict[str, Any]:
    document = hackle.small_workspace()
    arms = {"A": 71, "B": 72}
    document["experiments"][0]["execution"]["defaultRule"] = hackle.serve(arms[winner])
    return document


def change(name: str, server: Any) -> None:
    if name == "featbit":
        server.put_flag(featbit.flag("banner", values=("old", "new"), kind="string", serves=1))
    else:
        server.load(workspace("B"))


def tracked(server: Any) -> list[str]:
    """Name the metrics that have arrived."""
    names = [metric["eventName"] for event in server.events for metric in event.get("metrics", [])]
    return sorted([*names, *(event["eventTypeKey"] for event in server.events if event.get("kind") == "track")])


def test_a_forked_process_has_flags_at_once_syncs_by_itself_and_sends_its_own_events(service: tuple[str, Any]) -> None:
    name, server = service
    where = [server.secret, server.ws_url] if name == "featbit" else [server.sdk_key, "-"]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, name, *where, server.url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        said: list[dict[str, Any]] = [json.loads(process.stdout.readline()) for _ in range(2)]
        before, after = ("old", "new") if name == "featbit" else ("A", "B")
        assert {(one["is_child"], one["value"]) for one in said} == {(True, before), (False, before)}
        change(name, server)
        rest = [json.loads(line) for line in process.stdout]
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.communicate()
    seen = {(one["is_child"], one["value"], one["flushed"], one["state"]) for one in rest if "value" in one}
    assert seen == {(True, after, True, "OK"), (False, after, True, "OK")}
    assert [one["closed"] for one in rest if "closed" in one] == [True, True]
    assert tracked(server) == ["child", "parent"]
