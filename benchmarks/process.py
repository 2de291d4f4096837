"""What flags cost the processes of a server, and how soon these processes are right.

Prints five tables: from a fork to the first answer; from a change at the service to the last of 8 worker processes; what
the spool of events adds to a request; the memory that is each worker's own; and what constructing a client costs while
the service is broken. `docs/benchmarks.md` tells how to read the figures.
"""

from __future__ import annotations

import argparse
import importlib

from benchmarks.timing import Pace

PARTS = ("forking", "spreading", "spooling", "memory", "constructing")


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds: the figures mean little")
    parser.add_argument("--only", choices=PARTS, action="append", help="print this table; may be repeated")
    arguments = parser.parse_args()
    pace = Pace(rounds=3, round_s=0.001) if arguments.quick else Pace()
    for number, part in enumerate(arguments.only or PARTS):
        if number:
            print()
        importlib.import_module(f"benchmarks.process_parts.{part}").report(pace)


if __name__ == "__main__":
    main()
