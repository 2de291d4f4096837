"""Events of processes that are killed, of outages and of full disks, with the services' own formats and real sockets."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.spooling import (
    LONG_S,
    ROOT,
    Server,
    names_at,
    plan_for,
    running,
    small_disk,
    spool_bytes,
    spool_files,
    without_repeats,
)
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer
from tests.unit.support import until

OUTAGE_S = float(os.environ.get("FLAGMW_OUTAGE_S", "4"))
"""For how long the service is down; a minute is what the promise is about."""

RATE = 200.0


@pytest.fixture(params=[HackleServer, FeatBitServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running_server:
        yield running_server


@pytest.fixture
def hackle() -> Iterator[HackleServer]:
    with HackleServer() as running_server:
        yield running_server


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def until_empty(state: Path) -> None:
    until(lambda: not spool_files(state), 15.0)


# --- kills ------------------------------------------------------------------------------------------------------


def test_the_events_of_a_killed_process_are_delivered_by_the_next_one_once_and_in_order(
    server: Server, state: Path
) -> None:
    server.refuse()
    with running(plan_for(server, state, count=10**6, rate=2_000.0)) as killed:
        killed.wait_accepted(500)
        accepted = killed.kill()
    server.listen()
    with running(plan_for(server, state)):
        server.wait_for(lambda s: len(names_at(s)) >= len(accepted))
        until_empty(state)
    arrived = names_at(server)
    print(f"\n{len(accepted)} taken and killed, {len(arrived)} arrived")
    # The last one may have been taken without a word of it.
    assert arrived[: len(accepted)] == accepted
    assert len(arrived) - len(accepted) <= 1


def test_killing_a_process_20_times_loses_nothing(hackle: HackleServer, state: Path) -> None:
    generator = random.Random(4)
    accepted: list[str] = []
    for turn in range(20):
        with running(plan_for(hackle, state, name=f"t{turn}", count=10**6, rate=2_000.0)) as killed:
            killed.wait_accepted(generator.randrange(1, 400))
            accepted += killed.kill()
    with running(plan_for(hackle, state)):
        until(lambda: set(accepted) <= set(names_at(hackle)), 20.0)
        until_empty(state)
    arrived = Counter(event["insertId"] for event in hackle.events)
    named = Counter(names_at(hackle))
    twice = sum(count - 1 for count in arrived.values())
    print(
        f"\n20 kills: {len(accepted)} taken, {len(set(accepted) - set(named))} lost, {twice} twice (with the same id)"
    )
    assert set(accepted) <= set(named)
    assert len(arrived) == len(named), "what comes twice has the same id"
    assert len(named) - len(accepted) <= 20, "one more per kill may have been taken without a word of it"


def test_the_file_of_a_process_that_is_killed_is_taken_over_by_one_of_those_that_live(
    server: Server, state: Path
) -> None:
    with (
        running(plan_for(server, state, name="a", count=5)) as first,
        running(plan_for(server, state, name="b", count=5)) as second,
        running(plan_for(server, state, name="c", count=100, flush_interval_s=LONG_S)) as killed,
    ):
        for program, count in ((first, 5), (second, 5), (killed, 100)):
            program.wait_accepted(count)
        killed.kill()
        server.wait_for(lambda s: len(names_at(s)) >= 110)
        adopted = [0, 0]

        def is_adopted() -> bool:
            adopted[:] = [program.ask("look")["adopted"] for program in (first, second)]
            return sum(adopted) >= left

        left = 100 if isinstance(server, HackleServer) else 0  # FeatBit's batches are full with less
        until(is_adopted)
    assert min(adopted) == 0, "one process takes over what another left"
    assert sorted(Counter(names_at(server)).values()) == [1] * 110


def test_a_process_that_leaves_while_the_service_is_down_is_in_time_and_its_events_stay(
    server: Server, state: Path
) -> None:
    server.refuse()
    with running(plan_for(server, state, count=50, exit_timeout_s=0.5)) as leaving:
        leaving.wait_accepted(50)
        began_s = time.monotonic()
        accepted = leaving.leave()
        assert time.monotonic() - began_s < 2.0
        assert leaving.process.returncode == 0
    server.listen()
    with running(plan_for(server, state)):
        server.wait_for(lambda s: len(names_at(s)) >= 50)
        until_empty(state)
    assert names_at(server) == accepted


def test_a_process_that_leaves_without_closing_has_its_events_delivered_and_no_file_left(
    server: Server, state: Path
) -> None:
    with running(plan_for(server, state, count=50, linger=False, flush_interval_s=LONG_S)) as leaving:
        accepted = leaving.leave()
    assert names_at(server) == accepted == [f"e.{number}" for number in range(50)]
    assert spool_files(state) == []


# --- outages ----------------------------------------------------------------------------------------------------


def test_an_outage_loses_nothing_keeps_the_order_and_needs_no_memory(server: Server, state: Path) -> None:
    count = int(RATE * (OUTAGE_S + 1))
    server.refuse()
    with running(plan_for(server, state, count=count, rate=RATE, capacity=10)) as program:
        program.wait_accepted(int(RATE / 2))
        rss_bytes = [program.rss_bytes]
        most_bytes = 0
        while len(program.accepted) < RATE * OUTAGE_S:
            assert program.process.poll() is None
            rss_bytes.append(program.rss_bytes)
            most_bytes = max(most_bytes, spool_bytes(state))
            time.sleep(0.1)  # between two looks
        server.listen()
        listened_s = time.monotonic()
        program.wait_accepted(count, OUTAGE_S + 30)
        until(lambda: program.ask("flush"), 60.0)
        drained_s = time.monotonic() - listened_s
        counts = program.ask("look")
        grown_bytes = max(rss_bytes) - rss_bytes[0]
        assert program.ask("close")
    arrived = names_at(server)
    print(
        f"\n{OUTAGE_S:g} s down at {RATE:g}/s: {count} taken, {count - len(set(arrived))} lost, "
        f"{len(arrived) - len(set(arrived))} twice, spool {most_bytes:,} bytes at most, "
        f"memory grew by {grown_bytes:,} bytes, drained {drained_s:.1f} s after the service was back; {counts}"
    )
    assert arrived == [f"e.{number}" for number in range(count)]
    assert (counts["waiting"], counts["sent"], counts["dropped"]) == (0, count, 0)
    assert most_bytes < 2**26
    assert grown_bytes < 2**22
    assert spool_files(state) == []


def test_an_outage_beyond_the_bound_drops_the_oldest_and_counts_them(server: Server, state: Path) -> None:
    bound_bytes = 2**20
    server.refuse()
    with running(plan_for(server, state, count=20_000, max_spool_bytes=bound_bytes)) as program:
        most_bytes = 0
        while len(program.accepted) < 20_000:
            most_bytes = max(most_bytes, spool_bytes(state))
            assert program.process.poll() is None
            time.sleep(0.01)  # between two looks
        server.listen()
        until(lambda: program.ask("flush"), 60.0)
        counts = program.ask("look")
    arrived = names_at(server)
    print(f"\nspool of {bound_bytes:,} bytes: {most_bytes:,} at most; {counts}")
    assert most_bytes <= bound_bytes + 100, "but for the offset"
    assert counts["dropped"] > 0
    assert counts["sent"] + counts["dropped"] == 20_000
    assert len(arrived) == counts["sent"]
    newest = [f"e.{number}" for number in range(20_000 - len(arrived) + 500, 20_000)]
    assert arrived[-len(newest) :] == newest, "all but what was under way are the newest"


def test_a_full_disk_reports_exactly_what_it_drops(server: Server, state: Path) -> None:
    count = int(RATE * (OUTAGE_S + 1))
    server.refuse()
    with small_disk(2**16 if OUTAGE_S < 30 else 2**20) as mounted:
        folder = mounted / "state" if mounted is not None else state
        limits = {} if mounted is not None else {"full_from_s": OUTAGE_S / 4, "full_to_s": OUTAGE_S}
        plan = plan_for(server, folder, count=count, rate=RATE, capacity=int(RATE / 4), **limits)
        with running(plan) as program:
            program.wait_accepted(int(RATE / 2))
            rss_bytes = [program.rss_bytes]
            while len(program.accepted) < RATE * OUTAGE_S:
                assert program.process.poll() is None
                rss_bytes.append(program.rss_bytes)
                time.sleep(0.1)  # between two looks
            server.listen()
            program.wait_accepted(count, OUTAGE_S + 30)
            until(lambda: program.ask("flush"), 60.0)
            counts = program.ask("look")
            grown_bytes = max(rss_bytes) - rss_bytes[0]
            program.ask("close")
        left = spool_files(folder)
    arrived = names_at(server)
    print(
        f"\n{OUTAGE_S:g} s down at {RATE:g}/s with a full disk ({'tmpfs' if mounted else 'a limit on file sizes'}): "
        f"{count} taken, {len(arrived)} arrived, {len(arrived) - len(set(arrived))} twice, "
        f"{count - len(set(arrived))} missing, memory grew by {grown_bytes:,} bytes; {counts}"
    )
    assert counts["dropped"] > 0
    assert (counts["waiting"], counts["sent"] + counts["dropped"]) == (0, count)
    assert len(arrived) == len(set(arrived)) == counts["sent"]
    assert arrived == sorted(arrived, key=lambda name: int(name.split(".")[1])), "the order is kept"
    assert grown_bytes < 2**22
    assert left == []


def test_a_process_that_is_killed_in_an_outage_leaves_its_events_to_the_next_beside_its_own(
    server: Server, state: Path
) -> None:
    server.refuse()
    with running(plan_for(server, state, name="a", count=300)) as killed:
        killed.wait_accepted(300)
        until(lambda: killed.ask("look")["retried"])
        killed.kill()
    with running(plan_for(server, state, name="b", count=100)) as program:
        program.wait_accepted(100)
        server.listen()
        server.wait_for(lambda s: len(names_at(s)) >= 400, 20.0)
        until(lambda: program.ask("look")["sent"] == 400)
        counts = program.ask("look")
    arrived = names_at(server)
    assert without_repeats(arrived) == arrived
    for prefix, count in (("a", 300), ("b", 100)):
        assert [name for name in arrived if name[0] == prefix] == [f"{prefix}.{number}" for number in range(count)]
    assert (counts["sent"], counts["adopted"], counts["waiting"]) == (400, 300, 0)


# --- two copies of the package ----------------------------------------------------------------------------------

COPIES = """
import json, os, signal, sys
from pathlib import Path

def fresh():
    for name in [name for name in sys.modules if name.split(".")[0] in ("flagmw", "tests")]:
        del sys.modules[name]
    from tests.e2e import spooling
    return spooling

plan = json.loads(sys.argv[1])
sinks, kept = [], []
for name in ("a", "b"):
    spooling = fresh()
    kept.append(spooling)
    from flagmw.core.records import Metric
    from flagmw.context import UserContext
    sink = spooling.Plan(**plan).sink()
    sink.open()
    for number in range(50):
        sink.track(Metric(event=f"{name}.{number}", context=UserContext("u"), value=1.0, properties={}, at_s=1.0))
    sinks.append(sink)
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([sink.flush(20.0) for sink in sinks]), flush=True)
print(json.dumps([[sink.counts().sent, sink.counts().adopted] for sink in sinks]), flush=True)
"""


def test_two_copies_of_the_package_in_one_process_are_harmless_to_each_other(server: Server, state: Path) -> None:
    with running(plan_for(server, state, name="left", count=50, flush_interval_s=LONG_S)) as killed:
        killed.wait_accepted(50)
        killed.kill()
    plan = json.dumps(dataclasses.asdict(plan_for(server, state)))
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(COPIES), plan],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # Another process sees that both have their files.
            with running(plan_for(server, state, name="c", count=1)) as other:
                server.wait_for(lambda s: len(names_at(s)) >= 151)
                assert other.ask("look")["adopted"] in {0, 50}
                process.stdin.write("go\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline()) == [True, True]
            process.stdin.close()
        finally:
            process.kill()
    assert sorted(Counter(names_at(server)).values()) == [1] * 151
