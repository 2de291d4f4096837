"""`Age`: how long ago a function ran last, in four classes whose limits are settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flagmw.errors import ConfigError

DAY_S = 86_400.0
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY_S, "w": 7 * DAY_S}
NEVER = "never"


class Age(StrEnum):
    """How long ago the last call was, the longest first."""

    NEVER = "never"
    OLD = "old"
    AGING = "aging"
    RECENT = "recent"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeLimits:
    """Where one class ends and the next begins.

    Attributes:
        old_s: a last call longer ago makes a function old. A month, because some work is done once a month.
        aging_s: a last call longer ago makes it aging. A week, because weekends differ from working days.

    Raises:
        ConfigError: the limits are not above 0 in this order.
    """

    old_s: float = 30 * DAY_S
    aging_s: float = 7 * DAY_S

    def __post_init__(self) -> None:
        """Check the limits."""
        if not 0 < self.aging_s < self.old_s:
            raise ConfigError(
                f"the limits of ages must be above 0 and rise, got {shown_age(self.aging_s)} and {shown_age(self.old_s)}"
            )

    def age_of(self, last_invoked_at: float | None, now: float) -> Age:
        """Give the class of a last call; None is one that was never seen."""
        if last_invoked_at is None:
            return Age.NEVER
        ago_s = now - last_invoked_at
        if ago_s > self.old_s:
            return Age.OLD
        return Age.AGING if ago_s > self.aging_s else Age.RECENT

    def named(self, age: Age) -> str:
        """Give a class's name for people."""
        names = {
            Age.NEVER: "never ran",
            Age.OLD: f"over {shown_age(self.old_s)} ago",
            Age.AGING: f"over {shown_age(self.aging_s)} ago",
            Age.RECENT: "recently",
        }
        return names[age]


def read_age(text: str) -> float | None:
    """Read an age such as "30d", "12h" or "2w".

    Returns:
        Seconds; None for "never".

    Raises:
        ConfigError: it is none.
    """
    if text == NEVER:
        return None
    number, unit = text[:-1], text[-1:]
    try:
        if unit in UNITS_S and 0 < float(number) * UNITS_S[unit] < float("inf"):
            return float(number) * UNITS_S[unit]
    except ValueError:
        pass
    raise ConfigError(f"an age is a number and one of s, m, h, d, w, such as 30d, or the word never; got {text!r}")


def shown_age(age_s: float) -> str:
    """Give an age for people: its largest unit that fits at least once, rounded down."""
    for unit, shown in (("d", "d"), ("h", "h"), ("m", "min")):
        if age_s >= UNITS_S[unit]:
            return f"{int(age_s // UNITS_S[unit])} {shown}"
    return f"{max(0, int(age_s))} s"
