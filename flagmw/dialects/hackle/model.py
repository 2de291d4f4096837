"""What a Hackle config document says, as far as it is read.

Named tuples rather than dataclasses: as JSON they are lists without names, so that a definition's digest is that of its
text, and members nobody reads do not count. `reading` makes them.

Source: Hackle reference, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Number = int | float
Id = int | str
"""Ids are opaque: compared, and echoed in events."""


class Slot(NamedTuple):
    """A half-open range of a bucket's numbers."""

    start: Number
    end: Number
    variation_id: Id


class Bucket(NamedTuple):
    """How users are spread: a hash seed, how many numbers there are, and to whom they belong."""

    seed: int
    slot_size: int
    slots: tuple[Slot, ...]


class Match(NamedTuple):
    """What a condition asks of a value."""

    kind: Any
    operator: Any
    value_type: Any
    values: tuple[Any, ...]


class Condition(NamedTuple):
    """A condition on one value of the user, or on what another definition decides."""

    key_type: str
    key_name: Any
    match: Match


Target = tuple[Condition, ...]
"""Conditions that must all hold."""


class Action(NamedTuple):
    """What a rule gives: a variation, or the variation of a bucket's slot."""

    kind: Any
    variation_id: Any
    bucket_id: Any


class Rule(NamedTuple):
    """An action for those who match."""

    target: Target
    action: Action


class Variation(NamedTuple):
    """One arm of an experiment; of a feature flag, "A" is off and all others are on."""

    id: Id
    key: str
    is_dropped: bool
    configuration_id: Any


class Experiment(NamedTuple):
    """An A/B test or a feature flag: one shape for both; what one of them does not use is left empty."""

    kind: str
    id: Id
    key: int
    identifier_type: Any
    version: Any
    status: str
    execution_version: Any
    variations: tuple[Variation, ...]
    user_overrides: Mapping[str, Any]
    segment_overrides: tuple[Rule, ...]
    audiences: tuple[Target, ...]
    rules: tuple[Rule, ...]
    default_rule: Action
    container_id: Any
    winner_id: Any


class ParameterRule(NamedTuple):
    """A value for a share of those who match. An empty target is one that was lost: reaching it is an error."""

    key: Any
    name: Any
    target: Target
    bucket_id: Any
    value_id: Any
    value: Any


class Parameter(NamedTuple):
    """A remote config parameter."""

    id: Any
    key: str
    type: Any
    identifier_type: Any
    rules: tuple[ParameterRule, ...]
    value_id: Any
    value: Any


class Segment(NamedTuple):
    """A reusable list of targets, of which one must match."""

    key: str
    targets: tuple[Target, ...]


class Container(NamedTuple):
    """A set of A/B tests that exclude each other: groups of experiment ids, by group id."""

    bucket_id: Any
    groups: Mapping[Any, tuple[Any, ...]]


class Workspace(NamedTuple):
    """A whole document. A key or id that is there twice counts with its last definition."""

    ab_tests: Mapping[int, Experiment]
    feature_flags: Mapping[int, Experiment]
    parameters: Mapping[str, Parameter]
    segments: Mapping[str, Segment]
    buckets: Mapping[Id, Bucket]
    containers: Mapping[Id, Container]
    configurations: Mapping[Id, Mapping[str, Any]]
    events: Mapping[str, tuple[Any, Any]]


AB_TEST = "AB_TEST"
FEATURE_FLAG = "FEATURE_FLAG"
