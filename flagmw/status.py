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


class Role(StrEnum):
    """How a process comes by its flags."""

    ALONE = "alone"
    """By itself: from files, or by a connection of its own."""
    LEADER = "leader"
    """By a connection which it keeps for all processes of the host."""
    FOLLOWER = "follower"
    """From the process that leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """What became of events since the process began.

    Attributes:
        waiting: taken and not delivered yet.
        sent: delivered, those of other processes included.
        retried: delivered later than at the first try, or still being tried again.
        dropped: lost, because there was no room for them or the service refused them.
        adopted: those among the sent ones that a process which is gone had left.
        spool_bytes: what this process's events take on disk.
    """

    waiting: int = 0
    sent: int = 0
    retried: int = 0
    dropped: int = 0
    adopted: int = 0
    spool_bytes: int = 0


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
        pid: of the process that this is about; 0 where the client was not used yet.
        role: how this process comes by its flags.
        heartbeat_age_s: seconds since the thread that keeps flags current gave a sign of life; None where there is
            no such thread.
        revision_age_s: seconds since this process knew its flags to be the newest; None when it never did.
    """

    state: State
    since: float
    error: str | None = None
    revision: str = ""
    age_s: float | None = None
    flags: int = 0
    events: EventCounts | None = None
    pid: int = 0
    role: Role = Role.ALONE
    heartbeat_age_s: float | None = None
    revision_age_s: float | None = None
