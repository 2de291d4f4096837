"""What the parts share: processes that measure something and print it as JSON, in this Python or another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import Pace

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600.0
"""For one answer; the official scan of sympy takes half a minute on a quiet machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How to measure, and what against.

    Attributes:
        pace: how thoroughly.
        is_quick: only show that everything runs.
        official: the interpreter of the environment with the official agent; None when there is none.
    """

    pace: Pace
    is_quick: bool
    official: Path | None

    @property
    def processes(self) -> int:
        """How many processes measure the same, since each has its code and data at other addresses."""
        return 1 if self.is_quick else 7


class Inside:
    """A process that answers each line, which is JSON, with one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: Any) -> Any:
        """Ask, and wait for the answer.

        Raises:
            RuntimeError: the process ended instead.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process ended before it said what was measured; see above")
        return json.loads(line)


@contextmanager
def inside(module: str, *arguments: str, python: Path | None = None) -> Iterator[Inside]:
    """Start a part's module as a process, with a state directory and a working directory of its own, and end it."""
    with tempfile.TemporaryDirectory(prefix="flagmw-bench-") as folder:
        state = Path(folder, "state")
        state.mkdir(mode=0o700)
        process = subprocess.Popen(
            [str(python or sys.executable), "-m", f"benchmarks.usage_parts.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FLAGMW_STATE_DIR": str(state)},
        )
        try:
            yield Inside(process)
        finally:
            process.kill()
            process.communicate(timeout=10)


def answer(answers: Any) -> None:
    """Answer each question on standard input by a callable, for as long as somebody asks."""
    for line in sys.stdin:
        print(json.dumps(answers(json.loads(line))), flush=True)
