"""`Snapshot`: all flags of one moment, compiled and immutable, and what evaluating one of them gives.

A dialect makes snapshots; a client swaps its current one by a single assignment, so readers never lock and
one evaluation never sees two states of the flags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flagmw.context import UserContext
from flagmw.evaluation import NO_METADATA, ErrorCode, Evaluation, MetadataValue, Reason
from flagmw.frozen import EMPTY, FrozenDict

Kind = Literal["boolean", "string", "integer", "number", "json"]
"""The types that a value can be read as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a compiled flag answers: an `Evaluation` without the parts that depend on the call.

    Outcomes are made when a flag is compiled and shared by all evaluations.

    Attributes:
        value: the variation's value; meaningless when `uses_default`.
        uses_default: the caller's default is the answer.
        direct: `value` can be handed out as it is: it is not the default, and nobody can change it.
        parameters: what comes with the variation, by name.
        exposes: a service is to be told that the user was served this.
        in_experiment: by being served this the user takes part in an experiment that is running.
        kinds: the value read as each kind, None where it cannot be; for dialects whose values are all texts.
        resolve: gives the outcome for a caller with a certain default, where it depends on that; never raises.
        detail: what the dialect's own events tell of it; nobody else reads it.
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
    parameters: Mapping[str, Any] = field(default=EMPTY)
    exposes: bool = False
    in_experiment: bool = False
    kinds: Mapping[Kind, Any] | None = None
    resolve: Callable[[Any], Outcome] | None = None
    detail: Any = None


def decided(
    value: Any,
    variation: str,
    reason: Reason,
    *,
    metadata: Mapping[str, MetadataValue] = NO_METADATA,
    provider_reason: str | None = None,
    in_experiment: bool = False,
    kinds: Mapping[Kind, Any] | None = None,
    detail: Any = None,
) -> Outcome:
    """Make the outcome of a flag that serves a variation."""
    return Outcome(
        value=value,
        variation=variation,
        reason=reason,
        direct=not isinstance(value, (dict, list)),
        metadata=metadata,
        provider_reason=provider_reason,
        exposes=True,
        in_experiment=in_experiment,
        kinds=kinds,
        detail=detail,
    )


def undecided(reason: Reason, *, metadata: Mapping[str, MetadataValue] = NO_METADATA) -> Outcome:
    """Make the outcome of a flag that leaves the value to the caller, without an error."""
    return Outcome(reason=reason, uses_default=True, metadata=metadata)


def failed(
    code: ErrorCode,
    message: str,
    *,
    metadata: Mapping[str, MetadataValue] = NO_METADATA,
    provider_reason: str | None = None,
) -> Outcome:
    """Make the outcome of an evaluation that went wrong; `message` must not hold data of the user."""
    return Outcome(
        reason=Reason.ERROR,
        uses_default=True,
        error_code=code,
        error_message=message,
        metadata=metadata,
        provider_reason=provider_reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFlag:
    """One flag, ready to be evaluated.

    Attributes:
        key: unique among all flags of its snapshot.
        evaluate: from a context to an outcome; never raises, does no I/O, takes no lock.
        digest: equal for two definitions that behave alike in every respect.
    """

    key: str
    evaluate: Callable[[UserContext], Outcome]
    digest: bytes


Space = Literal["variations", "switches", "configs"]
"""Which of a snapshot's tables a key is looked up in: what `variation`, `is_enabled` and `config` ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All flags of one moment.

    Attributes:
        flags: by unique flag key.
        variations: what `variation` looks up, by the keys that callers use: str, or int for services that number
            their flags. It has all of `flags`; in most dialects it is `flags` itself, as the next two are.
        switches: what `is_enabled` looks up.
        configs: what `config` looks up.
        revision: names this state; equal documents have equal revisions.
        metadata: of the flag set.
        not_found: the outcome for a key that is in none of them.
        missing: gives that outcome where it depends on the space and on what was asked for, even if that cannot be a key.
        is_stale: these flags are an earlier process's, and have not been confirmed yet.
        origin: what the dialect needs to make the next snapshot from this one; nobody else reads it.
    """

    flags: Mapping[str, CompiledFlag]
    variations: Mapping[Any, CompiledFlag]
    switches: Mapping[Any, CompiledFlag]
    configs: Mapping[Any, CompiledFlag]
    revision: str
    metadata: Mapping[str, MetadataValue] = field(default=NO_METADATA)
    not_found: Outcome
    missing: Callable[[Space, object], Outcome] | None = None
    is_stale: bool = False
    origin: object = None


def make_snapshot(
    flags: dict[str, CompiledFlag],
    revision: str,
    metadata: Mapping[str, MetadataValue],
    origin: object,
    *,
    variations: Mapping[Any, CompiledFlag] | None = None,
    switches: Mapping[Any, CompiledFlag] | None = None,
    configs: Mapping[Any, CompiledFlag] | None = None,
    missing: Callable[[Space, object], Outcome] | None = None,
) -> Snapshot:
    """Put compiled flags together; `flags` belongs to the snapshot from here on."""
    frozen = FrozenDict(metadata) if metadata else NO_METADATA
    return Snapshot(
        flags=flags,
        variations=variations if variations is not None else flags,
        switches=switches if switches is not None else flags,
        configs=configs if configs is not None else flags,
        revision=revision,
        metadata=frozen,
        not_found=failed(ErrorCode.FLAG_NOT_FOUND, "no such flag", metadata=frozen),
        missing=missing,
        origin=origin,
    )


def changed_keys(old: Snapshot | None, new: Snapshot) -> frozenset[str]:
    """Name the flags that were added, removed or altered in any respect from `old` to `new`."""
    before = old.flags if old is not None else {}
    altered = {
        key
        for key, flag in new.flags.items()
        if (known := before.get(key)) is not flag and (known is None or known.digest != flag.digest)
    }
    return frozenset(altered | (before.keys() - new.flags.keys()))


def clone(value: Any) -> Any:
    """Copy a JSON value, so that a caller who changes it does not change the flag."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def settled(outcome: Outcome, default: Any) -> Outcome:
    """Give the outcome for a caller with this default."""
    return outcome if outcome.resolve is None else outcome.resolve(default)


def value_of(outcome: Outcome, default: Any) -> Any:
    """Give the value of a settled outcome for a caller with this default."""
    if outcome.uses_default:
        return default
    return outcome.value if outcome.direct else clone(outcome.value)


def evaluation_of(
    outcome: Outcome,
    flag_key: Any,
    default: Any,
    snapshot: Snapshot | None,
    provider_reasons: Mapping[ErrorCode, str] | None = None,
) -> Evaluation:
    """Give the full answer for a caller with this default.

    Args:
        outcome: settled or not.
        flag_key: as the caller wrote it.
        default: the caller's.
        snapshot: what was evaluated; None when there was none.
        provider_reasons: the flag service's words for errors, where the outcome has none itself.
    """
    outcome = settled(outcome, default)
    reason, provider_reason = outcome.reason, outcome.provider_reason
    if outcome.error_code is not None:
        provider_reason = provider_reason or (provider_reasons or EMPTY).get(outcome.error_code)
    elif snapshot is not None and snapshot.is_stale:
        reason = Reason.STALE
    return Evaluation(
        flag_key=flag_key,
        value=value_of(outcome, default),
        variation=outcome.variation,
        reason=reason,
        provider_reason=provider_reason,
        revision=snapshot.revision if snapshot is not None else "",
        error_code=outcome.error_code,
        error_message=outcome.error_message,
        metadata=outcome.metadata,
        parameters=FrozenDict(clone(outcome.parameters)) if outcome.parameters else EMPTY,
    )
