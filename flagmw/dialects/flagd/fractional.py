"""`fractional`: picks one of several weighted buckets by a hash, in flagd's two ways of hashing.

"v2" hashes texts as they are, "v3" hashes the CBOR encoding of any JSON value; everything else is the same.
It answers null for anything malformed.

Source: flagd's `fractional` operation; vectors `fractional_v2`, `fractional_v3` and their nested kin.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flagmw.core.bucketing import bucket_bounds, murmur3_32
from flagmw.core.cbor import encode_cbor
from flagmw.core.jsonlogic import NULL, Compiled, Operator, RuleCompiler, Run, Scope
from flagmw.errors import Path

Fractional = Literal["v2", "v3"]

FLAG_KEY = "$flagd.flagKey"
MAX_TOTAL_WEIGHT = 2_147_483_647

Table = tuple[list[int], list[Any]]
"""Upper hash bounds of the buckets and, in the same order, their variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashing:
    """How a context is placed.

    Attributes:
        of_value: hashes an explicit bucketing value; None when it cannot be one.
        of_flag: from a flag key to what hashes it together with a targeting key, when the rule states no value.
        is_plain: it hashes the one after the other as they are, for which there is a short way.

    Both raise ValueError for what cannot be encoded, such as a lone surrogate.
    """

    of_value: Callable[[Any], int | None]
    of_flag: Callable[[str], Callable[[str], int]]
    is_plain: bool


def _start(flag_key: str) -> bytes:
    return flag_key.encode("utf-8", "surrogatepass")


def _of_flag_v2(flag_key: str) -> Callable[[str], int]:
    start = _start(flag_key)
    return lambda targeting_key: murmur3_32(start + targeting_key.encode())


def _of_flag_v3(flag_key: str) -> Callable[[str], int]:
    return lambda targeting_key: murmur3_32(encode_cbor([flag_key, targeting_key]))


_V2 = Hashing(
    of_value=lambda value: murmur3_32(value.encode()) if value.__class__ is str else None,
    of_flag=_of_flag_v2,
    is_plain=True,
)
_V3 = Hashing(
    of_value=lambda value: None if value is None else murmur3_32(encode_cbor(value)),
    of_flag=_of_flag_v3,
    is_plain=False,
)


def fractional_operator(version: Fractional) -> Operator:
    """Give the operator that hashes in this way."""
    hashing = _V3 if version == "v3" else _V2

    def compile_fractional(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
        elements = [compiler.compile(item, scope, (*path, i)) for i, item in enumerate(raw)]
        if not elements:
            compiler.warn(path, "fractional has no buckets; it gives null")
            return NULL
        run = _quickest(elements, scope, hashing)
        if all(element.constant for element in elements[1:]):
            values = [element.value for element in elements]
            _warn_of_rows(compiler, values if isinstance(values[0], list) else values[1:], path, len(raw))
        return Compiled(run=run)

    return compile_fractional


def _quickest(elements: list[Compiled], scope: Scope, hashing: Hashing) -> Run:
    """Choose how to run: with buckets made now where they are constant, else with buckets made at each run."""
    runs = [element.run for element in elements]
    flag_key = scope.constants.get(FLAG_KEY, "")
    of_key = hashing.of_flag(flag_key)

    def by_context(data: Any) -> int | None:
        # In the body of `map` and its kin neither of the two keys can be seen.
        key = data.get("targetingKey") if scope.is_root else None
        return of_key(key) if key else None

    def run_computed(data: Any) -> Any:
        values = [run(data) for run in runs]
        try:
            if isinstance(values[0], (list, tuple)):
                return _choose(_table(values), by_context(data))
            return _choose(_table(values[1:]), hashing.of_value(values[0]))
        except ValueError:
            return None

    first, rows = elements[0], elements[1:]
    if not all(row.constant for row in rows):
        return run_computed
    if first.constant and isinstance(first.value, list):
        table = _table([element.value for element in elements])
        if table is None or not scope.is_root:
            return NULL.run
        return _run_by_plain_context(table, _start(flag_key)) if hashing.is_plain else _run_by_context(table, of_key)
    table = _table([row.value for row in rows])
    return run_computed if table is None else _run_by_value(table, first.run, hashing.of_value, run_computed)


def _run_by_plain_context(table: Table, start: bytes) -> Run:
    """Do what `_run_by_context` does, for the most frequent rollout, with a call less."""
    bounds, variants = table

    def run(data: Any) -> Any:
        key = data.get("targetingKey")
        if not key:
            return None
        try:
            return variants[bisect_right(bounds, murmur3_32(start + key.encode()))]
        except ValueError:
            return None

    return run


def _run_by_context(table: Table, of_key: Callable[[str], int]) -> Run:
    bounds, variants = table

    def run(data: Any) -> Any:
        key = data.get("targetingKey")
        if not key:
            return None
        try:
            return variants[bisect_right(bounds, of_key(key))]
        except ValueError:
            return None

    return run


def _run_by_value(table: Table, value: Run, of_value: Callable[[Any], int | None], run_computed: Run) -> Run:
    bounds, variants = table

    def run(data: Any) -> Any:
        first = value(data)
        if first.__class__ is list or first.__class__ is tuple:
            return run_computed(data)
        try:
            place = of_value(first)
        except ValueError:
            return None
        return None if place is None else variants[bisect_right(bounds, place)]

    return run


def _choose(table: Table | None, place: int | None) -> Any:
    if place is None or table is None:
        return None
    return table[1][bisect_right(table[0], place)]


def _table(rows: Sequence[Any]) -> Table | None:
    """Make the buckets, or None when one row is malformed or the total is out of range."""
    if any(_row_defect(row) for row in rows):
        return None
    weights = [_weight(row) for row in rows]
    if not 0 < sum(weights) <= MAX_TOTAL_WEIGHT:
        return None
    return bucket_bounds(weights), [row[0] for row in rows]


def _weight(row: Sequence[Any]) -> int:
    return max(int(row[1]), 0) if len(row) == 2 else 1


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


def _warn_of_rows(compiler: RuleCompiler, rows: Sequence[Any], path: Path, count: int) -> None:
    for index, row in enumerate(rows, start=count - len(rows)):
        defect = _row_defect(row)
        if defect:
            compiler.warn((*path, index), f"{defect}; fractional gives null")
            return
    total = sum(_weight(row) for row in rows)
    if not 0 < total <= MAX_TOTAL_WEIGHT:
        compiler.warn(path, f"the weights add up to {total}, outside 1 to {MAX_TOTAL_WEIGHT}; fractional gives null")
