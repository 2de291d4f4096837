"""Finds the first of several targets that matches.

Calling a compiled condition is what costs most, so each target is guarded by the plain form of one of its conditions: most
targets that do not match are passed over without a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flagmw.context import UserContext
from flagmw.dialects.hackle.calls import Call
from flagmw.dialects.hackle.model import Target
from flagmw.dialects.hackle.plain import NOTHING, Plain, plain_form

Test = Callable[[UserContext, Call], bool]
"""Tells whether a condition, or all of a target, holds for a prepared context; may raise, which ends the whole call."""

Find = Callable[[UserContext, Call, int], int]
"""Gives the index of the first target that matches, from an index on; -1 when none does. May raise."""

NOWHERE = -1


def first_match(targets: Sequence[Target], tests: Sequence[Test]) -> Find:
    """Make what finds the first target that matches.

    Args:
        targets: their conditions, in order.
        tests: the compiled targets.
    """
    if not targets:
        return lambda context, call, start: NOWHERE
    if len(targets) == 1:
        only = tests[0]
        return lambda context, call, start: 0 if start == 0 and only(context, call) else NOWHERE
    guards = map(_guard, targets)
    rows: list[tuple[Any, ...]] = [
        (position, test, *(guard or NOTHING)) for position, (test, guard) in enumerate(zip(tests, guards, strict=True))
    ]

    def find(context: UserContext, call: Call, start: int) -> int:
        read = context.attributes.get
        position: int
        for position, test, name, is_field, texts, is_listed, low, high in rows[start:] if start else rows:
            if name is not None:
                value = read(name)
                kind = type(value)
                if kind is str:
                    if texts is not None and (value in texts) is not is_listed:
                        continue
                elif kind is int or kind is float:
                    if low is not None and not low <= value <= high:
                        continue
                elif value is None and not is_field:
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


def _guard(target: Target) -> Plain | None:
    """Choose one of a target's first conditions on properties, which all must hold: what follows may raise or ask others."""
    chosen = None
    for condition in target:
        plain = plain_form(condition)
        if plain is None:
            break
        if plain.texts is not None or plain.low is not None:
            return plain
        chosen = chosen or plain
    return chosen
