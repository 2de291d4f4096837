"""Compiles conditions, targets and segments.

Source: Hackle reference, sections 10.2, 11 and 14; vectors `segments`, `experiment_conditions`, `nested_matrix`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flagmw.context import UserContext
from flagmw.dialects.hackle.calls import Call, Link
from flagmw.dialects.hackle.decisions import BY_TARGETING, OFF
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.matching import Matcher, compile_match
from flagmw.dialects.hackle.model import AB_TEST, FEATURE_FLAG, Condition, Match, Segment, Target
from flagmw.dialects.hackle.plain import NOTHING, Plain, plain_form
from flagmw.dialects.hackle.rules import Test, any_match
from flagmw.dialects.hackle.users import identify_by, property_by
from flagmw.dialects.hackle.values import is_property_name, property_value

COUNTED = frozenset({"OVERRIDDEN", "TRAFFIC_ALLOCATED", BY_TARGETING, "EXPERIMENT_COMPLETED"})
"""The reasons of an A/B test for which conditions look at its variation."""


def experiment_key(name: Any) -> int:
    """Read the key of the experiment that a condition names, as Python's `int` does.

    Raises:
        Defect: it is none.
    """
    try:
        return int(name)
    except (TypeError, ValueError, OverflowError):
        raise Defect("a condition names another experiment by something that is no whole number") from None


class ConditionCompiler:
    """Compiles the conditions of one document.

    Args:
        segments: by key.
        link: gives what stands for the experiment of a kind and key.
    """

    def __init__(self, segments: Mapping[str, Test], link: Callable[[str, int], Link]) -> None:
        self._segments = segments
        self._link = link

    def target(self, target: Target, *, by_experiment: bool) -> Test:
        """Compile conditions that must all hold.

        Args:
            target: the conditions, at least one.
            by_experiment: whether they are an experiment's, rather than a remote config parameter's.
        """
        return _all_of([self._condition(condition, by_experiment=by_experiment) for condition in target])

    def _condition(self, condition: Condition, *, by_experiment: bool) -> Part:
        if condition.key_type == "SEGMENT":
            return self._segment_condition(condition.match), None
        if condition.key_type in (AB_TEST, FEATURE_FLAG):
            return self._experiment_condition(condition, by_experiment=by_experiment), None
        return _user_condition(condition)

    def _segment_condition(self, match: Match) -> Test:
        """Compile a condition on segments; operator and value type do not count."""
        wanted = match.kind == "MATCH" if match.kind in ("MATCH", "NOT_MATCH") else None
        tests = [self._segment(key) for key in match.values]
        if wanted is True and len(tests) == 1:
            return tests[0]

        def is_in(context: UserContext, call: Call) -> bool:
            for test in tests:
                if test(context, call):
                    return wanted is True
            return wanted is False

        return is_in

    def _segment(self, key: Any) -> Test:
        if not isinstance(key, str):
            return _failing("a condition names a segment by something that is no text")
        return self._segments.get(key) or _failing(f"a condition names the segment {key!r}, which is missing")

    def _experiment_condition(self, condition: Condition, *, by_experiment: bool) -> Test:
        try:
            link = self._link(condition.key_type, experiment_key(condition.key_name))
        except Defect as defect:
            return _failing(str(defect))
        matches = compile_match(condition.match)

        def is_served(context: UserContext, call: Call) -> bool:
            if link.experiment is None:
                return False
            served = call.decision(link.experiment, context, by_experiment=by_experiment).served
            return served.reason in COUNTED and matches(served.variation_key)

        def is_on(context: UserContext, call: Call) -> bool:
            if link.experiment is None:
                return False
            served = call.decision(link.experiment, context, by_experiment=by_experiment).served
            return matches(served.variation_key != OFF)

        return is_served if condition.key_type == AB_TEST else is_on


def compile_segment(segment: Segment) -> Test:
    """Compile a segment: one of its targets must match, so that one without targets matches nobody."""
    tests = [_all_of([_user_condition(condition) for condition in target]) for target in segment.targets]
    return any_match(segment.targets, tests)


Part = tuple[Test, Plain | None]
"""One condition of a target: what tells whether it holds, and its plain form."""


def _all_of(parts: Sequence[Part]) -> Test:
    """Make the test that all conditions hold; they are tried in order, and called only where their plain form does not do."""
    if len(parts) == 1 and parts[0][1] is None:
        return parts[0][0]
    rows = [_row(test, plain or NOTHING) for test, plain in parts]

    def hold(context: UserContext, call: Call) -> bool:
        read = context.attributes.get
        for test, name, texts, low, high in rows:
            value: Any = read(name)
            kind = type(value)
            if kind is str:
                if texts is not None:
                    if value in texts:
                        continue
                    return False
            elif (kind is int or kind is float) and low is not None:
                if low <= value <= high:
                    continue
                return False
            if not test(context, call):
                return False
        return True

    return hold


def _row(test: Test, plain: Plain) -> tuple[Test, str, frozenset[str] | None, float | None, float]:
    texts = plain.texts if plain.is_listed else None
    return test, plain.name or "", texts, plain.low, plain.high


def _failing(message: str) -> Test:
    def fail(context: UserContext, call: Call) -> bool:
        raise Defect(message)

    return fail


def _false(context: UserContext, call: Call) -> bool:
    return False


# --- conditions on the user -----------------------------------------------------------------------------------


def _user_condition(condition: Condition) -> Part:
    """Compile a condition on an identifier or a property; one that is missing fulfils none, not even NOT_MATCH."""
    name = condition.key_name
    if condition.key_type == "HACKLE_PROPERTY" or not is_property_name(name):
        return _false, None
    matches = compile_match(condition.match)
    if condition.key_type == "USER_ID":
        return _identifier_condition(identify_by(name), matches), None
    return _property_condition(name, matches), plain_form(condition)


def _identifier_condition(identify: Callable[[UserContext], str | None], matches: Matcher) -> Test:
    def test(context: UserContext, call: Call) -> bool:
        value = identify(context)
        return value is not None and matches(value)

    return test


def _property_condition(name: str, matches: Matcher) -> Test:
    read = property_by(name)

    def test(context: UserContext, call: Call) -> bool:
        value = property_value(name, read(context))
        return value is not None and matches(value)

    return test
