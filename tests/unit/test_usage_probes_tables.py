"""What rewritten code says of lines, columns and handlers is what it said before, as the standard library reads it."""

from __future__ import annotations

import dis
import importlib.util
import pkgutil
from collections.abc import Iterator
from opcode import _inline_cache_entries, opmap  # type: ignore[attr-defined]  # private, and the only place that knows
from types import CodeType
from typing import Any

import pytest

from flagmw.usage import code_rewriting, probes
from flagmw.usage.code_names import is_function
from tests.unit.probes_support import IS_OURS, PROGRAMS, compiled

__test__ = IS_OURS

PACKAGES = ("argparse", "ast", "asyncio", "contextlib", "dataclasses", "difflib", "email", "enum", "inspect", "json")
SAME = (
    *("co_name", "co_qualname", "co_filename", "co_firstlineno", "co_flags", "co_argcount", "co_posonlyargcount"),
    *("co_kwonlyargcount", "co_nlocals", "co_varnames", "co_cellvars", "co_freevars"),
)


def codes_of(package: str) -> Iterator[CodeType]:
    """Give the code of a module of the standard library, or of all modules of a package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    names = [package]
    for folder in spec.submodule_search_locations or ():
        names += [f"{package}.{module.name}" for module in pkgutil.iter_modules([folder])]
    for name in names:
        found = importlib.util.find_spec(name)
        loader: Any = found and found.loader
        yield loader.get_code(name)


def pairs(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Give each code object with what became of it."""
    yield before, after
    inner = ([constant for constant in code.co_consts if isinstance(constant, CodeType)] for code in (before, after))
    for one, other in zip(*inner, strict=True):
        yield from pairs(one, other)


def functions_of(code: CodeType) -> list[tuple[CodeType, CodeType, int, int]]:
    """Give each function before and after, the first inserted code unit, and how many there are."""
    found = []
    for before, after in pairs(code, probes.rewrite(code).code):
        number = (len(after.co_code) - len(before.co_code)) // 2
        if number:
            entry = code_rewriting.entry_of(before)
            assert entry is not None
            found.append((before, after, entry, number))
    return found


@pytest.fixture(scope="module", params=[*PACKAGES, *PROGRAMS])
def functions(request: pytest.FixtureRequest) -> list[tuple[CodeType, CodeType, int, int]]:
    codes = [compiled(PROGRAMS[request.param])] if request.param in PROGRAMS else codes_of(request.param)
    return [found for code in codes for found in functions_of(code)]


Functions = list[tuple[CodeType, CodeType, int, int]]


def test_each_instruction_keeps_its_line_and_columns_and_what_is_new_has_none(functions: Functions) -> None:
    for before, after, entry, number in functions:
        old, new = list(before.co_positions()), list(after.co_positions())
        assert new == [*old[:entry], *[(None, None, None, None)] * number, *old[entry:]], after


def test_lines_begin_where_they_began(functions: Functions) -> None:
    for before, after, entry, number in functions:
        old = [(at + 2 * number if at >= 2 * entry else at, line) for at, line in dis.findlinestarts(before)]
        assert list(dis.findlinestarts(after)) == old, after


def test_handlers_guard_what_they_guarded(functions: Functions) -> None:
    for before, after, entry, number in functions:
        old, new = handlers(before), handlers(after)
        moved = [
            (*(at + number if at >= entry else at for at in places), depth, lasti) for *places, depth, lasti in old
        ]
        assert new == moved, after


def handlers(code: CodeType) -> list[tuple[int, ...]]:
    """Give first unit, last unit, handler, depth and whether the last instruction is kept."""
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # private, and what `dis` prints with
    return [(e.start // 2, e.end // 2 - 1, e.target // 2, e.depth, int(e.lasti)) for e in entries]


def test_instructions_stay_and_keep_their_arguments(functions: Functions) -> None:
    for before, after, entry, number in functions:
        at, end = 2 * entry, 2 * (entry + number)
        assert after.co_code[:at] + after.co_code[end:] == before.co_code, after


def test_all_else_stays(functions: Functions) -> None:
    for before, after, _, _ in functions:
        assert [getattr(after, name) for name in SAME] == [getattr(before, name) for name in SAME]
        constants = after.co_consts[: len(before.co_consts)]
        assert [one for one in constants if not isinstance(one, CodeType)] == [
            one for one in before.co_consts if not isinstance(one, CodeType)
        ]


def test_each_function_has_one_probe_and_nothing_else_has() -> None:
    for package in PACKAGES:
        for code in codes_of(package):
            wanted = [before for before, _ in pairs(code, code) if is_function(before)]
            assert len(probes.rewrite(code).probes) == len(wanted)


def test_an_assignment_has_as_much_room_for_the_interpreter_as_the_compiler_gives_it() -> None:
    _, after, entry, number = functions_of(compiled("def f(): pass"))[0]
    store, *caches = after.co_code[2 * (entry + 3) : 2 * (entry + number) : 2]
    assert (store, set(caches), len(caches)) == (opmap["STORE_ATTR"], {0}, _inline_cache_entries[store])


# --- entries that the compiler rarely writes ----------------------------------------------------------------

LINES = {
    "short": "def f(a): return a if a else [a, a]",
    "one line": "def f(a): return (a +\n a)",
    "far columns": "def f(a): return " + " " * 200 + "a",
    "far lines": "def f(a):\n" + "\n" * 5000 + "    return a",
    "next line": "def f(a): return (a +\n other.more + a +\n\n other.more)",
    "backwards": "def f(a): return (\n" + "\n" * 100 + "a(\n1), a)",
}


@pytest.mark.parametrize("text", LINES)
def test_an_entry_of_the_table_can_be_split_at_each_of_its_units(text: str) -> None:
    (code,) = (constant for constant in compiled(LINES[text]).co_consts if isinstance(constant, CodeType))
    old = list(code.co_positions())
    for at in range(len(old)):
        for number in (1, 8, 9, 20):
            table = code_rewriting.without_location(code.co_linetable, at, number)
            longer = code.replace(co_code=code.co_code + bytes(2 * number), co_linetable=table)
            new = list(longer.co_positions())
            assert new[:at] + new[at + number :] == old
            assert new[at : at + number] == [(None, None, None, None)] * number


def test_a_handler_s_range_moves_when_it_begins_at_the_place_and_grows_when_it_goes_around_it() -> None:
    ranges = [(0, 4), (4, 5), (5, 9), (2, 7), (5, 100)]  # the place is 5
    written = b"".join(
        bytes((0x80 | first, 0x40 | (last - first) >> 6, (last - first) & 63, 6, 0)) for first, last in ranges
    )
    (code,) = (constant for constant in compiled("def f(): pass").co_consts if isinstance(constant, CodeType))
    table = code_rewriting.moved_handlers(written, 5, 70)
    found = handlers(code.replace(co_exceptiontable=table))
    assert [(first, last + 1, handler) for first, last, handler, *_ in found] == [
        *((0, 4, 76), (4, 5, 76), (75, 79, 76), (2, 77, 76), (75, 170, 76))
    ]
