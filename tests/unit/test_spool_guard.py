"""The lock that its holder may enter again."""

from __future__ import annotations

import threading

from flagmw.events.guard import Guard


def enters_alone(guard: Guard) -> bool:
    """Try it in another thread."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(guard.enter_alone()))
    thread.start()
    thread.join(5)
    return found == [True]


def test_a_holder_may_enter_again_but_not_alone() -> None:
    guard = Guard()
    with guard, guard:
        assert not guard.enter_alone()
    with guard:
        assert not guard.enter_alone()


def test_nobody_else_enters_while_somebody_is_inside() -> None:
    guard = Guard()
    with guard:
        assert not guard.enter_alone()
        assert not enters_alone(guard)
    assert enters_alone(guard)


def test_who_entered_alone_keeps_others_out_until_leaving() -> None:
    guard = Guard()
    assert guard.enter_alone()
    assert not enters_alone(guard)
    assert not guard.enter_alone()
    guard.__exit__()
    assert enters_alone(guard)
