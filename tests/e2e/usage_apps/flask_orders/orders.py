from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, singledispatch
from typing import Any

from flask_orders.errors import OrderError
from flask_orders.hooks import cached


@dataclass
class Line:
    name: str
    cents: int = 0

    def __post_init__(self) -> None:
        self.name = self.name.strip()

    def discounted(self, percent: int) -> int:
        return self.cents * (100 - percent) // 100


class Audited:
    changes: list[str]

    def note(self, change: str) -> None:
        self.changes.append(change)

    def undo(self) -> None:
        self.changes.pop()


@dataclass
class Order(Audited):
    number: str
    lines: list[Line] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    @cached_property
    def total(self) -> int:
        return sum(line.cents for line in self.lines)

    @property
    def is_empty(self) -> bool:
        return not self.lines

    @classmethod
    def parse(cls, text: str, /, *, number: str = "1") -> Order:
        return cls(number, [Line(*_split(part)) for part in text.split(";")])

    @staticmethod
    def tax(cents: int, rate: float = 0.19) -> int:
        return round(cents * rate)

    def __iter__(self) -> Iterator[Line]:
        yield from sorted(self.lines, key=lambda line: line.cents)

    def __len__(self) -> int:
        return len(self.lines)


def _split(part: str) -> tuple[str, int]:
    name, _, cents = part.partition("=")
    return name, int(cents or 0)


@lru_cache
def find(number: str) -> Order:
    if number == "missing":
        raise OrderError(number, status=404)
    return Order.parse("tea=250; cup=900", number=number)


@cached(5)
def report(year: int) -> list[str]:
    return [f"{year}-{month:02d}" for month in range(1, 4)]


@singledispatch
def shown(value: Any) -> str:
    return str(value)


@shown.register
def _(value: list) -> str:
    return ", ".join(value)


@shown.register
def _shown_bytes(value: bytes) -> str:
    return value.hex()


if True:

    def conditional(number: str, *rest: str, **more: str) -> str:
        return number


def never(a: int, b: int = 2, /, c: int = 3, *, d: int = 4) -> int:
    return a + b + c + d
