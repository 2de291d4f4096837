"""How long to wait before the next attempt. Pure: clock and randomness are the caller's."""

from __future__ import annotations

from collections.abc import Callable

GOOD_RUN_S = 60.0
"""Who stayed connected for longer than this begins with short waits again."""

_MAX_DOUBLINGS = 40  # far beyond any maximum; keeps the power small


class Backoff:
    """Waits that double up to a maximum, spread so that clients do not come back all at once.

    Each wait is uniform in [b/2, b), where b = min(first * 2 ** failures, maximum).

    Args:
        first_s: b after the first failure.
        max_s: the largest b.
        random: gives a number in [0, 1).

    Source: the streaming protocols of featureflag.co and FeatBit; bounds in the unit test.
    """

    def __init__(self, *, first_s: float, max_s: float, random: Callable[[], float]) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._random = random
        self._failures = 0

    def next_s(self, ran_s: float | None = None) -> float:
        """Give the wait after a failure.

        Args:
            ran_s: how long a connection had been open when it failed; None when it never was.
        """
        if ran_s is not None and ran_s > GOOD_RUN_S:
            self._failures = 0
        bound_s = min(self._first_s * 2.0 ** min(self._failures, _MAX_DOUBLINGS), self._max_s)
        self._failures += 1
        return bound_s / 2 + bound_s / 2 * self._random()

    def reset(self) -> None:
        """Begin with short waits again, after a success."""
        self._failures = 0
