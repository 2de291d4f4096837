"""Runs generated programs: what is claimed to be dead must never run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from flagmw.stale.branches import dead_in_module
from flagmw.stale.dead import DeadCode
from flagmw.stale.sites import find_call_sites
from tests.unit.stale_programs import VALUES, Writer, run
from tests.unit.stale_support import in_memory

PROGRAMS_PER_TEST = 25
RUNS = 6


def claimed(path: Path, source: str, value: Any) -> DeadCode:
    code = in_memory(path, source)
    module = code.module_of(code.files[0])
    assert module is not None, code.problems
    return dead_in_module(code, module, find_call_sites(code).of("k"), value)


def places_of_marks(source: str) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="m"), args=[ast.Constant(value=int() as number)]):
                found[number] = node.lineno, node.col_offset
            case _:
                pass
    return found


def check(seed: int, path: Path) -> int:
    """Check one program under every value.

    Returns:
        How many claims there were.
    """
    source = Writer(seed).program()
    marks = places_of_marks(source)
    compiled = compile(source, f"program {seed}", "exec")
    claims = 0
    for value in VALUES:
        dead = claimed(path, source, value)
        claims += len(dead.branches)
        lines = {
            line
            for branch in dead.branches
            if not branch.is_part
            for line in range(branch.first_line, branch.last_line + 1)
        }
        for turn in range(RUNS):
            ran, reached = run(compiled, value, turn)
            assert not ran & lines, f"seed {seed}, value {value!r}: lines {sorted(ran & lines)} ran\n{source}"
            wrong = [number for number in reached if dead.holds(*marks[number])]
            assert not wrong, f"seed {seed}, value {value!r}: marks {wrong} were reached\n{source}"
    return claims


@pytest.mark.parametrize("first", range(0, 200, PROGRAMS_PER_TEST))
def test_nothing_that_is_claimed_dead_ever_runs(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + PROGRAMS_PER_TEST):
        check(seed, tmp_path / "program.py")


def test_the_programs_give_rise_to_many_claims(tmp_path: Path) -> None:
    assert sum(check(seed, tmp_path / "program.py") for seed in range(20)) > 400
