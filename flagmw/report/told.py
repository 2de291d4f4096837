"""The report as a value for JSON: a shape for programs, described in docs/usage.md; names are added, not taken away."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from flagmw.report.ages import Age
from flagmw.report.flags import DeadFunction, FlagUse, Lines, RemovalUse
from flagmw.report.model import Report
from flagmw.report.tree import FunctionUse, Node

VERSION = 1
"""Of the shape."""


def told(report: Report) -> dict[str, Any]:
    """Give the report as a value for JSON. Times are ISO 8601 in UTC, null for never."""
    return {
        "version": VERSION,
        "made_at": _time(report.made_at),
        "app_names": list(report.app_names),
        "environments": list(report.environments),
        "watched_since": _time(report.watched_since),
        "processes": report.processes,
        "limits": {"old_s": report.limits.old_s, "aging_s": report.limits.aging_s},
        "total_functions": report.total,
        "tree": _node(report.tree),
        "functions": [_function(use) for use in report.functions],
        "flags": [_flag(flag) for flag in report.flags],
        "flags_problem": report.flags_problem,
        "notes": list(report.notes),
    }


def _time(at: float | None) -> str | None:
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")


def _node(node: Node) -> dict[str, Any]:
    total = node.total
    return {
        "name": node.name,
        "kind": node.kind.value,
        "dotted": node.dotted,
        "functions": total.functions,
        "lines": total.lines,
        "by_age": {
            age.value: {"functions": node.by_age[age].functions, "lines": node.by_age[age].lines} for age in Age
        },
        "last_invoked_at": _time(node.last_invoked_at),
        "children": [_node(child) for child in node.children],
    }


def _function(use: FunctionUse) -> dict[str, Any]:
    function = use.function
    return {
        "signature": function.signature,
        "kind": function.kind.value,
        "module": function.package_name,
        "declaring_type": function.declaring_type,
        "file": function.shown_path,
        "first_line": function.first_line,
        "last_line": function.last_line,
        "lines": use.lines,
        "age": use.age.value,
        "first_seen_at": _time(use.first_seen_at),
        "first_invoked_at": _time(use.first_invoked_at),
        "last_invoked_at": _time(use.last_invoked_at),
        "environments": list(use.environments),
    }


def _flag(flag: FlagUse) -> dict[str, Any]:
    return {
        "flag_key": flag.flag_key,
        "verdict": flag.verdict,
        "why": flag.why,
        "notes": list(flag.notes),
        "variation": flag.variation,
        "value": None if flag.value is None else json.loads(flag.value),
        "settled_at": _time(flag.settled_at),
        "last_evaluated_at": _time(flag.last_at),
        "given": [{"variation": one.variation, "reason": one.reason, "count": one.count} for one in flag.given],
        "sites": [
            {"file": site.shown_path, "line": site.line, "how": site.how, "is_certain": site.is_certain}
            for site in flag.sites
        ],
        "removal": None if flag.removal is None else _removal(flag.removal),
    }


def _removal(removal: RemovalUse) -> dict[str, Any]:
    return {
        "lines": removal.lines,
        "branches": [{**_lines(one), "why": one.why, "is_part": one.is_part} for one in removal.branches],
        "deleted": [_lines(one) for one in removal.deleted],
        "functions": [_dead_function(one) for one in removal.functions],
        "unproven": [_dead_function(one) for one in removal.unproven],
    }


def _lines(lines: Lines) -> dict[str, Any]:
    return {"file": lines.shown_path, "first_line": lines.first_line, "last_line": lines.last_line}


def _dead_function(one: DeadFunction) -> dict[str, Any]:
    return {
        "name": one.name,
        "file": one.shown_path,
        "line": one.line,
        "lines": one.lines,
        "last_invoked_at": _time(one.last_invoked_at),
    }
