"""Evaluating one flag of a snapshot, and reading its value as a type. Nothing here raises, waits or logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flagmw.context import UserContext
from flagmw.core import overrides
from flagmw.core.snapshot import Kind, Outcome, Snapshot, Space, failed
from flagmw.evaluation import ErrorCode

NOT_READY = failed(ErrorCode.PROVIDER_NOT_READY, "no flags have arrived yet")
OFFLINE = failed(ErrorCode.PROVIDER_NOT_READY, "the client is offline and has no flags")
BAD_KEY = failed(ErrorCode.GENERAL, "a flag key must be a str")


def evaluate(snapshot: Snapshot | None, key: Any, context: UserContext, space: Space = "variations") -> Outcome:
    """Give the outcome of a flag for a context, not settled yet: an override's if there is one."""
    overridden = overrides.current
    try:
        if overridden and key in overridden:
            return overridden[key]
        if snapshot is None:
            return NOT_READY
        flag = getattr(snapshot, space).get(key)
    except Exception:  # whatever hashing and comparing a key of the caller's does
        return BAD_KEY if snapshot is None or snapshot.missing is None else snapshot.missing(space, key)
    # Numbers that are equal are one key of a dict, but neither True nor 1.0 is the key 1.
    if flag is not None and (key.__class__ is str or (isinstance(key, (str, int)) and key.__class__ is not bool)):
        return flag.evaluate(context)  # type: ignore[no-any-return]  # the getattr above is typed by Space
    return absent(snapshot, key, space)


def absent(snapshot: Snapshot, key: Any, space: Space) -> Outcome:
    """Give the outcome for a key that a space of a snapshot does not have."""
    return snapshot.not_found if snapshot.missing is None else snapshot.missing(space, key)


def unique_key(snapshot: Snapshot | None, key: Any, space: Space) -> Any:
    """Give the flag's unique key for a key as a caller writes it; that itself for what is no flag's."""
    try:
        flag = getattr(snapshot, space).get(key)
    except Exception:  # no snapshot, or a key that cannot be looked up
        return key
    return flag.key if flag is not None else key


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else None


def _string(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _integer(value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _json(value: Any) -> Any:
    return value if isinstance(value, (dict, list)) else None


_CONVERSIONS: Mapping[Kind, Callable[[Any], Any]] = MappingProxyType(
    {"boolean": _boolean, "string": _string, "integer": _integer, "number": _number, "json": _json}
)


def as_kind(outcome: Outcome, kind: Kind) -> Outcome:
    """Read an outcome as a type: itself, converted without loss, or a TYPE_MISMATCH.

    Source: flagd reference, "Evaluating a flag", step 8; vectors `result_types`.
    """
    if outcome.uses_default:
        return outcome
    value = _CONVERSIONS[kind](outcome.value) if outcome.kinds is None else outcome.kinds.get(kind)
    if value is None:
        message = f"the flag's value is of type {type(outcome.value).__name__}, not {kind}"
        return failed(ErrorCode.TYPE_MISMATCH, message, metadata=outcome.metadata)
    return (
        outcome if value is outcome.value else replace(outcome, value=value, direct=not isinstance(value, (dict, list)))
    )
