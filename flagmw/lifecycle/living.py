"""`Living`: the objects of a kind that somebody still uses."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """Remembers objects as long as somebody else keeps them.

    Without a lock, so that a fork at any moment leaves nothing that is locked, and any thread may add while another
    one looks, which a `WeakSet` does not bear.
    """

    __slots__ = ("_references",)

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, item: T) -> None:
        """Remember an object."""
        place, references = id(item), self._references

        def forget(reference: weakref.ref[T]) -> None:
            if references.get(place) is reference:
                references.pop(place, None)

        references[place] = weakref.ref(item, forget)

    def items(self) -> list[T]:
        """Give the objects that are still used, the oldest first."""
        found = [reference() for reference in list(self._references.values())]
        return [item for item in found if item is not None]

    def clear(self) -> None:
        """Forget all."""
        self._references.clear()
