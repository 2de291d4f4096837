"""`Pulse`: whether the thread of a source still lives, told by the thread itself."""

from __future__ import annotations

from collections.abc import Callable


class Pulse:
    """The last sign of life of a thread. One thread gives signs; any may look.

    A thread that waits says for how long. It counts as alive until then, without being woken only to say so, and as
    silent from then on.

    Args:
        monotonic: the clock.
    """

    __slots__ = ("_monotonic", "_quiet_until_s")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._quiet_until_s: float | None = None

    def rest(self, at_most_s: float = 0.0) -> None:
        """Give a sign, and say that the next one follows within that time."""
        self._quiet_until_s = self._monotonic() + at_most_s

    @property
    def last_s(self) -> float | None:
        """When the last sign was given, by the clock; None before the first."""
        until_s = self._quiet_until_s
        return None if until_s is None else min(until_s, self._monotonic())
