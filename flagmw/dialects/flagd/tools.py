"""For people who write flags: every problem of a document with its place, and which conditions a rule met.

What a loader does not need: it also reads literally written results, and warns of what is allowed and surely
not meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.parsing import parse, place_problems
from flagmw.dialects.flagd.document import FlagdDialect
from flagmw.dialects.flagd.fractional import Fractional
from flagmw.dialects.flagd.validity import FLAG_MEMBERS, document_problems
from flagmw.errors import DocumentError, Path, Problem


def check(document: Document, fractional: Fractional = "v2") -> tuple[Problem, ...]:
    """Give every problem of one document, those inside rules and mere warnings included, with their places.

    Raises:
        DocumentError: the text does not parse; nothing further can be told.
    """
    data = parse(document)
    problems = document_problems(data)
    if isinstance(data, dict) and isinstance(data.get("flags"), dict):
        dialect = FlagdDialect(fractional=fractional, wall_clock=lambda: 0.0)
        evaluators = data.get("$evaluators")
        if not isinstance(evaluators, dict):
            evaluators = {}
        for key, flag in data["flags"].items():
            if isinstance(flag, dict):
                problems.extend(_rule_problems(dialect, key, flag, evaluators))
                problems.extend(_member_problems(key, flag))
    return place_problems(document, list(dict.fromkeys(problems)))


def _rule_problems(
    dialect: FlagdDialect, key: str, flag: Mapping[str, Any], evaluators: Mapping[str, Any]
) -> list[Problem]:
    targeting = flag.get("targeting")
    if targeting is None or targeting == {}:
        return []
    _, problems = dialect.compile_rule(key, targeting, evaluators)
    variants = flag.get("variants")
    if isinstance(variants, dict):
        path: Path = ("flags", key, "targeting")
        for found_path, name in _literal_results(targeting, path):
            if name not in variants:
                message = f"{name!r} is no variant; the variants are {', '.join(map(repr, variants))}"
                problems.append(Problem(message=message, path=found_path, severity="flag"))
    return problems


def _literal_results(rule: Any, path: Path) -> list[tuple[Path, str]]:
    """Find the variant names that a rule can give and that stand in it literally."""
    if isinstance(rule, str):
        return [(path, rule)]
    if not isinstance(rule, dict) or len(rule) != 1:
        return []
    ((operator, raw),) = rule.items()
    if not isinstance(raw, list):
        return []
    inner = (*path, operator)
    found: list[tuple[Path, str]] = []
    if operator in ("if", "?:"):
        for index, part in enumerate(raw):
            if index % 2 or index == len(raw) - 1:
                found.extend(_literal_results(part, (*inner, index)))
    elif operator == "fractional":
        for index, row in enumerate(raw):
            if isinstance(row, list) and row:
                found.extend(_literal_results(row[0], (*inner, index, 0)))
    return found


def _member_problems(key: str, flag: Mapping[str, Any]) -> list[Problem]:
    """Warn of members that look like a misspelt one: unknown members are allowed, so a typo goes unnoticed."""
    problems = []
    for member in flag:
        if member not in FLAG_MEMBERS and not member.startswith("$"):
            close = get_close_matches(member, FLAG_MEMBERS, n=1, cutoff=0.75)
            if close and close[0] not in flag:
                message = f"flagd ignores {member!r}; did you mean {close[0]!r}?"
                problems.append(Problem(message=message, path=("flags", key, member), severity="warning"))
    return problems


def explain(
    document: Document, key: str, fractional: Fractional, context: UserContext, now: float
) -> list[tuple[Path, str, Any]]:
    """Tell which branches the rule of a flag took for a context, in the order in which they were decided.

    Returns:
        For each condition of an `if`: its path in the document, which one it is, and whether it held.

    Raises:
        DocumentError: the document does not parse or is refused.
    """
    data = parse(document)
    problems = [problem for problem in document_problems(data) if problem.severity == "error"]
    if problems:
        raise DocumentError(document.name, place_problems(document, problems))
    steps: list[tuple[Path, str, Any]] = []
    flag = data["flags"].get(key)
    if flag is None or flag["state"] == "DISABLED" or not flag.get("targeting"):
        return steps
    dialect = FlagdDialect(fractional=fractional, wall_clock=lambda: now)
    evaluators = data.get("$evaluators") or {}
    rule, defects = dialect.compile_rule(key, flag["targeting"], evaluators, lambda *step: steps.append(step))
    if not any(problem.severity == "flag" for problem in defects):
        rule.run(context.values)
    return steps
