"""Percentage rollouts that place a text by the first four bytes of its MD5 digest.

Source: featureflag.co reference, section 11; FeatBit reference, section 10; vectors `rollout.csv` and `edge_*`.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from struct import Struct
from typing import Any, Generic, TypeVar

from flagmw.context import UserContext
from flagmw.core.properties import Property

T = TypeVar("T")
U = TypeVar("U")

try:  # CPython's own MD5 takes 160 ns a digest where OpenSSL's takes 370 ns; not every build has it
    from _md5 import md5  # type: ignore[import-not-found]  # it has no stub
except ImportError:
    md5 = partial(hashlib.md5, usedforsecurity=False)

SCALE = 1 << 31
"""How many steps there are from 0 to 1; a text is placed on one of `SCALE + 1` points, since 1.0 can occur."""

first_uint32 = Struct("<I").unpack_from

ALWAYS = (0, 1)
Range = tuple[float, float]


def hash_of(data: bytes) -> int:
    """Hash bytes to an integer from 0 to 2**32 - 1, which `Rollout.bounds` divide."""
    return first_uint32(md5(data).digest())[0]  # type: ignore[no-any-return]  # the format says int


def percentage(data: bytes) -> float:
    """Place bytes on the scale from 0.0 to 1.0, both included."""
    hashed = hash_of(data)
    return min(hashed, (1 << 32) - hashed) / SCALE  # the absolute value of a signed number


def range_of(value: Any) -> Range | None:
    """Read a range of JSON; None for what is malformed, which nobody is in."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    low, high = value[0], value[1]
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return None
    return (low, high) if low == low and high == high else None  # noqa: PLR0124  # NaN is in no relation


def contains(limits: Range, data: bytes) -> bool:
    """Tell whether a text's bytes are placed in a range, which has its lower limit and not its upper one."""
    return limits == ALWAYS or limits[0] <= percentage(data) < limits[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(Generic[T]):
    """Ranges and what each serves, laid out for one bisection.

    Attributes:
        bounds: where what is served changes, as hashes in ascending order.
        served: what hashes below the first bound get, then what those from it on get, and so on; None is nothing.
        unhashed: what those get who cannot be hashed: only a range that has everybody is for them.
    """

    bounds: Sequence[int]
    served: Sequence[T | None]
    unhashed: T | None

    @property
    def is_split(self) -> bool:
        """Whether it depends on the hash what is served."""
        return bool(self.bounds)

    def map(self, convert: Callable[[T], U]) -> Rollout[U]:
        """Give the same ranges that serve something else."""
        served = [convert(item) if item is not None else None for item in self.served]
        unhashed = convert(self.unhashed) if self.unhashed is not None else None
        return Rollout(bounds=self.bounds, served=served, unhashed=unhashed)

    def find(self, data: bytes) -> T | None:
        """Give what is served to a text."""
        return self.served[bisect_right(self.bounds, hash_of(data))]


def make_rollout(ranges: Sequence[tuple[Range | None, T]]) -> Rollout[T]:
    """Lay ranges out.

    Args:
        ranges: each with what it serves; where they overlap, the first wins.
    """
    slices = [(*_steps(limits), order, item) for order, (limits, item) in enumerate(ranges) if limits is not None]
    slices.sort(key=lambda piece: piece[0])
    cuts = sorted({0, *(cut for low, high, _, _ in slices for cut in (low, high) if 0 < cut <= SCALE)})
    bounds: list[int] = []
    served: list[T | None] = []
    begun: list[tuple[int, int, T]] = []
    following = 0
    for cut in cuts:
        while following < len(slices) and slices[following][0] <= cut:
            _, high, order, item = slices[following]
            heappush(begun, (order, high, item))
            following += 1
        while begun and begun[0][1] <= cut:
            heappop(begun)
        first = begun[0][2] if begun else None
        if not served or served[-1] is not first:
            served.append(first)
            if cut:
                bounds.append(cut)
    unhashed = next((item for limits, item in ranges if limits == ALWAYS), None)
    # The hash is signed, and its sign does not count: the upper half of the unsigned ones mirrors the lower.
    mirrored = [(1 << 32) - cut + 1 for cut in reversed(bounds)]
    return Rollout(bounds=[*bounds, *mirrored], served=[*served, *reversed(served[:-1])], unhashed=unhashed)


def _steps(limits: Range) -> tuple[int, int]:
    return (0, SCALE + 1) if limits == ALWAYS else (_first_step(limits[0]), _first_step(limits[1]))


def _first_step(limit: float) -> int:
    """Give the first step that is not below a limit; scaling by a power of two is exact."""
    if limit <= 0:
        return 0
    return math.ceil(limit * SCALE) if limit <= 1 else SCALE + 1


def compile_rollout(
    rollout: Rollout[T], prefix: str, read: Property, *, is_ascii: bool
) -> Callable[[UserContext], T | None]:
    """Make the function that gives what is served to a context.

    Args:
        rollout: the ranges.
        prefix: what is hashed in front of the property.
        read: the property; a missing one is an empty text.
        is_ascii: texts are hashed as ASCII, with `?` for every other character; else as UTF-8.
    """
    bounds, served, unhashed = rollout.bounds, rollout.served, rollout.unhashed
    slot, otherwise = read.slot, read.otherwise

    def choose(context: UserContext) -> T | None:
        text = context.values.get(slot)
        if text.__class__ is not str:
            text = otherwise(context) or ""
        text = prefix + text
        try:
            data = text.encode("ascii", "replace") if is_ascii and not text.isascii() else text.encode()
        except UnicodeEncodeError:  # a text that is no Unicode
            return unhashed
        return served[bisect_right(bounds, first_uint32(md5(data).digest())[0])]

    return choose
