"""Runs the vectors of the usage agent: runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def run(data: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    return {}, ["there is no runner yet"]
