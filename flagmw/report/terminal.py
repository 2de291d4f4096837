"""The report as lines for a terminal, or one place a line for `grep`. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flagmw.report.ages import Age, shown_age
from flagmw.report.flags import Excerpt, FlagUse, RemovalUse
from flagmw.report.model import Report
from flagmw.report.tree import FunctionUse, Node, NodeKind

Segment = tuple[str, str]
"""A text and the name of its style, "" for none."""

Line = Sequence[Segment]

AGE_STYLES = {Age.NEVER: "never", Age.OLD: "old", Age.AGING: "aging", Age.RECENT: "recent"}
VERDICT_STYLES = {"stale": "never", "unknown": "error", "unused": "warning", "settled": "old", "live": "recent"}
NAME_COLUMNS = 46
"""Of the tree with its guides; what is longer pushes the numbers to the right."""

DEFAULT_DEPTH = 3
"""Packages, modules and classes below each other; deeper ones are summed up in those."""


PLAIN_GUIDES = str.maketrans({"└": "`", "├": "|", "─": "-", "│": "|", "…": "..."})
"""For terminals whose encoding has no lines."""


def tree_lines(report: Report, depth: int | None = DEFAULT_DEPTH) -> Iterator[Line]:
    """Give the tree: packages, modules and classes down to a depth, and the functions of what is not cut off.

    Args:
        report: whose functions are shown.
        depth: how many levels of packages, modules and classes; None for all of them and the functions, too.
    """
    yield [(f"{'':<{NAME_COLUMNS}}  {'functions':>9}  {'never':>6}  {'lines':>7}  last call", "dim")]
    yield from _children(report.tree, report, "", depth)


def _children(node: Node, report: Report, guides: str, depth: int | None) -> Iterator[Line]:
    entries: list[Node | FunctionUse] = list(node.children)
    if depth is None:
        entries += node.functions
    for number, entry in enumerate(entries, start=1):
        is_last = number == len(entries)
        branch = guides + ("└─ " if is_last else "├─ ")
        if isinstance(entry, Node):
            shown, label = _joined(entry)
            yield _node_line(shown, label, branch, report)
            if depth is None or depth > 1:
                deeper = None if depth is None else depth - 1
                yield from _children(shown, report, guides + ("   " if is_last else "│  "), deeper)
        else:
            yield _function_line(entry, branch, report)


def _joined(node: Node) -> tuple[Node, str]:
    """Show a chain of packages that hold nothing but one another as one."""
    label = node.name
    while node.kind is NodeKind.PACKAGE and len(node.children) == 1 and not node.functions:
        node = node.children[0]
        label += f".{node.name}"
    return node, label


def _node_line(node: Node, label: str, branch: str, report: Report) -> Line:
    total, never = node.total, node.by_age[Age.NEVER].functions
    ratio = never / total.functions if total.functions else 0.0
    age = report.limits.age_of(node.last_invoked_at, report.made_at)
    style = AGE_STYLES[age] if age is not Age.RECENT else "name"
    return [
        (branch, "dim"),
        (f"{label:<{NAME_COLUMNS - len(branch)}}", style),
        (f"  {total.functions:>9}", ""),
        (f"  {ratio:>6.0%}", "never" if never else "dim"),
        (f"  {total.lines:>7}", ""),
        (f"  {_last_call(node.last_invoked_at, report)}", AGE_STYLES[age]),
    ]


def _function_line(use: FunctionUse, branch: str, report: Report) -> Line:
    name = f"{use.function.name}({use.function.parameter_types})"
    style = AGE_STYLES[use.age]
    return [
        (branch, "dim"),
        (f"{name:<{NAME_COLUMNS - len(branch)}}", style if use.age is not Age.RECENT else ""),
        (f"  {'':>9}  {'':>6}  {use.lines:>7}", ""),
        (f"  {_last_call(use.last_invoked_at, report)}", style),
        (f"  {use.function.shown_path}:{use.function.first_line}", "dim"),
    ]


def _last_call(at: float | None, report: Report) -> str:
    return "never" if at is None else f"{shown_age(report.made_at - at)} ago"


def summary_lines(report: Report) -> Iterator[Line]:
    """Give what there is in all, and since when it is watched."""
    total = report.tree.total
    watched = "nothing was watched yet"
    if report.watched_since is not None:
        number = report.processes
        watched = (
            f"{', '.join(report.app_names)} ({', '.join(report.environments)}), watched for "
            f"{shown_age(report.made_at - report.watched_since)}, {number} process{'' if number == 1 else 'es'}"
        )
    yield [(watched, "name")]
    chosen = f"{_count(total.functions, 'function')}" + (
        f" of {report.total}" if total.functions < report.total else ""
    )
    segments: list[Segment] = [(f"{chosen}, {_count(total.lines, 'line')}: ", "")]
    for age in Age:
        tally = report.tree.by_age[age]
        segments.append((f"{tally.functions} {report.limits.named(age)}", AGE_STYLES[age]))
        segments.append((", " if age is not Age.RECENT else "", ""))
    yield segments


def flag_lines(report: Report) -> Iterator[Line]:
    """Give the table of flags, and each stale one in detail."""
    if not report.flags:
        yield [(report.flags_problem or "no flags were found", "dim")]
        return
    width = max(len("flag"), *(len(flag.flag_key) for flag in report.flags))
    yield [(f"{'flag':<{width}}  {'verdict':<8}  {'evaluated':<12}  {'read at':<8}  given", "dim")]
    for flag in report.flags:
        yield [
            (f"{flag.flag_key:<{width}}", "name"),
            (f"  {flag.verdict:<8}", VERDICT_STYLES.get(flag.verdict, "")),
            (f"  {_last_call(flag.last_at, report):<12}", ""),
            (f"  {_count(len(flag.sites), 'place'):<8}", "" if flag.sites else "dim"),
            (f"  {', '.join(f'{given.shown} ({given.count})' for given in flag.given) or '-'}", ""),
        ]
    for flag in report.flags:
        if flag.removal is not None:
            yield [("", "")]
            yield from _removal_lines(flag, flag.removal, report)


def story_of(flag: FlagUse, made_at: float) -> str:
    """Say why a flag is settled."""
    since = f" for {shown_age(made_at - flag.settled_at)}" if flag.settled_at is not None else ""
    value = flag.value if flag.value is not None else repr(flag.variation)
    return f"gives {value} to everybody{since}"


def _removal_lines(flag: FlagUse, removal: RemovalUse, report: Report) -> Iterator[Line]:
    goes = f"{_count(removal.lines, 'line')} {'goes' if removal.lines == 1 else 'go'} with it"
    yield [(flag.flag_key, "name"), (f" {story_of(flag, report.made_at)}; ", ""), (goes, "never")]
    for excerpt in removal.excerpts:
        yield from _excerpt_lines(excerpt)
    if removal.functions:
        yield [
            (f"  only reached from there, and without a call since: {_count(len(removal.functions), 'function')}", "")
        ]
    for one in removal.functions:
        yield [
            (f"  {one.place}: ", "dim"),
            (one.name, "never"),
            (f"  {_count(one.lines, 'line')}, last call: {_last_call(one.last_invoked_at, report)}", ""),
        ]
    if removal.unproven:
        names = ", ".join(one.name for one in removal.unproven)
        yield [(f"  perhaps, too, but not watched for long enough: {names}", "warning")]
    for note in flag.notes:
        yield [(f"  {note}", "dim")]


def _excerpt_lines(excerpt: Excerpt) -> Iterator[Line]:
    yield [(f"  {excerpt.place}", "name")]
    for line in excerpt.lines:
        if line.number is None:
            yield [("        …", "dim")]
            continue
        mark, style = ("-", "never") if line.is_dead else (">", "name") if line.is_site else (" ", "dim")
        yield [(f"  {mark} {line.number:>5}  ", "dim"), (line.text.expandtabs(4), style)]


def plain_lines(report: Report) -> Iterator[Line]:
    """Give one place a line, as editors and `grep` understand it: functions, then flags, then what goes with them."""
    for use in report.functions:
        last = _last_call(use.last_invoked_at, report)
        yield [
            (f"{use.function.shown_path}:{use.function.first_line}: {use.age}: {use.function.signature}: {last}", "")
        ]
    for flag in report.flags:
        yield from plain_flag_lines(flag, report.made_at)


def plain_flag_lines(flag: FlagUse, made_at: float) -> Iterator[Line]:
    """Give the places of one flag, and of what goes with it, one a line."""
    told = f"{flag.verdict}: {flag.flag_key}"
    if flag.settled_at is not None:
        told += f": {story_of(flag, made_at)}"
    if flag.removal is not None:
        told += f"; {_count(flag.removal.lines, 'line')} to delete"
    elif flag.settled_at is None and flag.why:
        told += f": {flag.why}"
    for place in [site.place for site in flag.sites] or ["-"]:
        yield [(f"{place}: {told}", "")]
    if flag.removal is None:
        return
    for branch in flag.removal.branches:
        part = "part of " if branch.is_part else ""
        yield [(f"{branch.place}: dead branch of {flag.flag_key}: {part}{branch.shown}: {branch.why}", "")]
    for one in flag.removal.functions:
        yield [(f"{one.place}: dies with {flag.flag_key}: {one.name}: {_count(one.lines, 'line')}", "")]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
