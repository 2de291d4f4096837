"""What a code object says of its function: first line, name and parameters, as the source has them.

Shared by what looks at code that runs and by what reads compiled files, so that both give one answer. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import CO_NEWLOCALS, CO_OPTIMIZED, CO_VARARGS, CO_VARKEYWORDS
from itertools import pairwise
from types import CodeType
from typing import NamedTuple

from flagmw.usage.functions import parameters_of

LAMBDA = "<lambda>"
_FUNCTION = CO_OPTIMIZED | CO_NEWLOCALS


class CodeName(NamedTuple):
    """How a function is found again; all of `Seen` but its file.

    Attributes:
        first_line: of its first decorator, or of itself.
        name: as written after `def`; `<lambda>` for a lambda.
        parameter_types: as in `Function`.
    """

    first_line: int
    name: str
    parameter_types: str


def name_of(code: CodeType) -> CodeName:
    """Describe a function by its code object."""
    return CodeName(code.co_firstlineno, code.co_name, _parameters_of(code))


def is_function(code: CodeType) -> bool:
    """Tell whether code is a function's or a lambda's: no module's, class body's or comprehension's.

    What Python 3.12 compiles for `type Alias = ...` and for the bound of a type parameter looks like a function named
    as the alias or the parameter.
    """
    name = code.co_name
    return code.co_flags & _FUNCTION == _FUNCTION and (name[0] != "<" or name == LAMBDA)


def tree_of(code: CodeType) -> Iterator[CodeType]:
    """Give a code object and all that are inside it, each before its own."""
    waiting = [code]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += [constant for constant in one.co_consts if isinstance(constant, CodeType)]


def _parameters_of(code: CodeType) -> str:
    flags, count = code.co_flags, code.co_argcount
    names = code.co_varnames[: count + code.co_kwonlyargcount + 2]
    if any("__" in name for name in names):
        names = _as_written(names, code.co_qualname)
    end = count + code.co_kwonlyargcount
    rest = keywords = None
    if flags & CO_VARARGS:
        rest = names[end]
        end += 1
    if flags & CO_VARKEYWORDS:
        keywords = names[end]
    return parameters_of(names[code.co_posonlyargcount : count], rest, keywords)


def _as_written(names: tuple[str, ...], qualified_name: str) -> tuple[str, ...]:
    """Undo what a class does to private names: `__x` in a function anywhere inside `class K` is `_K__x` in its code."""
    parts = qualified_name.split(".")
    classes = [one for one, after in pairwise(parts) if one[0] != "<" and after != "<locals>"]
    prefix = "_" + classes[-1].lstrip("_") if classes else "_"
    if prefix == "_":
        return names
    length, private = len(prefix), prefix + "__"
    return tuple(name[length:] if name.startswith(private) and not name.endswith("__") else name for name in names)
