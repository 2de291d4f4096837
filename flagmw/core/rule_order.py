"""How featureflag.co and FeatBit go through a flag: targets, then rules in order, then the fallthrough.

Source: featureflag.co reference, section 9; FeatBit reference, section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from flagmw.context import UserContext
from flagmw.core.mapped_users import no_user
from flagmw.core.snapshot import Outcome, failed
from flagmw.core.syncing import WORDS
from flagmw.core.text_conditions import BrokenConditionError, Condition
from flagmw.evaluation import ErrorCode

Evaluate = Callable[[UserContext], Outcome]
Choose = Callable[[UserContext], Outcome | None]

Rule = tuple[Sequence[Condition], Outcome | None, Choose]
"""Conditions that must all hold; what is then served everybody, or None; what else chooses by the user."""

ERROR = WORDS[ErrorCode.GENERAL]

BROKEN = failed(ErrorCode.GENERAL, "the flag's configuration has a defect where it is needed", provider_reason=ERROR)
NO_RANGE = failed(ErrorCode.GENERAL, "no range of the flag's rollout has this user", provider_reason=ERROR)


def choose_nothing(context: UserContext) -> Outcome | None:
    """Serve nobody."""
    return None


def choose_broken(context: UserContext) -> Outcome | None:
    """Answer that the flag has a defect here."""
    return BROKEN


def always_giving(outcome: Outcome) -> Evaluate:
    """Make the function that gives every user the same."""

    def evaluate(context: UserContext) -> Outcome:
        key = context.key
        return outcome if key and not key.isspace() else no_user(context)

    return evaluate


def going_through(
    targets: Mapping[str, Outcome], rules: Sequence[Rule], fallthrough: Outcome | None, choose_fallthrough: Choose
) -> Evaluate:
    """Make the function that evaluates a flag; it never raises.

    Args:
        targets: what certain users are served, by key.
        rules: in order.
        fallthrough: what everybody else is served, None where that depends on the user.
        choose_fallthrough: chooses it then.
    """

    def evaluate(context: UserContext) -> Outcome:
        key = context.key
        if not key or key.isspace():
            return no_user(context)
        if targets:
            outcome = targets.get(key)
            if outcome is not None:
                return outcome
        try:
            for conditions, outcome, choose in rules:
                for holds in conditions:
                    if not holds(context):
                        break
                else:
                    if outcome is None:
                        outcome = choose(context)  # noqa: PLW2901  # the loop ends here
                    if outcome is not None:
                        return outcome
                    break  # a rule that holds and serves nobody is the last one
            return fallthrough or choose_fallthrough(context) or NO_RANGE
        except Exception:  # a condition that is broken, or more nested than the caller's stack has room for
            return BROKEN

    return evaluate


# --- segments -------------------------------------------------------------------------------------------------


class _Unknown(Container[object]):
    def __contains__(self, item: object) -> bool:
        raise BrokenConditionError


UNKNOWN: Container[Any] = _Unknown()
"""Keys that a document does not tell: asking for one is an error."""


def in_segments(segments: Sequence[Condition], *, wanted: bool) -> Condition:
    """Make the condition that one of some segments has the user, or that none of them has.

    A segment that cannot be decided ends the search: then none has.
    """

    def holds(context: UserContext) -> bool:
        try:
            for has in segments:
                if has(context):
                    return wanted
        except (BrokenConditionError, RecursionError):
            return not wanted
        return not wanted

    return holds


def segment_has(excluded: Container[Any], included: Container[Any], rules: Sequence[Sequence[Condition]]) -> Condition:
    """Make the function that tells whether a segment has a user.

    It raises a `BrokenConditionError` where it needs a part that has a defect.
    """

    def has(context: UserContext) -> bool:
        key = context.key
        if key in excluded:
            return False
        if key in included:
            return True
        for conditions in rules:
            for holds in conditions:
                if not holds(context):
                    break
            else:
                return True
        return False

    return has
