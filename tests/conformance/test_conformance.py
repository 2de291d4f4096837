"""Every dialect against the expected results of its reference evaluators; the cases are data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conformance import (
    featbit_vectors,
    featureflag_co_vectors,
    flagd_vectors,
    hackle_vectors,
    scavenger_vectors,
)
from tests.conformance.conftest import Counts, load

Runner = Callable[[Any, Path], tuple[dict[str, int], list[str]]]

RUNNERS: dict[str, Runner] = {
    "featbit": featbit_vectors.run,
    "featureflag_co": featureflag_co_vectors.run,
    "flagd": flagd_vectors.run,
    "hackle": hackle_vectors.run,
    "scavenger": scavenger_vectors.run,
}


def test_every_case_gives_what_the_reference_gives(
    dialect: str, vector_file: Path, counts: Counts, tmp_path: Path
) -> None:
    assert dialect in RUNNERS, f"no runner for the dialect {dialect!r} (of the folder's name)"
    ran, failures = RUNNERS[dialect](load(vector_file), tmp_path)
    for kind, count in ran.items():
        counts[dialect, kind] += count
    assert not failures, "\n".join(failures)
    assert sum(ran.values()) > 0, "the file holds no cases"
