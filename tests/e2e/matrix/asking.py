"""Asking a server one question: over HTTP, or by a task."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode

if TYPE_CHECKING:
    from tests.e2e.matrix.running import Running

PATIENCE_S = 5.0
"""How long an answer is waited for; nobody knows then whether its events count."""

LOOK_S = 0.005


class UnansweredError(Exception):
    """An answer did not come, or not completely."""


class Question(NamedTuple):
    """What is asked; see `served.reading.Asked`."""

    user: str
    kind: str
    hold_s: float

    def query(self) -> str:
        return urlencode({"user": self.user, "kind": self.kind, "hold": self.hold_s})


class Asker(Protocol):
    """Knows how to ask a server. May be used from several threads."""

    def ask(self, question: Question, mount: str) -> dict[str, Any]:
        """Ask, and wait for the whole answer.

        Raises:
            UnansweredError: it did not come, or not completely.
        """
        ...

    def close(self) -> None:
        """Wait for no more answers."""
        ...


class OverHttp:
    """Asks a web server, over a new connection each time."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def ask(self, question: Question, mount: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._running.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", f"{mount}/?{question.query()}", headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
            answer: dict[str, Any] = json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnansweredError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise UnansweredError(f"status {response.status}")
        return answer

    def close(self) -> None:
        """Wait for no more; a server that has ended lets go of its connections by itself."""


class OverCelery:
    """Asks by a task; the answer is its result."""

    def __init__(self, folder: Path) -> None:
        from tests.e2e.matrix.served.broker import TASK, celery_app

        self._app = celery_app(folder)
        self._task = TASK
        self._closed = threading.Event()

    def ask(self, question: Question, mount: str) -> dict[str, Any]:
        result = self._app.send_task(self._task, [question.query()])
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._is_ready(result):
            if self._closed.is_set() or time.monotonic() > deadline_s:
                raise UnansweredError("the task has no result")
            self._closed.wait(LOOK_S)
        answer = result.result
        if not isinstance(answer, dict):  # an exception, such as that the worker was lost
            raise UnansweredError(f"the task failed: {answer!r}")
        return answer

    def _is_ready(self, result: Any) -> bool:
        try:
            return bool(result.ready())
        except ValueError:  # half of it is written
            return False

    def close(self) -> None:
        self._closed.set()
