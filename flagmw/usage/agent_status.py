"""`AgentStatus`: how a usage agent is doing, for people: the one place that says why nothing arrives. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStatus:
    """How one publisher is doing in this process.

    Attributes:
        name: `store` or `collector`.
        is_running: whether its thread runs.
        published_at: its last success, in seconds of wall time; None when there was none, or it does not tell.
        problem: why nothing arrives; None when all is well.
    """

    name: str
    is_running: bool
    published_at: float | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """How a usage agent is doing in this process.

    Attributes:
        running: whether it watches.
        pid: of the process that this is about.
        uuid: how a collector and the store know the process; empty while nothing runs.
        packages: what is watched.
        functions: how many there are; None before the code base was read.
        ran: how many of them have run in this process, as far as it was looked.
        publishers: where it goes.
        problems: all that is wrong, whoever it concerns; empty when all is well.
    """

    running: bool
    pid: int
    uuid: str
    packages: tuple[str, ...]
    functions: int | None
    ran: int
    publishers: tuple[PublisherStatus, ...]
    problems: tuple[str, ...]
