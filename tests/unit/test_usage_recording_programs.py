"""Programs of many kinds: the recorder sees what `sys.setprofile` sees, and the program is as it is without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.usage_recording_programs import cases, differences


@pytest.mark.parametrize(("name", "layout"), cases())
def test_a_program_is_seen_completely_and_left_as_it_is(name: str, layout: str, tmp_path: Path) -> None:
    assert differences(name, layout, tmp_path) == []
