"""Runs the vectors of the usage agent: protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flagmw.errors import ConfigError
from flagmw.usage.config import UsageConfig

Ran = tuple[dict[str, int], list[str]]


def run(data: Any, folder: Path) -> Ran:
    """Run one file's cases."""
    if "states" in data:
        return {}, ["there is no runner yet"]
    if "conf" in data["cases"][0]:
        return run_configs(data["cases"], folder)
    return {}, ["there is no runner yet"]


# --- configuration ------------------------------------------------------------------------------------------


def run_configs(cases: Any, folder: Path) -> Ran:
    """Load each `scavenger.conf`; what a new agent should do instead of the official one is laid over."""
    failures = []
    for case in cases:
        expect, better = case["expect"], case.get("better", {})
        path = folder / "scavenger.conf"
        path.write_text(case["conf"], encoding="utf-8")
        try:
            config = UsageConfig.load(path)
        except ConfigError as error:
            if "config" in expect and not better.get("error"):
                failures.append(f"{case['name']}: {error}")
            continue
        wanted = {**expect.get("config", {}), **better}
        if wanted.pop("error", "error" in expect and not better):
            failures.append(f"{case['name']}: no error, but {config}")
            continue
        for name, value in wanted.items():
            found = shown(config, name)
            if found != value:
                failures.append(f"{case['name']}: {name} is {found!r} instead of {value!r}")
    return {"config": len(cases)}, failures


def shown(config: UsageConfig, name: str) -> Any:
    """Give a setting as the vectors write it."""
    if name.endswith("_seconds"):
        return getattr(config, f"{name[: -len('_seconds')]}_s")
    value = getattr(config, name)
    if isinstance(value, tuple):
        return list(value)
    return "" if value is None else value
