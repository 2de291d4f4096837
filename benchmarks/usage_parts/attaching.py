"""What the recorder's own work costs: attaching to what exists, the first hits, and watching again what was hit."""

from __future__ import annotations

from statistics import median

from benchmarks.timing import table
from benchmarks.usage_parts.inside import Measuring, inside

LIVE, MANY = 10_000, 50_000
TITLE = "The recorder's own work"


def report(measuring: Measuring) -> None:
    """Measure and print."""
    answers: list[dict[str, float]] = []
    for _ in range(1 if measuring.is_quick else 5):
        with inside("attaching_inside") as process:
            live = process.ask({"attach": LIVE})
        with inside("attaching_inside") as process:
            answers.append({**live, **process.ask({"watch": MANY})})
    found = {name: median(answer[name] for answer in answers) for name in answers[0]}
    rows = [
        [f"attaching to {LIVE:,} live functions", ms(found["attach"]), us(found["attach"], LIVE)],
        [f"importing {MANY:,} functions, more than unwatched", ms(found["import"]), us(found["import"], MANY)],
        [f"first hits of {MANY:,} functions, more than later calls", ms(found["hit"]), us(found["hit"], MANY)],
        [f"re-arming {MANY:,} code objects", ms(found["take"]), us(found["take"], MANY)],
        [f"taking, when none of {MANY:,} was hit", ms(found["idle"]), us(found["idle"], MANY)],
        [
            f"memory of watching {MANY:,} functions",
            f"{found['kib'] / 1024:,.1f} MiB",
            f"{found['kib'] / MANY * 1024:,.0f} bytes",
        ],
    ]
    table(TITLE, ["what", "all", "each"], rows)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def us(seconds: float, number: int) -> str:
    return f"{seconds / number * 1e6:,.2f} us"
