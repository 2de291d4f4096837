"""How rules read values: truth, numbers, texts, equality and order as JavaScript has them.

JsonLogic was defined by a JavaScript program; these are its conversions on JSON values (null, boolean, number,
string, list, mapping). Lists may be tuples: contexts are immutable. Nothing here raises but `ResultTooLargeError`.

Source: the flagd rule reference, "Coercions"; vectors `equality`, `ordering`, `arithmetic`, `strings`.
"""

from __future__ import annotations

import math
import re
from typing import Any

_JS_SPACE = " \t\n\r\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
_INFINITIES = {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}


MAX_TEXT_CHARS = 1_000_000
MAX_LIST_ITEMS = 100_000
"""What a rule may build; a reduction that doubles what it has would fill the memory."""


class ResultTooLargeError(Exception):
    """A rule builds a text or a list beyond the bounds. It fails the evaluation, and nothing else."""


def truthy(value: Any) -> bool:
    """Tell whether a condition holds: false are null, false, 0, NaN, "" and []; an empty mapping is true."""
    if value.__class__ is float:
        return bool(value == value and value != 0.0)  # noqa: PLR0124  # NaN differs from itself
    if isinstance(value, dict):
        return True
    return bool(value)


def to_number(value: Any) -> float:
    """Convert to a double; what is no number becomes NaN."""
    kind = value.__class__
    if kind is float:
        return value  # type: ignore[no-any-return]  # narrowed by its class
    if kind is int or kind is bool:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if value is None:
        return 0.0
    if kind is str:
        return _number_from_text(value)
    if isinstance(value, (list, tuple)):
        return _number_from_text(to_text(value))
    return math.nan


def _number_from_text(text: str) -> float:
    text = text.strip(_JS_SPACE)
    if not text:
        return 0.0
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _HEXADECIMAL.fullmatch(text):
        return to_number(int(text, 16))
    return _INFINITIES.get(text, math.nan)


def to_text(value: Any) -> str:
    """Convert to text as ECMAScript's `String()` does."""
    kind = value.__class__
    if kind is str:
        return value  # type: ignore[no-any-return]  # narrowed by its class
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value) if -(10**21) < value < 10**21 else _float_text(to_number(value))
    if kind is float:
        return _float_text(value)
    if isinstance(value, (list, tuple)):
        return _list_text(value, [MAX_LIST_ITEMS])
    return "[object Object]"


def _list_text(values: Any, left: list[int]) -> str:
    """Write out a list whose parts may be the same list many times over: `left` bounds what all of them have."""
    left[0] -= len(values)
    if left[0] < 0:
        raise ResultTooLargeError
    return ",".join(
        _list_text(item, left) if isinstance(item, (list, tuple)) else "" if item is None else to_text(item)
        for item in values
    )


def _float_text(number: float) -> str:
    """Format a double as ECMA-262, Number::toString, does: the shortest digits that read back equal."""
    if number != number:  # noqa: PLR0124  # NaN
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    if abs(number) < 1e21 and number.is_integer():
        return str(int(number))
    sign = "-" if number < 0 else ""
    digits, exponent = _shortest_digits(abs(number))
    point = exponent + len(digits)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if power >= 0 else '-'}{abs(power)}"


def _shortest_digits(number: float) -> tuple[str, int]:
    """Give (digits, exponent) with number == int(digits) * 10**exponent, as few digits as read back equal."""
    mantissa, _, exponent = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    return (whole + fraction).lstrip("0"), int(exponent or 0) - len(fraction)


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


def _is_compound(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict))


def loose_equal(a: Any, b: Any) -> bool:
    """Compare like `==`: booleans count as 0 and 1, numbers with numeric text, lists with scalars by text."""
    if a.__class__ is b.__class__ and a.__class__ is str:
        return bool(a == b)
    if a is None or b is None:
        return a is b
    if _is_compound(a):
        if _is_compound(b):
            return False
        a = to_text(a)
    elif _is_compound(b):
        b = to_text(b)
    if a.__class__ is bool:
        a = int(a)
    if b.__class__ is bool:
        b = int(b)
    if a.__class__ is str and b.__class__ is not str:
        a = to_number(a)
    elif b.__class__ is str and a.__class__ is not str:
        b = to_number(b)
    return bool(a == b)


def strict_equal(a: Any, b: Any) -> bool:
    """Compare like `===`: same type and same value; lists and mappings never are."""
    if a.__class__ is b.__class__:
        return not _is_compound(a) and bool(a == b)
    return _is_number(a) and _is_number(b) and bool(a == b)


def less(a: Any, b: Any) -> bool:
    """Tell whether a < b: two texts by UTF-16 code units, all else as numbers."""
    a, b = _comparable(a, b)
    return bool(a < b)


def less_or_equal(a: Any, b: Any) -> bool:
    """Tell whether a <= b, compared as `less` does."""
    a, b = _comparable(a, b)
    return bool(a <= b)


def _comparable(a: Any, b: Any) -> tuple[Any, Any]:
    if _is_number(a) and _is_number(b):
        return a, b
    if _is_compound(a):
        a = to_text(a)
    if _is_compound(b):
        b = to_text(b)
    if a.__class__ is str and b.__class__ is str:
        if a.isascii() or b.isascii():
            return a, b
        return a.encode("utf-16-be", "surrogatepass"), b.encode("utf-16-be", "surrogatepass")
    return to_number(a), to_number(b)
