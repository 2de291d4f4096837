"""Background threads are woken when they are asked to stop."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from flagmw.lifecycle import threads
from flagmw.lifecycle.threads import Background


class Waiting:
    """A thread's body that looks at nothing but what wakes it.

    Attributes:
        saw_the_event: whether the event was set when it was woken.
    """

    def __init__(self) -> None:
        self.saw_the_event: bool | None = None
        self._woken = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        assert self._woken.wait(10)
        self.saw_the_event = stopping.is_set()

    def wake(self) -> None:
        self._woken.set()


def wait(stopping: threading.Event) -> None:
    """Wait for nothing but the event."""
    assert stopping.wait(10)


def test_stopping_wakes_the_thread_after_the_event_was_set() -> None:
    waiting = Waiting()
    thread = Background("flagmw-test", waiting.run, waiting.wake)
    thread.start()
    began = time.monotonic()
    assert thread.stop(10.0)
    assert time.monotonic() - began < 1.0
    assert waiting.saw_the_event is True


def test_asking_to_stop_wakes_the_thread() -> None:
    waiting = Waiting()
    thread = Background("flagmw-test", waiting.run, waiting.wake)
    thread.start()
    thread.ask_to_stop()
    thread._thread.join(10)
    assert waiting.saw_the_event is True


def test_all_threads_of_a_process_are_woken_at_once() -> None:
    waiting = [Waiting() for _ in range(3)]
    for one in waiting:
        Background("flagmw-test", one.run, one.wake).start()
    began = time.monotonic()
    threads.stop_all(10.0)
    assert time.monotonic() - began < 1.0
    assert [one.saw_the_event for one in waiting] == [True, True, True]


def test_waking_that_raises_is_logged_and_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    thread = Background("flagmw-test", wait, fail)
    thread.start()
    assert thread.stop(10.0)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "waking the thread flagmw-test raised an error"
    ]


def test_a_thread_without_anything_to_wake_is_stopped_by_the_event() -> None:
    thread = Background("flagmw-test", wait)
    thread.start()
    assert thread.stop(10.0)
