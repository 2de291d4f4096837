"""Which rule of a flag decided: the trace of one evaluation, put together with the parts of the document.

Source: flagd's flag definition format; `tools.explain` gives the trace.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flagmw.core.documents import Document
from flagmw.core.parsing import parse, place_problems
from flagmw.errors import Path, Problem
from flagmw.evaluation import ErrorCode, Evaluation, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was looked at on the way to the answer.

    Attributes:
        part: the part of the rule, as JSON values.
        held: of a condition, whether it held; None for the result that was chosen in the end.
    """

    place: str
    path: Path
    part: Any
    held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which rule decided.

    Attributes:
        steps: the conditions in the order in which they were looked at.
        verdict: one sentence.
        result: the part of the rule that gave the answer, None when none did.
    """

    steps: Sequence[Step] = ()
    verdict: str
    result: Step | None = None


def explained(document: Document, evaluation: Evaluation, traced: Sequence[tuple[Path, str, Any]]) -> Explanation:
    """Tell which rule gave an evaluation.

    Args:
        document: the one that has the flag.
        evaluation: what was answered.
        traced: what `tools.explain` gave for the same flag and context.
    """
    data = parse(document)
    flag = data["flags"][evaluation.flag_key]
    default = "the default variant" if flag.get("defaultVariant") else "the caller's default"
    if evaluation.reason is Reason.DISABLED:
        return Explanation(verdict="the flag is disabled: the caller's default")
    if not flag.get("targeting"):
        return Explanation(verdict=f"no rules: {default}")
    if evaluation.error_code is ErrorCode.PARSE_ERROR:
        return Explanation(verdict="the rule is broken and is never run")
    rule = _Rule(data, evaluation.flag_key)
    paths = [path for path, _, _ in traced]
    chosen, taken = rule.chosen({path for path, _, held in traced if held})
    steps = _steps(document, rule, [*paths, *([chosen] if chosen else [])])
    result = steps.pop() if chosen else None
    for index, (_, _, held) in enumerate(traced):
        steps[index] = replace(steps[index], held=bool(held))
    verdict = _verdict(taken, paths)
    if result is None:
        verdict += f", which is {default}"
    elif evaluation.reason is Reason.DEFAULT:
        verdict += f"; the result is null: {default}"
    else:
        verdict += _bucket(result.part, evaluation.variation)
    return Explanation(steps=steps, verdict=verdict, result=result)


def _verdict(taken: Sequence[Path | None], paths: Sequence[Path]) -> str:
    """Say what decided last, given the conditions whose results were taken (None: an else) among all paths."""
    if not taken:
        return "the rule's result" if paths else "the rule has no conditions"
    followed = [paths.index(path) + 1 for path in taken if path is not None]
    if taken[-1] is not None:
        return f"condition {followed[-1]} held"
    if followed:
        return f"condition {followed[-1]} held and none of those in its result: the fallthrough was taken"
    return "no condition held: the fallthrough was taken"


def _steps(document: Document, rule: _Rule, paths: Sequence[Path]) -> list[Step]:
    located = [rule.locate(path) for path in paths]
    problems = place_problems(document, [Problem(message="", path=path) for path, _ in located])
    places = {problem.path: f"{document.name}:{problem.line}:{problem.column}" for problem in problems}
    return [Step(place=places[path], path=path, part=part) for path, part in located]


class _Rule:
    """One flag's rule in its parsed document.

    The paths of a trace leave out the index of an operator's single argument, whether or not the document writes
    a list around it.
    """

    def __init__(self, data: Mapping[str, Any], key: str) -> None:
        self._data = data
        self._root: Path = ("flags", key, "targeting")

    def chosen(self, held: Container[Path]) -> tuple[Path | None, list[Path | None]]:
        """Follow the conditions to what gave the answer.

        Returns:
            The path of the result, None when there is none for want of an else; and of each `if` on the way the
            condition whose result was taken, None for its else.
        """
        path = self._root
        followed: list[Path | None] = []
        while True:
            part = self.locate(path)[1]
            name, raw = next(iter(part.items())) if isinstance(part, dict) and len(part) == 1 else ("", None)
            if name == "$ref" and isinstance(raw, str):
                path = ("$evaluators", raw)
                continue
            if name not in ("if", "?:") or raw == []:
                return path, followed
            count = len(raw) if isinstance(raw, list) else 1
            path = (*path, name)
            if count == 1:
                continue
            index = next((index for index in range(0, count - 1, 2) if (*path, index) in held), None)
            followed.append(None if index is None else (*path, index))
            if index is None and count % 2 == 0:
                return None, followed
            path = (*path, count - 1 if index is None else index + 1)

    def locate(self, path: Path) -> tuple[Path, Any]:
        """Give the path as the document has it, and the part of the rule at it."""
        exact: list[str | int] = []
        part: Any = self._data
        for name in path:
            if isinstance(name, int) and not isinstance(part, list):
                continue
            if isinstance(name, str) and isinstance(part, list):
                exact.append(0)
                part = part[0]
            exact.append(name)
            part = part[name]
        if path[-1] in ("if", "?:") and isinstance(part, list):
            exact.append(0)
            part = part[0]
        return tuple(exact), part


def _bucket(part: Any, variation: str | None) -> str:
    """Tell which share of a rollout the variation has, if the rule says so in plain numbers."""
    rows = part.get("fractional") if isinstance(part, dict) and len(part) == 1 else None
    if not isinstance(rows, list) or variation is None:
        return ""
    buckets = [row for row in rows[0 if rows and isinstance(rows[0], list) else 1 :] if isinstance(row, list) and row]
    weights = [row[1] if len(row) > 1 else 1 for row in buckets]
    if not all(isinstance(weight, (int, float)) and weight >= 0 for weight in weights):
        return ""
    mine = [weight for row, weight in zip(buckets, weights, strict=True) if row[0] == variation]
    return f"; a rollout, in which {variation!r} has {sum(mine):g} of {sum(weights):g}" if mine else ""
