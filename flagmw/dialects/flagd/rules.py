"""The operators that flagd adds to JsonLogic: starts_with, ends_with, sem_ver (and fractional).

All answer null for anything malformed. As the result of a rule, null selects the default variant.

Source: flagd's custom operations; vectors `string_ops`, `sem_ver`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagmw.core.jsonlogic import NULL, Compiled, Operator, RuleCompiler, Run, Scope, operation
from flagmw.core.operators import JSONLOGIC
from flagmw.core.semver import COMPARISONS, parse_version
from flagmw.dialects.flagd.fractional import Fractional, fractional_operator
from flagmw.errors import Path


def flagd_operators(fractional: Fractional) -> Mapping[str, Operator]:
    """Give all operators of flagd rules, with one of the two ways to bucket."""
    return {
        **JSONLOGIC,
        "starts_with": _affix("starts_with", str.startswith),
        "ends_with": _affix("ends_with", str.endswith),
        "sem_ver": _sem_ver,
        "fractional": fractional_operator(fractional),
    }


def _affix(operator: str, holds: Callable[[str, str], bool]) -> Operator:
    def compile_affix(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        arguments = compiler.compile_arguments(raw, scope, path)
        if len(arguments) != 2:
            compiler.warn(path, f"{operator} takes 2 arguments, got {len(arguments)}; it gives null")
            return NULL
        subject, affix = arguments[0].run, arguments[1].run

        def run(data: Any) -> bool | None:
            text, part = subject(data), affix(data)
            if text.__class__ is str and part.__class__ is str:
                return holds(text, part)
            return None

        return operation(arguments, run, python_truth=True)

    return compile_affix


def _sem_ver(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    arguments = compiler.compile_arguments(raw, scope, path)
    if len(arguments) != 3:
        compiler.warn(path, f"sem_ver takes version, operator, version; got {len(arguments)} arguments, it gives null")
        return NULL
    left, name, right = arguments
    if name.constant and (type(name.value) is not str or name.value not in COMPARISONS):
        compiler.warn((*path, 1), f"sem_ver has no operator {name.value!r}; it gives null")
        return NULL
    run: Run
    if name.constant and right.constant:
        compare, limit = COMPARISONS[name.value], parse_version(right.value)
        if limit is None:
            compiler.warn((*path, 2), f"{right.value!r} is no version; sem_ver gives null")
            return NULL

        def run(data: Any) -> bool | None:
            version = parse_version(left.run(data))
            return None if version is None else compare(version, limit)

    else:

        def run(data: Any) -> bool | None:
            a, operator, b = parse_version(left.run(data)), name.run(data), parse_version(right.run(data))
            compare = COMPARISONS.get(operator) if operator.__class__ is str else None
            return None if a is None or b is None or compare is None else compare(a, b)

    return operation(arguments, run, python_truth=True)
