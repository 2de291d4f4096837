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
    """Closed, or offline: nothing is kept in sync."""


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
    """

    state: State
    since: float
    error: str | None = None
    revision: str = ""
    age_s: float | None = None
    flags: int = 0
