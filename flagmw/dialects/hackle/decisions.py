"""What evaluating a definition gives: `Decision`, made when the definition is compiled, with its `Outcome`.

Source: Hackle reference, sections 6, 9 and 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from flagmw.core.snapshot import Outcome, failed
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.model import AB_TEST, Experiment, Id, Variation
from flagmw.evaluation import ErrorCode, Reason
from flagmw.frozen import EMPTY

OFF = "A"
"""The variation of a feature flag that is off, and the default of every nested evaluation."""

BY_TARGETING = "TRAFFIC_ALLOCATED_BY_TARGETING"

REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "TRAFFIC_ALLOCATED": Reason.SPLIT,
        BY_TARGETING: Reason.SPLIT,
        "OVERRIDDEN": Reason.TARGETING_MATCH,
        "INDIVIDUAL_TARGET_MATCH": Reason.TARGETING_MATCH,
        "TARGET_RULE_MATCH": Reason.TARGETING_MATCH,
        "EXPERIMENT_COMPLETED": Reason.STATIC,
        "EXPERIMENT_DRAFT": Reason.DISABLED,
        "EXPERIMENT_PAUSED": Reason.DISABLED,
        "FEATURE_FLAG_INACTIVE": Reason.DISABLED,
    }
)
"""The standard reason for each of Hackle's; DEFAULT for all others."""


class Facts(NamedTuple):
    """What exposure events tell of an experiment, whatever it decides; all that is kept of its definition."""

    id: Id
    key: int
    kind: str
    version: Any
    execution_version: Any


class Served(NamedTuple):
    """What an exposure event tells of an experiment's decision."""

    experiment: Facts
    variation_id: Id | None
    variation_key: Any
    reason: str
    configuration_id: Any


class Nested(NamedTuple):
    """A decision that a condition of another definition asked for, and which definition the call began with."""

    served: Served
    root_type: str
    root_id: Any


class Told(NamedTuple):
    """What a call tells of an experiment: its own decision, then the nested ones."""

    served: Served
    nested: tuple[Nested, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One way in which an experiment can be decided.

    Attributes:
        served: for events, and for conditions on this experiment; with the default variation A where it matters.
        outcome: for callers.
        defect: why there is none after all; None when all is well.
        by_targeting: the same decision where a condition of another experiment asked for it.
    """

    served: Served
    outcome: Outcome
    defect: str | None = None
    by_targeting: Decision | None = None


class Decider:
    """Makes the decisions of one experiment.

    Args:
        experiment: whose.
        configurations: the parameters of the document, by configuration id.
    """

    def __init__(self, experiment: Experiment, configurations: Mapping[Any, Mapping[str, Any]]) -> None:
        self._facts = Facts(
            experiment.id, experiment.key, experiment.kind, experiment.version, experiment.execution_version
        )
        self._configurations = {
            variation.configuration_id: configurations.get(variation.configuration_id)
            for variation in experiment.variations
        }
        # Of variations with one id or key the first counts: the official client goes through them in order.
        self._by_id = {variation.id: variation for variation in reversed(experiment.variations)}
        self._by_key = {variation.key: variation for variation in reversed(experiment.variations)}
        self._settled: dict[tuple[str, str | None], Outcome] = {}

    def variation(self, variation_id: Any) -> Variation | None:
        """Give the variation with an id."""
        return self._by_id.get(variation_id)

    def decide(self, variation: Variation, reason: str) -> Decision:
        """Make the decision for a variation of the experiment."""
        decision = self._decision(variation.key, variation, reason)
        if reason == "TRAFFIC_ALLOCATED" and decision.defect is None:
            return replace(decision, by_targeting=self._decision(variation.key, variation, BY_TARGETING))
        return decision

    def default(self, reason: str) -> Decision:
        """Make the decision for the default variation: A, or for callers of an A/B test the one that they name."""
        decision = self._decision(OFF, self._by_key.get(OFF), reason)
        if self._facts.kind != AB_TEST:
            return decision
        outcome = Outcome(
            reason=REASONS.get(reason, Reason.DEFAULT),
            uses_default=True,
            provider_reason=reason,
            exposes=True,
            resolve=partial(self._settle, reason),
        )
        return replace(decision, outcome=outcome)

    def _settle(self, reason: str, default: Any) -> Outcome:
        """Give the outcome of a default decision for a caller; never raises."""
        try:
            variation = self._by_key.get(default) if isinstance(default, str) else None
        except Exception:  # a str of the caller's own making may do anything when it is hashed
            variation = None
        mark = (reason, variation.key if variation is not None else None)
        outcome = self._settled.get(mark)
        if outcome is None:
            outcome = self._settled[mark] = self._decision(mark[1], variation, reason).outcome
        return replace(outcome, variation=default) if variation is None and isinstance(default, str) else outcome

    def _decision(self, key: Any, variation: Variation | None, reason: str) -> Decision:
        configuration_id = variation.configuration_id if variation is not None else None
        parameters = EMPTY if configuration_id is None else self._configurations[configuration_id]
        served = Served(self._facts, variation.id if variation is not None else None, key, reason, configuration_id)
        if parameters is None:
            defect = f"the variation {key!r} refers to parameter configuration {configuration_id}, which is missing"
            return Decision(served=served, outcome=broken(defect), defect=defect)
        is_default = variation is None and self._facts.kind == AB_TEST
        outcome = Outcome(
            value=key if self._facts.kind == AB_TEST else key != OFF,
            variation=None if variation is None else key,
            reason=REASONS.get(reason, Reason.DEFAULT),
            uses_default=is_default,
            direct=not is_default,
            provider_reason=reason,
            parameters=parameters,
            exposes=True,
            in_experiment=reason == "TRAFFIC_ALLOCATED",
            detail=Told(served),
        )
        return Decision(served=served, outcome=outcome)


def broken(defect: str) -> Outcome:
    """Make the outcome of an evaluation that met a defect."""
    return failed(ErrorCode.GENERAL, defect, provider_reason="EXCEPTION")


def outcome_of(error: Exception) -> Outcome:
    """Make the outcome of an evaluation that raised."""
    if isinstance(error, Defect):
        return broken(str(error))
    if isinstance(error, UnicodeEncodeError):
        return broken("an identifier of the user is no Unicode text")
    if isinstance(error, RecursionError):
        return broken("conditions on other experiments are nested too deeply")
    return broken(f"evaluating raised {type(error).__name__}")


INVALID_USER = failed(
    ErrorCode.INVALID_CONTEXT,
    "the user has no identifier that Hackle takes: a text of 1 to 512 characters, or a number",
    provider_reason="INVALID_INPUT",
)
