"""The collector's job: what ours does beyond the official agent's, whose own schedule is in the conformance tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flagmw.errors import AuthError
from flagmw.usage.scavenger.schedule import OFFICIAL, Habits, Intervals, Job, Pair, State
from tests.conformance import scavenger_protocol
from tests.conformance.scavenger_protocol import Timeline

VECTORS = Path(scavenger_protocol.__file__).parent / "vectors" / "scavenger" / "schedule.json"
TIMELINES = json.loads(VECTORS.read_text(encoding="utf-8"))["timelines"]

MINUTE_S = 60.0


def timeline(**changed: Any) -> Timeline:
    """A collector that is well and wants to be asked every two minutes."""
    answer = {"poll": 120, "poll_retry": 120, "codebase": 120, "codebase_retry": 120}
    case = {
        "functions": 3,
        "poll_answer": {**answer, "invocations": 120, "invocations_retry": 120},
        "failures": {"poll": "", "codebase": "", "invocations": ""},
    }
    return Timeline({**case, **changed})


def run(job: Job, calls: Timeline, now_s: float, wall_s: float | None = None) -> None:
    calls.now_s = now_s
    job.run(calls, now_s, now_s if wall_s is None else wall_s)


def made(calls: Timeline) -> list[tuple[float, str]]:
    return [(event["at"], event["call"]) for event in calls.events]


@pytest.mark.parametrize("case", TIMELINES, ids=[case["name"] for case in TIMELINES])
def test_our_own_habits_do_not_change_what_the_official_agent_does_well(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scavenger_protocol, "OFFICIAL", Habits())
    assert scavenger_protocol.run_timeline(case) == []


@pytest.mark.parametrize("functions", [0, 100_001])
def test_a_code_base_that_is_not_sent_is_looked_at_again_after_the_retry_interval(functions: int) -> None:
    job, calls = Job(Habits()), timeline(functions=functions)
    for tick in range(1, 13):
        run(job, calls, tick * 10.0)
    assert calls.scans == 1
    run(job, calls, 130.0)
    assert calls.scans == 2


def test_the_official_agent_looks_at_it_at_every_run() -> None:
    job, calls = Job(OFFICIAL), timeline(functions=0)
    for tick in range(1, 13):
        run(job, calls, tick * 10.0)
    assert calls.scans == 12


def test_more_functions_are_sent_where_the_limit_is_higher() -> None:
    job, calls = Job(Habits(max_functions=150_000)), timeline(functions=150_000)
    run(job, calls, 10.0)
    assert job.is_published


def published(gap_s: float, wall_gap_s: float | None = None, habits: Habits | None = None) -> int:
    """Tell how often the code base was published by a process that did not poll for so long."""
    job, calls = Job(habits or Habits()), timeline()
    run(job, calls, 10.0)
    run(job, calls, 10.0 + gap_s, None if wall_gap_s is None else 10.0 + wall_gap_s)
    return sum(call == "codebase" for _, call in made(calls))


def test_after_a_gap_the_code_base_is_published_again() -> None:
    assert published(50 * MINUTE_S + 1) == 2


def test_without_a_gap_it_is_not() -> None:
    assert published(50 * MINUTE_S) == 1


def test_a_host_that_slept_has_a_gap_too() -> None:
    assert published(120.0, wall_gap_s=51 * MINUTE_S) == 2


def test_a_clock_that_was_set_back_is_no_gap() -> None:
    assert published(120.0, wall_gap_s=-51 * MINUTE_S) == 1


def test_the_official_agent_never_publishes_twice() -> None:
    assert published(10 * 3600.0, habits=OFFICIAL) == 1


def test_what_ran_is_published_after_the_code_base_that_follows_a_gap() -> None:
    job, calls = Job(Habits()), timeline()
    run(job, calls, 10.0)
    run(job, calls, 4_000.0)
    assert [call for at, call in made(calls) if at == 4_000.0] == ["poll", "codebase", "invocations"]


def test_a_failed_poll_keeps_the_gap_growing() -> None:
    failures = {"poll": ".xxx", "codebase": "", "invocations": ""}
    job, calls = Job(Habits()), timeline(failures=failures)
    for now_s in (10.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0):
        run(job, calls, now_s)
    assert [at for at, call in made(calls) if call == "codebase"] == [10.0, 4_000.0]


def test_an_unknown_key_ends_the_run() -> None:
    class Stranger(Timeline):
        def poll(self) -> Intervals:
            raise AuthError("unknown")

    job = Job(Habits())
    with pytest.raises(AuthError):
        run(job, Stranger({}), 10.0)


def test_the_next_event_is_told() -> None:
    job, calls = Job(Habits()), timeline()
    assert job.next_s() == 0.0
    run(job, calls, 10.0)
    assert job.next_s() == 130.0


def test_nothing_is_told_of_what_has_to_wait_for_something_else() -> None:
    job, calls = Job(Habits()), timeline(failures={"poll": "x", "codebase": "", "invocations": ""})
    run(job, calls, 10.0)
    assert job.next_s() == 610.0


def test_many_failures_wait_for_longer_and_longer() -> None:
    state = State(Pair(interval_s=600.0, retry_s=10.0))
    waits = []
    for _ in range(11):
        state.failed(0.0)
        waits.append(state.next_s)
    assert waits == [10.0] * 5 + [20.0, 40.0, 80.0, 160.0, 160.0, 160.0]
