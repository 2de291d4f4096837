"""Operators on texts and lists.

Source: the flagd rule reference, "Operators"; vectors `strings`, `arrays`.
"""

from __future__ import annotations

from typing import Any

from flagmw.core.coercion import (
    MAX_LIST_ITEMS,
    MAX_TEXT_CHARS,
    ResultTooLargeError,
    strict_equal,
    to_number,
    to_text,
)
from flagmw.core.jsonlogic import (
    LISTS,
    Compiled,
    RuleCompiler,
    Run,
    Scope,
    operation,
    pick,
)
from flagmw.errors import Path


def cat(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `cat`: the texts of the arguments put together; null adds nothing."""
    arguments = compiler.compile_arguments(raw, scope, path)
    runs = [argument.run for argument in arguments]
    if len(arguments) == 2 and arguments[0].constant and arguments[1].attribute is not None:
        return operation(arguments, _prefixed(arguments[0].value, arguments[1].attribute), python_truth=True)

    def run(data: Any) -> str:
        parts = [each(data) for each in runs]
        texts = [part if part.__class__ is str else to_text(part) for part in parts if part is not None]
        if sum(map(len, texts)) > MAX_TEXT_CHARS:
            raise ResultTooLargeError
        return "".join(texts)

    return operation(arguments, run, python_truth=True)


def _prefixed(before: Any, name: str) -> Run:
    """Put a constant before one attribute: how a rollout is salted."""
    salt = "" if before is None else to_text(before)

    def run(data: Any) -> str:
        value = data.get(name)
        if value.__class__ is str:
            return salt + value
        return salt if value is None else salt + to_text(value)

    return run


def _whole(value: Any) -> int:
    number = to_number(value)
    if number != number:  # noqa: PLR0124  # NaN
        return 0
    return int(max(-(2.0**53), min(2.0**53, number)))


def _substring(text: str, start: int, length: int | None) -> str:
    begin = max(len(text) + start, 0) if start < 0 else start
    rest = text[begin:]
    return rest if length is None else rest[:length]


def substr(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `substr`: a part of a text by start and length, both may count from the end."""
    arguments = compiler.compile_arguments(raw, scope, path)
    text, start, length = (pick(arguments, i) for i in range(3))
    has_length = len(arguments) > 2

    def run(data: Any) -> str:
        limit = length.run(data)
        return _substring(
            to_text(text.run(data)),
            _whole(start.run(data)),
            _whole(limit) if has_length and limit is not None else None,
        )

    return operation(arguments[:3], run, python_truth=True)


def contains(needle: Any, haystack: Any) -> bool:
    """Tell whether a text has a part, or a list an element that is strictly equal."""
    if haystack.__class__ is str:
        return to_text(needle) in haystack
    if isinstance(haystack, LISTS):
        if needle.__class__ is str:
            return needle in haystack
        return any(strict_equal(needle, item) for item in haystack)
    return False


def in_(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `in`: a part of a text, or an element of a list."""
    arguments = compiler.compile_arguments(raw, scope, path)
    needle, haystack = pick(arguments, 0), pick(arguments, 1)
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


def merge(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `merge`: one flat list."""
    arguments = compiler.compile_arguments(raw, scope, path)
    runs = [argument.run for argument in arguments]

    def run(data: Any) -> list[Any]:
        merged: list[Any] = []
        for each in runs:
            value = each(data)
            if isinstance(value, LISTS):
                merged.extend(value)
            else:
                merged.append(value)
            if len(merged) > MAX_LIST_ITEMS:
                raise ResultTooLargeError
        return merged

    return operation(arguments, run)
