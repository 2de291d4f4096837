"""Compiles the definitions of a config document, taking from the previous one what has not changed.

A definition is the same when it, and whatever it refers to, has the digest that it had. So one that is taken over goes on
asking the experiments of its own time: those behave as today's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flagmw.core.snapshot import CompiledFlag
from flagmw.dialects.hackle.calls import REMOTE_CONFIG, CompiledExperiment, Link
from flagmw.dialects.hackle.conditions import ConditionCompiler, compile_segment, experiment_key
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.digests import (
    digest_of,
    experiment_conditions,
    experiment_shape,
    parameter_shape,
    with_references,
)
from flagmw.dialects.hackle.evaluating import experiment_evaluator, parameter_evaluator
from flagmw.dialects.hackle.experiments import compile_experiment
from flagmw.dialects.hackle.model import AB_TEST, FEATURE_FLAG, Experiment, Parameter, Workspace
from flagmw.dialects.hackle.remote_config import compile_parameter
from flagmw.dialects.hackle.rules import Test

Node = tuple[str, Any]
"""A definition's kind and key."""

PREFIXES = {AB_TEST: "ab_test", FEATURE_FLAG: "feature_flag", REMOTE_CONFIG: "remote_config"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledDefinition:
    """One definition.

    Attributes:
        flag: for callers.
        experiment: for conditions on it; None for a parameter.
    """

    flag: CompiledFlag
    experiment: CompiledExperiment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWorkspace:
    """All definitions of a document.

    Attributes:
        definitions: by kind and key.
        segments: digest and compiled form, by key.
    """

    definitions: Mapping[Node, CompiledDefinition] = field(default_factory=dict)
    segments: Mapping[str, tuple[bytes, Test]] = field(default_factory=dict)


NOTHING = CompiledWorkspace()


def unique_key(node: Node) -> str:
    """Give the unique key of a definition."""
    return f"{PREFIXES[node[0]]}/{node[1]}"


def compile_workspace(workspace: Workspace, previous: CompiledWorkspace) -> CompiledWorkspace:
    """Compile all definitions of a document."""
    segments = _compile_segments(workspace, previous)
    definitions: dict[Node, Experiment | Parameter] = {
        **{(AB_TEST, key): test for key, test in workspace.ab_tests.items()},
        **{(FEATURE_FLAG, key): flag for key, flag in workspace.feature_flags.items()},
        **{(REMOTE_CONFIG, key): parameter for key, parameter in workspace.parameters.items()},
    }
    digests = _digests(workspace, definitions, {key: digest for key, (digest, _) in segments.items()})
    links: dict[Node, Link] = {}
    conditions = ConditionCompiler(
        {key: test for key, (_, test) in segments.items()},
        lambda kind, key: links.setdefault((kind, key), Link()),
    )
    compiled: dict[Node, CompiledDefinition] = {}
    for node, digest in digests.items():
        known = previous.definitions.get(node)
        if known is not None and known.flag.digest == digest:
            compiled[node] = known
        else:
            compiled[node] = _compile(node, definitions[node], digest, workspace, conditions)
    for node, link in links.items():
        if node in compiled:
            link.experiment = compiled[node].experiment
    return CompiledWorkspace(definitions=compiled, segments=segments)


def _compile(
    node: Node,
    definition: Experiment | Parameter,
    digest: bytes,
    workspace: Workspace,
    conditions: ConditionCompiler,
) -> CompiledDefinition:
    asks_others = bool(experiment_conditions(definition))
    experiment = None
    if isinstance(definition, Parameter):
        give = compile_parameter(definition, workspace, conditions)
        evaluate = parameter_evaluator(give, definition.id, asks_others=asks_others)
    else:
        decide = compile_experiment(definition, workspace, conditions)
        evaluate = experiment_evaluator(decide, definition.id, asks_others=asks_others)
        experiment = CompiledExperiment(id=definition.id, decide=decide)
    return CompiledDefinition(
        flag=CompiledFlag(key=unique_key(node), evaluate=evaluate, digest=digest), experiment=experiment
    )


def _compile_segments(workspace: Workspace, previous: CompiledWorkspace) -> dict[str, tuple[bytes, Test]]:
    segments = {}
    for key, segment in workspace.segments.items():
        digest = digest_of(segment)
        known = previous.segments.get(key)
        segments[key] = known if known is not None and known[0] == digest else (digest, compile_segment(segment))
    return segments


def _digests(
    workspace: Workspace,
    definitions: Mapping[Node, Experiment | Parameter],
    segments: Mapping[str, bytes],
) -> dict[Node, bytes]:
    own, references = {}, {}
    for node, definition in definitions.items():
        if isinstance(definition, Parameter):
            shape = parameter_shape(definition, workspace, segments)
        else:
            shape = experiment_shape(definition, workspace, segments)
        own[node] = digest_of(shape)
        asked = [_asked(condition.key_type, condition.key_name) for condition in experiment_conditions(definition)]
        if any(asked):
            references[node] = [other for other in asked if other is not None]
    return with_references(own, references)


def _asked(kind: str, name: Any) -> Node | None:
    try:
        return kind, experiment_key(name)
    except Defect:
        return None
