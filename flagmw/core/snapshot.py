"""`Snapshot`: all flags of one moment, compiled and immutable, and what evaluating one of them gives.

A dialect makes snapshots; a client swaps its current one by a single assignment, so readers never lock and
one evaluation never sees two states of the flags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flagmw.context import UserContext
from flagmw.evaluation import NO_METADATA, ErrorCode, Evaluation, MetadataValue, Reason
from flagmw.frozen import FrozenDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a compiled flag answers: an `Evaluation` without the parts that depend on the call.

    Outcomes are made when a flag is compiled and shared by all evaluations.

    Attributes:
        value: the variation's value; meaningless when `uses_default`.
        uses_default: the caller's default is the answer.
        direct: `value` can be handed out as it is: it is not the default, and nobody can change it.
    """

    reason: Reason
    value: Any = None
    variation: str | None = None
    uses_default: bool = False
    direct: bool = False
    provider_reason: str | None = None
    error_code: ErrorCode | None = None
    error_message: str | None = None
    metadata: Mapping[str, MetadataValue] = field(default=NO_METADATA)


def decided(
    value: Any,
    variation: str,
    reason: Reason,
    *,
    metadata: Mapping[str, MetadataValue] = NO_METADATA,
    provider_reason: str | None = None,
) -> Outcome:
    """Make the outcome of a flag that serves a variation."""
    return Outcome(
        value=value,
        variation=variation,
        reason=reason,
        direct=not isinstance(value, (dict, list)),
        metadata=metadata,
        provider_reason=provider_reason,
    )


def undecided(reason: Reason, *, metadata: Mapping[str, MetadataValue] = NO_METADATA) -> Outcome:
    """Make the outcome of a flag that leaves the value to the caller, without an error."""
    return Outcome(reason=reason, uses_default=True, metadata=metadata)


def failed(code: ErrorCode, message: str, *, metadata: Mapping[str, MetadataValue] = NO_METADATA) -> Outcome:
    """Make the outcome of an evaluation that went wrong; `message` must not hold data of the user."""
    return Outcome(reason=Reason.ERROR, uses_default=True, error_code=code, error_message=message, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFlag:
    """One flag, ready to be evaluated.

    Attributes:
        evaluate: from a context to an outcome; never raises, does no I/O, takes no lock.
        digest: equal for two definitions that behave alike in every respect.
    """

    key: str
    evaluate: Callable[[UserContext], Outcome]
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All flags of one moment.

    Attributes:
        flags: by flag key.
        revision: names this state; equal documents have equal revisions.
        metadata: of the flag set.
        not_found: the outcome for a key that is not in `flags`.
        origin: what the dialect needs to make the next snapshot from this one; nobody else reads it.
    """

    flags: Mapping[str, CompiledFlag]
    revision: str
    metadata: Mapping[str, MetadataValue] = field(default=NO_METADATA)
    not_found: Outcome
    origin: object = None


def make_snapshot(
    flags: dict[str, CompiledFlag], revision: str, metadata: Mapping[str, MetadataValue], origin: object
) -> Snapshot:
    """Put compiled flags together; `flags` belongs to the snapshot from here on."""
    frozen = FrozenDict(metadata) if metadata else NO_METADATA
    return Snapshot(
        flags=flags,
        revision=revision,
        metadata=frozen,
        not_found=failed(ErrorCode.FLAG_NOT_FOUND, "no such flag", metadata=frozen),
        origin=origin,
    )


def changed_keys(old: Snapshot | None, new: Snapshot) -> frozenset[str]:
    """Name the flags that were added, removed or altered in any respect from `old` to `new`."""
    before = old.flags if old is not None else {}
    altered = {key for key, flag in new.flags.items() if key not in before or before[key].digest != flag.digest}
    return frozenset(altered | (before.keys() - new.flags.keys()))


def clone(value: Any) -> Any:
    """Copy a JSON value, so that a caller who changes it does not change the flag."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def value_of(outcome: Outcome, default: Any) -> Any:
    """Give the value for a caller with this default."""
    if outcome.uses_default:
        return default
    return outcome.value if outcome.direct else clone(outcome.value)


def evaluation_of(outcome: Outcome, flag_key: str, default: Any, revision: str) -> Evaluation:
    """Give the full answer for a caller with this default."""
    return Evaluation(
        flag_key=flag_key,
        value=value_of(outcome, default),
        variation=outcome.variation,
        reason=outcome.reason,
        provider_reason=outcome.provider_reason,
        revision=revision,
        error_code=outcome.error_code,
        error_message=outcome.error_message,
        metadata=outcome.metadata,
    )
