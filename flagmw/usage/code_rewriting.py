"""Puts instructions at the beginning of a function's code, as CPython 3.11 compiles it. Computes, and keeps nothing.

What the rest of the code object says about offsets is moved along: the table of exception handlers, and the table of
locations, where the new instructions have none, so that lines, columns and trace events stay as they were. Jumps are
relative in 3.11 and none crosses the place, so that they stay as they are. `probes` says what is put in, and why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from opcode import opmap
from types import CodeType

UNIT_BYTES = 2
"""An instruction without its argument's upper bytes: the opcode, and the lowest byte of its argument."""

NOP = bytes((opmap["NOP"], 0))

_EXTENDED_ARG = opmap["EXTENDED_ARG"]
_LOAD_CONST = opmap["LOAD_CONST"]
_STORE_ATTR = opmap["STORE_ATTR"]
_RESUME = opmap["RESUME"]
_CACHE = bytes((opmap["CACHE"], 0))
_STORE_ATTR_CACHES = 4
_PROLOGUE = {opmap[name] for name in ("COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR", "POP_TOP", "EXTENDED_ARG")}

_STARTS = 0x80
_CONTINUES = 0x40
_VALUE_BITS = 6
_VALUE_MASK = 0x3F
_UNITS_OF_AN_ENTRY = 8
_ONE_LINE, _LINES_FORMS, _NO_COLUMNS, _LONG, _NO_LOCATION = 10, range(11, 13), 13, 14, 15


def entry_of(code: CodeType) -> int | None:
    """Give the index of the first code unit behind a function's prologue.

    A generator's or coroutine's prologue ends where it is first advanced.

    Returns:
        None for code that no compiler of 3.11 wrote.
    """
    units = code.co_code
    for unit in range(0, len(units), UNIT_BYTES):
        if units[unit] == _RESUME:
            return unit // UNIT_BYTES + 1
        if units[unit] not in _PROLOGUE:
            return None
    return None


def with_store(code: CodeType, entry: int, target: object, name: str) -> tuple[CodeType, int]:
    """Begin a function with a switch and `target.name = <the switch's jump>`.

    The switch is a jump over the assignment. With a NOP in its place, the assignment is carried out at every call.

    Args:
        code: a function's.
        entry: from `entry_of`.
        target: becomes a constant of the code.
        name: of the attribute.

    Returns:
        The new code object, whose unit `entry` is the switch; and the jump's value, which is what is assigned.

    Raises:
        ValueError: the code's tables are not as the compiler writes them.
    """
    number_of_constants = len(code.co_consts)
    store = b"".join(
        (
            _instruction(_LOAD_CONST, number_of_constants),
            _instruction(_LOAD_CONST, number_of_constants + 1),
            _instruction(_STORE_ATTR, len(code.co_names)),
            _CACHE * _STORE_ATTR_CACHES,
        )
    )
    jump = bytes((opmap["JUMP_FORWARD"], len(store) // UNIT_BYTES))
    units, at = code.co_code, entry * UNIT_BYTES
    number = len(jump + store) // UNIT_BYTES
    written = code.replace(
        co_code=b"".join((units[:at], jump, store, units[at:])),
        co_consts=(*code.co_consts, value_of(jump), target),
        co_names=(*code.co_names, name),
        co_stacksize=max(code.co_stacksize, 2),
        co_linetable=without_location(code.co_linetable, entry, number),
        co_exceptiontable=moved_handlers(code.co_exceptiontable, entry, number),
    )
    return written, value_of(jump)


def value_of(unit: bytes) -> int:
    """Give a code unit as the number that it is in memory."""
    return int.from_bytes(unit, sys.byteorder)


def _instruction(opcode: int, argument: int) -> bytes:
    upper = argument >> 8
    before = _instruction(_EXTENDED_ARG, upper) if upper else b""
    return before + bytes((opcode, argument & 0xFF))


# --- the table of locations ---------------------------------------------------------------------------------


def without_location(table: bytes, at: int, number: int) -> bytes:
    """Insert code units that are at no line into the table of locations.

    An entry is for 1 to 8 code units: its first byte has the highest bit set, its form in the next four, and the number
    of units less 1 in the last three; bytes up to the next such bit are its own.

    Source: the interpreter's description of its "locations table"; the tests compare with what it reads from it.
    """
    written, unit, is_in = bytearray(), 0, False
    for entry in _entries(table):
        length = (entry[0] & 7) + 1
        if not is_in and unit + length > at:
            is_in = True
            first = at - unit
            if first:
                written += _of_length(entry, first)
                entry = _of_length(_on_same_line(entry), length - first)  # noqa: PLW2901  # what is left of it
            written += _nowhere(number)
        written += entry
        unit += length
    return bytes(written)


def _entries(table: bytes) -> Iterator[bytes]:
    begin = 0
    for end in range(1, len(table) + 1):
        if end == len(table) or table[end] & _STARTS:
            yield table[begin:end]
            begin = end


def _of_length(entry: bytes, units: int) -> bytes:
    return bytes((entry[0] & ~7 | (units - 1),)) + entry[1:]


def _on_same_line(entry: bytes) -> bytes:
    """Give an entry that adds nothing to the line, for the second part of one that has."""
    form = entry[0] >> 3 & 15
    if form in _LINES_FORMS:
        return bytes((_STARTS | _ONE_LINE << 3 | entry[0] & 7,)) + entry[1:]
    if form in {_NO_COLUMNS, _LONG}:
        end = next((place for place in range(1, len(entry)) if not entry[place] & _CONTINUES), 0)
        return bytes((entry[0], 0)) + entry[end + 1 :]
    return entry


def _nowhere(number: int) -> bytes:
    full, rest = divmod(number, _UNITS_OF_AN_ENTRY)
    lengths = [_UNITS_OF_AN_ENTRY] * full + ([rest] if rest else [])
    return bytes(_STARTS | _NO_LOCATION << 3 | length - 1 for length in lengths)


# --- the table of exception handlers ------------------------------------------------------------------------


def moved_handlers(table: bytes, at: int, number: int) -> bytes:
    """Move what is at or behind a code unit.

    An entry is four numbers: its first unit, how many, the handler's unit, and the stack's depth. The numbers are in
    groups of six bits, the highest first.

    Source: the interpreter's description of its "exception table"; the tests compare with what `dis` reads from it.
    """
    written = bytearray()
    numbers = _numbers(table)
    for first, length, handler, depth in zip(numbers, numbers, numbers, numbers, strict=True):
        end = first + length
        moved_first = first + number if first >= at else first
        moved_end = end + number if end > at else end
        moved_handler = handler + number if handler >= at else handler
        entry = b"".join(map(_in_groups, (moved_first, moved_end - moved_first, moved_handler, depth)))
        written += bytes((entry[0] | _STARTS,)) + entry[1:]
    return bytes(written)


def _numbers(table: bytes) -> Iterator[int]:
    value = 0
    for byte in table:
        value = value << _VALUE_BITS | byte & _VALUE_MASK
        if not byte & _CONTINUES:
            yield value
            value = 0


def _in_groups(value: int) -> bytes:
    groups = [value & _VALUE_MASK]
    while value := value >> _VALUE_BITS:
        groups.append(value & _VALUE_MASK | _CONTINUES)
    return bytes(reversed(groups))
