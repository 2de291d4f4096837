"""Digests of definitions: equal when the definition and everything that it refers to are equal.

References between experiments may be circles, so digests go by strongly connected components (Tarjan's algorithm).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from flagmw.dialects.hackle.model import (
    AB_TEST,
    FEATURE_FLAG,
    Action,
    Condition,
    Experiment,
    Parameter,
    Workspace,
)

Node = TypeVar("Node", bound=Hashable)

SIZE_BYTES = 16


def digest_of(shape: Any) -> bytes:
    """Give a digest of a JSON value in which tuples count as lists; 1, 1.0 and true differ."""
    return _hash(json.dumps(shape, sort_keys=True).encode())


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=SIZE_BYTES).digest()


# --- what a definition refers to --------------------------------------------------------------------------------


def experiment_shape(experiment: Experiment, workspace: Workspace, segments: Mapping[str, bytes]) -> Any:
    """Give what the behaviour of an experiment depends on, but for other experiments."""
    rules = (*experiment.segment_overrides, *experiment.rules)
    conditions = [condition for rule in rules for condition in rule.target]
    conditions += [condition for target in experiment.audiences for condition in target]
    configurations = {
        str(variation.configuration_id): workspace.configurations.get(variation.configuration_id)
        for variation in experiment.variations
        if variation.configuration_id is not None
    }
    return [
        experiment,
        _segments(conditions, segments),
        [_bucket(action.bucket_id, workspace) for action in _actions(experiment)],
        configurations,
        _container(experiment, workspace),
    ]


def parameter_shape(parameter: Parameter, workspace: Workspace, segments: Mapping[str, bytes]) -> Any:
    """Give what the behaviour of a remote config parameter depends on, but for experiments."""
    conditions = [condition for rule in parameter.rules for condition in rule.target]
    return [
        parameter,
        _segments(conditions, segments),
        [_bucket(rule.bucket_id, workspace) for rule in parameter.rules],
    ]


def experiment_conditions(definition: Experiment | Parameter) -> list[Condition]:
    """Give the conditions on other experiments."""
    targets = [rule.target for rule in definition.rules]
    if isinstance(definition, Experiment):
        targets += definition.audiences
    return [condition for target in targets for condition in target if condition.key_type in (AB_TEST, FEATURE_FLAG)]


def _actions(experiment: Experiment) -> Iterator[Action]:
    for rule in (*experiment.segment_overrides, *experiment.rules):
        yield rule.action
    yield experiment.default_rule


def _segments(conditions: Iterable[Condition], segments: Mapping[str, bytes]) -> list[Any]:
    found = []
    for condition in conditions:
        if condition.key_type == "SEGMENT":
            names = [name for name in condition.match.values if isinstance(name, str)]
            found.append([segments[name].hex() if name in segments else None for name in names])
    return found


def _bucket(bucket_id: Any, workspace: Workspace) -> Any:
    return workspace.buckets.get(bucket_id)


def _container(experiment: Experiment, workspace: Workspace) -> Any:
    container = workspace.containers.get(experiment.container_id)
    if container is None:
        return None
    groups = {str(group): experiment.id in members for group, members in container.groups.items()}
    return [groups, _bucket(container.bucket_id, workspace)]


# --- references between definitions -----------------------------------------------------------------------------


def with_references(own: Mapping[Node, bytes], references: Mapping[Node, Sequence[Node]]) -> dict[Node, bytes]:
    """Give digests that take in whatever a definition refers to, directly or by others.

    Args:
        own: digests of the definitions themselves.
        references: from a definition to those it refers to; those that are missing count as such.

    Returns:
        A digest for each definition.
    """
    digests = dict(own)
    for component in _components(references):
        asked = {digests.get(other, b"missing") for member in component for other in references.get(member, ())}
        if asked:
            shared = _hash(*sorted(own[member] for member in component), b"|", *sorted(asked))
            for member in component:
                digests[member] = _hash(own[member], shared)
    return digests


def _components(references: Mapping[Node, Sequence[Node]]) -> Iterator[list[Node]]:
    """Give the strongly connected components, each after those that it refers to. Without recursion."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    path: list[Node] = []
    on_path: set[Node] = set()
    for root in references:
        if root in index:
            continue
        work = [(root, iter(references[root]))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            node, others = work[-1]
            other = next((other for other in others if other not in index or other in on_path), None)
            if other is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = [path.pop()]
                    while component[-1] != node:
                        component.append(path.pop())
                    on_path.difference_update(component)
                    yield component
            elif other in on_path:
                low[node] = min(low[node], index[other])
            else:
                index[other] = low[other] = len(index)
                path.append(other)
                on_path.add(other)
                work.append((other, iter(references.get(other, ()))))
