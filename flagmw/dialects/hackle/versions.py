"""Semantic versions as Hackle's conditions compare them.

Not `core.semver`: this one takes no leading "v", lets a prerelease follow a shortened version, tolerates a newline at the
end, and has an order of prereleases that is none, so that versions are compared in pairs and never sorted.

Source: Hackle reference, section 13; vectors `match_versions` and `match_table`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    r"(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?)?"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?\n?"
)

MAX_CHARS = 1024
"""Longer texts are no versions: a property has no more characters, and converting digits takes quadratic time."""


class Version(NamedTuple):
    """A version without what does not count for its order."""

    core: tuple[int, int, int]
    prerelease: tuple[str, ...]


def parse_version(value: Any) -> Version | None:
    """Give the version that a text says, None when it says none."""
    return _parse(value) if value.__class__ is str and len(value) <= MAX_CHARS else None


@lru_cache(maxsize=512)
def _parse(value: str) -> Version | None:
    match = _VERSION.fullmatch(value)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    core = (int(major), int(minor or 0), int(patch or 0))
    return Version(core, tuple(prerelease.split(".")) if prerelease else ())


def compare_versions(a: Version, b: Version) -> int:
    """Tell which version is greater: above 0 for the first, below 0 for the second, 0 for neither."""
    if a.core != b.core:
        return 1 if a.core > b.core else -1
    if a.prerelease == b.prerelease:
        return 0
    if not a.prerelease or not b.prerelease:
        return -1 if a.prerelease else 1
    for mine, other in zip(a.prerelease, b.prerelease, strict=False):
        if mine != other:
            return _compare_identifiers(mine, other)
    return len(a.prerelease) - len(b.prerelease)


def _compare_identifiers(a: str, b: str) -> int:
    if a.isdecimal() and b.isdecimal():
        return int(a) - int(b)
    return 1 if a > b else -1
