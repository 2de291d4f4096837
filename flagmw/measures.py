"""What can be measured of a client: names, units, and how to read each from a `Status`. How it is told is adapters'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from flagmw.status import EventCounts, Role, State, Status

Number = float | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that has a number at each moment.

    Attributes:
        words: its name in parts, without the unit and without "flagmw".
        unit: "s", "By", "" for a plain number, or what is counted, in braces; as OpenTelemetry writes it.
        about: one sentence.
        counts: whether it only grows while a process lives.
        read: gives the number; None where there is none.
    """

    words: tuple[str, ...]
    about: str
    read: Callable[[Status], Number | None]
    unit: str = ""
    counts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Something that is one of several words at each moment; told as 1 for that one and 0 for the others.

    Attributes:
        word: its name, and that of the label.
        about: one sentence.
        values: all the words.
        read: gives the word.
    """

    word: Literal["state", "role"]
    about: str
    values: Sequence[str]
    read: Callable[[Status], str]


def _events(read: Callable[[EventCounts], int]) -> Callable[[Status], int | None]:
    return lambda status: read(status.events) if status.events is not None else None


def _age(read: Callable[[Status], float | None]) -> Callable[[Status], float | None]:
    """Read an age: what happens while it is asked for is now, not in the future."""
    return lambda status: None if (seconds := read(status)) is None else max(seconds, 0.0)


CHOICES = (
    Choice(
        word="state",
        about="1 for the state of the flags in force, 0 for the others",
        values=[state.value for state in State],
        read=lambda status: status.state.value,
    ),
    Choice(
        word="role",
        about="1 for how the process comes by its flags, 0 for the other ways",
        values=[role.value for role in Role],
        read=lambda status: status.role.value,
    ),
)

MEASURES = (
    Measure(words=("flags",), unit="{flag}", about="Flags in force", read=lambda status: status.flags),
    Measure(
        words=("flags", "age"),
        unit="s",
        about="Time since the flags in force arrived",
        read=_age(lambda status: status.age_s),
    ),
    Measure(
        words=("revision", "age"),
        unit="s",
        about="Time since the flags in force were known to be the newest",
        read=_age(lambda status: status.revision_age_s),
    ),
    Measure(
        words=("heartbeat", "age"),
        unit="s",
        about="Time since the thread that keeps flags current gave a sign of life",
        read=_age(lambda status: status.heartbeat_age_s),
    ),
    Measure(
        words=("events", "waiting"),
        unit="{event}",
        about="Events that are not delivered yet",
        read=_events(lambda events: events.waiting),
    ),
    Measure(
        words=("events", "spool"),
        unit="By",
        about="What events that wait take on disk",
        read=_events(lambda events: events.spool_bytes),
    ),
    Measure(
        words=("events", "sent"),
        unit="{event}",
        about="Events that were delivered",
        counts=True,
        read=_events(lambda events: events.sent),
    ),
    Measure(
        words=("events", "retried"),
        unit="{event}",
        about="Events that were not delivered at the first try",
        counts=True,
        read=_events(lambda events: events.retried),
    ),
    Measure(
        words=("events", "dropped"),
        unit="{event}",
        about="Events that are lost",
        counts=True,
        read=_events(lambda events: events.dropped),
    ),
    Measure(
        words=("events", "adopted"),
        unit="{event}",
        about="Events that were delivered for a process that is gone",
        counts=True,
        read=_events(lambda events: events.adopted),
    ),
)
