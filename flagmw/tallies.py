"""`Tallies`: how often each flag was evaluated to what and why, counted where flags are read at next to no price.

Counting takes no lock and asks no clock: what was counted before has a counter, whose step CPython takes as a whole.
Only what appears for the first time costs more. Reading is for one thread at a time, elsewhere. Needs only `evaluation`.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from flagmw.evaluation import ErrorCode, Reason

NOT_FOUND: str = ErrorCode.FLAG_NOT_FOUND.value
"""The reason under which keys are counted that are no flag's; all other reasons are those of `Reason`."""

MAX_FLAGS = 10_000
MAX_OTHERS = 1_000
"""Keys that are no flag's may come from anywhere, such as a request; they must not take the room of the flags."""

MAX_PER_FLAG = 100
"""A flag has few variations, but a service may invent one for each user."""

MAX_COMBINATIONS = 50_000
"""Of all flags together: about 20 MiB."""

MAX_KEY_CHARS = 200
MAX_VALUE_CHARS = 200


class Counted(Protocol):
    """What an evaluation gave: the part of an outcome that is counted."""

    @property
    def reason(self) -> Reason:
        """Why."""
        ...

    @property
    def variation(self) -> str | None:
        """Which variation, None for none."""
        ...

    @property
    def value(self) -> Any:
        """Its value; without meaning when `uses_default`."""
        ...

    @property
    def uses_default(self) -> bool:
        """Whether the caller's default was the answer."""
        ...


class Combination(NamedTuple):
    """What is counted apart.

    Attributes:
        flag_key: unique among the flags; for a key that is no flag's, that key, cut to `MAX_KEY_CHARS`.
        variation: None when there was none.
        reason: of `Reason`, or `NOT_FOUND`.
        value_json: the variation's value, for texts, numbers and booleans of at most `MAX_VALUE_CHARS`; None for others
            and for the caller's default.
    """

    flag_key: str
    variation: str | None
    reason: str
    value_json: str | None


class Tallies:
    """Counts the evaluations of one client in this process. `add` and the counters are for any thread.

    Attributes:
        counters: by space, key as callers write it, variation and reason, for what was counted before; each call counts
            one. What evaluates flags may call them without a detour through `add`. Replaced now and then.
    """

    __slots__ = ("_flags", "_known", "_lock", "_others", "_taken", "counters")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin at zero; in a forked child before anything is evaluated there, since the parent's counts are its own."""
        self.counters: dict[tuple[str, Any, str | None, Reason], Callable[[], int]] = {}
        self._known: dict[Combination, itertools.count[int]] = {}
        self._taken: dict[Combination, int] = {}
        self._flags: dict[str, int] = {}
        self._others: dict[str, int] = {}
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Look at the values of variations anew, because the flags have changed."""
        self.counters = {}

    def add(self, space: str, key: Any, flag_key: str | None, reason: str, outcome: Counted) -> None:
        """Count an evaluation, and let the next one like it be counted by `counters`.

        Args:
            space: what the caller asked for.
            key: as the caller wrote it; nothing but a str or an int is counted.
            flag_key: the unique key of the flag; None when no such flag is known.
            reason: the outcome's, or `NOT_FOUND`.
            outcome: settled.
        """
        if key.__class__ is bool or not isinstance(key, (str, int)):
            return
        is_flag = flag_key is not None
        if flag_key is not None:
            value_json = None if outcome.uses_default else short_json(outcome.value)
            combination = Combination(flag_key, outcome.variation, str(reason), value_json)
        else:
            combination = Combination(_shown(key), None, str(reason), None)
        counter = self._known.get(combination)
        if counter is None:
            if not self._has_room(combination.flag_key, is_flag=is_flag):
                return
            # If another thread makes it in this moment, one of the two is taken by both.
            counter = self._known.setdefault(combination, itertools.count())
        next(counter)
        # An error's cause may be another one the next time, such as flags that have not arrived.
        if is_flag and outcome.reason is not Reason.ERROR:
            self.counters[space, key, outcome.variation, outcome.reason] = counter.__next__

    def _has_room(self, flag_key: str, *, is_flag: bool) -> bool:
        """Tell whether a key may be counted in one more way."""
        numbers, limit = (self._flags, MAX_FLAGS) if is_flag else (self._others, MAX_OTHERS)
        number = numbers.get(flag_key, 0)
        if len(self._known) >= MAX_COMBINATIONS or number >= MAX_PER_FLAG or (number == 0 and len(numbers) >= limit):
            return False
        numbers[flag_key] = number + 1
        return True

    def read(self) -> Mapping[Combination, int]:
        """Give what was counted since the beginning; two readers do not disturb each other, nor those who count."""
        totals: dict[Combination, int] = {}
        with self._lock:
            taken = self._taken
            for combination, counter in list(self._known.items()):
                # A counter cannot be looked at without a step, so ours are taken off.
                steps = taken.get(combination, 0)
                taken[combination] = steps + 1
                totals[combination] = next(counter) - steps
        return totals


def _shown(key: str | int) -> str:
    if isinstance(key, str):
        return str.__str__(key)[:MAX_KEY_CHARS]
    # Python writes no number of thousands of digits in decimal.
    return f"{int(key):d}" if abs(key) < 10**18 else f"{int(key):#x}"[:MAX_KEY_CHARS]


def short_json(value: Any) -> str | None:
    """Write a text, number or boolean as JSON; None for anything else and for what is too long."""
    if not isinstance(value, (str, int, float)) or (isinstance(value, str) and len(value) > MAX_VALUE_CHARS):
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # no finite number, or one with too many digits
        return None
    return text if len(text) <= MAX_VALUE_CHARS else None
