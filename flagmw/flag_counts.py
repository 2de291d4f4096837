"""`FlagCounts` keeps in the usage store what flags were evaluated to, day by day; `read_flag_counts` gives it back.

It is a companion of the usage agent, which calls it in its own thread, within its transactions. It also keeps which flags
the provider has. Needs SQLite; imported only where usage is watched or reported.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagCount:
    """How often one flag was evaluated to one thing on one day.

    Attributes:
        flag_key: unique among the flags of its client; for keys that are no flag's, as the code has it.
        variation: None where there was none, as for errors and the caller's default.
        value_json: the variation's value, where it is a short text, number or boolean.
        reason: a `flagmw.evaluation.Reason`, or `flagmw.tallies.NOT_FOUND` for a key that is no flag's.
        day: in UTC.
        count: of all processes.
        first_at: when the first of them was noticed, in seconds of wall time; it happened at most one interval of the
            agent earlier.
        last_at: the same for the last.
        app_name: the application that evaluated it.
        environment: of the application.
        client_name: of its client.
    """

    flag_key: str
    variation: str | None
    value_json: str | None
    reason: str
    day: datetime.date
    count: int
    first_at: float
    last_at: float
    app_name: str = ""
    environment: str = ""
    client_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFlag:
    """One flag of a provider.

    Attributes:
        flag_key: unique among the flags of its client.
        first_seen_at: when a process first had it, in seconds of wall time.
        last_seen_at: when a process last wrote that it has it, which it does when flags change and every hour.
        is_there: whether it was among the flags that were written last; False for one that the provider has no more.
        app_name: the application that has it.
        environment: of the application.
        client_name: of its client.
    """

    flag_key: str
    first_seen_at: float
    last_seen_at: float
    is_there: bool = True
    app_name: str = ""
    environment: str = ""
    client_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagHistory:
    """What a store knows of flags.

    Attributes:
        counts: by flag, then by day.
        known: the flags that providers have or had.
        watched_since: when counting began, in seconds of wall time; None when nothing was counted yet.
    """

    counts: tuple[FlagCount, ...] = ()
    known: tuple[KnownFlag, ...] = ()
    watched_since: float | None = None
