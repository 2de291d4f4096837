"""Options and fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flagmw.binding import current_flags
from flagmw.core import overrides
from flagmw.lifecycle import threads

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        default=str(Path(__file__).parent / "conformance" / "vectors"),
        help="folder of conformance vectors; a sub-folder's name is its dialect",
    )


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Stop what a test left running, and fail the test that leaves an override in force."""
    yield
    threads.stop_all(5.0)
    assert not overrides.current, "an override outlived its test"
    current_flags.set(None)  # some tests close a response in another context, or never
