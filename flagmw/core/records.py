"""What can be told about a user: that a flag was served, that something happened, who they are.

Here, because dialects encode them and events deliver them, which know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from flagmw.context import UserContext
from flagmw.core.snapshot import Outcome


class Exposure(NamedTuple):
    """A user was served a variation. A named tuple, because one is made in each evaluation: a third of the time.

    Attributes:
        flag_key: the flag's unique key.
        context: the user.
        outcome: what was served, settled.
        revision: of the flags that were evaluated.
        at_s: Unix time.
        default: the caller's.
    """

    flag_key: str
    context: UserContext
    outcome: Outcome
    revision: str
    at_s: float
    default: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A user did something that experiments count.

    Attributes:
        value: None where the caller gave none.
        at_s: Unix time.
    """

    event: str
    context: UserContext
    value: float | None
    properties: Mapping[str, Any]
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a user is, told without an event.

    Attributes:
        operations: what to do to the user's stored properties, for services that have that; None elsewhere.
        at_s: Unix time.
    """

    context: UserContext
    operations: Mapping[str, Any] | None
    at_s: float


Record = Exposure | Metric | Identity
"""An event as it is taken from the caller."""
