"""Where the parts of the usage agent meet: a recorder says what ran, publishers carry it away, companions add theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flagmw.usage.functions import CodeBase, Seen

if TYPE_CHECKING:
    import sqlite3


class Recorder(Protocol):
    """Sees which code of the watched packages runs in this process. Its methods are called by one thread at a time."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be seen in this interpreter; None when all is well."""
        ...

    def start(self) -> None:
        """Watch what is imported from now on, and what was imported already; never raises."""
        ...

    def stop(self) -> None:
        """Leave everything as it was found; what was seen can still be taken once."""
        ...

    def take(self) -> Sequence[Seen]:
        """Give what ran since the last time, each once, and watch it again."""
        ...

    def forked(self) -> None:
        """Forget what the parent saw, and watch it again; called in a child, before anything else runs there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process as a collector and a store know it.

    Attributes:
        uuid: invented by the process; another one after a fork.
        pid: its id.
        hostname: of its host.
        started_at: when it began to watch, in seconds of wall time.
    """

    uuid: str
    pid: int
    hostname: str
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What ran in one interval of one process.

    Attributes:
        hashes: of the signatures of the functions that ran.
        started_at: when it began, in seconds of wall time: a lower bound for each call.
    """

    hashes: frozenset[str]
    started_at: float


class Turn(Protocol):
    """What a publisher works with."""

    @property
    def monotonic_s(self) -> float:
        """Now, for distances."""
        ...

    @property
    def wall_s(self) -> float:
        """Now, for dates."""
        ...

    def code_base(self) -> CodeBase:
        """Give the code base as it is now; reads what changed since the last time, which may take a while."""
        ...

    def take(self) -> Interval:
        """Give what ran since this publisher took last; it is its own from then on."""
        ...


class Publisher(Protocol):
    """Carries away what ran. Has a thread of its own, given by the agent; made anew in each process.

    Attributes:
        thread_name: of that thread.
        exit_timeout_s: how long leaving the process may be held up for it.
    """

    thread_name: str
    exit_timeout_s: float

    def run(self, turn: Turn) -> float:
        """Do what is due; never raises, and keeps what it could not carry away.

        Returns:
            After how many seconds it wants to be called again; infinity for never.
        """
        ...

    def finish(self, turn: Turn, timeout_s: float) -> bool:
        """Carry away what is left, within the time, because the process leaves; never raises.

        Returns:
            Whether nothing is left.
        """
        ...

    def wake(self) -> None:
        """End what `run` is waiting for, from any thread; does not wait."""
        ...


class Companion(Protocol):
    """Writes something of its own into the store whenever the agent does, in the same transaction.

    Attributes:
        schema: SQL that makes its tables where they are missing.
    """

    schema: str

    def write(self, connection: sqlite3.Connection, process: ProcessIdentity, at: float) -> None:
        """Write what is new; `at` is wall time in seconds. It may be called again with the same if a write failed."""
        ...

    def written(self) -> None:
        """What was written last is safe."""
        ...

    def forked(self) -> None:
        """Forget what is the parent's; called in a child, before anything else runs there."""
        ...
