"""`FlagUse`: what the report says of one flag, and the source lines that it shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a flag gave, and how often.

    Attributes:
        shown: the variation, or the reason where there was none.
        count: of evaluations.
    """

    shown: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where the code reads a flag.

    Attributes:
        shown_path: the file.
        line: 1-based.
        how: what reads it, such as `is_enabled`.
    """

    shown_path: str
    line: int
    how: str

    @property
    def place(self) -> str:
        """As editors and `grep` write it."""
        return f"{self.shown_path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """A line of an excerpt.

    Attributes:
        number: 1-based; None for one that stands for lines that are left out.
        text: without its end.
        is_site: whether the flag is read there.
        is_dead: whether it can no longer run.
    """

    number: int | None
    text: str
    is_site: bool = False
    is_dead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Source around a place where a flag is read.

    Attributes:
        shown_path: the file.
        lines: from before the first marked line to after the last.
    """

    shown_path: str
    lines: tuple[SourceLine, ...]

    @property
    def place(self) -> str:
        """As editors and `grep` write it: the line that reads the flag, else the first."""
        numbers = [line.number for line in self.lines if line.is_site] or [line.number for line in self.lines]
        return f"{self.shown_path}:{numbers[0]}" if numbers else self.shown_path


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFunction:
    """A function that only a dead branch reaches, and that had no call since.

    Attributes:
        name: dotted, with its parameters.
        shown_path: its file.
        line: its first.
        lines: how many it has.
        last_invoked_at: None for never.
    """

    name: str
    shown_path: str
    line: int
    lines: int
    last_invoked_at: float | None

    @property
    def place(self) -> str:
        """As editors and `grep` write it."""
        return f"{self.shown_path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalUse:
    """What goes when a flag is retired.

    Attributes:
        lines: how many lines are deleted, branches and functions together.
        branch_lines: those of branches that can no longer run.
        excerpts: each place where the flag is read, with what can no longer run.
        functions: that only such branches reach.
        notes: what could not be judged.
    """

    lines: int
    branch_lines: int
    excerpts: tuple[Excerpt, ...]
    functions: tuple[DeadFunction, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagUse:
    """What the report says of one flag. Times are seconds of wall time.

    Attributes:
        flag_key: the flag.
        verdict: `stale`, `unknown`, `unused`, `settled` or `live`.
        given: what it gave, the most frequent first.
        first_at: its first evaluation that was noticed; None for none.
        last_at: its last one.
        sites: where the code reads it.
        value: what it gives to everybody, for settled flags; None for others.
        settled_at: since when it does.
        removal: what goes with it, for stale flags.
    """

    flag_key: str
    verdict: str
    given: tuple[Given, ...] = ()
    first_at: float | None = None
    last_at: float | None = None
    sites: tuple[Site, ...] = ()
    value: str | None = None
    settled_at: float | None = None
    removal: RemovalUse | None = None
