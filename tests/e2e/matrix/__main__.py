"""Runs the matrix and prints it."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.matrix.drill import Result, drill
from tests.e2e.matrix.exits import EXITS, exits_of
from tests.e2e.matrix.servers import ROWS, Row
from tests.e2e.matrix.services import SERVICES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.matrix", description=__doc__)
    parser.add_argument("--row", action="append", help="only rows whose name holds this text")
    parser.add_argument("--exit", action="append", choices=list(EXITS), help="only this end")
    parser.add_argument("--service", choices=list(SERVICES), default="hackle")
    parser.add_argument("--jobs", type=int, default=2, help="how many servers at the same time")
    options = parser.parse_args()
    rows = [row for name, row in ROWS.items() if not options.row or any(part in name for part in options.row)]
    pairs = [(row, end) for row in rows for end in exits_of(row) if not options.exit or end in options.exit]
    firsts = {row.name: end for row, end in reversed(pairs)}

    def run(pair: tuple[Row, str]) -> Result:
        row, end = pair
        try:
            result = drill(row, end, service=options.service, measure_change=firsts[row.name] == end)
        except Exception as error:
            result = Result(row=row.name, end=end, problem=f"{type(error).__name__}: {error}")
        change = f"{result.change_s * 1000:5.0f} ms" if result.change_s is not None else "        "
        print(
            f"{row.name:40} {end:20} {change} {result.answered:4} answered {result.due:4} due {len(result.lost):4} lost "
            f"{len(result.twice):3} twice {result.repeats:3} repeats  end {result.end_s:5.2f} s adopt {result.adopt_s:5.2f} s "
            f"{'' if result.is_good else 'BAD'} {'LEAK' if result.leaked else ''} {result.wrong[:3] or ''} {result.frozen or ''} "
            f"{result.problem}",
            flush=True,
        )
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(run, pairs))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
