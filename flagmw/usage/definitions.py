"""`Definition`: one function as a file holds it, before anybody asks which package the file belongs to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from flagmw.usage.functions import FunctionKind

LAMBDA = "<lambda>"


class Definition(NamedTuple):
    """A function in a file; says nothing of where the file is, so that it can be kept as long as the file is the same.

    Attributes:
        chain: the classes that enclose it directly, joined by dots; empty for none.
        name: as written after `def`; `<lambda>` for a lambda.
        parameter_types: as in `Function`.
        kind: how it is written.
        first_line: of its first decorator, or of itself.
        last_line: of its last statement; of a lambda, of its expression.
        level: how deep it lies in the syntax tree, by which the official agent orders; 0 where that is not known.
        decorators: those that can be written as "@" and a dotted name; not known of compiled code.
    """

    chain: str
    name: str
    parameter_types: str
    kind: FunctionKind
    first_line: int
    last_line: int
    level: int = 0
    decorators: tuple[str, ...] = ()


def each_place_once(definitions: Iterable[Definition]) -> list[Definition]:
    """Keep one of those that a recorder cannot tell apart, in order of their lines.

    Only lambdas of one line can be such. One that classes enclose is preferred, since what holds a lambda has run
    when the lambda has.
    """
    kept: dict[tuple[int, str, str], Definition] = {}
    for found in sorted(definitions, key=_preference):
        kept.setdefault((found.first_line, found.name, found.parameter_types), found)
    return list(kept.values())


def _preference(found: Definition) -> tuple[int, str, str, bool, str, int]:
    place = found.first_line, found.name, found.parameter_types
    return (*place, not found.chain, found.chain, -found.last_line)
