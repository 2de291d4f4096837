"""Runs the tests of an installed library, watched by the usage agent or not, and writes down how each test ended.

Run as a program: `python suite_runner.py [--store FILE] sympy OUTCOMES [-- which tests]`. Each library's tests run in the
way that the library means: sympy's by pytest, tornado's by its own program, Flask's by pytest from its source archive.
"""

from __future__ import annotations

import argparse
import json
import sys
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Outcomes = dict[str, str]

VERDICT = "the program's own verdict"
"""Stands among the outcomes."""


class _PytestOutcomes:
    """A plugin that keeps how each test ended."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[report.nodeid] = report.outcome


def by_pytest(arguments: Sequence[str]) -> Outcomes:
    """Run tests by pytest, in this process."""
    outcomes: Outcomes = {}
    pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments], plugins=[_PytestOutcomes(outcomes)])
    return outcomes


def by_tornado(arguments: Sequence[str]) -> Outcomes:
    """Run tornado's tests by its own program, in this process."""
    outcomes: Outcomes = {}

    class Result(unittest.TextTestResult):
        def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802  # unittest's name
            bad = {id(one) for one, _ in (*self.failures, *self.errors)}
            skipped = any(one is test for one, _ in self.skipped)
            outcomes[test.id()] = "failed" if id(test) in bad else "skipped" if skipped else "passed"
            super().stopTest(test)

    unittest.TextTestResult = Result  # type: ignore[assignment, misc]  # tornado's program makes its own of it
    from tornado.test import runtests

    program: Any = runtests.main
    sys.argv = ["runtests", *(arguments or runtests.TEST_MODULES)]
    try:
        program()
    except SystemExit as ended:  # also for logged errors, and for whatever was written to standard error
        outcomes[VERDICT] = "failed" if ended.code else "passed"
    return outcomes


RUNNERS: dict[str, Callable[[Sequence[str]], Outcomes]] = {
    "sympy": by_pytest,
    "tornado": by_tornado,
    "flask": by_pytest,
}


def folder_of(library: str) -> str:
    """Give the folder that holds a library's package, without importing it."""
    import importlib.util

    spec = importlib.util.find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parents[1])


def main() -> None:
    """Read the command line, start the agent if there is a store to write to, and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=RUNNERS)
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--store", help="of the agent; without one there is no agent")
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    agent = None
    if arguments.store:
        from flagmw.usage import Agent, UsageConfig

        config = UsageConfig(
            packages=(arguments.library,),
            codebase=(folder_of(arguments.library),),
            store=arguments.store,
            store_interval_s=1.0,
            exit_timeout_s=60.0,
        )
        agent = Agent(config)
        agent.start()
    outcomes = RUNNERS[arguments.library](arguments.tests)
    is_all_written = agent is None or agent.shutdown()
    arguments.outcomes.write_text(json.dumps({"outcomes": outcomes, "is_all_written": is_all_written}), "utf-8")


if __name__ == "__main__":
    main()
