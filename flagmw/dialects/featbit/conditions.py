"""FeatBit's conditions and segments: from their JSON to functions of a context.

Source: FeatBit reference, sections 7 and 9; vectors `op:*`, `probe:*`.
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

RULES = TextRules(empty_is_missing=False, ignores_case=False)

_SEGMENTS = {"User is in segment": True, "User is not in segment": False}


def _name_of(context: UserContext) -> str | None:
    name = text_of(context.values.get("name"))
    return name if name is not None else context.key


NAME = Property(slot="name", otherwise=_name_of)
"""FeatBit's users all have a name; one who has none here goes by the key."""

_BUILT_IN = {"key": KEY, "keyid": KEY, "name": NAME}


def property_of(name: object) -> Property:
    """Give the property that a document names: a built-in one in any case, or exactly this attribute."""
    if not isinstance(name, str):
        return NOTHING
    return _BUILT_IN.get(name.lower()) or attribute(name)


def items_of(value: Any) -> list[Any]:
    """Give what a collection has.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, (list, dict, str)):
        raise TypeError("not a collection")
    return list(value)


def compile_conditions(value: Any, links: Links) -> tuple[Condition, ...]:
    """Make the conditions of a rule, which must all hold; where they cannot be read, one that is broken."""
    try:
        conditions = items_of(value["conditions"])
    except (TypeError, KeyError):
        return (broken,)
    return tuple(_compile_condition(condition, links) for condition in conditions)


def _compile_condition(condition: Any, links: Links) -> Condition:
    try:
        operator = condition["op"] or condition["property"]
        if isinstance(operator, str) and operator in _SEGMENTS:
            return _compile_membership(condition.get("value"), links, wanted=_SEGMENTS[operator])
        read = property_of(condition.get("property"))
        compiled = compile_condition(read, operator, condition.get("value", UNSTATED), RULES)
        if compiled is None or "property" in condition:
            return compiled or never
    except (TypeError, KeyError, AttributeError):
        return broken
    return broken


def _compile_membership(value: Any, links: Links, *, wanted: bool) -> Condition:
    """Make the condition that the user is in one of some segments, or in none of them."""
    parsed = parsed_json(value)
    found: list[Condition] = []
    for segment_id in parsed if isinstance(parsed, (list, dict, str)) else ():
        if isinstance(segment_id, (list, dict)):
            found.append(broken)
            break
        part = links.find(SEGMENT + segment_id) if isinstance(segment_id, str) else None
        if part is not None and part is not CUT:
            found.append(part)
    return in_segments(tuple(found), wanted=wanted)


def compile_segment(segment: Any, links: Links) -> Condition:
    """Make the function that tells whether a segment has a user.

    It raises a `TypeError` or `BrokenConditionError` where it needs a part of the segment that has a defect.
    """
    excluded, included = _keys(segment.get("excluded")), _keys(segment.get("included"))
    rules = _segment_rules(segment.get("rules"), links)
    return segment_has(excluded, included, rules)


def _keys(value: Any) -> Container[Any]:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        return frozenset(key for key in value if isinstance(key, str))
    return UNKNOWN


def _segment_rules(value: Any, links: Links) -> tuple[tuple[Condition, ...], ...]:
    try:
        return tuple(compile_conditions(rule, links) for rule in items_of(value))
    except TypeError:
        return ((broken,),)
