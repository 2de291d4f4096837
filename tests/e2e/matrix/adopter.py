"""A start of the same app after the end: a process that uses the client until no events of others are left in the folder.

    python -m tests.e2e.matrix.adopter

Ends with 0 when none are left, with 1 when some are after `DEADLINE_S`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from flagmw import Client

DEADLINE_S = 15.0
PAUSE_S = 0.02


def left(root: Path) -> list[Path]:
    """Give the files of events of other processes."""
    own = f"events-{os.getpid()}-"
    return [path for path in root.glob("*/events-*.spool") if not path.name.startswith(own)]


def main() -> int:
    """Use the client until nothing is left."""
    root = Path(os.environ["FLAGMW_STATE_DIR"])
    deadline_s = time.monotonic() + DEADLINE_S
    with Client(os.environ["FLAGMW_DSN"]) as client:
        while found := left(root):
            if time.monotonic() > deadline_s:
                print(f"{len(found)} files of events are left: {found[:5]}")
                return 1
            client.flush(0.1)
            time.sleep(PAUSE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
