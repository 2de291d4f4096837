"""Small code bases on disk, and what is claimed of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flagmw.stale.files import FileKind, SourceFile, files_of
from flagmw.stale.modules import Code
from flagmw.stale.reach import Calls
from flagmw.stale.removal import Removal, removal_of
from flagmw.stale.sites import CallSite, CallSites, find_call_sites
from flagmw.usage.codebase import Scanner
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, Function
from flagmw.usage.store import StoredFunction, StoredUsage

NOW = 1_800_000_000.0
DAY_S = 86_400.0


def written(folder: Path, files: dict[str, str]) -> UsageConfig:
    """Write files; all of the folder is watched."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return UsageConfig(codebase=(str(folder),), packages=("",))


def code_of(folder: Path, files: dict[str, str]) -> Code:
    """Write files and read them as a code base."""
    return Code(files_of(written(folder, files)).files)


def sites_of(folder: Path, source: str, name: str = "app/views.py") -> tuple[CallSite, ...]:
    """Give the sites of one file."""
    return found_in(folder, {name: source}).sites


def found_in(folder: Path, files: dict[str, str]) -> CallSites:
    """Give the sites of a code base."""
    return find_call_sites(code_of(folder, files))


def removal(
    folder: Path,
    files: dict[str, str] | str,
    *,
    value: Any,
    key: str = "k",
    called: Iterable[str] = (),
    is_watched: bool = True,
) -> Removal:
    """Retire a flag.

    Args:
        folder: for the files.
        files: the code base, or the text of app/views.py.
        value: of the flag.
        key: of the flag.
        called: names of the functions that ran.
        is_watched: whether there is a usage store.
    """
    config = written(folder, {"app/views.py": files} if isinstance(files, str) else files)
    code = Code(files_of(config).files)
    calls = calls_of(Scanner(config).scan(), called) if is_watched else None
    return removal_of(key, value, find_call_sites(code).of(key), code, calls)


def calls_of(code_base: CodeBase, called: Iterable[str]) -> Calls:
    """Make a store's content: all functions are known for 60 days, and some ran an hour ago, `beat` among them."""
    beat = (
        Function(
            package_name="app.beat",
            declaring_type="app.beat",
            name="beat",
            parameter_types="",
            kind=code_base.functions[0].kind,
            path="/nowhere.py",
            shown_path="nowhere.py",
            first_line=1,
            last_line=2,
        )
        if code_base.functions
        else None
    )
    names = {"beat", *called}
    functions = [*code_base.functions, *([beat] if beat is not None else [])]
    return Calls(code_base, usage_of(functions, names), since=NOW - 30 * DAY_S, known_by=NOW - 30 * DAY_S)


def usage_of(
    functions: Iterable[Function],
    called: Iterable[str],
    *,
    known_for_days: float = 60,
    ran_before: Iterable[str] = (),
) -> StoredUsage:
    """Give what a store has of functions: some ran an hour ago, some 40 days ago, the others never."""
    at = {**dict.fromkeys(ran_before, NOW - 40 * DAY_S), **dict.fromkeys(called, NOW - 3600)}
    return StoredUsage(
        functions=tuple(
            StoredFunction(
                function=function,
                app_name="shop",
                environment="production",
                first_seen_at=NOW - known_for_days * DAY_S,
                removed_at=None,
                first_invoked_at=at.get(function.name),
                last_invoked_at=at.get(function.name),
                intervals=int(function.name in at),
            )
            for function in functions
        ),
        applications=(),
        watched_since=NOW - known_for_days * DAY_S,
        processes=1,
    )


def branches(found: Removal) -> list[tuple[int, int]]:
    """Give the first and last lines of what can no longer run."""
    return [(branch.first_line, branch.last_line) for branch in found.branches if not branch.is_part]


def parts(found: Removal) -> list[tuple[int, int]]:
    """Give the lines of what can no longer run and shares them."""
    return [(branch.first_line, branch.last_line) for branch in found.branches if branch.is_part]


def in_memory(path: Path, source: str) -> Code:
    """Read one file as a code base."""
    path.write_text(source, encoding="utf-8")
    return Code([SourceFile(path=str(path), shown_path=path.name, kind=FileKind.PYTHON, module=path.stem)])
