"""Semantic versions as flag rules compare them: lenient about missing parts, strict about the rest.

Source: the flagd rule reference, "sem_ver"; vectors `sem_ver`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flagmw.core.coercion import to_text

_NUMBER = r"(0|[1-9][0-9]*)"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"[vV]?{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)

MAX_CHARS = 256
"""Longer texts are no versions; it keeps the conversion of digits cheap."""

Version = tuple[int, int, int, tuple[Any, ...]]


def parse_version(value: Any) -> Version | None:
    """Give a version in a form whose tuples are in version order, None when `value` is no version."""
    if value.__class__ is not str:
        if value.__class__ not in (int, float):
            return None
        value = to_text(value)
    match = _VERSION.fullmatch(value) if len(value) <= MAX_CHARS else None
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    # (1,) sorts a release above its prereleases; numeric identifiers sort below the others.
    order: tuple[Any, ...] = (1,)
    if prerelease is not None:
        parts = ((0, int(part), "") if part.isdigit() else (1, 0, part) for part in prerelease.split("."))
        order = (0, *parts)
    return int(major), int(minor or 0), int(patch or 0), order


COMPARISONS: Mapping[str, Callable[[Version, Version], bool]] = MappingProxyType(
    {
        "=": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
        "^": lambda a, b: a[0] == b[0],
        "~": lambda a, b: a[:2] == b[:2],
    }
)
