"""What the usage agent costs: function calls, whole requests, its own work, and finding the functions that exist.

Prints four tables, with the official Scavenger agent beside ours where it does the same. `docs/benchmarks.md` tells how
to read the figures.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.timing import Pace
from benchmarks.usage_parts.inside import Measuring
from tests.services.official_scavenger import official_python

PARTS = ("calls", "requests", "attaching", "scanning")


def official(named: str | None) -> Path | None:
    """Give the official agent's interpreter, and say so if there is none."""
    try:
        return Path(named) if named else official_python()
    except FileNotFoundError as error:
        print(f"without the official agent: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds: the figures mean little")
    parser.add_argument("--only", choices=PARTS, action="append", help="print this table; may be repeated")
    parser.add_argument("--official", metavar="PYTHON", help="of the environment with the official agent")
    arguments = parser.parse_args()
    pace = Pace(rounds=3, round_s=0.001) if arguments.quick else Pace()
    measuring = Measuring(pace=pace, is_quick=arguments.quick, official=official(arguments.official))
    for number, part in enumerate(arguments.only or PARTS):
        if number:
            print()
        importlib.import_module(f"benchmarks.usage_parts.{part}").report(measuring)


if __name__ == "__main__":
    main()
