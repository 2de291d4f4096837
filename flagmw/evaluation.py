"""What evaluating a flag answers: `Evaluation`, with the standard reasons and error codes.

The names are those of the OpenFeature specification, so that hooks and dashboards made for it understand
them. Needs only `frozen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flagmw.frozen import EMPTY

MetadataValue = str | int | float | bool
NO_METADATA: Mapping[str, MetadataValue] = EMPTY


class Reason(StrEnum):
    """Why an evaluation gave its value (OpenFeature specification, "Resolution reason")."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    CACHED = "CACHED"
    DISABLED = "DISABLED"
    UNKNOWN = "UNKNOWN"
    STALE = "STALE"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """What went wrong when the reason is ERROR (OpenFeature specification, "Error code")."""

    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    PROVIDER_FATAL = "PROVIDER_FATAL"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The answer for one flag and one user context.

    Attributes:
        flag_key: the flag that was asked for.
        value: the variation's value, or the caller's default.
        variation: the variation's name; None when `value` is the caller's default.
        reason: one of the standard reasons.
        provider_reason: the flag service's own words for it, None where it has none.
        revision: which state of the flags answered; empty before any were there.
        error_code: None unless `reason` is ERROR.
        error_message: says what is wrong and holds no attribute of the user; None without an error.
        metadata: of the flag set and of the flag, read-only.
        parameters: what the flag service sends along with the variation, by name.
    """

    flag_key: str
    value: Any
    variation: str | None = None
    reason: Reason = Reason.UNKNOWN
    provider_reason: str | None = None
    revision: str = ""
    error_code: ErrorCode | None = None
    error_message: str | None = None
    metadata: Mapping[str, MetadataValue] = field(default=NO_METADATA)
    parameters: Mapping[str, Any] = field(default=EMPTY)

    def parameter(self, name: str, default: Any = None) -> Any:
        """Give a parameter of the variation.

        Returns:
            The parameter, if it is of exactly the type of `default` or `default` is None; else `default`. An int is no
            float, and a bool is no int.

        Source: Hackle reference, section 15.
        """
        value = self.parameters.get(name, default)
        return value if default is None or type(value) is type(default) else default
