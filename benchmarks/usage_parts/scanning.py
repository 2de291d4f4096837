"""How long finding all functions of a library takes: our scan over the official agent's."""

from __future__ import annotations

import compileall
import importlib.util
import shutil
import tempfile
from pathlib import Path

from benchmarks.timing import table, verdict
from benchmarks.usage_parts.inside import Measuring, inside

GOAL = 10.0
TITLE = "Finding the functions of a library, CPU time"
LIBRARIES = {"Django": "django", "sympy": "sympy"}
QUICK = {"Django": "django/http", "sympy": "sympy/core"}
"""What is scanned of each if the figures need not mean anything."""


def copied(package: str, folder: Path, *, with_pyc: bool) -> None:
    """Copy a library, with what Python cached of it or without."""
    top = package.split("/", maxsplit=1)[0]
    spec = importlib.util.find_spec(top)
    assert spec is not None
    assert spec.origin is not None
    ignore = None if with_pyc else shutil.ignore_patterns("__pycache__")
    source = Path(spec.origin).parents[1] / package
    shutil.copytree(source, folder / package, ignore=ignore)
    if with_pyc:
        compileall.compile_dir(folder / package, quiet=2)


def seconds(who: str, folder: Path, package: str, measuring: Measuring, times: int = 1) -> tuple[list[float], int]:
    """Scan so many times in one new process; the number of functions comes with it."""
    python = measuring.official if who == "official" else None
    with inside("scanning_inside", who, str(folder), package.replace("/", "."), python=python) as process:
        answers = [process.ask(None) for _ in range(times)]
    return [one["seconds"] for one in answers], answers[-1]["functions"]


def measured(package: str, measuring: Measuring) -> list[tuple[str, float, int]]:
    """Give the best of some rounds for each way of scanning, which take turns."""
    best: dict[str, tuple[float, int]] = {}

    def note(what: str, took_s: float, number: int) -> None:
        if what not in best or took_s < best[what][0]:
            best[what] = took_s, number

    with tempfile.TemporaryDirectory(prefix="flagmw-bench-") as root:
        cached, plain = Path(root, "cached"), Path(root, "plain")
        copied(package, cached, with_pyc=True)
        copied(package, plain, with_pyc=False)
        for _ in range(1 if measuring.is_quick else 2):
            if measuring.official:
                (took_s,), number = seconds("official", cached, package, measuring)
                note("official", took_s, number)
            (cold_s, again_s), number = seconds("ours", cached, package, measuring, times=2)
            note("cold, with .pyc", cold_s, number)
            note("again, nothing changed", again_s, number)
            (took_s,), number = seconds("ours", plain, package, measuring)
            note("cold, without .pyc", took_s, number)
    return [(what, *found) for what, found in best.items()]


def report(measuring: Measuring) -> None:
    """Measure and print."""
    rows = []
    for library, package in (QUICK if measuring.is_quick else LIBRARIES).items():
        found = measured(package, measuring)
        official_s = next((took_s for what, took_s, _ in found if what == "official"), None)
        for what, took_s, number in found:
            times = official_s / took_s if official_s else None
            has_goal = what == "cold, with .pyc"
            rows.append(
                [
                    f"{library}, {what}",
                    f"{took_s * 1e3:,.0f}",
                    f"{number:,}",
                    f"{times:.1f}" if times else "",
                    f"times >= {GOAL:g}" if has_goal else "none",
                    verdict(is_met=times >= GOAL) if has_goal and times else "",
                ]
            )
    table(TITLE, ["what", "ms", "functions", "times as fast", "goal", "met"], rows)
