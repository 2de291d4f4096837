"""What is drawn at random for environments and users of any service; the same seed gives the same.

Attributes and the values that conditions compare them with come from the same small pools, so that rules really match.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

POOLS: dict[str, tuple[Any, ...]] = {
    "country": ("fr", "de", "us", "cn", "br", "FR", ""),
    "plan": ("free", "pro", "enterprise", "pro-trial"),
    "age": (0, 17, 18, 19, 30, 30.0, 42, 57, -1, "30", " 30 ", "3e1", "thirty"),
    "ltv": (0.0, 0.1, 29.999996, 30.000004, 100.5, 1e6, 1e-7, "30.000004"),
    "email": ("ana@example.com", "bob@example.org", "li@例え.jp", "root@localhost"),
    "city": ("北京", "Paris", "São Paulo", "x北京x", "nowhere"),
    "beta": (True, False, "true", "True", "false", "FALSE", "yes"),
    "version": ("1.0.0", "1.2", "2.10.1", "2.9.0", "1.0.0-beta.2", "1.0.0-beta.11", "v1", "3"),
    "role": ("admin", "editor", "viewer", "owner"),
    "empty": ("",),
}
"""Values by the name of the attribute."""

WORDS = ("checkout", "banner", "search", "cart", "price", "avatar", "theme", "login", "invite", "export")


class Draw:
    """A source of random things.

    Args:
        seed: of the sequence.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, ratio: float) -> bool:
        return self.random.random() < ratio

    def one(self, items: Sequence[T]) -> T:
        return self.random.choice(items)

    def some(self, items: Sequence[T], at_most: int) -> list[T]:
        """Give up to so many different items; possibly none."""
        return self.random.sample(list(items), self.random.randint(0, min(at_most, len(items))))

    def several(self, make: Callable[[], T], low: int, high: int) -> list[T]:
        return [make() for _ in range(self.random.randint(low, high))]

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def key(self, number: int) -> str:
        """Give a key like those of people."""
        return f"{self.one(WORDS)}-{self.one(WORDS)}-{number}"

    def id(self) -> str:
        """Give the text of a UUID."""
        digits = f"{self.random.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def user_key(self) -> str:
        """Give a user key from a small set, so that targets are hit."""
        return self.one((f"u-{self.number(0, 400)}", f"u-{self.number(0, 400)}", f"Ünal-{self.number(0, 20)}"))

    def attributes(self) -> dict[str, Any]:
        """Give attributes of a user; each may be missing."""
        return {name: self.one(values) for name, values in POOLS.items() if self.chance(0.7)}

    def ranges(self, count: int) -> list[list[float]]:
        """Cut the scale from 0 to 1 into ranges that leave nobody out; some may be empty."""
        cuts = sorted(self.one((0.0, 0.1, 0.25, 0.333, 0.5, 0.75, 0.9, 1.0)) for _ in range(count - 1))
        edges = [0, *cuts, 1]
        return [[low, high] for low, high in itertools.pairwise(edges)]


# --- conditions in the words of FeatBit and featureflag.co -------------------------------------------------------------

NUMERIC = ("BiggerThan", "BiggerEqualThan", "LessThan", "LessEqualThan")
EQUALITY = ("Equal", "NotEqual")
TEXT = ("Contains", "NotContain", "StartsWith", "EndsWith")
LISTS = ("IsOneOf", "NotOneOf")
BOOLEANS = ("IsTrue", "IsFalse")
PATTERNS = ("MatchRegex", "NotMatchRegex")
SEGMENTS = ("User is in segment", "User is not in segment")
OPERATORS = (*NUMERIC, *EQUALITY, *TEXT, *LISTS, *BOOLEANS, *PATTERNS, *SEGMENTS)
"""All operators of both services."""

Condition = tuple[str, str | None, str | None]
"""Property, operator, value."""


def condition_of(draw: Draw, operator: str, segment_ids: Sequence[str]) -> Condition:
    """Draw a condition with an operator.

    Args:
        draw: the source.
        operator: one of `OPERATORS`.
        segment_ids: which segments there are; without any, a segment condition names one that is not there.
    """
    if operator in SEGMENTS:
        wanted = json.dumps(draw.some(segment_ids, 2) or ["11111111-1111-1111-1111-111111111111"])
        return draw.one(((operator, None, wanted), (operator, "", wanted), ("any property", operator, wanted)))
    name = draw.one([*POOLS, "keyId", "name", "unknown"])
    texts = [str(value) for value in POOLS.get(name, ("u-1", "u-2", "Ana"))]
    if operator in NUMERIC:
        name = draw.one(("age", "age", "ltv", "version", "unknown"))
        return name, operator, draw.one(("0", "18", "30", "30.000001", "1e2", "-1", "many", ""))
    if operator in LISTS:
        listed: Any = draw.some(texts, 4)
        if draw.chance(0.1):
            listed = draw.one(([1, 30, "30"], "a text with fr and pro", {"pro": 1}, 30, None))
        return name, operator, draw.one((json.dumps(listed), json.dumps(listed), json.dumps(listed), "[not JSON"))
    if operator in PATTERNS:
        if draw.chance(0.08):
            return name, operator, "(never closed"
        return name, operator, draw.one(("^u-[0-4]", "(?i)FR|DE", r"@example\.(com|org)$", "北.", "^$", r"^\d+\.\d+"))
    if operator in TEXT:
        part = draw.one(texts)
        return name, operator, draw.one((part, part[:2], part[-2:], part[1:-1]))
    return name, operator, draw.one(texts)
