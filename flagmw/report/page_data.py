"""What the page's scripts read: the report as columns, since 150,000 functions as objects would be slow to read."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flagmw.report.ages import Age, shown_age
from flagmw.report.flags import DeadFunction, Excerpt, FlagUse, RemovalUse
from flagmw.report.model import Report
from flagmw.report.tree import FunctionUse, Node, NodeKind

KIND_NUMBERS = {kind: number for number, kind in enumerate(NodeKind)}
AGE_NUMBERS = {age: number for number, age in enumerate(Age)}
NEVER_AGO = -1


class _Numbers(dict[str, int]):
    """Gives each text a number, the next one when it is new."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


def page_data(report: Report) -> dict[str, Any]:
    """Give what the page shows, as a value for JSON; the scripts' own format, which may change."""
    return {
        "title": title_of(report),
        "about": _about(report),
        "notes": [*_chosen(report), *report.notes],
        "made_at": round(report.made_at),
        "age_names": {age.value: report.limits.named(age) for age in Age},
        **_code(report),
        "flags": [_flag(flag, report.made_at) for flag in report.flags],
        "flags_note": report.flags_problem,
    }


def title_of(report: Report) -> str:
    """Name the report."""
    return ", ".join(report.app_names) or "Nothing was watched yet"


def _chosen(report: Report) -> list[str]:
    shown = report.tree.total.functions
    return (
        [f"{shown:,} of {report.total:,} functions are shown: the others were left out"] if shown < report.total else []
    )


def _code(report: Report) -> dict[str, Any]:
    columns = _Columns(report.made_at)
    columns.add(report.tree)
    return {
        "nodes": columns.nodes,
        "functions": columns.functions,
        "files": list(columns.files),
        "parameters": list(columns.parameters),
    }


def _about(report: Report) -> list[str]:
    about = [", ".join(report.environments)] if report.environments else []
    if report.watched_since is not None:
        began = dt.datetime.fromtimestamp(report.watched_since, dt.UTC)
        about.append(f"watched since {began:%-d %B %Y} ({shown_age(report.made_at - report.watched_since)})")
        about.append(f"{report.processes} process{'' if report.processes == 1 else 'es'}")
    made = dt.datetime.fromtimestamp(report.made_at, dt.UTC)
    return [*about, f"made {made:%-d %B %Y, %H:%M} UTC"]


class _Columns:
    """Nodes in the order of a walk, and functions in the order of their nodes, as columns."""

    def __init__(self, made_at: float) -> None:
        self.made_at = made_at
        self.nodes: dict[str, list[Any]] = {name: [] for name in ("name", "kind", "parent", "end", "start")}
        names = ("name", "parameters", "file", "line", "lines", "age", "ago", "known")
        self.functions: dict[str, list[Any]] = {name: [] for name in names}
        self.files, self.parameters = _Numbers(), _Numbers()

    def add(self, node: Node, parent: int = 0) -> None:
        """Add a node and all below it; `end` is the number of the first node that is not below it."""
        number = len(self.nodes["name"])
        row = (node.name, KIND_NUMBERS[node.kind], parent, 0, len(self.functions["name"]))
        for name, value in zip(self.nodes, row, strict=True):
            self.nodes[name].append(value)
        for use in node.functions:
            self._add_function(use)
        for child in node.children:
            self.add(child, number)
        self.nodes["end"][number] = len(self.nodes["name"])

    def _add_function(self, use: FunctionUse) -> None:
        function, last = use.function, use.last_invoked_at
        row = (
            function.name,
            self.parameters[function.parameter_types],
            self.files[function.shown_path],
            function.first_line,
            use.lines,
            AGE_NUMBERS[use.age],
            NEVER_AGO if last is None else _ago(self.made_at, last),
            _ago(self.made_at, use.first_seen_at),
        )
        for name, value in zip(self.functions, row, strict=True):
            self.functions[name].append(value)


def _ago(made_at: float, at: float) -> int:
    return max(0, round(made_at - at))


def _flag(flag: FlagUse, made_at: float) -> dict[str, Any]:
    return {
        "key": flag.flag_key,
        "verdict": flag.verdict,
        "why": flag.why,
        "notes": list(flag.notes),
        "given": [{"shown": given.shown, "count": given.count} for given in flag.given],
        "ago": None if flag.last_at is None else _ago(made_at, flag.last_at),
        "sites": [{"place": site.place, "is_certain": site.is_certain} for site in flag.sites],
        "value": flag.value if flag.value is not None else flag.variation,
        "since": None if flag.settled_at is None else round(flag.settled_at),
        "removal": None if flag.removal is None else _removal(flag.removal, made_at),
    }


def _removal(removal: RemovalUse, made_at: float) -> dict[str, Any]:
    return {
        "lines": removal.lines,
        "parts": [f"{branch.place}: {branch.why}" for branch in removal.branches if branch.is_part],
        "excerpts": [_excerpt(excerpt) for excerpt in removal.excerpts],
        "functions": [_dead_function(one, made_at) for one in removal.functions],
        "unproven": [_dead_function(one, made_at) for one in removal.unproven],
    }


def _dead_function(one: DeadFunction, made_at: float) -> dict[str, Any]:
    ago = None if one.last_invoked_at is None else _ago(made_at, one.last_invoked_at)
    return {"name": one.name, "place": one.place, "lines": one.lines, "ago": ago}


def _excerpt(excerpt: Excerpt) -> dict[str, Any]:
    return {
        "place": excerpt.place,
        "is_python": excerpt.shown_path.endswith(".py"),
        "lines": [
            {"number": line.number, "text": line.text, "is_site": line.is_site, "is_dead": line.is_dead}
            for line in excerpt.lines
        ],
    }
