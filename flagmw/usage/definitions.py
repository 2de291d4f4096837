"""`Definition`: one function as a file holds it, before anybody asks which package the file belongs to. Pure."""

from __future__ import annotations

from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from operator import attrgetter
from types import CodeType
from typing import NamedTuple

from flagmw.usage.code_names import LAMBDA
from flagmw.usage.functions import FunctionKind

_PAIR = 2
_place_of = attrgetter("first_line", "name", "parameter_types")
_ASYNC = CO_COROUTINE | CO_ASYNC_GENERATOR


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


def kind_of(code: CodeType) -> FunctionKind:
    """Tell how the function of a code object is written."""
    if code.co_name == LAMBDA:
        return FunctionKind.LAMBDA
    return FunctionKind.ASYNC if code.co_flags & _ASYNC else FunctionKind.DEF


def each_place_once(definitions: list[Definition]) -> list[Definition]:
    """Keep one of those that a recorder cannot tell apart, in order of their lines.

    Only lambdas of one line can be such. One that classes enclose is preferred, since what holds a lambda has run
    when the lambda has.
    """
    ordered = sorted(definitions, key=_place_of)
    if sum(found.kind is FunctionKind.LAMBDA for found in ordered) < _PAIR:
        return ordered
    kept: dict[tuple[int, str, str], Definition] = {}
    for found in ordered:
        place = _place_of(found)
        kept[place] = min(kept.get(place, found), found, key=_preference)
    return list(kept.values())


def _preference(found: Definition) -> tuple[bool, str, int]:
    return not found.chain, found.chain, -found.last_line
