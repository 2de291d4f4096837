"""What ours and the official usage agent see of the same apps, against what an independent tracer sees."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.services.official_scavenger import official_python
from tests.services.scavenger_server import ScavengerServer

APPS = ["flask_orders", "django_library", "fastapi_tasks"]
DRIVE = Path(__file__).with_name("usage_apps") / "drive.py"
TIMEOUT_S = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one of them saw.

    Attributes:
        seen: signatures of the functions that ran.
        known: signatures of the functions that exist; empty for the tracer, which does not ask.
        unknown: how many hashes it sent that no code base has.
        answers: what the app answered meanwhile.
        error: what the app died of.
    """

    seen: frozenset[str]
    known: frozenset[str] = frozenset()
    unknown: int = 0
    answers: tuple[str, ...]
    error: str | None


def run(python: str, mode: str, app: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-B", str(DRIVE), mode, app, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def without_lambdas(signatures: set[str]) -> frozenset[str]:
    """Leave out what the official rules have no signatures for, and the tracer does not name."""
    return frozenset(signature for signature in signatures if "<lambda>" not in signature)


@lru_cache
def truth(app: str) -> Sight:
    found = run(sys.executable, "truth", app)
    return Sight(seen=frozenset(found["seen"]), answers=tuple(found["answers"]), error=found["error"])


@lru_cache
def sight(mode: str, app: str) -> Sight:
    python = str(official_python()) if mode == "official" else sys.executable
    with ScavengerServer() as server:
        found = run(python, mode, app, server.url)
        known = {entry.signature_hash: entry.signature for entry in server.functions(app)}
        hashes = server.invoked(app)
    return Sight(
        seen=without_lambdas({known[hash_] for hash_ in hashes if hash_ in known}),
        known=without_lambdas(set(known.values())),
        unknown=len([hash_ for hash_ in hashes if hash_ not in known]),
        answers=tuple(found["answers"]),
        error=found["error"],
    )


@pytest.mark.parametrize("app", APPS)
def test_ours_sees_every_function_that_ran_and_no_other(app: str) -> None:
    ours = sight("ours", app)
    assert ours.seen == truth(app).seen
    assert ours.unknown == 0


@pytest.mark.parametrize("app", APPS)
def test_the_app_answers_as_without_an_agent(app: str) -> None:
    ours = sight("ours", app)
    assert ours.answers == truth(app).answers
    assert ours.error is None


@pytest.mark.parametrize("app", APPS)
def test_functions_that_never_ran_are_known_as_well(app: str) -> None:
    ours = sight("ours", app)
    assert ours.known > ours.seen


@pytest.mark.parametrize("app", APPS)
def test_the_official_agent_beside(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It must at least have published, or the comparison would say nothing."""
    official, ours, ran = sight("official", app), sight("ours", app), truth(app)
    with capsys.disabled():
        print(
            f"\n{app}: {len(ran.seen)} functions ran; ours saw {len(ours.seen & ran.seen)}, "
            f"the official agent {len(official.seen & ran.seen)}, and {official.unknown} that nobody knows"
            + ("" if official.answers == ran.answers else "; the app answered otherwise under it")
            + (f": {official.error}" if official.error else "")
        )
    assert official.known, "the official agent published no code base"
