"""Spreads users over the slots of a bucket.

Source: Hackle reference, sections 10.3 to 10.5; vectors `bucketing`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, TypeVar

from flagmw.core.bucketing import HASH_SPAN, murmur3_32_signed
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.model import Bucket, Number, Slot

T = TypeVar("T")


def slot_number(seed: int, slot_size: int, identifier: str) -> int:
    """Place an identifier in a bucket.

    Args:
        seed: of the hash, taken modulo 2**32.
        slot_size: how many numbers there are; a negative one acts like its absolute value.
        identifier: compared as UTF-8 bytes.

    Returns:
        An integer from 0 to `slot_size` - 1.

    Raises:
        ValueError: an identifier that has no UTF-8.
        ZeroDivisionError: a bucket without numbers.

    Source: Hackle reference, section 10.4; vectors `bucketing`.
    """
    return abs(murmur3_32_signed(identifier.encode(), seed % HASH_SPAN)) % abs(slot_size)


def allocation(bucket: Bucket, given: Sequence[T], nothing: T) -> Callable[[str | None], T]:
    """Make what gives an identifier its slot's share.

    Args:
        bucket: where identifiers are placed.
        given: what each slot gives, in the slots' order.
        nothing: for identifiers in no slot, and without one.
    """
    if bucket.slot_size == 0:
        return lambda identifier: nothing if identifier is None else _nowhere(identifier)
    seed, size = bucket.seed % HASH_SPAN, abs(bucket.slot_size)
    bounds, owners = _ranges(bucket.slots)
    shares = [nothing if owner is None else given[owner] for owner in owners]

    def allocate(identifier: str | None) -> T:
        if identifier is None:
            return nothing
        return shares[bisect_right(bounds, abs(murmur3_32_signed(identifier.encode(), seed)) % size)]

    return allocate


def _nowhere(identifier: str) -> Any:
    raise Defect("a bucket has no slots to choose from: its slotSize is 0")


def _ranges(slots: Sequence[Slot]) -> tuple[list[Number], list[int | None]]:
    """Turn slots, which may overlap, into ranges that do not.

    Returns:
        The bounds of the ranges, and for each range which slot has it: the first one in the document. There is one
        range more than bounds.
    """
    order = sorted(range(len(slots)), key=lambda index: slots[index].start)
    bounds = sorted({bound for slot in slots for bound in (slot.start, slot.end)})
    owners: list[int | None] = [None]
    covering: list[int] = []
    upcoming = 0
    for bound in bounds:
        while upcoming < len(order) and slots[order[upcoming]].start <= bound:
            heappush(covering, order[upcoming])
            upcoming += 1
        while covering and slots[covering[0]].end <= bound:
            heappop(covering)
        owners.append(covering[0] if covering else None)
    return bounds, owners
