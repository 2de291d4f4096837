"""Writes code bases for the tests of the scan, and says what was found in them."""

from __future__ import annotations

import os
import py_compile
import textwrap
from collections.abc import Iterable
from pathlib import Path

from flagmw.usage.codebase import Scanner
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase

LONG_AGO_S = 1_600_000_000


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    """Write files; texts may be indented as the test is."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())


def compile_all(folder: Path) -> None:
    """Make a `.pyc` in `__pycache__` of each source, valid for it."""
    for path in sorted(folder.rglob("*.py")):
        py_compile.compile(str(path), doraise=True, optimize=0)


def config_for(folder: Path, packages: Iterable[str] = ("app",), **settings: object) -> UsageConfig:
    """Configure a scan of a folder."""
    return UsageConfig(packages=tuple(packages), codebase=(str(folder),), **settings)  # type: ignore[arg-type]  # any setting


def scan(folder: Path, packages: Iterable[str] = ("app",), **settings: object) -> CodeBase:
    """Scan a folder once."""
    return Scanner(config_for(folder, packages, **settings)).scan()


def signatures(code_base: CodeBase) -> list[str]:
    """Give the signatures, in order."""
    return [function.signature for function in code_base.functions]


def touch(path: Path, at_s: int = LONG_AGO_S) -> None:
    """Give a file a time of change."""
    os.utime(path, (at_s, at_s))
