"""Conditions: if, and, or, negation.

Source: the flagd rule reference, "Operators"; vectors `conditionals`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flagmw.core.coercion import (
    truthy,
)
from flagmw.core.jsonlogic import (
    NULL,
    Compiled,
    Operator,
    RuleCompiler,
    Run,
    Scope,
    operation,
    pick,
)
from flagmw.errors import Path


def if_(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `if`: the value after the first condition that holds, else the last argument."""
    arguments = compiler.compile_arguments(raw, scope, path)
    result = arguments[-1] if len(arguments) % 2 else NULL
    for index in range(len(arguments) // 2 * 2 - 2, -1, -2):
        branch = arguments[index], arguments[index + 1]
        if compiler.trace is not None:
            branch = _traced(compiler, branch, (*path, index), index // 2 + 1)
        result = _choice(*branch, result)
    return result


def _traced(
    compiler: RuleCompiler, branch: tuple[Compiled, Compiled], path: Path, number: int
) -> tuple[Compiled, Compiled]:
    condition, then = branch
    tell = compiler.trace

    def run(data: Any) -> bool:
        holds = truthy(condition.run(data))
        if tell is not None:
            tell(path, f"condition {number}", holds)
        return holds

    return Compiled(run=run, python_truth=True), then


def _choice(condition: Compiled, then: Compiled, otherwise: Compiled) -> Compiled:
    if condition.constant:
        return then if truthy(condition.value) else otherwise
    holds, first, second = condition.run, then.run, otherwise.run
    run: Run
    if not condition.python_truth:

        def run(data: Any) -> Any:
            return first(data) if truthy(holds(data)) else second(data)

    elif then.constant and otherwise.constant:
        yes, no = then.value, otherwise.value

        def run(data: Any) -> Any:
            return yes if holds(data) else no

    elif then.constant:
        yes = then.value

        def run(data: Any) -> Any:
            return yes if holds(data) else second(data)

    elif otherwise.constant:
        no = otherwise.value

        def run(data: Any) -> Any:
            return first(data) if holds(data) else no

    else:

        def run(data: Any) -> Any:
            return first(data) if holds(data) else second(data)

    return Compiled(run=run, python_truth=then.python_truth and otherwise.python_truth)


def _junction(in_python: Callable[[list[Run]], Run], *, stops_at: bool) -> Operator:
    """Make `and` or `or`: the first argument whose truth is `stops_at`, else the last one."""

    def compile_junction(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        if not arguments:
            return NULL
        runs = [argument.run for argument in arguments]
        run: Run
        if all(argument.python_truth for argument in arguments[:-1]):
            run = in_python(runs)
        else:

            def run(data: Any) -> Any:
                result = None
                for each in runs:
                    result = each(data)
                    if truthy(result) is stops_at:
                        return result
                return result

        return operation(arguments, run, python_truth=all(argument.python_truth for argument in arguments))

    return compile_junction


def _python_and(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    a, b = runs[0], runs[1]
    if len(runs) == 2:
        return lambda data: a(data) and b(data)
    c = runs[2] if len(runs) == 3 else _python_and(runs[2:])
    return lambda data: a(data) and b(data) and c(data)


def _python_or(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    a, b = runs[0], runs[1]
    if len(runs) == 2:
        return lambda data: a(data) or b(data)
    c = runs[2] if len(runs) == 3 else _python_or(runs[2:])
    return lambda data: a(data) or b(data) or c(data)


and_ = _junction(_python_and, stops_at=False)
or_ = _junction(_python_or, stops_at=True)


def negation(*, twice: bool) -> Operator:
    """Make `!`, or `!!` when `twice`."""

    def compile_negation(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        subject = pick(arguments, 0)
        run, simple = subject.run, subject.python_truth
        negated: Run
        if twice:
            negated = (lambda data: bool(run(data))) if simple else (lambda data: truthy(run(data)))
        else:
            negated = (lambda data: not run(data)) if simple else (lambda data: not truthy(run(data)))
        return operation([subject], negated, python_truth=True)

    return compile_negation
