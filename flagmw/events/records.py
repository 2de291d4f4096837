"""What can be told about a user: that a flag was served, that something happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flagmw.context import UserContext
from flagmw.core.snapshot import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A user was served a variation.

    Attributes:
        at_s: Unix time.
    """

    flag_key: str
    context: UserContext
    outcome: Outcome
    revision: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A user did something that experiments count.

    Attributes:
        at_s: Unix time.
    """

    event: str
    context: UserContext
    value: float
    properties: Mapping[str, Any]
    at_s: float
