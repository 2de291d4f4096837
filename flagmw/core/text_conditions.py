"""Conditions on texts, as featureflag.co and FeatBit have them: from an operator and a value to a function of a context.

Everything that does not depend on the context is done when a condition is made: JSON is parsed, numbers are read,
patterns are compiled. A condition may raise `BrokenConditionError`, which is the flag's to answer.

Source: featureflag.co reference, section 10; FeatBit reference, section 9; vectors `op:*` and `probe:*`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from flagmw.context import UserContext
from flagmw.core.properties import Property, text_of

Condition = Callable[[UserContext], bool]

DIGITS = 5
"""How many decimal digits of numbers are compared."""

MARGIN = 1e-5
"""Numbers that are further apart than this are so after rounding, too."""

# Each condition reads its property in its own lines: a call more in each would cost a third of the time.

_NUMBER_WORD = "Than"
"""An operator that has this in its name is about numbers, or about nothing."""


UNSTATED = object()
"""What stands for a value to compare with where a document has no member for it, not even null."""


class BrokenConditionError(Exception):
    """A condition that cannot be decided was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRules:
    """What differs between the services.

    Attributes:
        empty_is_missing: an empty text counts as none, on either side.
        ignores_case: regular expressions do.
    """

    empty_is_missing: bool
    ignores_case: bool


def number_of(value: Any) -> float | None:
    """Read a JSON value as a number, from its text as Python reads numbers; None when it is none."""
    try:
        return float(str(value))
    except (ValueError, OverflowError):
        return None


def never(context: UserContext) -> bool:
    """Hold for nobody."""
    return False


def always(context: UserContext) -> bool:
    """Hold for everybody."""
    return True


def broken(context: UserContext) -> bool:
    """Hold for nobody, not even to be asked.

    Raises:
        BrokenConditionError: always.
    """
    raise BrokenConditionError


def compile_condition(read: Property, operator: object, value: object, rules: TextRules) -> Condition | None:
    """Make the condition that a property is in relation to a value.

    Args:
        read: the property.
        operator: its name in the document.
        value: what to compare with; what is no text is taken as Python writes it.
        rules: of the service.

    Returns:
        The condition; None for an operator that is none of these, which the caller may know.
    """
    if not isinstance(operator, str):
        return None
    if _NUMBER_WORD in operator:
        return _compare_numbers(read, operator, value)
    if operator in _LISTS:
        return _one_of(read, value, _LISTS[operator], rules)
    if operator in _WORDS:
        return _is_word(read, _WORDS[operator])
    if operator in _TEXTS:
        if value is UNSTATED:
            return broken
        make, wanted = _TEXTS[operator]
        if value is None or (rules.empty_is_missing and not value):
            return never if wanted else always
        try:
            return make(read, str(value), wanted, rules)
        except (ValueError, RecursionError):  # a number or a list that Python does not write
            return broken
    return None


def _compare_numbers(read: Property, operator: str, value: object) -> Condition:
    if value is UNSTATED:
        return _broken_for_numbers(read)
    limit = number_of(value)
    compare = _COMPARISONS.get(operator)
    if limit is None or limit != limit or compare is None:  # noqa: PLR0124  # NaN is in no relation
        return never
    slot, otherwise = read.slot, read.otherwise
    limit = round(limit, DIGITS)
    below, above = limit - MARGIN, limit + MARGIN
    when_above, when_below = compare(1.0, 0.0), compare(0.0, 1.0)

    def holds(context: UserContext) -> bool:
        value = context.values.get(slot)
        try:
            # A number's text reads as the number itself, unless it is too large for a float.
            is_plain = value.__class__ is str or value.__class__ is int or value.__class__ is float
            number = float(value if is_plain else otherwise(context))  # type: ignore[arg-type]  # caught
        except (ValueError, TypeError):
            return False
        except OverflowError:
            number = number_of(otherwise(context)) or 0.0
        if number > above:
            return when_above
        if number < below:
            return when_below
        return compare(round(number, DIGITS), limit)

    return holds


def _broken_for_numbers(read: Property) -> Condition:
    def holds(context: UserContext) -> bool:
        if number_of(text_of(context.values.get(read.slot)) or read.otherwise(context)) is None:
            return False
        raise BrokenConditionError

    return holds


def _equal(read: Property, value: str, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return (text == value) is wanted

    return holds


def _contains(read: Property, value: str, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return (text is not None and value in text) is wanted

    return holds


def _starts_with(read: Property, value: str, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return text is not None and text.startswith(value)

    return holds


def _ends_with(read: Property, value: str, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return text is not None and text.endswith(value)

    return holds


def _matches(read: Property, value: str, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise
    needs_more = rules.empty_is_missing
    search = _searcher(value, re.IGNORECASE if rules.ignores_case else re.NOFLAG)

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        if text is None or (needs_more and not text):
            return not wanted
        if search is None:
            raise BrokenConditionError
        return (search(text) is not None) is wanted

    return holds


def _searcher(pattern: str, flags: re.RegexFlag) -> Callable[[str], re.Match[str] | None] | None:
    """Compile a pattern; None for one that has a defect or is far too large: re raises half a dozen kinds of errors."""
    try:
        return re.compile(pattern, flags).search
    except Warning:  # of what the pattern may mean in future, in a program that makes errors of warnings
        return _searcher_without_warnings(pattern, flags)
    except Exception:
        return None


def _searcher_without_warnings(pattern: str, flags: re.RegexFlag) -> Callable[[str], re.Match[str] | None] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern, flags).search
    except Exception:
        return None


def _one_of(read: Property, value: object, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise
    members = _members(value)
    if rules.empty_is_missing and isinstance(members, frozenset):
        members -= {""}
    if isinstance(members, str):
        return _within(read, members, wanted, rules)

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return (text in members) is wanted

    return holds


def _within(read: Property, whole: str, wanted: bool, rules: TextRules) -> Condition:
    slot, otherwise = read.slot, read.otherwise
    needs_more = rules.empty_is_missing

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return (text is not None and (text != "" or not needs_more) and text in whole) is wanted

    return holds


def _members(value: object) -> Container[Any]:
    """Give what a list's JSON text has: of a list its texts, of an object its keys, of a text itself."""
    parsed = parsed_json(value)
    if isinstance(parsed, str):
        return parsed
    if isinstance(parsed, (list, dict)):
        return frozenset(item for item in parsed if isinstance(item, str))
    return frozenset()


def parsed_json(value: object) -> Any:
    """Parse a JSON text; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _is_word(read: Property, word: str) -> Condition:
    slot, otherwise = read.slot, read.otherwise

    def holds(context: UserContext) -> bool:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context)
        return text is not None and text.lower() == word

    return holds


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "BiggerThan": lambda a, b: a > b,
    "BiggerEqualThan": lambda a, b: a >= b,
    "LessThan": lambda a, b: a < b,
    "LessEqualThan": lambda a, b: a <= b,
}

_LISTS = {"IsOneOf": True, "NotOneOf": False}

_WORDS = {"IsTrue": "true", "IsFalse": "false"}

_TEXTS: dict[str, tuple[Callable[[Property, str, bool, TextRules], Condition], bool]] = {
    "Equal": (_equal, True),
    "NotEqual": (_equal, False),
    "Contains": (_contains, True),
    "NotContain": (_contains, False),
    "StartsWith": (_starts_with, True),
    "EndsWith": (_ends_with, True),
    "MatchRegex": (_matches, True),
    "NotMatchRegex": (_matches, False),
}
