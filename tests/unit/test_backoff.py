"""How long is waited between attempts."""

from __future__ import annotations

import pytest

from flagmw.lifecycle.backoff import GOOD_RUN_S, Backoff


def waits(count: int, random: float, *, first_s: float = 1.0, max_s: float = 60.0) -> list[float]:
    backoff = Backoff(first_s=first_s, max_s=max_s, random=lambda: random)
    return [backoff.next_s() for _ in range(count)]


def test_shortest_waits_are_half_of_a_bound_that_doubles_up_to_the_maximum() -> None:
    assert waits(8, 0.0) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_longest_waits_are_the_bound_itself() -> None:
    assert waits(8, 1.0) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_waits_stay_at_the_maximum_however_often_it_fails() -> None:
    assert waits(5000, 1.0)[-1] == 60.0


def test_a_first_wait_above_the_maximum_is_the_maximum() -> None:
    assert waits(2, 1.0, first_s=100.0, max_s=3.0) == [3.0, 3.0]


def test_each_wait_takes_a_random_number_of_its_own() -> None:
    numbers = iter([0.0, 1.0, 0.5])
    backoff = Backoff(first_s=4.0, max_s=4.0, random=lambda: next(numbers))
    assert [backoff.next_s() for _ in range(3)] == [2.0, 4.0, 3.0]


@pytest.mark.parametrize(("ran_s", "expected"), [(None, 8.0), (GOOD_RUN_S, 8.0), (GOOD_RUN_S + 0.001, 1.0)])
def test_only_a_run_of_more_than_a_minute_begins_with_short_waits_again(ran_s: float | None, expected: float) -> None:
    backoff = Backoff(first_s=1.0, max_s=60.0, random=lambda: 1.0)
    for _ in range(3):
        backoff.next_s()
    assert backoff.next_s(ran_s) == expected


def test_a_success_begins_with_short_waits_again() -> None:
    backoff = Backoff(first_s=1.0, max_s=60.0, random=lambda: 1.0)
    backoff.next_s()
    backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1.0
