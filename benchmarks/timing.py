"""What the benchmarks share: measuring things in turn, so that they meet the same machine, and printing a table."""

from __future__ import annotations

import argparse
import gc
import platform
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

WARM_UP_S = 0.05
"""Caches fill, and the interpreter adapts its code, before anything is measured."""

Run = Callable[[int], float]
"""Does something so many times and gives the seconds that took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How thoroughly to measure: many short rounds, so that a disturbance hits few of them."""

    rounds: int = 61
    round_s: float = 0.02

    @classmethod
    def from_arguments(cls, description: str) -> Pace:
        """Read the command line: `--quick` only shows that everything runs."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--quick", action="store_true", help="few short rounds: the figures mean little")
        return cls(rounds=3, round_s=0.001) if parser.parse_args().quick else cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """One thing measured against another.

    Attributes:
        ns: nanoseconds for one time, the median of all rounds.
        ratio: of the two, the median of each round's.
        added_ns: the difference of the two, the median of each round's.
    """

    ns: float
    other_ns: float
    ratio: float
    added_ns: float


def statement(source: str, **names: Any) -> Run:
    """Measure a statement; the names in it are looked up as a function's globals are."""
    return timeit.Timer(source, globals=names).timeit


def in_turn(runs: Sequence[Run], pace: Pace) -> list[list[float]]:
    """Measure all in each round, one after the other.

    Returns:
        For each, the nanoseconds for one time in each round.
    """
    numbers = [_times_for(run, pace.round_s) for run in runs]
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(pace.rounds):
        for times, run, number in zip(found, runs, numbers, strict=True):
            times.append(_without_collector(run, number) / number * 1e9)
    return found


def against(first: Sequence[float], second: Sequence[float]) -> Against:
    """Compare what `in_turn` found for two."""
    pairs = list(zip(first, second, strict=True))
    return Against(
        ns=median(first),
        other_ns=median(second),
        ratio=median(a / b for a, b in pairs),
        added_ns=median(a - b for a, b in pairs),
    )


def _times_for(run: Run, seconds: float) -> int:
    """Warm up, then find how often a thing can be done in so many seconds."""
    warm_at = time.perf_counter() + max(seconds, WARM_UP_S)
    while time.perf_counter() < warm_at:
        run(1)
    number = 1
    while (took_s := run(number)) < seconds / 4:
        number *= 2
    return max(1, round(number * seconds / took_s))


def _without_collector(run: Run, number: int) -> float:
    gc.collect()
    gc.disable()
    try:
        return run(number)
    finally:
        gc.enable()


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first and the last column to the left, figures to the right."""
    print(f"{title} ({platform.python_implementation()} {platform.python_version()})")
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [
            cell.ljust(width) if column in (0, len(heads) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def nanoseconds(value: float) -> str:
    """Show a duration."""
    return f"{value:,.0f}"


def verdict(*, is_met: bool) -> str:
    """Say whether a goal is met. It is printed and never checked: machines differ."""
    return "met" if is_met else "NOT met"
