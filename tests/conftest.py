"""Options and fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flagmw.binding import current_flags
from flagmw.core import overrides
from flagmw.lifecycle import places, threads
from tests.leaks import Watch

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        default=str(Path(__file__).parent / "conformance" / "vectors"),
        help="folder of conformance vectors; a sub-folder's name is its dialect",
    )


WATCH = pytest.StashKey[Watch]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[WATCH] = Watch()
    config.stash[WATCH].attach()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"{config.stash[WATCH].seen} log records were searched for secrets")


@pytest.fixture(autouse=True)
def _no_secret_is_logged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test while which a secret was logged."""
    yield
    leaks = request.config.stash[WATCH].take()
    assert not leaks, f"{len(leaks)} log records hold a secret, the first from {leaks[0].split()[0]}"


@pytest.fixture(autouse=True)
def _meeting_place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of a test meet nobody else's."""
    monkeypatch.setenv(places.VARIABLE, str(tmp_path_factory.mktemp("state", numbered=True)))


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Stop what a test left running, and fail the test that leaves an override in force."""
    yield
    threads.stop_all(5.0)
    assert not overrides.current, "an override outlived its test"
    current_flags.set(None)  # some tests close a response in another context, or never
