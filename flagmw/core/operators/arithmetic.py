"""Arithmetic on doubles.

Source: the flagd rule reference, "Operators"; vectors `arithmetic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flagmw.core.coercion import (
    to_number,
)
from flagmw.core.jsonlogic import (
    Compiled,
    Operator,
    RuleCompiler,
    Scope,
    operation,
    pick,
)
from flagmw.errors import Path


def divide(a: float, b: float) -> float:
    """Divide doubles; by 0 gives an infinity or NaN."""
    try:
        return a / b
    except ZeroDivisionError:
        if a == 0 or a != a:  # noqa: PLR0124  # NaN
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)


def remainder(a: float, b: float) -> float:
    """Give the remainder with the sign of the dividend; NaN for a divisor of 0."""
    try:
        return math.fmod(a, b)
    except ValueError:  # an infinite dividend or a divisor of 0
        return math.nan


def fold(step: Callable[[float, float], float], start: float) -> Operator:
    """Make an operator that folds numbers from a start value."""

    def compile_fold(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        runs = [argument.run for argument in arguments]

        def run(data: Any) -> float:
            result = start
            for each in runs:
                result = step(result, to_number(each(data)))
            return result

        return operation(arguments, run)

    return compile_fold


def minus(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `-`: a negation of one argument, a difference of two."""
    arguments = compiler.compile_arguments(raw, scope, path)
    a, b = pick(arguments, 0).run, pick(arguments, 1).run
    if len(arguments) < 2:
        return operation(arguments[:1], lambda data: -to_number(a(data)))
    return operation(arguments[:2], lambda data: to_number(a(data)) - to_number(b(data)))


def binary(compute: Callable[[float, float], float]) -> Operator:
    """Make an operator on two numbers."""

    def compile_binary(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        a, b = pick(arguments, 0), pick(arguments, 1)
        return operation([a, b], lambda data: compute(to_number(a.run(data)), to_number(b.run(data))))

    return compile_binary


def extreme(choose: Callable[[list[float]], float], empty: float) -> Operator:
    """Make `min` or `max`; one NaN makes the result NaN."""

    def compile_extreme(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        runs = [argument.run for argument in arguments]

        def run(data: Any) -> float:
            numbers = [to_number(each(data)) for each in runs]
            if any(number != number for number in numbers):  # noqa: PLR0124  # NaN
                return math.nan
            return choose(numbers) if numbers else empty

        return operation(arguments, run)

    return compile_extreme
