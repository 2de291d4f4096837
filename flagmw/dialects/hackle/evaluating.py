"""From a compiled definition to what evaluates it for any context, and never raises.

Source: Hackle reference, sections 5, 14 and 16.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flagmw.context import UserContext
from flagmw.core.snapshot import Outcome
from flagmw.dialects.hackle.calls import EXPERIMENT, IDLE, REMOTE_CONFIG, Call
from flagmw.dialects.hackle.decisions import INVALID_USER, Nested, outcome_of
from flagmw.dialects.hackle.experiments import Decide
from flagmw.dialects.hackle.model import Id
from flagmw.dialects.hackle.remote_config import Give
from flagmw.dialects.hackle.users import FIELDS, prepared
from flagmw.dialects.hackle.values import MAX_IDENTIFIER_CHARS, MAX_PROPERTIES

Evaluate = Callable[[UserContext], Outcome]

SAFE_ATTRIBUTES = MAX_PROPERTIES - len(FIELDS)
"""A context with no more attributes is within the limits, whatever else it has."""

MAX_KEPT = 256
"""How many outcomes with nested decisions a definition keeps, for the next time that the same is decided."""


def experiment_evaluator(decide: Decide, experiment_id: Id, *, asks_others: bool) -> Evaluate:
    """Make what evaluates an experiment.

    Args:
        decide: the compiled experiment.
        experiment_id: its id.
        asks_others: whether it has conditions on other experiments.
    """

    def give(context: UserContext, call: Call) -> Outcome:
        return decide(context, call).outcome

    def evaluate(context: UserContext) -> Outcome:
        key = context.key
        if not key or len(key) > MAX_IDENTIFIER_CHARS or len(context.attributes) > SAFE_ATTRIBUTES:
            within_limits = prepared(context)
            if within_limits is None:
                return INVALID_USER
            context = within_limits
        try:
            return decide(context, IDLE).outcome
        except Exception as error:  # a defect of the definitions, or one of ours: no request must see it
            return outcome_of(error)

    return _with_nested(give, EXPERIMENT, experiment_id) if asks_others else evaluate


def parameter_evaluator(give: Give, parameter_id: Any, *, asks_others: bool) -> Evaluate:
    """Make what evaluates a remote config parameter; as `experiment_evaluator`."""

    def evaluate(context: UserContext) -> Outcome:
        key = context.key
        if not key or len(key) > MAX_IDENTIFIER_CHARS or len(context.attributes) > SAFE_ATTRIBUTES:
            within_limits = prepared(context)
            if within_limits is None:
                return INVALID_USER
            context = within_limits
        try:
            return give(context, IDLE)
        except Exception as error:  # a defect of the definitions, or one of ours: no request must see it
            return outcome_of(error)

    return _with_nested(give, REMOTE_CONFIG, parameter_id) if asks_others else evaluate


def _with_nested(give: Give, root_type: str, root_id: Any) -> Evaluate:
    """Make what evaluates a definition that may ask others, and tells of what it asked."""
    telling: dict[tuple[int, ...], Outcome] = {}

    def evaluate(context: UserContext) -> Outcome:
        within_limits = prepared(context)
        if within_limits is None:
            return INVALID_USER
        call = Call(root_type, root_id)
        try:
            outcome = give(within_limits, call)
        except Exception as error:  # a defect of the definitions, or one of ours: no request must see it
            return outcome_of(error)
        if not call.nested or not outcome.exposes:
            return outcome
        # By identity, which is quick and safe: the definitions, which this one keeps, keep all that they can decide.
        mark = (id(outcome), *[id(nested.served) for nested in call.nested])
        known = telling.get(mark)
        if known is None:
            if len(telling) >= MAX_KEPT:
                telling.clear()
            known = telling[mark] = _telling(outcome, call.nested)
        return known

    return evaluate


def _telling(outcome: Outcome, nested: Sequence[Nested]) -> Outcome:
    """Give an outcome that tells of nested decisions too."""
    if not outcome.exposes:
        return outcome
    if outcome.resolve is not None:
        return replace(outcome, resolve=partial(_settle, outcome.resolve, nested))
    return replace(outcome, detail=outcome.detail._replace(nested=tuple(nested)))


def _settle(resolve: Callable[[Any], Outcome], nested: Sequence[Nested], default: Any) -> Outcome:
    return _telling(resolve(default), nested)
