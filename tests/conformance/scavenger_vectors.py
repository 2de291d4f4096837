"""Runs the vectors of the usage agent; which runner a file needs is seen from what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conformance import scavenger_protocol, scavenger_runtime, scavenger_scan


def run(data: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Run one vector file.

    Returns:
        How many cases of each kind ran, and what differed.
    """
    if "script" in data:
        return scavenger_runtime.run(data, folder)
    if "files" in data or (data.get("cases") and "signatures" in data["cases"][0]):
        return scavenger_scan.run(data, folder)
    return scavenger_protocol.run(data, folder)
