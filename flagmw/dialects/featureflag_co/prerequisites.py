"""featureflag.co's prerequisites: flags that must serve a certain variation before another one is evaluated.

Source: featureflag.co reference, section 9.3; vectors `prereq:*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from flagmw.context import UserContext
from flagmw.core.rule_order import BROKEN, Evaluate
from flagmw.core.snapshot import Outcome
from flagmw.core.versioned import CUT, FLAG, Links
from flagmw.dialects.featureflag_co.conditions import list_of

MAX_KEPT = 1_000
"""How many combinations of outcomes a flag remembers; there are few as a rule."""


class Served(NamedTuple):
    """What an event tells of one flag. An outcome's `detail` has one for each prerequisite, and the flag's own last.

    Attributes:
        key_name: the flag's, as in the document.
        local_id: the variation's id.
        value: the variation's text.
        provider_reason: the service's word for why.
        is_told: the experiment is to be told.
    """

    key_name: str
    local_id: Any
    value: Any
    provider_reason: str
    is_told: bool


class Prerequisite(NamedTuple):
    """A flag to evaluate first.

    Attributes:
        evaluate: None for a flag that is not there, and serves nothing.
        wanted: id of the variation that it must serve.
    """

    evaluate: Evaluate | None
    wanted: Any


def read_prerequisites(entries: Any, own_id: Any, links: Links) -> list[Prerequisite]:
    """Read a flag's prerequisites; one that is the flag itself counts for nothing.

    Raises:
        TypeError: a member of the wrong type, or a cycle of prerequisites.
        KeyError: a member is missing.
    """
    found: list[Prerequisite] = []
    for entry in list_of(entries):
        flag_id = entry["prerequisiteFeatureFlagId"]
        if flag_id == own_id:
            continue
        part = links.find(FLAG + flag_id) if isinstance(flag_id, str) else None
        if part is None:
            return [*found, Prerequisite(None, None)]
        # The server writes the first spelling, the service's own client reads the second.
        option = entry.get("valueOptionsVariationValue") or entry.get("ValueOptionsVariationValue")
        found.append(Prerequisite(_broken_cycle if part is CUT else part, option["localId"]))
    return found


def _broken_cycle(context: UserContext) -> Outcome:
    raise RecursionError


def asking_first(prerequisites: Sequence[Prerequisite], evaluate: Evaluate, unmet: Outcome) -> Evaluate:
    """Make the function that evaluates a flag's prerequisites and then, if they are met, the flag.

    Args:
        prerequisites: in order.
        evaluate: evaluates the flag without them.
        unmet: the outcome where one is not met.
    """
    kept: dict[tuple[int, ...], tuple[Sequence[Outcome], Outcome]] = {}

    def combined(asked: list[Outcome], outcome: Outcome) -> Outcome:
        if not asked or outcome.error_code is not None:
            return outcome
        parts = (*asked, outcome)
        names = tuple(map(id, parts))  # good as long as the outcomes live: they are kept, too
        known = kept.get(names)
        if known is None:
            detail = tuple(served for part in parts for served in part.detail)
            known = (parts, replace(outcome, detail=detail))
            if len(kept) < MAX_KEPT:
                kept[names] = known
        return known[1]

    def evaluate_with_prerequisites(context: UserContext) -> Outcome:
        key = context.key
        if not key or key.isspace():
            return evaluate(context)
        asked: list[Outcome] = []
        try:
            for evaluate_one, wanted in prerequisites:
                if evaluate_one is None:
                    return combined(asked, unmet)
                outcome = evaluate_one(context)
                if outcome.error_code is not None:
                    return BROKEN
                asked.append(outcome)
                if outcome.detail[-1].local_id != wanted:
                    return combined(asked, unmet)
        except RecursionError:  # a cycle, or more nested than the caller's stack has room for
            return BROKEN
        return combined(asked, evaluate(context))

    return evaluate_with_prerequisites
