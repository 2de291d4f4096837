"""What is found about one file: code that can no longer run, and the lines that would go with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from flagmw.stale.files import SourceFile


class Span(NamedTuple):
    """A piece of a file, from one place to just before another; lines are 1-based, columns 0-based in bytes."""

    first_line: int
    first_column: int
    last_line: int
    last_column: int

    def holds(self, line: int, column: int) -> bool:
        """Tell whether a place is inside."""
        return (self.first_line, self.first_column) <= (line, column) < (self.last_line, self.last_column)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadBranch:
    """Code that can no longer run when a flag keeps its value.

    Attributes:
        path: of the file, absolute, links resolved.
        shown_path: of the file, for people.
        first_line: of the code itself, without the condition above it; with its `else:` or `elif`.
        last_line: of the code.
        why: what makes it unreachable.
        is_part: whether it shares its lines with code that goes on running, so that none of them would go.
    """

    path: str
    shown_path: str
    first_line: int
    last_line: int
    why: str
    is_part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRange:
    """Lines of one file that would go, both ends included."""

    path: str
    shown_path: str
    first_line: int
    last_line: int

    @property
    def lines(self) -> int:
        """How many they are."""
        return self.last_line - self.first_line + 1


@dataclass(slots=True)
class DeadCode:
    """What is found in one file, gathered while it is read.

    Attributes:
        file: which.
        branches: what can no longer run.
        spans: the same, to the column.
        lines: that would go: those of the branches, and of the conditions that are decided.
    """

    file: SourceFile
    branches: list[DeadBranch] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    lines: set[int] = field(default_factory=set)

    def add(self, span: Span, why: str, *, first_line: int, last_line: int, is_part: bool) -> None:
        """Add code that can no longer run."""
        self.spans.append(span)
        branch = DeadBranch(
            path=self.file.path,
            shown_path=self.file.shown_path,
            first_line=first_line,
            last_line=last_line,
            why=why,
            is_part=is_part,
        )
        self.branches.append(branch)
        if not is_part:
            self.lines.update(range(first_line, last_line + 1))

    def holds(self, line: int, column: int) -> bool:
        """Tell whether a place is in code that can no longer run."""
        return any(span.holds(line, column) for span in self.spans)


def ranges_of(file: SourceFile, lines: Iterable[int]) -> list[LineRange]:
    """Join lines that follow each other."""
    found: list[LineRange] = []
    first = last = 0
    for line in sorted(lines):
        if line != last + 1 or not first:
            if first:
                found.append(LineRange(path=file.path, shown_path=file.shown_path, first_line=first, last_line=last))
            first = line
        last = line
    if first:
        found.append(LineRange(path=file.path, shown_path=file.shown_path, first_line=first, last_line=last))
    return found
