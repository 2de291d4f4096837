"""Operators that look for missing attributes, and those that run a body for each element of a list.

Source: the flagd rule reference, "Operators"; vectors `missing`, `arrays`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flagmw.core.coercion import (
    to_number,
)
from flagmw.core.jsonlogic import (
    ELEMENT,
    LISTS,
    NULL,
    Compiled,
    Operator,
    RuleCompiler,
    Run,
    Scope,
    folded,
    pick,
    read_path,
)
from flagmw.errors import Path


def _absent(keys: Sequence[Any], data: Any, scope: Scope) -> list[Any]:
    found = []
    for key in keys:
        value = read_path(key, data, scope)
        if value is None or value == "":
            found.append(key)
    return found


def missing(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `missing`: those of the keys that are null or empty."""
    arguments = compiler.compile_arguments(raw, scope, path)
    runs = [argument.run for argument in arguments]

    def run(data: Any) -> list[Any]:
        keys = [each(data) for each in runs]
        if keys and isinstance(keys[0], LISTS):
            keys = list(keys[0])
        return _absent(keys, data, scope)

    return Compiled(run=run)


def missing_some(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `missing_some`: no key when enough are there, else what `missing` gives."""
    arguments = compiler.compile_arguments(raw, scope, path)
    needed, keys = pick(arguments, 0), pick(arguments, 1)

    def run(data: Any) -> list[Any]:
        names = keys.run(data)
        names = list(names) if isinstance(names, LISTS) else []
        absent = _absent(names, data, scope)
        return [] if len(names) - len(absent) >= to_number(needed.run(data)) else absent

    return Compiled(run=run)


def with_body(apply: Callable[[Sequence[Any], Run], Any], otherwise: Any) -> Operator:
    """Compile an operator over a list whose second argument runs with each element as the whole data."""

    def compile_with_body(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        items, body = _list_and_body(compiler, raw, scope, path)
        subject, each = items.run, body.run

        def run(data: Any) -> Any:
            values = subject(data)
            return apply(values, each) if isinstance(values, LISTS) else otherwise()

        if items.constant:
            return folded(run)
        return Compiled(run=run)

    return compile_with_body


def _list_and_body(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> tuple[Compiled, Compiled]:
    items = compiler.compile(raw[0], scope, (*path, 0)) if raw else NULL
    body = compiler.compile(raw[1], ELEMENT, (*path, 1)) if len(raw) > 1 else NULL
    for index, extra in enumerate(raw[2:], start=2):
        compiler.compile(extra, scope, (*path, index))
    return items, body


def reduce(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `reduce`: the body sees `current` and `accumulator` and nothing else."""
    items, body = _list_and_body(compiler, raw, scope, path)
    start = compiler.compile(raw[2], scope, (*path, 2)) if len(raw) > 2 else NULL

    def run(data: Any) -> Any:
        result = start.run(data)
        values = items.run(data)
        if isinstance(values, LISTS):
            for value in values:
                result = body.run({"current": value, "accumulator": result})
        return result

    if items.constant and start.constant:
        return folded(run)
    return Compiled(run=run)


def log(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `log`: its argument, and no log."""
    return pick(compiler.compile_arguments(raw, scope, path), 0)
