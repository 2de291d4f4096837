"""`Report`: what is known of functions and flags, put together for showing. Pure; texts of source files are passed in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flagmw.report.ages import Age, AgeLimits
from flagmw.report.flags import FlagUse
from flagmw.report.tree import FunctionUse, Node, tree_of
from flagmw.usage.functions import Function
from flagmw.usage.store import StoredFunction, StoredUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which functions a report shows. An attribute that is None chooses all.

    Attributes:
        unused_for_s: those that are known for so long, and had no call since.
        never: only those that never ran.
        package: those in it, or in what is below it; a module's or a class's name will do.
        text: those whose dotted name or file has it, whatever the case.
    """

    unused_for_s: float | None = None
    never: bool = False
    package: str | None = None
    text: str | None = None

    def takes(self, use: FunctionUse, now: float) -> bool:
        """Tell whether a function is shown."""
        function = use.function
        if self.never and use.age is not Age.NEVER:
            return False
        if self.unused_for_s is not None and now - (use.last_invoked_at or use.first_seen_at) < self.unused_for_s:
            return False
        if self.package is not None and not f"{function.declaring_type}.".startswith(f"{self.package}."):
            return False
        text = self.text.lower() if self.text is not None else ""
        return text in f"{function.declaring_type}.{function.name}".lower() or text in function.shown_path.lower()

    @property
    def chooses(self) -> bool:
        """Whether it leaves anything out."""
        return self != Selection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the report says. Times are seconds of wall time.

    Attributes:
        made_at: when it was made; ages are distances from there.
        limits: of the classes of ages.
        app_names: of the applications that were watched.
        environments: where they ran.
        watched_since: of the application that is watched longest; None when none was.
        processes: how many have written, as far as they are remembered.
        tree: the functions that were chosen.
        total: how many functions there are, chosen or not.
        flags: by verdict, the stale ones first, then by key.
        flags_problem: why flags could not be judged; None when they were.
        notes: what a reader should know: what is missing, or was not read.
    """

    made_at: float
    limits: AgeLimits
    app_names: tuple[str, ...]
    environments: tuple[str, ...]
    watched_since: float | None
    processes: int
    tree: Node
    total: int
    flags: tuple[FlagUse, ...] = ()
    flags_problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def functions(self) -> list[FunctionUse]:
        """The functions of the tree, in its order."""
        return [use for node in self.tree.walk() for use in node.functions]

    def flags_of(self, verdict: str) -> list[FlagUse]:
        """The flags with a verdict."""
        return [flag for flag in self.flags if flag.verdict == verdict]


def build_report(
    usage: StoredUsage,
    *,
    now: float,
    flags: Sequence[FlagUse] = (),
    flags_problem: str | None = None,
    limits: AgeLimits | None = None,
    selection: Selection | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Put a report together.

    Args:
        usage: what the store knows.
        now: in seconds of wall time.
        flags: what is known of flags, see `flag_uses.judge_flags`.
        flags_problem: why nothing is known of them.
        limits: of the classes of ages.
        selection: which functions are shown.
        notes: what a reader should know beside it.
    """
    limits = limits or AgeLimits()
    selection = selection or Selection()
    uses = function_uses(usage.functions, limits, now)
    order = {"stale": 0, "unknown": 1, "unused": 2, "settled": 3}
    return Report(
        made_at=now,
        limits=limits,
        app_names=tuple(sorted({one.app_name for one in usage.applications})),
        environments=tuple(sorted({one.environment for one in usage.applications})),
        watched_since=usage.watched_since,
        processes=usage.processes,
        tree=tree_of(use for use in uses if selection.takes(use, now)),
        total=len(uses),
        flags=tuple(sorted(flags, key=lambda flag: (order.get(flag.verdict, len(order)), flag.flag_key))),
        flags_problem=flags_problem,
        notes=tuple(notes),
    )


def function_uses(stored: Iterable[StoredFunction], limits: AgeLimits, now: float) -> list[FunctionUse]:
    """Join what is known of each function: one that runs in several applications or environments is one function."""
    same: dict[tuple[str, int, str, str], list[StoredFunction]] = defaultdict(list)
    for one in stored:
        function = one.function
        same[function.path, function.first_line, function.name, function.parameter_types].append(one)
    lines = own_lines([group[0].function for group in same.values()])
    return [_use(group, own, limits, now) for group, own in zip(same.values(), lines, strict=True)]


def _use(group: list[StoredFunction], lines: int, limits: AgeLimits, now: float) -> FunctionUse:
    last = max((one.last_invoked_at for one in group if one.last_invoked_at is not None), default=None)
    return FunctionUse(
        function=group[0].function,
        age=limits.age_of(last, now),
        first_seen_at=min(one.first_seen_at for one in group),
        first_invoked_at=min((one.first_invoked_at for one in group if one.first_invoked_at is not None), default=None),
        last_invoked_at=last,
        lines=lines,
        environments=tuple(sorted({one.environment for one in group})),
    )


def own_lines(functions: Sequence[Function]) -> list[int]:
    """Count each function's lines without those of the functions inside it; a function has one line at least."""
    lines = [max(1, function.last_line - function.first_line + 1) for function in functions]
    by_place = sorted(range(len(functions)), key=lambda at: _place(functions[at]))
    around: list[int] = []
    for at in by_place:
        function = functions[at]
        while around and not _is_inside(function, functions[around[-1]]):
            around.pop()
        if around:
            lines[around[-1]] -= function.last_line - function.first_line + 1
        around.append(at)
    return [max(1, number) for number in lines]


def _place(function: Function) -> tuple[str, int, int]:
    return function.path, function.first_line, -function.last_line


def _is_inside(function: Function, other: Function) -> bool:
    return function.path == other.path and function.last_line <= other.last_line
