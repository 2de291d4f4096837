"""The benchmark of the usage agent runs and prints every row; what the figures are, nobody checks: machines differ."""

from __future__ import annotations

import pytest

from tests.e2e.test_benchmarks import printed_by

ROWS = {
    "calls": (*("a function", "a method", "a closure", "a generator function", "a function with a loop of 20 steps"),),
    "requests": ("the app is watched", "the app and all of Django are watched", "no agent on either side"),
    "attaching": (
        "attaching to 10,000 live functions",
        "importing 50,000 functions, more than unwatched",
        "first hits of 50,000 functions, more than later calls",
        "re-arming 50,000 code objects",
        "taking, when none of 50,000 was hit",
        "memory of watching 50,000 functions",
    ),
    "scanning": tuple(
        f"{library}, {what}"
        for library in ("Django", "sympy")
        for what in ("official", "cold, with .pyc", "cold, without .pyc", "again, nothing changed")
    ),
}


@pytest.fixture(scope="module", params=ROWS)
def part(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def lines(part: str) -> list[str]:
    return printed_by("usage.py", "--only", part)


def test_the_usage_benchmark_prints_each_row_of_a_part(part: str, lines: list[str]) -> None:
    for row in ROWS[part]:
        found = [line for line in lines if line.startswith(row + "  ")]
        assert found, lines
        assert sum(word[0].isdigit() or word[0] == "-" for word in found[0][len(row) :].split()) >= 2


def test_the_official_agent_is_measured_beside_ours() -> None:
    (line,) = [line for line in printed_by("usage.py", "--only", "calls") if line.startswith("a function  ")]
    ours, official = line.split()[4:6]
    assert float(official) > float(ours)
