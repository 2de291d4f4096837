"""Runs the matrix, or a part of it, and prints a line for each run and the table of the documentation."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from platform import python_version

from tests.e2e.matrix import comparing
from tests.e2e.matrix.drill import Result, drill
from tests.e2e.matrix.exits import EXITS, exits_of
from tests.e2e.matrix.servers import ROWS, Row
from tests.e2e.matrix.services import SERVICES
from tests.e2e.matrix.table import line, matrix, totals, versions

SERVERS = (
    "gunicorn",
    "uWSGI",
    "uvicorn",
    "uvicorn-worker",
    "granian",
    "hypercorn",
    "daphne",
    "waitress",
    "celery",
    "gevent",
)


def main() -> int:
    """Run what the arguments ask for; gives 1 when anything went wrong with our client."""
    options = _options()
    print(f"Python {python_version()}, {versions(SERVERS)}, {datetime.now(UTC):%Y-%m-%d}", flush=True)
    began_s = time.monotonic()
    if options.official:
        print(f"\n{comparing.table(comparing.compare(options.jobs))}\n")
        return 0
    rows = [row for name, row in ROWS.items() if not options.row or any(part in name for part in options.row)]
    pairs = [(row, end) for row in rows for end in exits_of(row) if not options.exit or end in options.exit]
    results = run(pairs, options.service, options.jobs)
    print(f"\n{matrix(results, list(EXITS))}\n\n{totals(results)}")
    print(f"It took {time.monotonic() - began_s:.0f} s.")
    return 0 if all(result.is_good for result in results) else 1


def run(pairs: Sequence[tuple[Row, str]], service: str, jobs: int) -> list[Result]:
    """Do these runs, several at a time; the first of each server changes a flag."""
    firsts = {row.name: end for row, end in reversed(pairs)}

    def one(pair: tuple[Row, str]) -> Result:
        row, end = pair
        try:
            result = drill(row, end, service=service, measure_change=firsts[row.name] == end)
        except Exception as error:  # the others go on
            result = Result(row=row.name, end=end, problem=f"{type(error).__name__}: {error}")
        print(line(result), flush=True)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, pairs))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.matrix", description=__doc__)
    parser.add_argument("--row", action="append", help="only servers whose name holds this text; may be repeated")
    parser.add_argument("--exit", action="append", choices=list(EXITS), help="only this end; may be repeated")
    parser.add_argument("--service", choices=list(SERVICES), default="hackle", help="which flag service")
    parser.add_argument("--official", action="store_true", help="compare with the official clients instead")
    parser.add_argument("--jobs", type=int, default=2, help="how many servers at the same time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
