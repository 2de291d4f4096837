"""What a function call costs once it was seen: watched by ours and by the official agent, over one that nobody watches."""

from __future__ import annotations

from statistics import median

from benchmarks.timing import Against, against, nanoseconds, table, verdict
from benchmarks.usage_parts.inside import Measuring, inside

GOAL = 1.05
TITLE = "A call after its first hit, agent on over off"

ROWS = {
    "function": "a function",
    "method": "a method",
    "closure": "a closure",
    "generator": "a generator function",
    "loop": "a function with a loop of 20 steps",
}


def measured(measuring: Measuring, *, is_official: bool) -> dict[str, Against]:
    """Give, for each kind of function, the median of several processes."""
    python = measuring.official if is_official else None
    pace = measuring.pace
    question = {"rounds": max(1, pace.rounds // 3), "round_s": pace.round_s}
    found: dict[str, list[Against]] = {}
    for _ in range(1 if is_official else measuring.processes):
        with inside("calls_inside", "official" if is_official else "ours", python=python) as process:
            for kind, (on, off) in process.ask(question).items():
                found.setdefault(kind, []).append(against(on, off))
    return {kind: sorted(several, key=lambda one: one.ratio)[len(several) // 2] for kind, several in found.items()}


def report(measuring: Measuring) -> None:
    """Measure and print."""
    ours = measured(measuring, is_official=False)
    official = measured(measuring, is_official=True) if measuring.official else {}
    rows = []
    for kind, what in ROWS.items():
        one, other = ours[kind], official.get(kind)
        rows.append(
            [
                what,
                nanoseconds(one.ns),
                nanoseconds(one.other_ns),
                f"{one.ratio:.3f}",
                f"{other.ratio:.1f}" if other else "",
                f"ratio <= {GOAL}",
                verdict(is_met=one.ratio <= GOAL),
            ]
        )
    table(TITLE, ["what", "on ns", "off ns", "ratio", "official's ratio", "goal", "met"], rows)
    print(f"all: ratio {median(one.ratio for one in ours.values()):.3f}")
