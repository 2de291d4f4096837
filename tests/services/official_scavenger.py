"""Where the official usage agent is installed: an environment of its own beside that of the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "OFFICIAL_SCAVENGER_PYTHON"


def official_python() -> Path:
    """Give the interpreter of the environment that has the official usage agent.

    Raises:
        FileNotFoundError: there is none; says how it is made.
    """
    prefix = Path(sys.prefix)
    named = os.environ.get(VARIABLE, "")
    python = Path(named) if named else prefix.with_name(f"{prefix.name}-scavenger") / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(
            f"{python} is missing: 'make test' makes it, or 'python -m venv' and 'pip install -r "
            f"tests/services/official_scavenger.txt'; {VARIABLE} names another interpreter"
        )
    return python
