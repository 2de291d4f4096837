"""`Status`: how a client is doing, as one value for people and health checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How current the flags in force are."""

    INITIALIZING = "INITIALIZING"
    """No flags have arrived yet; evaluations give the caller's default."""
    OK = "OK"
    """The flags in force are those of the source."""
    INTERRUPTED = "INTERRUPTED"
    """The source or a document has an error; the last good flags are in force."""
    OFF = "OFF"
    """Closed, offline, or refused by the flag service: nothing is kept in sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """What became of events since the process began.

    Attributes:
        waiting: taken and not delivered yet.
        sent: delivered.
        retried: delivered later than at the first try, or still being tried again.
        dropped: lost, because the queue was full or the service refused them.
    """

    waiting: int = 0
    sent: int = 0
    retried: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a client is doing at one moment.

    Attributes:
        state: how current the flags in force are.
        since: Unix time in seconds at which that state began.
        error: the last error's text, None when the source is well. It says where and what to do.
        revision: names the flags in force; empty when there are none.
        age_s: seconds since the flags in force arrived; None when there are none.
        flags: how many flags are in force.
        events: what became of exposures and metrics; None for a provider that takes none.
    """

    state: State
    since: float
    error: str | None = None
    revision: str = ""
    age_s: float | None = None
    flags: int = 0
    events: EventCounts | None = None
