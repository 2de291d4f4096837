"""The bell by which producers wake the shipping thread."""

from __future__ import annotations

import time

from flagmw.events.bell import NEVER, Bell


def test_a_ring_of_before_keeps_the_thread_awake() -> None:
    bell = Bell()
    bell.ring()
    began = time.monotonic()
    bell.wait(30.0)
    assert time.monotonic() - began < 5.0


def test_many_rings_count_as_one() -> None:
    bell = Bell()
    for _ in range(3):
        bell.ring()
    bell.wait(30.0)
    began = time.monotonic()
    bell.wait(0.05)
    assert time.monotonic() - began >= 0.04


def test_a_bell_that_was_rung_need_not_be_rung_again() -> None:
    bell = Bell()
    bell.level = 3
    bell.ring()
    assert bell.level == NEVER


def test_a_wait_that_is_overdue_does_not_wait() -> None:
    began = time.monotonic()
    Bell().wait(-1.0)
    assert time.monotonic() - began < 1.0
