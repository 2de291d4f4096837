"""The conditions that most rules have, in a form that is compared without a call: a text is listed, a number is in a range.

Source: Hackle reference, section 12; `matching` says the same in general, and the tests hold the two together.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import NamedTuple

from flagmw.dialects.hackle.matching import numbers_of, texts_of
from flagmw.dialects.hackle.model import Condition, Match
from flagmw.dialects.hackle.users import FIELDS
from flagmw.dialects.hackle.values import MAX_NUMBER, MAX_TEXT_CHARS, is_property_name


class Plain(NamedTuple):
    """What a condition asks of a property.

    A property that is missing fulfils no condition. Of values other than texts and numbers nothing is said here.

    Attributes:
        name: of the property; None when nothing at all is said.
        is_field: whether a context has a field for it, which counts where there is no such attribute.
        texts: the texts that are listed; None when nothing is said of texts.
        is_listed: whether a text must be one of them, or none; then a text beyond Hackle's limit is missing.
        low: a number must not be below this; None when nothing is said of numbers.
        high: a number must not be above this.
    """

    name: str | None
    is_field: bool = False
    texts: frozenset[str] | None = None
    is_listed: bool = True
    low: float | None = None
    high: float = MAX_NUMBER


NOTHING = Plain(None)


def plain_form(condition: Condition) -> Plain | None:
    """Give a condition's plain form, which may say nothing but that the property must be there; None if it has none."""
    name, match = condition.key_name, condition.match
    if condition.key_type != "USER_PROPERTY" or not is_property_name(name):
        return None
    plain = Plain(name, name in FIELDS)
    if match.kind not in ("MATCH", "NOT_MATCH") or (match.kind == "NOT_MATCH" and name.startswith("$")):
        return plain
    if match.value_type == "STRING" and match.operator == "IN":
        takes_any = name.startswith("$")
        texts = [text for text in texts_of(match.values) if takes_any or len(text) <= MAX_TEXT_CHARS]
        return plain._replace(texts=frozenset(texts), is_listed=match.kind == "MATCH")
    bounds = _bounds(match) if match.value_type == "NUMBER" else None
    return plain if bounds is None else plain._replace(low=bounds[0], high=bounds[1])


def _bounds(match: Match) -> tuple[float, float] | None:
    """Give the lowest and the highest number that fulfil a condition on numbers; None if that is not all it takes."""
    numbers = numbers_of(match.values)
    if not numbers or not isinstance(match.operator, str):
        return None
    lowest, highest = min(numbers), max(numbers)
    if match.operator == "IN":
        return (lowest, lowest) if len(numbers) == 1 and match.kind == "MATCH" else None
    ranges = {
        ("MATCH", "GT"): (nextafter(lowest, inf), MAX_NUMBER),
        ("MATCH", "GTE"): (lowest, MAX_NUMBER),
        ("MATCH", "LT"): (-MAX_NUMBER, nextafter(highest, -inf)),
        ("MATCH", "LTE"): (-MAX_NUMBER, highest),
        ("NOT_MATCH", "GT"): (-MAX_NUMBER, lowest),
        ("NOT_MATCH", "GTE"): (-MAX_NUMBER, nextafter(lowest, -inf)),
        ("NOT_MATCH", "LT"): (highest, MAX_NUMBER),
        ("NOT_MATCH", "LTE"): (nextafter(highest, inf), MAX_NUMBER),
    }
    return ranges.get((match.kind, match.operator))
