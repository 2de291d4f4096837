"""Which accessor is the current request's, in this thread or task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from flagmw.accessor import Flags

current_flags: ContextVar[Flags | None] = ContextVar("flagmw_flags", default=None)

finders: list[Callable[[], Flags | None]] = []
"""Asked when nothing is bound: an adapter adds one if its framework has requests that pass no middleware."""


def find_flags() -> Flags | None:
    """Give the accessor of the request that this thread or task works on; None outside of one."""
    found = current_flags.get()
    return found if found is not None else next((other for find in finders if (other := find()) is not None), None)


def unbind(flags: Flags, before: Flags | None) -> None:
    """Take an accessor's place back to what was there before it.

    Unlike `ContextVar.reset` it may be called in another context than the one that bound it: servers close a
    response where they like.
    """
    if current_flags.get() is flags:
        current_flags.set(before)
