"""A light load on a server: a few threads, each of which asks, waits for the answer, and asks again."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.e2e.matrix.asking import Asker, Question, UnansweredError
from tests.e2e.matrix.served.words import DEFAULT, METRIC
from tests.e2e.matrix.services import Event

KINDS = ("plain", "several", "plain", "streamed")
PAUSE_S = 0.03
"""Between two requests of one thread."""

HOLD_S = 0.01
"""How long most answers take: without that, one worker might take all requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A request that was answered completely.

    Attributes:
        who: the process, and the app in it where one process has several.
        value: of the first flag.
        at_s: when it had come, on the monotonic clock.
    """

    who: str
    user: str
    kind: str
    value: Any
    asked_s: float
    at_s: float


class Load:
    """Asks until it is stopped, and remembers the answers. May be read from any thread.

    Args:
        asker: of the server.
        keys: of the three flags.
        mounts: where the apps are.
        threads: how many ask at the same time.
        pause_s: between two requests of one thread.
    """

    def __init__(
        self,
        asker: Asker,
        keys: Sequence[Any],
        mounts: Sequence[str] = ("",),
        *,
        threads: int = 4,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._asker = asker
        self._keys = [str(key) for key in keys]
        self._mounts = mounts
        self._pause_s = pause_s
        self._run = secrets.token_hex(3)
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._answers: list[Answer] = []
        self._failures: list[str] = []
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(threads + 8, "matrix-load")
        self._loops = [self._pool.submit(self._go_on) for _ in range(threads)]

    def _go_on(self) -> None:
        while not self._ended.wait(self._pause_s):
            number = next(self._numbers)
            self.ask(KINDS[number % len(KINDS)], HOLD_S if number % 3 else 0.0, number)

    def ask(self, kind: str, hold_s: float = 0.0, number: int | None = None) -> Answer | None:
        """Ask once.

        Returns:
            The answer, None when it did not come.
        """
        number = next(self._numbers) if number is None else number
        return self._ask(Question(f"u-{self._run}-{number}", kind, hold_s), number)

    def _ask(self, question: Question, number: int) -> Answer | None:
        asked_s = time.monotonic()
        try:
            told = self._asker.ask(question, self._mounts[number % len(self._mounts)])
        except UnansweredError as error:
            with self._changed:
                self._failures.append(str(error))
            return None
        answer = Answer(**told, asked_s=asked_s, at_s=time.monotonic())
        with self._changed:
            self._answers.append(answer)
            self._changed.notify_all()
        return answer

    def ask_aside(self, kind: str, hold_s: float = 0.0) -> str:
        """Ask in a thread of its own, without waiting.

        Returns:
            The user of the request.
        """
        number = next(self._numbers)
        question = Question(f"u-{self._run}-{number}", kind, hold_s)
        self._pool.submit(self._ask, question, number)
        return question.user

    @property
    def answers(self) -> list[Answer]:
        """What was answered so far, in order."""
        with self._changed:
            return list(self._answers)

    @property
    def failures(self) -> list[str]:
        """Why requests were not answered."""
        with self._changed:
            return list(self._failures)

    def await_answers(self, condition: Callable[[list[Answer]], bool], timeout_s: float) -> bool:
        """Wait until something is true of the answers; gives whether it came true."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._answers), timeout_s)

    def pause(self) -> None:
        """Ask no more of itself; what is under way goes on."""
        self._ended.set()

    def stop(self) -> None:
        """Ask no more, and wait for the last answers; may be called twice."""
        self._ended.set()
        self._asker.close()
        self._pool.shutdown()

    def due(self) -> set[Event]:
        """Give the events of all answered requests; a flag that was not there yet is no event."""
        events: set[Event] = set()
        for answer in self.answers:
            flags = self._keys[:1] if answer.kind == "plain" else self._keys
            metrics = [] if answer.kind == "plain" else [METRIC]
            names = metrics if answer.value == DEFAULT else [*flags, *metrics]
            events.update(Event(answer.user, name) for name in names)
        return events
