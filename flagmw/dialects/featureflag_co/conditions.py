"""featureflag.co's clauses and segments: from their JSON to functions of a context.

Source: featureflag.co reference, sections 8 and 10; vectors `op:*`, `probe:*`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from flagmw.context import UserContext
from flagmw.core.properties import KEY, NOTHING, Property, attribute, text_of
from flagmw.core.rule_order import UNKNOWN, in_segments, segment_has
from flagmw.core.text_conditions import (
    UNSTATED,
    Condition,
    TextRules,
    broken,
    compile_condition,
    never,
    parsed_json,
)
from flagmw.core.versioned import CUT, SEGMENT, Links

RULES = TextRules(empty_is_missing=True, ignores_case=True)

_SEGMENTS = {"User is in segment": True, "User is not in segment": False}


def _built_in(field: str, shown: str) -> Property:
    """Read a field by its capitalised name, which an attribute may have instead."""

    def otherwise(context: UserContext) -> str | None:
        text = text_of(context.values.get(field))
        return text if text is not None else text_of(context.values.get(shown))

    return Property(slot=field, otherwise=otherwise)


_BUILT_IN = {
    **dict.fromkeys(("KeyId", "key", "keyid"), KEY),
    **{name.capitalize(): _built_in(name, name.capitalize()) for name in ("name", "email", "country")},
}


def property_of(name: object) -> Property:
    """Give the property that a document names."""
    if not isinstance(name, str):
        return NOTHING
    return _BUILT_IN.get(name) or attribute(name)


def list_of(value: Any) -> list[Any]:
    """Give a list; null is an empty one.

    Raises:
        TypeError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def compile_clauses(rule: Any, links: Links) -> tuple[Condition, ...]:
    """Make the conditions of a rule, which must all hold; a rule without any holds for nobody."""
    try:
        clauses = list_of(rule["ruleJsonContent"])
    except (TypeError, KeyError):
        return (broken,)
    return tuple(_compile_clause(clause, links) for clause in clauses) or (never,)


def _compile_clause(clause: Any, links: Links) -> Condition:
    try:
        operator = clause["operation"] or clause["property"]
        if isinstance(operator, str) and operator in _SEGMENTS:
            return _compile_membership(clause.get("value"), links, wanted=_SEGMENTS[operator])
        read = property_of(clause["property"])
        return compile_condition(read, operator, clause.get("value", UNSTATED), RULES) or never
    except (TypeError, KeyError, AttributeError):
        return broken


def _compile_membership(value: Any, links: Links, *, wanted: bool) -> Condition:
    """Make the condition that the user is in one of some segments, or in none of them."""
    parsed = parsed_json(value)
    found: list[Condition] = []
    for segment_id in parsed if isinstance(parsed, list) else ():
        part = links.find(SEGMENT + segment_id) if isinstance(segment_id, str) else None
        if part is not None and part is not CUT:
            found.append(part)
    return in_segments(tuple(found), wanted=wanted)


def compile_segment(segment: Any, links: Links) -> Condition:
    """Make the function that tells whether a segment has a user.

    It raises a `BrokenConditionError` where it needs a part of the segment that has a defect: here null is no list.
    """
    excluded, included = _keys(segment.get("excluded")), _keys(segment.get("included"))
    rules = _segment_rules(segment.get("rules", []), links)
    return segment_has(excluded, included, rules)


def _keys(value: Any) -> Container[Any]:
    return frozenset(key for key in value if isinstance(key, str)) if isinstance(value, list) else UNKNOWN


def _segment_rules(value: Any, links: Links) -> tuple[tuple[Condition, ...], ...]:
    if not isinstance(value, list):
        return ((broken,),)
    return tuple(
        (broken,) if isinstance(rule, dict) and rule.get("ruleJsonContent") is None else compile_clauses(rule, links)
        for rule in value
    )
