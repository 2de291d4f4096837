"""Compiles A/B tests and feature flags.

A definition becomes a chain of steps, of which only those that it needs are there; each either decides or asks the next.

Source: Hackle reference, sections 7, 8 and 10; vectors `ab_tests`, `feature_flags`, `containers`, `overrides`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    Bucket,
    Container,
    Experiment,
    Id,
    Rule,
    Target,
    Variation,
    Workspace,
)
from flagmw.dialects.hackle.rules import NOWHERE, Find, Test, any_match, first_match
from flagmw.dialects.hackle.users import identify_by

Decide = Callable[[UserContext, Call], Decision]
"""Decides for a prepared context; may raise."""

Placed = Callable[[UserContext, Call, str], Decision]
"""Decides for a prepared context that has an identifier of the experiment's type; may raise."""

Act = Callable[[str | None], Decision | None]
"""Gives an action's decision for an identifier, None when it yields nothing; may raise."""


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

    def ab_test(self) -> Decide:
        step = self._traffic()
        if self._experiment.audiences:
            step = self._in_audience(step)
        if self._experiment.container_id is not None:
            step = self._in_group(step)
        return self._overridden(self._identified(step), "OVERRIDDEN")

    def feature_flag(self) -> Decide:
        status = self._experiment.status
        if status == "DRAFT":
            return _always(self._decider.default("EXPERIMENT_DRAFT"))
        if status == "PAUSED":
            return _always(self._decider.default("FEATURE_FLAG_INACTIVE"))
        if status == "COMPLETED":
            return self._completed()
        step = self._default_rule()
        if self._experiment.rules:
            step = self._ruled(step)
        return self._overridden(self._identified(step), "INDIVIDUAL_TARGET_MATCH")

    # --- steps, the last one first ------------------------------------------------------------------------------

    def _traffic(self) -> Placed:
        status = self._experiment.status
        if status == "DRAFT":
            return _placed(_always(self._decider.default("EXPERIMENT_DRAFT")))
        if status == "PAUSED":
            return _placed(_always(self._decider.default("EXPERIMENT_PAUSED")))
        if status == "COMPLETED":
            return _placed(self._completed())
        nothing = self._decider.default("TRAFFIC_NOT_ALLOCATED")
        dropped = self._decider.default("VARIATION_DROPPED")

        def decision_of(variation: Variation) -> Decision:
            return dropped if variation.is_dropped else self._decider.decide(variation, "TRAFFIC_ALLOCATED")

        act = self._action(self._experiment.default_rule, decision_of)

        def allocate(context: UserContext, call: Call, identifier: str) -> Decision:
            return act(identifier) or nothing

        return allocate

    def _completed(self) -> Decide:
        winner = self._decider.variation(self._experiment.winner_id)
        if winner is None:
            return _failing("it is completed, but has no winner")
        return _always(self._decider.decide(winner, "EXPERIMENT_COMPLETED"))

    def _in_audience(self, step: Placed) -> Placed:
        audiences = self._experiment.audiences
        matches = any_match(audiences, [self._target(target) for target in audiences])
        outside = self._decider.default("NOT_IN_EXPERIMENT_TARGET")

        def target(context: UserContext, call: Call, identifier: str) -> Decision:
            return step(context, call, identifier) if matches(context, call) else outside

        return target

    def _in_group(self, step: Placed) -> Placed:
        is_member = group_test(self._experiment.id, self._experiment.container_id, self._workspace)
        outside = self._decider.default("NOT_IN_MUTUAL_EXCLUSION_EXPERIMENT")

        def exclude(context: UserContext, call: Call, identifier: str) -> Decision:
            return step(context, call, identifier) if is_member(identifier) else outside

        return exclude

    def _default_rule(self) -> Placed:
        act = self._action(
            self._experiment.default_rule, lambda variation: self._decider.decide(variation, "DEFAULT_RULE")
        )

        def decide(context: UserContext, call: Call, identifier: str) -> Decision:
            return _certain(act(identifier))

        return decide

    def _ruled(self, step: Placed) -> Placed:
        def decision_of(variation: Variation) -> Decision:
            return self._decider.decide(variation, "TARGET_RULE_MATCH")

        find, acts = self._rules(self._experiment.rules, decision_of)

        def choose(context: UserContext, call: Call, identifier: str) -> Decision:
            index = find(context, call, 0)
            return step(context, call, identifier) if index == NOWHERE else _certain(acts[index](identifier))

        return choose

    def _identified(self, step: Placed) -> Decide:
        identify = self._identify
        unknown = self._decider.default("IDENTIFIER_NOT_FOUND")

        def decide(context: UserContext, call: Call) -> Decision:
            identifier = identify(context)
            return unknown if identifier is None else step(context, call, identifier)

        return decide

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
        overrides = self._experiment.segment_overrides
        find, acts = self._rules(overrides, lambda variation: self._decider.decide(variation, reason))
        identify = self._identify

        def decide(context: UserContext, call: Call) -> Decision:
            index = find(context, call, 0)
            return (None if index == NOWHERE else acts[index](identify(context))) or step(context, call)

        return decide

    # --- parts ------------------------------------------------------------------------------------------------

    def _rules(self, rules: Sequence[Rule], decision_of: Callable[[Variation], Decision]) -> tuple[Find, Sequence[Act]]:
        targets = [rule.target for rule in rules]
        find = first_match(targets, [self._target(target) for target in targets])
        return find, [self._action(rule.action, decision_of) for rule in rules]

    def _target(self, target: Target) -> Test:
        return self._conditions.target(target, by_experiment=True)

    def _action(self, action: Action, decision_of: Callable[[Variation], Decision]) -> Act:
        if action.kind == "VARIATION":
            variation = self._decider.variation(action.variation_id)
            if variation is None:
                return _failing_act(f"a rule gives variation {action.variation_id}, which is missing")
            decision = decision_of(variation)
            return lambda identifier: decision
        if action.kind != "BUCKET":
            return lambda identifier: None
        bucket = self._workspace.buckets.get(action.bucket_id)
        if bucket is None:
            return _failing_act(f"a rule uses bucket {action.bucket_id}, which is missing")
        return self._bucket(bucket, decision_of)

    def _bucket(self, bucket: Bucket, decision_of: Callable[[Variation], Decision]) -> Act:
        variations = [self._decider.variation(slot.variation_id) for slot in bucket.slots]
        given = [None if variation is None else decision_of(variation) for variation in variations]
        allocate = allocation(bucket, given, None)
        return lambda identifier: None if identifier is None else allocate(identifier)


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


def _always(decision: Decision) -> Decide:
    return lambda context, call: decision


def _placed(decide: Decide) -> Placed:
    return lambda context, call, identifier: decide(context, call)


def _failing(message: str) -> Decide:
    def fail(context: UserContext, call: Call) -> Decision:
        raise Defect(message)

    return fail


def _failing_act(message: str) -> Act:
    def fail(identifier: str | None) -> Decision | None:
        raise Defect(message)

    return fail


def _failing_group(message: str) -> Callable[[str], bool]:
    def fail(identifier: str) -> bool:
        raise Defect(message)

    return fail
