"""The operators that flagd adds to JsonLogic: starts_with, ends_with, sem_ver and fractional.

All answer null for anything malformed. As the result of a rule, null selects the default variant.

Source: flagd's custom operations; vectors `string_ops`, `sem_ver`, `fractional_*`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from flagmw.core.bucketing import bucket_bounds, murmur3_32
from flagmw.core.cbor import encode_cbor
from flagmw.core.jsonlogic import NULL, Compiled, Operator, Run, RuleCompiler, Scope, operation
from flagmw.core.operators import JSONLOGIC
from flagmw.core.semver import COMPARISONS, parse_version
from flagmw.errors import Path

Fractional = Literal["v2", "v3"]

FLAG_KEY = "$flagd.flagKey"
MAX_TOTAL_WEIGHT = 2_147_483_647

Table = tuple[list[int], list[Any]]
"""Upper hash bounds of the buckets and, in the same order, their variants."""


def flagd_operators(fractional: Fractional) -> Mapping[str, Operator]:
    """Give all operators of flagd rules, with one of the two ways to bucket."""
    return {
        **JSONLOGIC,
        "starts_with": _affix("starts_with", str.startswith),
        "ends_with": _affix("ends_with", str.endswith),
        "sem_ver": _sem_ver,
        "fractional": _fractional_v3 if fractional == "v3" else _fractional_v2,
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
    if name.constant and name.value not in COMPARISONS:
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


# --- fractional ---------------------------------------------------------------------------------------------


def _fractional_v2(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    return _fractional(compiler, raw, scope, path, _hash_v2, _implicit_v2)


def _fractional_v3(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    return _fractional(compiler, raw, scope, path, _hash_v3, _implicit_v3)


def _hash_v2(value: Any) -> int | None:
    return murmur3_32(value) if value.__class__ is str else None


def _implicit_v2(flag_key: str, targeting_key: str) -> int:
    return murmur3_32(flag_key + targeting_key)


def _hash_v3(value: Any) -> int | None:
    return None if value is None else murmur3_32(encode_cbor(value))


def _implicit_v3(flag_key: str, targeting_key: str) -> int:
    return murmur3_32(encode_cbor([flag_key, targeting_key]))


def _fractional(
    compiler: RuleCompiler,
    raw: list[Any],
    scope: Scope,
    path: Path,
    hash_value: Callable[[Any], int | None],
    hash_implicit: Callable[[str, str], int],
) -> Compiled:
    elements = [compiler.compile(item, scope, (*path, i)) for i, item in enumerate(raw)]
    flag_key = scope.constants.get(FLAG_KEY)
    cost = 1 + sum(element.cost for element in elements)
    if not elements:
        compiler.warn(path, "fractional has no buckets; it gives null")
        return NULL

    def implicit(data: Any) -> int | None:
        key = data.get("targetingKey") if scope.is_root else None
        return hash_implicit(flag_key, key) if key and flag_key is not None else None

    runs = [element.run for element in elements]

    def run_computed(data: Any) -> Any:
        values = [run(data) for run in runs]
        first, rows = values[0], values[1:]
        if isinstance(first, (list, tuple)):
            table, place = _table(values), implicit
        else:
            table, place = _table(rows), lambda _: hash_value(first)
        return _choose(table, place, data)

    rows = elements[1:]
    if not all(row.constant for row in rows):
        return _guarded(run_computed, cost)
    first = elements[0]
    if first.constant and isinstance(first.value, list):
        table = _table([element.value for element in elements])
        _warn_of_rows(compiler, [element.value for element in elements], path, 0)
        if table is None or not scope.is_root or flag_key is None:
            return NULL
        return Compiled(run=_by_targeting_key(table, flag_key, hash_implicit), cost=cost)
    table = _table([row.value for row in rows])
    _warn_of_rows(compiler, [row.value for row in rows], path, 1)
    if table is None:
        return _guarded(run_computed, cost)
    return _guarded(_by_value(table, first.run, hash_value, run_computed), cost)


def _by_targeting_key(table: Table, flag_key: str, hash_implicit: Callable[[str, str], int]) -> Run:
    bounds, variants = table

    def run(data: Any) -> Any:
        key = data.get("targetingKey")
        if not key:
            return None
        try:
            return variants[bisect_right(bounds, hash_implicit(flag_key, key))]
        except ValueError:  # a lone surrogate in the key
            return None

    return run


def _by_value(table: Table, value: Run, hash_value: Callable[[Any], int | None], run_computed: Run) -> Run:
    bounds, variants = table

    def run(data: Any) -> Any:
        first = value(data)
        if first.__class__ is list or first.__class__ is tuple:
            return run_computed(data)
        place = hash_value(first)
        return None if place is None else variants[bisect_right(bounds, place)]

    return run


def _guarded(run: Run, cost: int) -> Compiled:
    def run_guarded(data: Any) -> Any:
        try:
            return run(data)
        except ValueError:  # a lone surrogate or NaN in what is hashed
            return None

    return Compiled(run=run_guarded, cost=cost)


def _choose(table: Table | None, place: Callable[[Any], int | None], data: Any) -> Any:
    slot = None if table is None else place(data)
    if slot is None or table is None:
        return None
    return table[1][bisect_right(table[0], slot)]


def _table(rows: Sequence[Any]) -> Table | None:
    """Make the buckets, or None when one row is malformed or the total is out of range."""
    weights, variants = [], []
    for row in rows:
        if _row_defect(row):
            return None
        weights.append(max(int(row[1]), 0) if len(row) == 2 else 1)
        variants.append(row[0])
    if not 0 < sum(weights) <= MAX_TOTAL_WEIGHT:
        return None
    return bucket_bounds(weights), variants


def _row_defect(row: Any) -> str:
    if not isinstance(row, (list, tuple)):
        return "a bucket must be a list [variant, weight]"
    if not 1 <= len(row) <= 2:
        return f"a bucket must be [variant] or [variant, weight], got {len(row)} elements"
    if isinstance(row[0], (list, tuple, dict)):
        return "a bucket's variant must be a name, not a list or a mapping"
    if len(row) == 2:
        weight = row[1]
        whole = weight.__class__ is int or (weight.__class__ is float and weight.is_integer())
        if not whole:
            return f"a bucket's weight must be a whole number, got {weight!r}"
    return ""


def _warn_of_rows(compiler: RuleCompiler, rows: Sequence[Any], path: Path, offset: int) -> None:
    for index, row in enumerate(rows, start=offset):
        defect = _row_defect(row)
        if defect:
            compiler.warn((*path, index), f"{defect}; fractional gives null")
            return
    total = sum(max(int(row[1]), 0) if len(row) == 2 else 1 for row in rows)
    if not 0 < total <= MAX_TOTAL_WEIGHT:
        compiler.warn(path, f"the weights add up to {total}, outside 1 to {MAX_TOTAL_WEIGHT}; fractional gives null")
