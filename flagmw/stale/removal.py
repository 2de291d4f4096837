"""What goes with a flag when it is retired at the value that everybody has: `removal_of`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flagmw.stale.branches import dead_in_module
from flagmw.stale.dead import DeadBranch, DeadCode, LineRange, ranges_of
from flagmw.stale.files import FileKind, SourceFile
from flagmw.stale.modules import Code
from flagmw.stale.reach import Calls, Reached, ReachedFunction, reached_from
from flagmw.stale.sites import CallSite
from flagmw.stale.template_branches import dead_in_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What retiring one flag does to the code.

    Attributes:
        flag_key: the flag.
        value: what it keeps giving.
        sites: where it is read.
        branches: what can no longer run.
        functions: what only that reached, and had no call.
        unproven: functions that would be among these, had the usage agent watched them for long enough.
        ranges: the lines that would go, each once: branches with their decided conditions, functions with their
            decorators, and reads of the flag that nothing needs any more. Comments and blank lines inside these count,
            those around them do not.
    """

    flag_key: str
    value: Any
    sites: tuple[CallSite, ...]
    branches: tuple[DeadBranch, ...] = ()
    functions: tuple[ReachedFunction, ...] = ()
    unproven: tuple[ReachedFunction, ...] = ()
    ranges: tuple[LineRange, ...] = ()

    @property
    def lines(self) -> int:
        """How many lines removal would delete."""
        return sum(each.lines for each in self.ranges)


def removal_of(flag_key: str, value: Any, sites: Iterable[CallSite], code: Code, calls: Calls | None = None) -> Removal:
    """Find what goes with a flag.

    Args:
        flag_key: the flag, as the provider has it.
        value: what it gives to everybody, for ever.
        sites: where it is read; nothing is concluded from uncertain ones.
        code: the code base.
        calls: what the usage agent knows; without it, no function is said to be dead.
    """
    sites = tuple(sites)
    dead = [found for file in _files_of(sites, code) if (found := _dead_in(file, sites, code, value)) is not None]
    reached = reached_from(code, dead, calls) if any(each.spans for each in dead) else Reached()
    lines: dict[str, set[int]] = {}
    for each in dead:
        lines.setdefault(each.file.path, set()).update(each.lines)
    for function in reached.functions:
        lines.setdefault(function.path, set()).update(range(function.first_line, function.last_line + 1))
    by_path = {file.path: file for file in code.files}
    ranges = [each for path in lines for each in ranges_of(by_path[path], lines[path])]
    branches = [branch for each in dead for branch in each.branches]
    return Removal(
        flag_key=flag_key,
        value=value,
        sites=sites,
        branches=tuple(sorted(branches, key=lambda branch: (branch.shown_path, branch.first_line, branch.last_line))),
        functions=reached.functions,
        unproven=reached.unproven,
        ranges=tuple(sorted(ranges, key=lambda each: (each.shown_path, each.first_line))),
    )


def _files_of(sites: Iterable[CallSite], code: Code) -> list[SourceFile]:
    paths = {site.path for site in sites if site.is_certain}
    return [file for file in code.files if file.path in paths]


def _dead_in(file: SourceFile, sites: tuple[CallSite, ...], code: Code, value: Any) -> DeadCode | None:
    if file.kind is FileKind.PYTHON:
        module = code.module_of(file)
        return dead_in_module(code, module, sites, value) if module is not None else None
    text = code.text_of(file)
    keys = {site.flag_key for site in sites if site.path == file.path and site.is_certain and site.flag_key is not None}
    key = keys.pop() if len(keys) == 1 else None
    return dead_in_template(file, text, key, value) if text is not None and key is not None else None
