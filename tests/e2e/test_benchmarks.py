"""The benchmarks run and print every row; what the figures are, nobody checks: machines differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MIDDLEWARE_ROWS = (
    "hello, Flask",
    "hello, Django",
    "hello, FastAPI",
    "hello, Starlette",
    "hello, bare WSGI",
    "hello, bare ASGI",
    "first read, user known",
    "first read, visitor with our cookie",
    "first read, new visitor",
    "repeated read, request.flags.variation",
    "repeated read, request.flags.is_enabled",
    "repeated read, flagmw.flags.is_enabled",
)
OUR_ROWS = (
    "static flag, Client.variation",
    "flag of 3 conditions, Client.variation_detail",
    "UserContext, a key alone",
    "UserContext, 3 attributes",
    "UserContext.of a mapping",
    "compiling 1,000 flags of 3 conditions",
)
EVALUATORS = (
    "flagmw",
    "flagmw, Client.is_enabled",
    "openfeature-provider-flagd",
    "the same, through openfeature-sdk",
    "launchdarkly-server-sdk",
    "growthbook",
    "UnleashClient",
)


SERVICES = ("FeatBit", "Hackle", "featureflag.co")
PROPAGATED_TO = ("flagmw", "fb-python-sdk, the official client")
LOADED_BY = ("flagmw, FeatBit", "flagmw, featureflag.co", "fb-python-sdk")


PROCESS_ROWS = {
    "forking": ("the parent, service down", "the file alone, service down", "the service, on loopback"),
    "spreading": ("shared, the last", "shared, any", "one connection each, the last", "one connection each, any"),
    "spooling": (
        *("FeatBit, against no events", "FeatBit, against events in memory", "FeatBit, encoding and writing alone"),
        *("Hackle, against no events", "Hackle, against events in memory", "Hackle, encoding and writing alone"),
    ),
    "memory": (
        "warm() and gc.freeze() in the master",
        "warm() in the master",
        "the first, with shared=False",
        "the second, with shared=False",
        "not preloaded",
    ),
    "constructing": ("FeatBit", "FeatBit, polling", "featureflag.co", "Hackle"),
}


def printed_by(script: str, *options: str) -> list[str]:
    """Run a benchmark as shortly as it can be run, in a process of its own."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), "--quick", *options],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env=environ,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def middleware() -> list[str]:
    return printed_by("middleware.py")


@pytest.fixture(scope="module")
def evaluation() -> list[str]:
    return printed_by("evaluation.py")


@pytest.mark.parametrize("row", MIDDLEWARE_ROWS)
def test_the_middleware_benchmark_prints_the_row(middleware: list[str], row: str) -> None:
    (line,) = [line for line in middleware if line.startswith(row + "  ")]
    assert len([word for word in line.split() if word[0].isdigit()]) >= 3


@pytest.mark.parametrize("row", OUR_ROWS)
def test_the_evaluation_benchmark_prints_the_row_of_ours(evaluation: list[str], row: str) -> None:
    (line,) = [line for line in evaluation if line.startswith(row + "  ")]
    assert line[len(row) :].split()[0].replace(",", "").isdigit()


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_each_evaluator_decides_as_the_flag_says(evaluation: list[str], evaluator: str) -> None:
    lines = [line for line in evaluation if line.startswith((evaluator + " ", evaluator + "  "))]
    assert any(line.endswith(", agrees") for line in lines)


def test_no_evaluator_decides_otherwise(evaluation: list[str]) -> None:
    assert not [line for line in evaluation if "DIFFERS" in line]


def test_the_evaluation_benchmark_compares_the_same_users_for_each_flag_service(evaluation: list[str]) -> None:
    for service in SERVICES:
        (line,) = [line for line in evaluation if line.startswith(service)]
        assert "same for 1000 of 1000" in line or "not published" in line


def test_the_propagation_benchmark_prints_both_clients() -> None:
    lines = printed_by("propagation.py")
    for client in PROPAGATED_TO:
        assert [line for line in lines if line.startswith(client)], lines


def test_the_loading_benchmark_prints_every_client() -> None:
    lines = printed_by("loading.py")
    for client in LOADED_BY:
        assert [line for line in lines if line.startswith(client)], lines


@pytest.mark.parametrize("part", PROCESS_ROWS)
def test_the_process_benchmark_prints_each_row_of_a_part(part: str) -> None:
    lines = printed_by("process.py", "--only", part)
    for row in PROCESS_ROWS[part]:
        found = [line for line in lines if line.startswith(row + "  ")]
        assert found, lines
        assert all(sum(word[0].isdigit() for word in line.split()) >= 1 for line in found)


def test_the_first_answer_after_each_fork_is_right() -> None:
    found = [line for line in printed_by("process.py", "--only", "forking") if " of 3" in line]
    assert len(found) == 3
    assert all(" 3 of 3 " in line + " " for line in found)
