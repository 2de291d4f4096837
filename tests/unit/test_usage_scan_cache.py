"""What was parsed is kept for other processes; whatever happens to that file, a scan is right."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from flagmw.lifecycle.places import state_root
from flagmw.usage import codebase
from flagmw.usage.definitions import Definition
from flagmw.usage.functions import CodeBase
from flagmw.usage.source_scan import definitions_in
from tests.unit.scan_support import scan, write

SOURCE = "@deco\ndef f(a): pass\nclass K:\n    async def g(self): return lambda: 0\n"


def cache_files() -> list[Path]:
    return sorted(state_root().rglob("parsed.json"))


def counted_scan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CodeBase, int]:
    """Scan as another process would, and count what is parsed."""
    parsed = []

    def parse(source: bytes) -> list[Definition]:
        parsed.append(source)
        return definitions_in(source)

    monkeypatch.setattr(codebase, "definitions_in", parse)
    return scan(folder), len(parsed)


def test_another_process_does_not_parse_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"app/m.py": SOURCE, "app/bad.py": "def broken(:\n"})
    before = scan(tmp_path)
    assert counted_scan(tmp_path, monkeypatch) == (before, 0)


def test_a_file_that_changed_is_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"app/m.py": SOURCE, "app/n.py": SOURCE})
    scan(tmp_path)
    write(tmp_path, {"app/m.py": "def other(): pass\n"})
    assert counted_scan(tmp_path, monkeypatch)[1] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[1, 2]",
        json.dumps([[0, sys.version], {}]).encode(),
        b"[" * 100_000,
    ],
)
def test_a_broken_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    write(tmp_path, {"app/m.py": SOURCE})
    before = scan(tmp_path)
    cache_files()[0].write_bytes(content)
    assert counted_scan(tmp_path, monkeypatch) == (before, 1)


@pytest.mark.parametrize("row", [["f"], [1, 2, 3, 4, 5, 6, 7, 8], ["", "f", "", "macro", 1, 1, 1, []], None])
def test_a_cache_with_a_broken_row_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: object) -> None:
    write(tmp_path, {"app/m.py": SOURCE})
    before = scan(tmp_path)
    form, files = json.loads(cache_files()[0].read_text())
    for entry in files.values():
        entry[2][0] = row
    cache_files()[0].write_text(json.dumps([form, files]))
    assert counted_scan(tmp_path, monkeypatch) == (before, 1)


def test_a_cache_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"app/m.py": SOURCE})
    before = scan(tmp_path)
    cache_files()[0].chmod(0o666)
    assert counted_scan(tmp_path, monkeypatch) == (before, 1)


def test_a_cache_is_for_its_owner_only(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": SOURCE})
    scan(tmp_path)
    (path,) = cache_files()
    assert [stat.S_IMODE(os.stat(place).st_mode) for place in (path, path.parent)] == [0o600, 0o700]


def test_a_cache_that_cannot_be_written_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, {"app/m.py": SOURCE})
    state_root().rmdir()
    state_root().write_text("in the way")
    scan(tmp_path)
    assert not caplog.records


def test_no_file_is_left_beside_a_cache(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": SOURCE})
    scan(tmp_path)
    (path,) = cache_files()
    assert list(path.parent.iterdir()) == [path]
