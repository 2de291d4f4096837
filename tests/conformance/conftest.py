"""Collects one test per vector file below `--vectors`, and prints how many cases ran per dialect."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

Counts = Counter[tuple[str, str]]
COUNTS = pytest.StashKey[Counts]()


def vector_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give (dialect, file) for each vector file; a file right in the folder takes the folder's name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".json", ".csv"}:
            inside = path.relative_to(folder)
            yield (inside.parts[0] if len(inside.parts) > 1 else folder.resolve().name), path


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector_file" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--vectors"))
        if not folder.is_dir():
            raise pytest.UsageError(f"--vectors {folder}: no such folder")
        found = list(vector_files(folder))
        if not found:
            raise pytest.UsageError(f"--vectors {folder}: no vector files (*.json, *.csv) below it")
        metafunc.parametrize(
            ("dialect", "vector_file"),
            found,
            ids=[f"{dialect}-{path.relative_to(folder).with_suffix('')}" for dialect, path in found],
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash.get(COUNTS, Counter())
    if counts:
        terminalreporter.section("conformance")
        for dialect in sorted({dialect for dialect, _ in counts}):
            ran = [f"{count} {kind}" for (known, kind), count in sorted(counts.items()) if known == dialect]
            terminalreporter.write_line(f"{dialect}: {', '.join(ran)}")


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Counts:
    """How many cases ran, by dialect and kind."""
    return request.config.stash[COUNTS]


def load(path: Path) -> object:
    """Read a vector file: the value of JSON; of a table (.csv) the path itself, because its runner knows its columns."""
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else path
