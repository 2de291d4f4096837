"""Finds the first of several targets that matches.

Calling a compiled condition is what costs most, so each target is guarded by what one of its first conditions needs at least:
most targets that do not match are passed over without a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flagmw.context import UserContext
from flagmw.dialects.hackle.calls import Call
from flagmw.dialects.hackle.matching import numbers_of, texts_of
from flagmw.dialects.hackle.model import Match, Target
from flagmw.dialects.hackle.users import FIELDS
from flagmw.dialects.hackle.values import is_property_name

Test = Callable[[UserContext, Call], bool]
"""Tells whether a condition, or all of a target, holds for a prepared context; may raise, which ends the whole call."""

Find = Callable[[UserContext, Call, int], int]
"""Gives the index of the first target that matches, from an index on; -1 when none does. May raise."""

NOWHERE = -1

INFINITE = float("inf")


class _Guarded(NamedTuple):
    """A target with what it needs at least.

    Attributes:
        position: among the targets.
        test: tells whether it matches.
        name: of the property that must be there; None when nothing is known.
        is_field: whether a context has a field for that property.
        texts: a text there must be one of these, or none of them.
        is_listed: which of the two.
        low: a number there must not be below this.
        high: a number there must not be above this.
    """

    position: int
    test: Test
    name: str | None = None
    is_field: bool = False
    texts: frozenset[str] | None = None
    is_listed: bool = True
    low: float = -INFINITE
    high: float = INFINITE


def first_match(targets: Sequence[Target], tests: Sequence[Test]) -> Find:
    """Make what finds the first target that matches.

    Args:
        targets: their conditions, in order.
        tests: the compiled targets.
    """
    if not targets:
        return lambda context, call, start: NOWHERE
    # Plain tuples, which Python unpacks in half the time.
    guarded = [
        (*_guarded(position, target, test),) for position, (target, test) in enumerate(zip(targets, tests, strict=True))
    ]

    def find(context: UserContext, call: Call, start: int) -> int:
        read = context.attributes.get
        for position, test, name, is_field, texts, is_listed, low, high in guarded[start:] if start else guarded:
            if name is not None:
                value = read(name)
                if is_field:
                    field = getattr(context, name)
                    value = value if field is None else field
                if value is None:
                    continue
                if value.__class__ is str:
                    if texts is not None and (value in texts) is not is_listed:
                        continue
                elif (value.__class__ is int or value.__class__ is float) and not low <= value <= high:
                    continue
            if test(context, call):
                return position
        return NOWHERE

    return find


def any_match(targets: Sequence[Target], tests: Sequence[Test]) -> Test:
    """Make the test that one of several targets matches; they are tried in order."""
    if len(tests) == 1:
        return tests[0]
    find = first_match(targets, tests)
    return lambda context, call: find(context, call, 0) != NOWHERE


def _guarded(position: int, target: Target, test: Test) -> _Guarded:
    """Find what a target needs at least, among its first conditions on properties: what follows may raise or ask others."""
    guarded = _Guarded(position, test)
    for condition in target:
        name = condition.key_name
        if condition.key_type != "USER_PROPERTY" or not is_property_name(name) or name.startswith("$"):
            break
        guard = _Guarded(position, test, name, name in FIELDS)
        selective = _selective(guard, condition.match)
        if selective is not None:
            return selective
        guarded = guarded if guarded.name is not None else guard
    return guarded


def _selective(guarded: _Guarded, match: Match) -> _Guarded | None:
    """Add what a condition asks of texts or numbers, where that is quickly told; None where it is not."""
    if match.kind not in ("MATCH", "NOT_MATCH"):
        return None
    is_listed = match.kind == "MATCH"
    if match.operator == "IN" and match.value_type == "STRING":
        return guarded._replace(texts=frozenset(texts_of(match.values)), is_listed=is_listed)
    numbers = numbers_of(match.values)
    if match.value_type != "NUMBER" or not numbers:
        return None
    low, high = min(numbers), max(numbers)
    if match.operator == "IN" and is_listed:
        return guarded._replace(low=low, high=high)
    if match.operator in ("GT", "GTE"):
        return guarded._replace(low=low) if is_listed else guarded._replace(high=low)
    if match.operator in ("LT", "LTE"):
        return guarded._replace(high=high) if is_listed else guarded._replace(low=high)
    return None
