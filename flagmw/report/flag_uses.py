"""Judges the flags of a code base, and shows the source of what goes with the stale ones. Reads sources."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from flagmw.flag_counts import FlagHistory
from flagmw.report.flags import DeadFunction, Excerpt, FlagUse, Given, Lines, RemovalUse, Site, SourceLine
from flagmw.report.page import GENERATOR
from flagmw.stale.files import FileKind, SourceFile, files_of
from flagmw.stale.judging import FlagStatus, FlagVerdict, VariationCount, judge
from flagmw.stale.modules import Code
from flagmw.stale.reach import Calls, ReachedFunction
from flagmw.stale.removal import Removal, removal_of
from flagmw.stale.sites import find_call_sites
from flagmw.usage.codebase import Scanner
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, FileProblem
from flagmw.usage.store import StoredUsage

AROUND = 3
"""Lines that are shown before and after a marked one."""

MAX_SHOWN = 40
"""Of the lines of one dead branch; the middle of a longer one is left out."""


MARK_BYTES = 2_000
"""How far from its beginning a page says what made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was found out of flags.

    Attributes:
        flags: one for each.
        problem: why flags cannot be judged; None when they can.
        problems: files that could not be read.
    """

    flags: tuple[FlagUse, ...] = ()
    problem: str | None = None
    problems: tuple[FileProblem, ...] = ()


def near(path: str, shown_path: str) -> str:
    """Give the path of a file below the working directory from there, so that editors find it; else as it is shown."""
    here = os.path.realpath(os.getcwd()) + os.sep
    return path[len(here) :] if path.startswith(here) else shown_path


def judge_flags(
    config: UsageConfig,
    usage: StoredUsage,
    history: FlagHistory,
    keys: Collection[str] | None,
    settled_days: float,
    now: float,
) -> Judged:
    """Judge the flags.

    Args:
        config: where the sources are.
        usage: what ran.
        history: what flags were evaluated to.
        keys: the flags that there are; None takes those that the history knows.
        settled_days: for how long a settled flag has given everybody one variation.
        now: in seconds of wall time.
    """
    found = files_of(config)
    files = [file for file in found.files if not _is_report(file)]
    if not files:
        folders = ", ".join(config.codebase)
        return Judged(
            problem=f"flags are not judged: there are no source files below {folders}", problems=found.problems
        )
    code = Code(files)
    sites = find_call_sites(code)
    verdicts = judge(sites, history, keys, now, settled_days)
    is_any_stale = any(verdict.status is FlagStatus.STALE and verdict.has_value for verdict in verdicts)
    code_base = Scanner(config).scan() if is_any_stale else CodeBase(functions=(), fingerprint="")
    last = _last_calls(usage)
    flags = []
    for verdict in verdicts:
        removal = None
        if verdict.status is FlagStatus.STALE and verdict.has_value:
            calls = Calls(code_base, usage, since=verdict.settled_since or now, known_by=verdict.settled_by)
            removal = removal_of(verdict.flag_key, verdict.value, verdict.sites, code, calls)
        flags.append(_flag_use(verdict, removal, code, last))
    return Judged(flags=tuple(flags), problems=(*found.problems, *sites.problems))


def _is_report(file: SourceFile) -> bool:
    """Tell whether a file is a page of this report: it names every function, which keeps all of them alive."""
    if file.kind is not FileKind.TEMPLATE:
        return False
    try:
        with open(file.path, "rb") as opened:
            return GENERATOR.encode() in opened.read(MARK_BYTES)
    except OSError:
        return False


def _last_calls(usage: StoredUsage) -> dict[str, float]:
    last: dict[str, float] = {}
    for stored in usage.functions:
        if stored.last_invoked_at is not None:
            signature = stored.function.signature
            last[signature] = max(stored.last_invoked_at, last.get(signature, 0.0))
    return last


def _flag_use(verdict: FlagVerdict, removal: Removal | None, code: Code, last: dict[str, float]) -> FlagUse:
    return FlagUse(
        flag_key=verdict.flag_key,
        verdict=verdict.status.value,
        why=verdict.why,
        notes=verdict.notes,
        given=_given(verdict.counts),
        last_at=max((count.last_at for count in verdict.counts), default=None),
        sites=tuple(
            Site(
                shown_path=near(site.path, site.shown_path),
                line=site.line,
                how=site.method,
                is_certain=site.is_certain,
            )
            for site in verdict.sites
        ),
        variation=verdict.variation,
        value=verdict.value_json,
        settled_at=verdict.settled_since,
        removal=None if removal is None else _removal_use(removal, code, last),
    )


def _given(counts: Iterable[VariationCount]) -> tuple[Given, ...]:
    """Sum up the counts of each variation; those without one by their reason."""
    totals: dict[tuple[str | None, str], int] = {}
    reasons: dict[tuple[str | None, str], list[str]] = {}
    for count in counts:
        place = (count.variation, "" if count.variation is not None else count.reason)
        totals[place] = totals.get(place, 0) + count.count
        reasons.setdefault(place, []).append(count.reason)
    given = [
        Given(variation=place[0], reason=", ".join(dict.fromkeys(reasons[place])), count=number)
        for place, number in totals.items()
    ]
    return tuple(sorted(given, key=lambda one: -one.count))


def _removal_use(removal: Removal, code: Code, last: dict[str, float]) -> RemovalUse:
    return RemovalUse(
        lines=removal.lines,
        branches=tuple(
            Lines(
                shown_path=near(branch.path, branch.shown_path),
                first_line=branch.first_line,
                last_line=branch.last_line,
                why=branch.why,
                is_part=branch.is_part,
            )
            for branch in removal.branches
        ),
        deleted=tuple(
            Lines(shown_path=near(one.path, one.shown_path), first_line=one.first_line, last_line=one.last_line)
            for one in removal.ranges
        ),
        excerpts=excerpts_of(removal, code),
        functions=tuple(_dead_function(one, last) for one in removal.functions),
        unproven=tuple(_dead_function(one, last) for one in removal.unproven),
    )


def _dead_function(one: ReachedFunction, last: dict[str, float]) -> DeadFunction:
    parameters = f"({one.function.parameter_types})" if one.function is not None else "()"
    return DeadFunction(
        name=one.name + parameters,
        shown_path=near(one.path, one.shown_path),
        line=one.first_line,
        lines=one.last_line - one.first_line + 1,
        last_invoked_at=last.get(one.function.signature) if one.function is not None else None,
    )


def excerpts_of(removal: Removal, code: Code) -> tuple[Excerpt, ...]:
    """Show each file in which a flag is read, or code dies, around these places."""
    sites: dict[str, set[int]] = {}
    dead: dict[str, set[int]] = {}
    shown: dict[str, set[int]] = {}
    for site in removal.sites:
        sites.setdefault(site.path, set()).update(range(site.line, site.end_line + 1))
        shown.setdefault(site.path, set()).update(range(site.line - AROUND, site.end_line + AROUND + 1))
    for branch in removal.branches:
        lines = range(branch.first_line, branch.last_line + 1)
        if not branch.is_part:
            dead.setdefault(branch.path, set()).update(lines)
        near_branch = set(range(branch.first_line - AROUND, branch.last_line + AROUND + 1))
        if len(lines) > MAX_SHOWN:
            near_branch -= set(range(branch.first_line + MAX_SHOWN // 2, branch.last_line - MAX_SHOWN // 4))
        shown.setdefault(branch.path, set()).update(near_branch)
    files = {file.path: file for file in code.files}
    excerpts = []
    for path in sorted(shown):
        text = code.text_of(files[path]) if path in files else None
        if text is not None:
            source = text.split("\n")
            lines_of_file = _lines(source, shown[path], sites.get(path, set()), dead.get(path, set()))
            excerpts.append(Excerpt(shown_path=near(path, files[path].shown_path), lines=tuple(lines_of_file)))
    return tuple(excerpts)


def _lines(source: Sequence[str], shown: set[int], sites: set[int], dead: set[int]) -> list[SourceLine]:
    lines: list[SourceLine] = []
    numbers = sorted(number for number in shown if 1 <= number <= len(source))
    while numbers and not source[numbers[-1] - 1].strip():
        numbers.pop()
    for at, number in enumerate(numbers):
        if at and number > numbers[at - 1] + 1:
            lines.append(SourceLine(number=None, text=""))
        lines.append(
            SourceLine(number=number, text=source[number - 1].rstrip(), is_site=number in sites, is_dead=number in dead)
        )
    return lines
