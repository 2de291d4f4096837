"""When the collector is polled, and given the code base and invocations. Pure: the clock is a parameter.

Times are seconds of any clock that does not go back. What a call does is the caller's, see `Calls`.

Source: the schedule of the official agent; its states and timelines are cases of the conformance tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from flagmw.errors import AuthError, TransportError
from flagmw.usage.functions import CodeBase

DEFAULT_INTERVAL_S = 600.0
"""All intervals until a collector has said others."""

_PATIENT_FAILURES = 5
_MAX_DOUBLINGS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How long to wait after a success, and after a failure."""

    interval_s: float = DEFAULT_INTERVAL_S
    retry_s: float = DEFAULT_INTERVAL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """What a collector says when it is polled."""

    poll: Pair
    code_base: Pair
    invocations: Pair


class State:
    """When one kind of call is due.

    Attributes:
        pair: the intervals in force.
        next_s: when it is due; 0 for now.
        failures: since the last success.
        factor: of the retry interval, after many failures.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.next_s = 0.0
        self.failures = 0
        self.factor = 1

    def is_due(self, now_s: float) -> bool:
        """Tell whether it is time."""
        return now_s >= self.next_s

    def succeeded(self, now_s: float) -> None:
        """Be due again after the interval."""
        self.next_s = now_s + self.pair.interval_s
        self.failures = 0
        self.factor = 1

    def failed(self, now_s: float) -> None:
        """Be due again after the retry interval, from the sixth failure in a row on after 2, 4, 8, 16 times that."""
        late = self.failures - _PATIENT_FAILURES + 1
        self.factor = 1 if late <= 0 else 2 ** min(late, _MAX_DOUBLINGS)
        self.next_s = now_s + self.pair.retry_s * self.factor
        self.failures += 1

    def now(self) -> None:
        """Be due at once."""
        self.next_s = 0.0

    def update(self, pair: Pair, now_s: float) -> None:
        """Take other intervals; shorter ones are in force at once, longer ones with the next call."""
        if self.next_s != 0:
            if pair.interval_s < self.pair.interval_s and self.factor == 1:
                self.next_s = now_s + pair.interval_s
            elif pair.retry_s < self.pair.retry_s and self.factor > 1:
                self.next_s = now_s + pair.retry_s * self.factor
        self.pair = pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a job does beyond, or besides, what the official agent does.

    Attributes:
        max_functions: a larger code base is not published.
        waits_when_refused: whether a code base that is too large, or empty, is looked at again after the retry
            interval, and not at every run, as the official agent does.
        max_gap_s: polls that are further apart make the collector forget the code base: it is published again.
    """

    max_functions: int = 100_000
    waits_when_refused: bool = True
    max_gap_s: float = 50 * 60.0


OFFICIAL = Habits(waits_when_refused=False, max_gap_s=math.inf)


class Calls(Protocol):
    """What a job does with the collector. Those that call it raise `TransportError` when that fails."""

    def poll(self) -> Intervals:
        """Ask for the intervals."""
        ...

    def code_base(self) -> CodeBase:
        """Give the code base as it is now."""
        ...

    def count(self, code_base: CodeBase) -> int:
        """Tell how many functions the collector would get."""
        ...

    def refuse(self, count: int) -> None:
        """Say that a code base has no functions, or too many."""
        ...

    def publish_code_base(self, code_base: CodeBase) -> None:
        """Publish it."""
        ...

    def publish_invocations(self) -> None:
        """Publish what ran; what could not be published is kept, and published as it was the next time."""
        ...


class Job:
    """The collector's one job: each run does what is due, in the order poll, code base, invocations.

    Args:
        habits: what it does beyond the official agent.
        force_interval_s: in place of all intervals, whatever the collector says; 0 for none.

    Attributes:
        has_polled: whether a poll has ever succeeded.
        is_published: whether the collector has the code base.
    """

    def __init__(self, habits: Habits, force_interval_s: float = 0.0) -> None:
        self._habits = habits
        self._is_forced = force_interval_s != 0
        pair = Pair(interval_s=force_interval_s, retry_s=force_interval_s) if self._is_forced else Pair()
        self.poll = State(pair)
        self.code_base = State(pair)
        self.invocations = State(pair)
        self.has_polled = False
        self.is_published = False
        self._polled_s = math.inf
        self._polled_wall_s = math.inf

    def next_s(self) -> float:
        """Tell when something is due; 0 for now."""
        due_s = self.poll.next_s
        if self.has_polled:
            due_s = min(due_s, self.invocations.next_s if self.is_published else self.code_base.next_s)
        return due_s

    def run(self, calls: Calls, now_s: float, wall_s: float) -> None:
        """Do what is due.

        Args:
            calls: the collector.
            now_s: now.
            wall_s: now, by a clock that goes on while the host sleeps.

        Raises:
            AuthError: the collector does not know our key; nothing more is to be done.
        """
        if self.poll.is_due(now_s):
            self._poll(calls, now_s, wall_s)
        if self.has_polled and not self.is_published and self.code_base.is_due(now_s):
            self._publish_code_base(calls, now_s)
        if self.has_polled and self.is_published and self.invocations.is_due(now_s):
            self._publish_invocations(calls, now_s)

    def _poll(self, calls: Calls, now_s: float, wall_s: float) -> None:
        try:
            given = calls.poll()
        except AuthError:
            raise
        except TransportError:
            self.poll.failed(now_s)
            return
        gap_s = max(now_s - self._polled_s, wall_s - self._polled_wall_s)
        if self.is_published and gap_s > self._habits.max_gap_s:
            self.is_published = False  # and due, since it was not scheduled when it was published
        self.has_polled = True
        self._polled_s, self._polled_wall_s = now_s, wall_s
        if not self._is_forced:
            self.poll.update(given.poll, now_s)
            self.code_base.update(given.code_base, now_s)
            self.invocations.update(given.invocations, now_s)
        self.poll.succeeded(now_s)

    def _publish_code_base(self, calls: Calls, now_s: float) -> None:
        code_base = calls.code_base()
        count = calls.count(code_base)
        if not 0 < count <= self._habits.max_functions:
            calls.refuse(count)
            if self._habits.waits_when_refused:
                self.code_base.failed(now_s)
            return
        try:
            calls.publish_code_base(code_base)
        except AuthError:
            raise
        except TransportError:
            self.code_base.failed(now_s)
        else:
            self.is_published = True

    def _publish_invocations(self, calls: Calls, now_s: float) -> None:
        try:
            calls.publish_invocations()
        except AuthError:
            raise
        except TransportError:
            self.invocations.failed(now_s)
        else:
            self.invocations.succeeded(now_s)
