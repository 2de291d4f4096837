"""Compiles remote config parameters.

Source: Hackle reference, section 9; vectors `remote_config`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Number
from typing import Any, NamedTuple

from flagmw.context import UserContext
from flagmw.core.snapshot import Outcome
from flagmw.dialects.hackle.buckets import allocation
from flagmw.dialects.hackle.calls import Call
from flagmw.dialects.hackle.conditions import ConditionCompiler
from flagmw.dialects.hackle.decisions import Nested
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.model import Parameter, ParameterRule, Workspace
from flagmw.dialects.hackle.rules import NOWHERE, first_match
from flagmw.dialects.hackle.users import identify_by
from flagmw.evaluation import ErrorCode, Reason

Give = Callable[[UserContext, Call], Outcome]
"""Gives a parameter's outcome for a prepared context; may raise."""


class ParameterFacts(NamedTuple):
    """What events tell of a parameter, whatever its value is."""

    id: Any
    key: str
    type: Any


class Configured(NamedTuple):
    """What an event tells of a remote config decision, besides the caller's default and the value.

    Attributes:
        rule: key and name of the rule that matched.
        nested: decisions that the rules' conditions asked for.
    """

    parameter: ParameterFacts
    value_id: Any
    reason: str
    rule: tuple[Any, Any] | None = None
    nested: tuple[Nested, ...] = ()


def requested_type(default: Any) -> str:
    """Name the type that a caller's default asks for."""
    kind = type(default)
    if kind is bool:
        return "BOOLEAN"
    if issubclass(kind, str):
        return "STRING"
    if issubclass(kind, Number):
        return "NUMBER"
    return "NULL" if default is None else "UNKNOWN"


def _types_of(value: Any) -> frozenset[str]:
    """Name the requested types that a parameter's value satisfies."""
    if isinstance(value, str):
        return frozenset({"NULL", "STRING"})
    if isinstance(value, bool):
        return frozenset({"NULL", "BOOLEAN"})
    return frozenset({"NULL", "NUMBER"}) if isinstance(value, (int, float)) else frozenset({"NULL"})


def compile_parameter(parameter: Parameter, workspace: Workspace, conditions: ConditionCompiler) -> Give:
    """Compile a remote config parameter of a document."""
    facts = ParameterFacts(parameter.id, parameter.key, parameter.type)
    identify = identify_by(parameter.identifier_type)
    find = first_match(
        [rule.target for rule in parameter.rules],
        [conditions.target(rule.target, by_experiment=False) if rule.target else _lost for rule in parameter.rules],
    )
    shares = [_compile_share(rule, workspace) for rule in parameter.rules]
    outcomes = [_value_outcome(facts, rule.value_id, rule.value, (rule.key, rule.name)) for rule in parameter.rules]
    fallthrough = _value_outcome(facts, parameter.value_id, parameter.value, None)
    unknown = Outcome(
        reason=Reason.DEFAULT,
        uses_default=True,
        provider_reason="IDENTIFIER_NOT_FOUND",
        exposes=True,
        detail=Configured(facts, None, "IDENTIFIER_NOT_FOUND"),
    )

    def give(context: UserContext, call: Call) -> Outcome:
        identifier = identify(context)
        if identifier is None:
            return unknown
        index = find(context, call, 0)
        while index != NOWHERE:
            if shares[index](identifier):
                return outcomes[index]
            index = find(context, call, index + 1)
        return fallthrough

    return give


def _compile_share(rule: ParameterRule, workspace: Workspace) -> Callable[[str], bool]:
    """Make what tells whether an identifier is in any slot of a rule's bucket."""
    bucket = workspace.buckets.get(rule.bucket_id)
    if bucket is None:
        return _missing(rule.bucket_id)
    return allocation(bucket, [True] * len(bucket.slots), False)  # noqa: FBT003  # what those in no slot get


def _missing(bucket_id: Any) -> Callable[[str], bool]:
    def fail(identifier: str) -> bool:
        raise Defect(f"a rule uses bucket {bucket_id}, which is missing")

    return fail


def _lost(context: UserContext, call: Call) -> bool:
    raise Defect("a rule has no condition of a type that is supported")


def _value_outcome(facts: ParameterFacts, value_id: Any, value: Any, rule: tuple[Any, Any] | None) -> Outcome:
    """Make the outcome of a value, which settles to a TYPE_MISMATCH for callers that ask for another type."""
    reason = "DEFAULT_RULE" if rule is None else "TARGET_RULE_MATCH"
    matching = Outcome(
        value=value,
        variation=str(value_id),
        reason=Reason.DEFAULT if rule is None else Reason.TARGETING_MATCH,
        direct=not isinstance(value, (dict, list)),
        provider_reason=reason,
        exposes=True,
        detail=Configured(facts, value_id, reason, rule),
    )
    mismatch = Outcome(
        reason=Reason.ERROR,
        uses_default=True,
        provider_reason="TYPE_MISMATCH",
        error_code=ErrorCode.TYPE_MISMATCH,
        error_message=f"the value is of type {type(value).__name__}, which is not that of the caller's default",
        exposes=True,
        detail=Configured(facts, None, "TYPE_MISMATCH", rule),
    )
    return Outcome(
        value=value,
        variation=matching.variation,
        reason=matching.reason,
        provider_reason=reason,
        exposes=True,
        resolve=partial(_settle, _types_of(value), matching, mismatch),
    )


def _settle(types: frozenset[str], matching: Outcome, mismatch: Outcome, default: Any) -> Outcome:
    return matching if requested_type(default) in types else mismatch
