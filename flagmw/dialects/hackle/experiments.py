"""Compiles A/B tests and feature flags.

Every decision is made here, ahead of all users; what is left for an evaluation is to choose one.

Source: Hackle reference, sections 7, 8 and 10; vectors `ab_tests`, `feature_flags`, `containers`, `overrides`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flagmw.context import UserContext
from flagmw.dialects.hackle.buckets import allocation
from flagmw.dialects.hackle.calls import Call
from flagmw.dialects.hackle.conditions import ConditionCompiler
from flagmw.dialects.hackle.decisions import Decider, Decision
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.model import (
    AB_TEST,
    Action,
    Container,
    Experiment,
    Id,
    Rule,
    Target,
    Variation,
    Workspace,
)
from flagmw.dialects.hackle.rules import NOWHERE, Find, Test, any_match, first_match
from flagmw.dialects.hackle.users import ID, identify_by

Decide = Callable[[UserContext, Call], Decision]
"""Decides for a prepared context; may raise."""

Act = Callable[[Any], Decision | None]
"""Gives an action's decision for an identifier, None when it yields nothing; may raise."""

DRAFT = "EXPERIMENT_DRAFT"


def compile_experiment(experiment: Experiment, workspace: Workspace, conditions: ConditionCompiler) -> Decide:
    """Compile an A/B test or a feature flag of a document."""
    compiler = _ExperimentCompiler(experiment, workspace, conditions)
    return compiler.ab_test() if experiment.kind == AB_TEST else compiler.feature_flag()


class _ExperimentCompiler:
    def __init__(self, experiment: Experiment, workspace: Workspace, conditions: ConditionCompiler) -> None:
        self._experiment = experiment
        self._workspace = workspace
        self._conditions = conditions
        self._decider = Decider(experiment, workspace.configurations)
        self._identify = identify_by(experiment.identifier_type)
        self._has_key = experiment.identifier_type == ID
        self._unknown = self._decider.default("IDENTIFIER_NOT_FOUND")

    # --- A/B tests ----------------------------------------------------------------------------------------------

    def ab_test(self) -> Decide:
        return self._overridden(self._tested(), "OVERRIDDEN")

    def _tested(self) -> Decide:
        experiment, identify, has_key, unknown = self._experiment, self._identify, self._has_key, self._unknown
        is_member = matches = None
        excluded = outside = unknown
        if experiment.container_id is not None:
            is_member = group_test(experiment.id, experiment.container_id, self._workspace)
            excluded = self._decider.default("NOT_IN_MUTUAL_EXCLUSION_EXPERIMENT")
        if experiment.audiences:
            matches = any_match(experiment.audiences, [self._target(target) for target in experiment.audiences])
            outside = self._decider.default("NOT_IN_EXPERIMENT_TARGET")
        nothing = self._decider.default("TRAFFIC_NOT_ALLOCATED")
        act = self._traffic()

        def decide(context: UserContext, call: Call) -> Decision:
            identifier = context.key if has_key else None
            if identifier is None:
                identifier = identify(context)
                if identifier is None:
                    return unknown
            if is_member is not None and not is_member(identifier):
                return excluded
            if matches is not None and not matches(context, call):
                return outside
            return act(identifier) or nothing

        return decide

    def _traffic(self) -> Act:
        status = self._experiment.status
        if status == "DRAFT":
            return _always(self._decider.default(DRAFT))
        if status == "PAUSED":
            return _always(self._decider.default("EXPERIMENT_PAUSED"))
        if status == "COMPLETED":
            return self._completed()
        dropped = self._decider.default("VARIATION_DROPPED")

        def decision_of(variation: Variation) -> Decision:
            return dropped if variation.is_dropped else self._decider.decide(variation, "TRAFFIC_ALLOCATED")

        return self._action(self._experiment.default_rule, decision_of)

    # --- feature flags --------------------------------------------------------------------------------------------

    def feature_flag(self) -> Decide:
        status = self._experiment.status
        if status == "RUNNING":
            return self._overridden(self._ruled(), "INDIVIDUAL_TARGET_MATCH")
        if status == "COMPLETED":
            act = self._completed()
        else:
            act = _always(self._decider.default(DRAFT if status == "DRAFT" else "FEATURE_FLAG_INACTIVE"))
        return lambda context, call: _certain(act(None))

    def _ruled(self) -> Decide:
        experiment, identify, has_key, unknown = self._experiment, self._identify, self._has_key, self._unknown
        find, acts = self._rules(experiment.rules, "TARGET_RULE_MATCH")
        # The index of no rule is that of the last act: the default rule.
        default = self._action(experiment.default_rule, partial(self._decide, "DEFAULT_RULE"))
        acts = [*acts, default]
        has_rules = bool(experiment.rules)

        def decide(context: UserContext, call: Call) -> Decision:
            identifier = context.key if has_key else None
            if identifier is None:
                identifier = identify(context)
                if identifier is None:
                    return unknown
            act = acts[find(context, call, 0)] if has_rules else default
            return _certain(act(identifier))

        return decide

    # --- overrides ------------------------------------------------------------------------------------------------

    def _overridden(self, step: Decide, reason: str) -> Decide:
        chosen = {
            user_id: self._decider.decide(variation, reason)
            for user_id, variation_id in self._experiment.user_overrides.items()
            if (variation := self._decider.variation(variation_id)) is not None
        }
        if self._experiment.segment_overrides:
            step = self._overridden_by_segment(step, reason)
        if not chosen:
            return step
        identify, find = self._identify, chosen.get

        def decide(context: UserContext, call: Call) -> Decision:
            return find(identify(context)) or step(context, call)  # type: ignore[arg-type]  # None is no key

        return decide

    def _overridden_by_segment(self, step: Decide, reason: str) -> Decide:
        find, acts = self._rules(self._experiment.segment_overrides, reason)
        identify = self._identify

        def decide(context: UserContext, call: Call) -> Decision:
            index = find(context, call, 0)
            return (None if index == NOWHERE else acts[index](identify(context))) or step(context, call)

        return decide

    # --- parts ----------------------------------------------------------------------------------------------------

    def _completed(self) -> Act:
        winner = self._decider.variation(self._experiment.winner_id)
        if winner is None:
            return _failing("it is completed, but has no winner")
        return _always(self._decider.decide(winner, "EXPERIMENT_COMPLETED"))

    def _decide(self, reason: str, variation: Variation) -> Decision:
        return self._decider.decide(variation, reason)

    def _rules(self, rules: Sequence[Rule], reason: str) -> tuple[Find, Sequence[Act]]:
        targets = [rule.target for rule in rules]
        find = first_match(targets, [self._target(target) for target in targets])
        return find, [self._action(rule.action, partial(self._decide, reason)) for rule in rules]

    def _target(self, target: Target) -> Test:
        return self._conditions.target(target, by_experiment=True)

    def _action(self, action: Action, decision_of: Callable[[Variation], Decision]) -> Act:
        if action.kind == "VARIATION":
            variation = self._decider.variation(action.variation_id)
            if variation is None:
                return _failing(f"a rule gives variation {action.variation_id}, which is missing")
            return _always(decision_of(variation))
        if action.kind != "BUCKET":
            return _always(None)
        bucket = self._workspace.buckets.get(action.bucket_id)
        if bucket is None:
            return _failing(f"a rule uses bucket {action.bucket_id}, which is missing")
        variations = [self._decider.variation(slot.variation_id) for slot in bucket.slots]
        given = [None if variation is None else decision_of(variation) for variation in variations]
        return allocation(bucket, given, None)


def group_test(experiment_id: Id, container_id: Id, workspace: Workspace) -> Callable[[str], bool]:
    """Make what tells whether a container leaves an identifier to an experiment; it may raise."""
    container: Container | None = workspace.containers.get(container_id)
    if container is None:
        return _failing_group(f"container {container_id} is missing")
    bucket = workspace.buckets.get(container.bucket_id)
    if bucket is None:
        return _failing_group(f"the container uses bucket {container.bucket_id}, which is missing")
    groups: Mapping[Any, tuple[Any, ...]] = container.groups
    verdicts = [
        experiment_id in groups[slot.variation_id] if slot.variation_id in groups else None for slot in bucket.slots
    ]
    allocate = allocation(bucket, verdicts, False)  # noqa: FBT003  # what those in no slot get

    def is_member(identifier: str) -> bool:
        verdict = allocate(identifier)
        if verdict is None:
            raise Defect("the container gives users to a group that is missing")
        return verdict

    return is_member


def _certain(decision: Decision | None) -> Decision:
    if decision is None:
        raise Defect("a rule of a feature flag gives no variation")
    return decision


def _always(decision: Decision | None) -> Act:
    return lambda identifier: decision


def _failing(message: str) -> Act:
    def fail(identifier: object) -> Decision | None:
        raise Defect(message)

    return fail


def _failing_group(message: str) -> Callable[[str], bool]:
    def fail(identifier: str) -> bool:
        raise Defect(message)

    return fail
