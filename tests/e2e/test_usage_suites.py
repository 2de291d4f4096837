"""The tests of two libraries end as ever while the usage agent watches these libraries, and what they run is recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from flagmw.usage.store import StoredUsage, read_usage
from tests.e2e.suite_runner import VERDICT

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("suite_runner.py")

OF_SYMPY = (
    *(
        "assumptions",
        "basic",
        "cache",
        "compatibility",
        "complex",
        "containers",
        "count_ops",
        "equal",
        "eval",
        "expand",
    ),
    *("expr", "exprtools", "facts", "kind", "logic", "match", "multidimensional", "noncommutative", "operations"),
    *("parameters", "power", "priority", "rules", "singleton", "sorting", "subs", "symbol", "sympify", "traversal"),
)
"""Of sympy's core part, what takes seconds; the whole takes a minute."""

TESTS = {
    "sympy": ("--pyargs", *(f"sympy.core.tests.test_{name}" for name in OF_SYMPY), "-k", "not test_round"),
    "tornado": (),
}
AT_LEAST = {"sympy": 450, "tornado": 1300}
"""Tests that pass, so that an empty run is no success."""

MUST_RUN = {
    "sympy": {"sympy.core.basic", "sympy.core.symbol", "sympy.core.power"},
    "tornado": {"tornado.web", "tornado.gen", "tornado.ioloop", "tornado.test.web_test"},
}

TIMEOUT_S = 400
AGAIN = {"sympy": 0, "tornado": 3}
"""How often tests that fail are run again: some of tornado's depend on how busy the machine is."""

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)


class Ended(NamedTuple):
    """How a library's tests ended.

    Attributes:
        outcomes: of each test.
        usage: what the agent wrote; None without an agent.
    """

    outcomes: dict[str, str]
    usage: StoredUsage | None


class Running:
    """A library's tests in a process of their own."""

    def __init__(self, library: str, folder: Path, *, is_watched: bool, tests: tuple[str, ...]) -> None:
        folder.mkdir(parents=True)
        self._outcomes, self._store = folder / "outcomes.json", folder / "usage.db"
        self._output = (folder / "output.txt").open("w+", encoding="utf-8")
        self._is_watched = is_watched
        store = ["--store", str(self._store)] if is_watched else []
        self.process = subprocess.Popen(
            [sys.executable, str(RUNNER), *store, library, str(self._outcomes), "--", *tests],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FLAGMW_STATE_DIR": str(folder)},
        )

    def ended(self) -> Ended:
        """Wait for the end."""
        code = self.process.wait(TIMEOUT_S)
        self._output.seek(0)
        assert code == 0, self._output.read()[-5000:]
        found = json.loads(self._outcomes.read_text("utf-8"))
        assert found["is_all_written"], "the agent did not write everything in time"
        return Ended(found["outcomes"], read_usage(str(self._store)) if self._is_watched else None)

    def close(self) -> None:
        """Leave no process."""
        self.process.kill()
        self.process.wait(10)
        self._output.close()


@contextmanager
def running(library: str, folder: Path, *, is_watched: bool, tests: tuple[str, ...]) -> Iterator[Running]:
    found = Running(library, folder, is_watched=is_watched, tests=tests)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module", params=TESTS)
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def both(library: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Ended]:
    """Run a library's tests without and with the agent, at the same time."""
    folder = tmp_path_factory.mktemp(library)
    with (
        running(library, folder / "plain", is_watched=False, tests=TESTS[library]) as plain,
        running(library, folder / "watched", is_watched=True, tests=TESTS[library]) as watched,
    ):
        return plain.ended(), watched.ended()


def passing(outcomes: dict[str, str]) -> set[str]:
    return {test for test, outcome in outcomes.items() if outcome == "passed"}


def test_a_library_s_tests_pass_while_it_is_watched_as_they_do_without(
    library: str, both: tuple[Ended, Ended], tmp_path: Path
) -> None:
    plain, watched = both
    assert len(passing(plain.outcomes)) >= AT_LEAST[library]
    lost = passing(plain.outcomes) - passing(watched.outcomes)
    for attempt in range(AGAIN[library]):
        if lost:
            with running(
                library, tmp_path / str(attempt), is_watched=True, tests=tuple(sorted(lost - {VERDICT}))
            ) as again:
                lost -= passing(again.ended().outcomes)
    assert not lost


def test_as_many_tests_run_while_a_library_is_watched(both: tuple[Ended, Ended]) -> None:
    plain, watched = both
    assert watched.outcomes.keys() == plain.outcomes.keys()


def test_functions_that_a_library_s_tests_run_are_recorded(library: str, both: tuple[Ended, Ended]) -> None:
    _, (_, usage) = both
    assert usage is not None
    ran = {stored.function.package_name for stored in usage.functions if stored.last_invoked_at is not None}
    assert MUST_RUN[library] <= ran
