"""The JsonLogic operators, each compiled to a closure.

Every function here has the shape of `jsonlogic.Operator`. Missing arguments count as null, extra ones are
compiled (their defects are reported) and ignored.

Source: the flagd rule reference, "Operators"; one vector category per group below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from flagmw.core.coercion import (
    less,
    less_or_equal,
    loose_equal,
    strict_equal,
    to_number,
    to_text,
    truthy,
)
from flagmw.core.jsonlogic import (
    ELEMENT,
    NULL,
    Compiled,
    Operator,
    Run,
    RuleCompiler,
    Scope,
    compile_var,
    constant,
    operation,
    read_path,
)
from flagmw.errors import Path

_LISTS = (list, tuple)


def _pick(arguments: Sequence[Compiled], index: int) -> Compiled:
    return arguments[index] if index < len(arguments) else NULL


# --- conditions ---------------------------------------------------------------------------------------------


def _if(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
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

    return Compiled(run=run, python_truth=True, cost=condition.cost), then


def _choice(condition: Compiled, then: Compiled, otherwise: Compiled) -> Compiled:
    if condition.constant:
        return then if truthy(condition.value) else otherwise
    holds, first, second = condition.run, then.run, otherwise.run
    cost = 1 + condition.cost + then.cost + otherwise.cost
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

    return Compiled(run=run, cost=cost, python_truth=then.python_truth and otherwise.python_truth)


def _and(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    if not arguments:
        return NULL
    runs = [argument.run for argument in arguments]
    run: Run
    if all(argument.python_truth for argument in arguments[:-1]):
        run = _python_and(runs)
    else:

        def run(data: Any) -> Any:
            result = None
            for each in runs:
                result = each(data)
                if not truthy(result):
                    return result
            return result

    return operation(arguments, run, python_truth=all(argument.python_truth for argument in arguments))


def _python_and(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    a, b = runs[0], runs[1]
    if len(runs) == 2:
        return lambda data: a(data) and b(data)
    c = runs[2] if len(runs) == 3 else _python_and(runs[2:])
    return lambda data: a(data) and b(data) and c(data)


def _or(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    if not arguments:
        return NULL
    runs = [argument.run for argument in arguments]
    run: Run
    if all(argument.python_truth for argument in arguments[:-1]):
        run = _python_or(runs)
    else:

        def run(data: Any) -> Any:
            result = None
            for each in runs:
                result = each(data)
                if truthy(result):
                    return result
            return result

    return operation(arguments, run, python_truth=all(argument.python_truth for argument in arguments))


def _python_or(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    a, b = runs[0], runs[1]
    if len(runs) == 2:
        return lambda data: a(data) or b(data)
    c = runs[2] if len(runs) == 3 else _python_or(runs[2:])
    return lambda data: a(data) or b(data) or c(data)


def _negation(*, twice: bool) -> Operator:
    def compile_negation(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        subject = _pick(arguments, 0)
        run, simple = subject.run, subject.python_truth
        negated: Run
        if twice:
            negated = (lambda data: bool(run(data))) if simple else (lambda data: truthy(run(data)))
        else:
            negated = (lambda data: not run(data)) if simple else (lambda data: not truthy(run(data)))
        return operation([subject], negated, python_truth=True)

    return compile_negation


# --- comparing ----------------------------------------------------------------------------------------------


def _equality(equal: Callable[[Any, Any], bool], *, negated: bool) -> Operator:
    def compile_equality(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        left, right = _pick(arguments, 0), _pick(arguments, 1)
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


def _order(before: Callable[[Any, Any], bool], *, swapped: bool) -> Operator:
    def compile_order(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        low, high = _pick(arguments, 0), _pick(arguments, 1)
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


# --- arithmetic ---------------------------------------------------------------------------------------------


def _divide(a: float, b: float) -> float:
    try:
        return a / b
    except ZeroDivisionError:
        if a == 0 or a != a:  # noqa: PLR0124  # NaN
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _remainder(a: float, b: float) -> float:
    try:
        return math.fmod(a, b)
    except ValueError:  # an infinite dividend or a divisor of 0
        return math.nan


def _fold(step: Callable[[float, float], float], start: float) -> Operator:
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


def _minus(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    a, b = _pick(arguments, 0).run, _pick(arguments, 1).run
    if len(arguments) < 2:
        return operation(arguments[:1], lambda data: -to_number(a(data)))
    return operation(arguments[:2], lambda data: to_number(a(data)) - to_number(b(data)))


def _binary(compute: Callable[[float, float], float]) -> Operator:
    def compile_binary(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        a, b = _pick(arguments, 0), _pick(arguments, 1)
        return operation([a, b], lambda data: compute(to_number(a.run(data)), to_number(b.run(data))))

    return compile_binary


def _extreme(choose: Callable[[list[float]], float], empty: float) -> Operator:
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


# --- texts and lists ----------------------------------------------------------------------------------------


def _cat(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    runs = [argument.run for argument in arguments]
    run: Run
    if len(arguments) == 2 and arguments[0].constant and arguments[1].attribute is not None:
        name, before = arguments[1].attribute, to_text(arguments[0].value) if arguments[0].value is not None else ""

        def run(data: Any) -> str:
            value = data.get(name)
            if value.__class__ is str:
                return before + value
            return before if value is None else before + to_text(value)

        return operation(arguments, run, python_truth=True)

    def run(data: Any) -> str:
        parts = [each(data) for each in runs]
        return "".join([part if part.__class__ is str else to_text(part) for part in parts if part is not None])

    return operation(arguments, run, python_truth=True)


def _whole(value: Any) -> int:
    number = to_number(value)
    if number != number:  # noqa: PLR0124  # NaN
        return 0
    return int(max(-(2.0**53), min(2.0**53, number)))


def _substring(text: str, start: int, length: int | None) -> str:
    begin = max(len(text) + start, 0) if start < 0 else start
    rest = text[begin:]
    return rest if length is None else rest[:length]


def _substr(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    text, start, length = (_pick(arguments, i) for i in range(3))
    has_length = len(arguments) > 2

    def run(data: Any) -> str:
        limit = length.run(data)
        return _substring(
            to_text(text.run(data)), _whole(start.run(data)), _whole(limit) if has_length and limit is not None else None
        )

    return operation(arguments[:3], run, python_truth=True)


def contains(needle: Any, haystack: Any) -> bool:
    """Tell whether a text has a part, or a list an element that is strictly equal."""
    if haystack.__class__ is str:
        return to_text(needle) in haystack
    if isinstance(haystack, _LISTS):
        if needle.__class__ is str:
            return needle in haystack
        return any(strict_equal(needle, item) for item in haystack)
    return False


def _in(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    needle, haystack = _pick(arguments, 0), _pick(arguments, 1)
    a, b = needle.run, haystack.run
    run: Run
    if needle.attribute is not None and haystack.constant and isinstance(haystack.value, list):
        name, items = needle.attribute, haystack.value
        texts = frozenset(item for item in items if item.__class__ is str)

        def run(data: Any) -> bool:
            value = data.get(name)
            return value in texts if value.__class__ is str else contains(value, items)

    else:

        def run(data: Any) -> bool:
            return contains(a(data), b(data))

    return operation([needle, haystack], run, python_truth=True)


def _merge(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    runs = [argument.run for argument in arguments]

    def run(data: Any) -> list[Any]:
        merged: list[Any] = []
        for each in runs:
            value = each(data)
            if isinstance(value, _LISTS):
                merged.extend(value)
            else:
                merged.append(value)
        return merged

    return operation(arguments, run)


# --- missing attributes -------------------------------------------------------------------------------------


def _absent(keys: Sequence[Any], data: Any, scope: Scope) -> list[Any]:
    found = []
    for key in keys:
        value = read_path(key, data, scope)
        if value is None or value == "":
            found.append(key)
    return found


def _missing(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    runs = [argument.run for argument in arguments]

    def run(data: Any) -> list[Any]:
        keys = [each(data) for each in runs]
        if keys and isinstance(keys[0], _LISTS):
            keys = list(keys[0])
        return _absent(keys, data, scope)

    return Compiled(run=run, cost=1 + sum(argument.cost for argument in arguments))


def _missing_some(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    needed, keys = _pick(arguments, 0), _pick(arguments, 1)

    def run(data: Any) -> list[Any]:
        names = keys.run(data)
        names = list(names) if isinstance(names, _LISTS) else []
        absent = _absent(names, data, scope)
        return [] if len(names) - len(absent) >= to_number(needed.run(data)) else absent

    return Compiled(run=run, cost=1 + needed.cost + keys.cost)


# --- lists with a body --------------------------------------------------------------------------------------


def _with_body(apply: Callable[[Sequence[Any], Run], Any], otherwise: Any) -> Operator:
    """Compile an operator over a list whose second argument runs with each element as the whole data."""

    def compile_with_body(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        items, body = _list_and_body(compiler, raw, scope, path)
        subject, each = items.run, body.run

        def run(data: Any) -> Any:
            values = subject(data)
            return apply(values, each) if isinstance(values, _LISTS) else otherwise()

        if items.constant:
            return constant(run(None))
        return Compiled(run=run, cost=1 + items.cost + body.cost)

    return compile_with_body


def _list_and_body(
    compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path
) -> tuple[Compiled, Compiled]:
    items = compiler.compile(raw[0], scope, (*path, 0)) if raw else NULL
    body = compiler.compile(raw[1], ELEMENT, (*path, 1)) if len(raw) > 1 else NULL
    for index, extra in enumerate(raw[2:], start=2):
        compiler.compile(extra, scope, (*path, index))
    return items, body


def _reduce(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    items, body = _list_and_body(compiler, raw, scope, path)
    start = compiler.compile(raw[2], scope, (*path, 2)) if len(raw) > 2 else NULL

    def run(data: Any) -> Any:
        result = start.run(data)
        values = items.run(data)
        if isinstance(values, _LISTS):
            for value in values:
                result = body.run({"current": value, "accumulator": result})
        return result

    if items.constant and start.constant:
        return constant(run(None))
    return Compiled(run=run, cost=1 + items.cost + body.cost + start.cost)


def _log(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    return _pick(compiler.compile_arguments(raw, scope, path), 0)


JSONLOGIC: Mapping[str, Operator] = MappingProxyType(
    {
        "var": compile_var,
        "missing": _missing,
        "missing_some": _missing_some,
        "if": _if,
        "?:": _if,
        "and": _and,
        "or": _or,
        "!": _negation(twice=False),
        "!!": _negation(twice=True),
        "==": _equality(loose_equal, negated=False),
        "!=": _equality(loose_equal, negated=True),
        "===": _equality(strict_equal, negated=False),
        "!==": _equality(strict_equal, negated=True),
        "<": _order(less, swapped=False),
        "<=": _order(less_or_equal, swapped=False),
        ">": _order(less, swapped=True),
        ">=": _order(less_or_equal, swapped=True),
        "+": _fold(lambda a, b: a + b, 0.0),
        "*": _fold(lambda a, b: a * b, 1.0),
        "-": _minus,
        "/": _binary(_divide),
        "%": _binary(_remainder),
        "min": _extreme(min, math.inf),
        "max": _extreme(max, -math.inf),
        "cat": _cat,
        "substr": _substr,
        "in": _in,
        "merge": _merge,
        "map": _with_body(lambda values, each: [each(value) for value in values], list),
        "filter": _with_body(lambda values, each: [value for value in values if truthy(each(value))], list),
        "all": _with_body(
            lambda values, each: len(values) > 0 and all(truthy(each(value)) for value in values), lambda: False
        ),
        "some": _with_body(lambda values, each: any(truthy(each(value)) for value in values), lambda: False),
        "none": _with_body(lambda values, each: not any(truthy(each(value)) for value in values), lambda: True),
        "reduce": _reduce,
        "log": _log,
    }
)
