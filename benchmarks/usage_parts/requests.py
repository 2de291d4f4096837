"""What a whole Django request costs with the agent, over one without: pairs of processes that take turns."""

from __future__ import annotations

from statistics import median

from benchmarks.timing import table, verdict
from benchmarks.usage_parts.inside import Inside, Measuring, inside

GOAL = 1.02
PAIRS = 15
TITLE = "A whole Django request, agent on over off"
ROWS = {
    "app": "the app is watched",
    "all": "the app and all of Django are watched",
    "nothing": "no agent on either side",
}
"""The last says how far apart two processes are that do the same."""


def times_for(process: Inside, seconds: float) -> int:
    """Find how many requests take so long."""
    process.ask(50)
    number = 10
    took_s: float
    while (took_s := process.ask(number)) < seconds / 2:
        number *= 2
    return max(1, round(number * seconds / took_s))


def measured(measuring: Measuring, watched: str) -> tuple[float, float, float]:
    """Give microseconds for a request on and off, and their ratio: medians of all rounds of all pairs."""
    ratios, ons, offs = [], [], []
    pace = measuring.pace
    for _ in range(1 if measuring.is_quick else PAIRS):
        with inside("requests_inside", watched) as on, inside("requests_inside", "nothing") as off:
            number = times_for(off, pace.round_s * 2)
            on.ask(number)
            ours = []
            for turn in range(max(2, pace.rounds // 3)):
                first, second = (on, off) if turn % 2 else (off, on)  # who is first may find the processor warmer
                took = {id(one): one.ask(number) / number for one in (first, second)}
                ours.append((took[id(on)], took[id(off)]))
        ratios.append(median(one / other for one, other in ours))
        ons.append(median(one for one, _ in ours))
        offs.append(median(other for _, other in ours))
    return median(ons) * 1e6, median(offs) * 1e6, median(ratios)


def report(measuring: Measuring) -> None:
    """Measure and print."""
    rows = []
    for watched, what in ROWS.items():
        on, off, ratio = measured(measuring, watched)
        goal, met = ("none", "") if watched == "nothing" else (f"ratio <= {GOAL}", verdict(is_met=ratio <= GOAL))
        rows.append([what, f"{on:,.1f}", f"{off:,.1f}", f"{ratio:.3f}", goal, met])
    table(TITLE, ["what", "on us", "off us", "ratio", "goal", "met"], rows)
