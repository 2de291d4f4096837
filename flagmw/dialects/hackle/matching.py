"""What a condition asks of a value: operators and value types, compiled.

Source: Hackle reference, section 12; vectors `match_table`, `match_strings`, `match_numbers`, `match_versions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import ge, gt, le, lt, methodcaller
from types import MappingProxyType
from typing import Any

from flagmw.dialects.hackle.model import Match
from flagmw.dialects.hackle.values import number_of, text_of
from flagmw.dialects.hackle.versions import Version, compare_versions, parse_version

Matcher = Callable[[Any], bool]
"""Tells whether a value that the user has fulfils a condition; a value that is missing is not asked for."""

OPERATORS = frozenset({"IN", "CONTAINS", "STARTS_WITH", "ENDS_WITH", "GT", "GTE", "LT", "LTE"})

_ORDERS: Mapping[str, Callable[[int], bool]] = MappingProxyType(
    {
        "GT": lambda order: order > 0,
        "GTE": lambda order: order >= 0,
        "LT": lambda order: order < 0,
        "LTE": lambda order: order <= 0,
    }
)


def never(value: Any) -> bool:
    """Match nothing."""
    return False


def compile_match(match: Match) -> Matcher:
    """Make what tells whether a value fulfils a condition."""
    hits = _hits_of(match)
    if hits is None or match.kind not in ("MATCH", "NOT_MATCH"):
        return never
    wanted: bool = match.kind == "MATCH"

    def matches(value: Any) -> bool:
        if value.__class__ is tuple:
            for item in value:
                if hits(item):
                    return wanted
            return not wanted
        return hits(value) is wanted

    return matches


def _hits_of(match: Match) -> Matcher | None:
    """Make what compares one value with those of the condition; None for what Hackle does not know."""
    if not isinstance(match.operator, str) or match.operator not in OPERATORS:
        return None
    if not isinstance(match.value_type, str) or match.value_type not in _VALUE_TYPES:
        return None
    return _VALUE_TYPES[match.value_type](match.operator, match.values)


# --- value types ----------------------------------------------------------------------------------------------


def _string_hits(operator: str, values: Sequence[Any]) -> Matcher:
    test = _text_test(operator, values)

    def hits(value: Any) -> bool:
        text = value if value.__class__ is str else text_of(value)
        return text is not None and test(text)

    return hits


def texts_of(values: Sequence[Any]) -> list[str]:
    """Give the values of a condition that are usable as texts."""
    return [text for value in values if (text := text_of(value)) is not None]


def numbers_of(values: Sequence[Any]) -> list[int | float]:
    """Give the values of a condition that are usable as numbers."""
    return [number for value in values if (number := number_of(value)) is not None]


def _text_test(operator: str, values: Sequence[Any]) -> Callable[[str], bool]:
    """Make what compares a text with those of a condition."""
    texts = texts_of(values)
    if not texts:
        return never
    if operator == "IN":
        return frozenset(texts).__contains__
    if operator == "STARTS_WITH":
        return methodcaller("startswith", tuple(texts))
    if operator == "ENDS_WITH":
        return methodcaller("endswith", tuple(texts))
    if operator == "CONTAINS":
        return methodcaller("__contains__", texts[0]) if len(texts) == 1 else _containing(texts)
    return _bounded(operator, texts)


def _containing(texts: Sequence[str]) -> Callable[[str], bool]:
    def test(text: str) -> bool:
        for part in texts:  # noqa: SIM110  # a loop takes half the time of any()
            if part in text:
                return True
        return False

    return test


def _bounded(operator: str, values: Sequence[Any]) -> Callable[[Any], bool]:
    """Make what compares with the one value that decides whether any of them hits.

    Built-in functions with a first argument rather than functions of our own: they take half the time.
    """
    low, high = min(values), max(values)
    if operator == "GT":
        return partial(lt, low)
    if operator == "GTE":
        return partial(le, low)
    if operator == "LT":
        return partial(gt, high)
    return partial(ge, high)


def _number_hits(operator: str, values: Sequence[Any]) -> Matcher:
    test = _number_test(operator, values)

    def hits(value: Any) -> bool:
        number = number_of(value)
        return number is not None and test(number)

    return hits


def _number_test(operator: str, values: Sequence[Any]) -> Callable[[int | float], bool]:
    """Make what compares a number with those of a condition."""
    numbers = numbers_of(values)
    if not numbers or operator in ("CONTAINS", "STARTS_WITH", "ENDS_WITH"):
        return never
    return frozenset(numbers).__contains__ if operator == "IN" else _bounded(operator, numbers)


def _boolean_hits(operator: str, values: Sequence[Any]) -> Matcher:
    if operator != "IN":
        return never
    for_true, for_false = (any(value is known for value in values) for known in (True, False))
    return lambda value: for_true if value is True else value is False and for_false


def _version_hits(operator: str, values: Sequence[Any]) -> Matcher:
    versions = [version for value in values if (version := parse_version(value)) is not None]
    if not versions or operator in ("CONTAINS", "STARTS_WITH", "ENDS_WITH"):
        return never
    if operator == "IN":
        known = frozenset(versions)

        def is_known(value: Any) -> bool:
            return parse_version(value) in known

        return is_known
    decide = _ORDERS[operator]

    def hits(value: Any) -> bool:
        version: Version | None = parse_version(value)
        return version is not None and any(decide(compare_versions(version, other)) for other in versions)

    return hits


def _never_hits(operator: str, values: Sequence[Any]) -> Matcher:
    return never


_VALUE_TYPES: Mapping[str, Callable[[str, Sequence[Any]], Matcher]] = MappingProxyType(
    {
        "STRING": _string_hits,
        "NUMBER": _number_hits,
        "BOOLEAN": _boolean_hits,
        "VERSION": _version_hits,
        "NULL": _never_hits,
        "UNKNOWN": _never_hits,
    }
)
