"""How results are printed: a line for each run, and the tables of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from tests.e2e.matrix.drill import Result

SHOWN = 5
"""How many of a kind of finding are written out."""


def findings(result: Result) -> str:
    """Say what is bad about a run."""
    found = {
        "lost": [f"{event.name} of {event.user}" for event in result.lost],
        "twice": [f"{event.name} of {event.user}" for event in result.twice],
        "lost by": result.lost_by,
        "wrong": result.wrong,
        "frozen": result.frozen,
    }
    parts = [f"{len(items)} {name}: {', '.join(items[:SHOWN])}" for name, items in found.items() if items]
    if result.leaked:
        parts.append("the secret is in the server's log")
    if result.problem:
        parts.append(result.problem)
    return f"{result.row}, {result.end}: {'; '.join(parts) or 'good'}"


def line(result: Result) -> str:
    """Sum up a run in one line."""
    change = f"{result.change_s * 1000:6.0f} ms" if result.change_s is not None else " " * 9
    verdict = "" if result.is_good else f"  BAD {findings(result)}"
    return (
        f"{result.row:48} {result.end:20} {change} {result.answered:5} answered {result.due:5} events "
        f"{len(result.lost):4} lost {len(result.twice):3} twice {result.repeats:3} repeats {result.late:4} late "
        f"{f'{result.cold} cold ' if result.cold else ''}"
        f"end {result.end_s:5.2f} s{verdict}"
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def matrix(results: Sequence[Result], ends: Sequence[str]) -> str:
    """Write what became of all runs: a row for each server, a column for each end.

    A cell has the number of events that were due and all arrived; what is not good is written out.
    """
    names = list(dict.fromkeys(result.row for result in results))
    rows = []
    for name in names:
        mine = {result.end: result for result in results if result.row == name}
        times = [result.change_s for result in mine.values() if result.change_s is not None]
        seen = f"{max(times) * 1000:.0f} ms" if times else ""
        rows.append([name, seen, *(cell(mine[end]) if end in mine else "" for end in ends)])
    return markdown(["Server", "change seen", *ends], rows)


def cell(result: Result) -> str:
    """Sum up a run in a few characters."""
    if result.is_good:
        return str(result.due)
    if result.lost or result.twice:
        return f"**{len(result.lost)} lost, {len(result.twice)} twice** of {result.due}"
    return f"**{result.due}; {result.problem}**" if result.answered and result.problem else "**bad**"


def totals(results: Sequence[Result]) -> str:
    """Sum up all runs in a sentence."""
    due, lost, twice = (
        sum(counts)
        for counts in zip(*((result.due, len(result.lost), len(result.twice)) for result in results), strict=True)
    )
    repeats = sum(result.repeats for result in results)
    late = sum(result.late for result in results)
    answered = sum(result.answered for result in results)
    cold = sum(result.cold for result in results)
    return (
        f"{len(results)} runs: {answered:,} answered requests with {due:,} events; {lost:,} lost, {twice:,} twice; "
        f"{late:,} of them arrived with the next start, and {repeats:,} came again under an id that the service knew. "
        f"{cold:,} requests were answered before a first worker had any flags."
    )


def versions(names: Sequence[str]) -> str:
    """Name the versions of some distributions."""
    return ", ".join(f"{name} {version(name)}" for name in names)
