"""The pages about Scavenger: every setting is in the table, and every key of the official agent is named."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from flagmw.usage import UsageConfig

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "scavenger.md").read_text(encoding="utf-8")
MIGRATING = (DOCS / "migrating" / "scavenger.md").read_text(encoding="utf-8")
ROWS = {
    name: row.split("|")[2].strip(" `")
    for row in PAGE.splitlines()
    if row.startswith("| `")
    for name in re.findall(r"`(\w+)`", row.split("|")[1])
}
NOT_AS_THE_VALUE = {
    "packages",
    "codebase",
    "exclude_packages",
    "decorators",
    "server_url",
    "api_key",
    "proxy",
    "ca_file",
}


@pytest.mark.parametrize("name", [item.name for item in fields(UsageConfig)])
def test_every_setting_is_in_the_table(name: str) -> None:
    assert name in ROWS


@pytest.mark.parametrize("name", sorted({item.name for item in fields(UsageConfig)} - NOT_AS_THE_VALUE))
def test_the_table_has_the_default(name: str) -> None:
    default = getattr(UsageConfig(packages=("shop",)), name)
    assert ROWS[name] == (f"{default:g}" if isinstance(default, float) else str(default))


def test_every_duration_of_the_official_agent_is_named() -> None:
    durations = [item.name for item in fields(UsageConfig) if re.match(r"scheduler|force|http", item.name)]
    assert [name for name in durations if f"`{name}`" not in MIGRATING] == []
