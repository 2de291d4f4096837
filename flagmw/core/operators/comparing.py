"""Comparisons: equality, order, containment.

Source: the flagd rule reference, "Operators"; vectors `equality`, `ordering`, `strings`, `arrays`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flagmw.core.coercion import (
    less,
)
from flagmw.core.jsonlogic import (
    Compiled,
    Operator,
    RuleCompiler,
    Run,
    Scope,
    operation,
    pick,
)
from flagmw.errors import Path


def equality(equal: Callable[[Any, Any], bool], *, negated: bool) -> Operator:
    """Make an operator from a comparison, or from its negation."""

    def compile_equality(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        left, right = pick(arguments, 0), pick(arguments, 1)
        if left.constant and not right.constant:
            left, right = right, left
        if left.attribute is not None and right.constant and right.value.__class__ is str:
            run = _attribute_is_text(left.attribute, right.value, equal, negated=negated)
        else:
            a, b = left.run, right.run
            run = (lambda data: not equal(a(data), b(data))) if negated else (lambda data: equal(a(data), b(data)))
        return operation([left, right], run, python_truth=True)

    return compile_equality


def _attribute_is_text(name: str, text: str, equal: Callable[[Any, Any], bool], *, negated: bool) -> Run:
    def run_equal(data: Any) -> bool:
        value = data.get(name)
        return value == text if value.__class__ is str else equal(value, text)

    def run_different(data: Any) -> bool:
        value = data.get(name)
        return value != text if value.__class__ is str else not equal(value, text)

    return run_different if negated else run_equal


def order(before: Callable[[Any, Any], bool], *, swapped: bool) -> Operator:
    """Make an operator on two or three values in order; `swapped` makes `>` of `<`."""

    def compile_order(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        low, high = pick(arguments, 0), pick(arguments, 1)
        bounds = arguments[:3] if len(arguments) > 2 else [low, high]
        run: Run
        if len(bounds) == 2:
            if swapped:
                low, high = high, low
            run = _two_in_order(low, high, before)
        else:
            x, y, z = (bound.run for bound in bounds)
            if swapped:

                def run(data: Any) -> bool:
                    middle = y(data)
                    return before(middle, x(data)) and before(z(data), middle)

            else:

                def run(data: Any) -> bool:
                    middle = y(data)
                    return before(x(data), middle) and before(middle, z(data))

        return operation(bounds, run, python_truth=True)

    return compile_order


def _two_in_order(low: Compiled, high: Compiled, before: Callable[[Any, Any], bool]) -> Run:
    """Compare a with b, with a short way for one attribute against a constant number."""
    strict = before is less
    if low.attribute is not None and high.constant and high.value.__class__ in (int, float):
        name, limit = low.attribute, high.value

        def attribute_below(data: Any) -> bool:
            value = data.get(name)
            if value.__class__ is int or value.__class__ is float:
                return bool(value < limit if strict else value <= limit)
            return before(value, limit)

        return attribute_below
    if high.attribute is not None and low.constant and low.value.__class__ in (int, float):
        name, limit = high.attribute, low.value

        def attribute_above(data: Any) -> bool:
            value = data.get(name)
            if value.__class__ is int or value.__class__ is float:
                return bool(limit < value if strict else limit <= value)
            return before(limit, value)

        return attribute_above
    a, b = low.run, high.run
    return lambda data: before(a(data), b(data))
