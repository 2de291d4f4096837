"""Functions of modules in zip archives: named by the configuration, or found where Python imports from."""

from __future__ import annotations

import importlib
import os
import py_compile
import time
import zipfile
from pathlib import Path

import pytest

from flagmw.usage.codebase import Scanner
from tests.unit.scan_support import config_for, scan, signatures, write

SOURCES = {
    "app/__init__.py": "def f(): pass\n",
    "app/m.py": "class K:\n    def g(self): pass\n",
    "other/n.py": "x = 1\n",
}


def pack(archive: Path, files: dict[str, bytes], at: float | None = None) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name, time.localtime(at or time.time())[:6]), content)


def sources(**more: bytes) -> dict[str, bytes]:
    return {name: text.encode() for name, text in SOURCES.items()} | more


def compiled(folder: Path, text: str) -> tuple[bytes, float]:
    """Compile a source; gives the compiled file and the source's time."""
    write(folder, {"m.py": text})
    path = py_compile.compile(str(folder / "m.py"), cfile=str(folder / "m.pyc"), doraise=True, optimize=0)
    return Path(str(path)).read_bytes(), (folder / "m.py").stat().st_mtime


@pytest.mark.parametrize("name", ["bundle.zip", "app-1.0-py3-none-any.whl", "app.egg"])
def test_an_archive_can_be_a_code_base(tmp_path: Path, name: str) -> None:
    pack(tmp_path / name, sources())
    assert signatures(scan(tmp_path / name)) == ["app.__init__.f()", "app.m.K.g(self)"]


def test_a_folder_in_an_archive_can_be_a_code_base(tmp_path: Path) -> None:
    pack(tmp_path / "bundle.zip", {"lib/app/m.py": b"def f(): pass\n"})
    assert signatures(scan(tmp_path / "bundle.zip" / "lib")) == ["app.m.f()"]


def test_an_archive_that_python_imports_from_is_found_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "lib/bundle.zip", sources())
    monkeypatch.syspath_prepend(str(tmp_path / "lib/bundle.zip"))
    assert signatures(scan(tmp_path)) == ["app.__init__.f()", "app.m.K.g(self)"]


def test_an_archive_outside_the_folders_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "bundle.zip", sources())
    (tmp_path / "src").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "bundle.zip"))
    assert signatures(scan(tmp_path / "src")) == []


def test_exclusions_hold_in_an_archive(tmp_path: Path) -> None:
    pack(tmp_path / "bundle.zip", sources())
    assert signatures(scan(tmp_path / "bundle.zip", exclude_packages=("app.m",))) == ["app.__init__.f()"]


def test_wildcards_hold_in_an_archive(tmp_path: Path) -> None:
    pack(tmp_path / "bundle.zip", sources())
    assert len(signatures(scan(tmp_path / "bundle.zip", ["a*"]))) == 2


@pytest.mark.parametrize("kind", ["source", "compiled", "both", "both, but old"])
def test_a_function_in_an_archive_has_the_path_that_python_gives_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    package = f"zipped_{kind.replace(', but ', '_')}"
    text = "def f(): pass\n"
    code, at = compiled(tmp_path, text)
    files = {f"{package}/__init__.py": b"", f"{package}/m.py": text.encode(), f"{package}/m.pyc": code}
    if kind in {"source", "compiled"}:
        del files[f"{package}/m.py" if kind == "compiled" else f"{package}/m.pyc"]
    archive = tmp_path / "bundle.zip"
    pack(archive, files, at - 1000 if kind == "both, but old" else at)
    monkeypatch.syspath_prepend(str(archive))
    importlib.invalidate_caches()
    spec = importlib.import_module(f"{package}.m").__spec__
    (function,) = scan(archive, [package]).functions
    assert function.path == os.path.realpath(str(spec and spec.origin))


def test_a_module_in_an_archive_without_a_source_is_read(tmp_path: Path) -> None:
    code, _ = compiled(tmp_path, "class K:\n    def g(self): pass\n")
    pack(tmp_path / "bundle.zip", {"app/m.pyc": code})
    assert signatures(scan(tmp_path / "bundle.zip")) == ["app.m.K.g(self)"]


def test_a_file_that_is_no_archive_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, {"bundle.zip": b"no archive"})
    messages = [problem.message for problem in scan(tmp_path / "bundle.zip").problems]
    assert any("no folder and no archive" in message for message in messages)


def test_a_broken_file_in_an_archive_is_a_problem(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    pack(archive, sources(**{"app/bad.py": b"def broken(:\n"}))
    (problem,) = scan(archive).problems
    assert (problem.path, problem.line) == (str(archive / "app/bad.py"), 1)


def test_a_damaged_archive_does_not_end_the_scan(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    pack(archive, {"app/m.py": b"def f(): pass\n" * 500})
    content = bytearray(archive.read_bytes())
    content[45:60] = bytes(15)
    archive.write_bytes(content)
    assert [problem.path for problem in scan(archive).problems] == [str(archive / "app/m.py")]


def test_a_new_archive_is_read_again(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    pack(archive, sources())
    scanner = Scanner(config_for(archive))
    scanner.scan()
    pack(archive, {"app/m.py": b"def quite_another(): pass\n"})
    assert signatures(scanner.scan()) == ["app.m.quite_another()"]
