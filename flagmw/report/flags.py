"""`FlagUse`: what the report says of one flag, and the source lines that it shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a flag gave, and how often.

    Attributes:
        variation: None where there was none.
        reason: why; several reasons of one variation are joined.
        count: of evaluations.
    """

    variation: str | None
    reason: str
    count: int

    @property
    def shown(self) -> str:
        """The variation, or the reason where there was none."""
        return self.variation if self.variation is not None else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where the code reads a flag.

    Attributes:
        shown_path: the file.
        line: 1-based.
        how: what reads it, such as `is_enabled`.
        is_certain: whether it is known to be flagmw's.
    """

    shown_path: str
    line: int
    how: str
    is_certain: bool = True

    @property
    def place(self) -> str:
        """As editors and `grep` write it."""
        return f"{self.shown_path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of a file, both ends included.

    Attributes:
        shown_path: the file.
        first_line: 1-based.
        last_line: not before the first.
        why: what makes them what they are; "" where that is plain.
        is_part: whether only a part of them is meant.
    """

    shown_path: str
    first_line: int
    last_line: int
    why: str = ""
    is_part: bool = False

    @property
    def place(self) -> str:
        """As editors and `grep` write it."""
        return f"{self.shown_path}:{self.first_line}"

    @property
    def shown(self) -> str:
        """The lines in words."""
        return (
            f"line {self.first_line}"
            if self.first_line == self.last_line
            else f"lines {self.first_line} to {self.last_line}"
        )


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
    """Source around the places of one file that have to do with a flag.

    Attributes:
        shown_path: the file.
        lines: from before the first marked line to after the last.
    """

    shown_path: str
    lines: tuple[SourceLine, ...]

    @property
    def place(self) -> str:
        """As editors and `grep` write it: the first line that reads the flag, else the first."""
        numbers = [line.number for line in self.lines if line.is_site] or [line.number for line in self.lines]
        return f"{self.shown_path}:{numbers[0]}" if numbers else self.shown_path


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFunction:
    """A function that only a dead branch reaches.

    Attributes:
        name: dotted, with its parameters where they are known.
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
        lines: how many lines are deleted in all.
        branches: what can no longer run.
        deleted: the lines that go, each once.
        excerpts: the places where the flag is read, and what can no longer run.
        functions: that only such branches reach, and that had no call since.
        unproven: that would be among these, had they been watched for long enough.
    """

    lines: int
    branches: tuple[Lines, ...] = ()
    deleted: tuple[Lines, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()
    functions: tuple[DeadFunction, ...] = ()
    unproven: tuple[DeadFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagUse:
    """What the report says of one flag. Times are seconds of wall time.

    Attributes:
        flag_key: the flag.
        verdict: `stale`, `unknown`, `unused`, `settled` or `live`.
        why: the reason for the verdict, a sentence without its full stop.
        notes: what limits what is said, each such a sentence.
        given: what it gave, the most frequent first.
        last_at: its last evaluation that was noticed; None for none.
        sites: where the code reads it.
        variation: what it gives to everybody, for settled and stale flags; None for others.
        value: the variation's value in JSON; None where it is not known.
        settled_at: since when it gives it.
        removal: what goes with it, for stale flags whose value is known.
    """

    flag_key: str
    verdict: str
    why: str = ""
    notes: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()
    last_at: float | None = None
    sites: tuple[Site, ...] = ()
    variation: str | None = None
    value: str | None = None
    settled_at: float | None = None
    removal: RemovalUse | None = None
