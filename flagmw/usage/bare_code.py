"""The functions of compiled code whose source is not there: what lines cannot tell is told by columns. Pure.

Functions under a statement in a class body belong to no class, by the rules of signatures. Code objects have the columns
where each `def` stands, so such functions are known by being indented further. It takes the width of an indentation,
which is the least that the module shows. Code without columns is taken as it is nested.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType

from flagmw.usage.code_names import LAMBDA, is_function, name_of
from flagmw.usage.definitions import Definition, kind_of

_NO_DEF_AFTER = ("BUILD_TUPLE", "CALL_INTRINSIC")
"""What follows a function that the compiler made of a type alias, or of the bound of a type parameter."""


@dataclass(slots=True)
class _Layout:
    """Where things stand in the statements of one code object.

    Attributes:
        columns: of the code objects in it, by identity.
        made: those that are no functions that anybody wrote.
        least: the least column of a statement after the first line; None when there is none.
        of_lines: the least column on each line.
    """

    columns: dict[int, int] = field(default_factory=dict)
    made: set[int] = field(default_factory=set)
    least: int | None = None
    of_lines: dict[int, int] = field(default_factory=dict)


def bare_definitions(module: CodeType) -> list[Definition]:
    """Find the functions of a module's code. A function ends on the last line that has code of it."""
    layouts = {id(code): _layout_of(code) for code in _all_code(module)}
    return list(_definitions(module, "", None, layouts, _indent_width(module, layouts)))


def last_line_of(code: CodeType) -> int:
    """Give the last line that code in a code object ends on, that of inner functions included."""
    last = max((end or 0 for _, end, _, _ in code.co_positions()), default=0)
    return max(last, code.co_firstlineno, *(last_line_of(inner) for inner in _inside(code)))


def _definitions(
    parent: CodeType, chain: str, body_column: int | None, layouts: dict[int, _Layout], width: int
) -> Iterator[Definition]:
    layout = layouts[id(parent)]
    for code in _inside(parent):
        column = layout.columns.get(id(code))
        if code.co_name == LAMBDA:
            column = layout.of_lines.get(code.co_firstlineno, column)
        is_direct = body_column is None or column is None or column == body_column
        around = chain if is_direct else ""
        if is_function(code):
            if id(code) not in layout.made:
                first_line, name, parameter_types = name_of(code)
                yield Definition(around, name, parameter_types, kind_of(code), first_line, last_line_of(code))
            yield from _definitions(code, "", None, layouts, width)
        elif code.co_name[0] == "<":
            yield from _definitions(code, chain, body_column, layouts, width)
        else:
            inner = f"{around}.{code.co_name}" if around else code.co_name
            inner_column = None if column is None or layouts[id(code)].least is None else column + width
            yield from _definitions(code, inner, inner_column, layouts, width)


def _indent_width(module: CodeType, layouts: dict[int, _Layout]) -> int:
    """Give the least distance between a function or class and its statements; what no module has when none is known."""
    widths = [4]
    seen = []
    for parent in _all_code(module):
        for code in _inside(parent):
            column, least = layouts[id(parent)].columns.get(id(code)), layouts[id(code)].least
            if code.co_name[0] != "<" and column is not None and least is not None and least > column:
                seen.append(least - column)
    return min(seen or widths)


def _layout_of(code: CodeType) -> _Layout:
    layout = _Layout()
    waiting: CodeType | None = None
    is_made = False
    for instruction in dis.get_instructions(code):
        place = instruction.positions
        line = place.lineno if place else None
        column = place.col_offset if place else None
        if is_made and waiting is not None and instruction.opname != "SET_FUNCTION_ATTRIBUTE":
            if instruction.opname.startswith(_NO_DEF_AFTER) and waiting.co_name != LAMBDA:
                layout.made.add(id(waiting))
            waiting, is_made = None, False
        if isinstance(instruction.argval, CodeType):
            waiting = instruction.argval
        elif instruction.opname == "MAKE_FUNCTION" and waiting is not None:
            is_made = True
            if column is not None:
                layout.columns[id(waiting)] = column
        if line is None or column is None or line <= code.co_firstlineno:
            continue
        layout.of_lines[line] = min(column, layout.of_lines.get(line, column))
        layout.least = column if layout.least is None else min(column, layout.least)
    return layout


def _all_code(module: CodeType) -> Iterator[CodeType]:
    yield module
    for code in _inside(module):
        yield from _all_code(code)


def _inside(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))
