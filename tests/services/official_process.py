"""Runs one official client in a process of its own, told what to do by JSON lines; `tests.services.official` is the other side.

Each line on standard input is `{"do": name, …arguments}`; each is answered by one line, `{"gives": …}` or `{"fails": text}`.
Whatever these clients print or log goes to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.services import official_clients
from tests.services.official_clients import Calls, FeatBitCalls, HackleCalls


class Session:
    """The commands, over a client that `start` has constructed."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._calls: Calls | None = None

    @property
    def calls(self) -> Calls:
        assert self._calls is not None, "start comes first"
        return self._calls

    def start(self, **options: Any) -> bool:
        kind = {"featbit": FeatBitCalls, "hackle": HackleCalls}[self._service]
        self._calls = kind(**options)
        return self._calls.is_ready()

    def evaluate(self, users: Sequence[Any], requests: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        return [[self._evaluate(user, request) for request in requests] for user in map(self.calls.user_of, users)]

    def _evaluate(self, user: Any, request: Mapping[str, Any]) -> Any:
        self.calls.make_room()
        try:
            return self.calls.evaluate(user, request)
        except Exception as error:  # what escapes to the caller of an official client is part of the comparison
            return {"raises": type(error).__name__}

    def call(self, user: Any, name: str, arguments: Sequence[Any]) -> Any:
        return self.calls.call(self.calls.user_of(user), name, arguments)

    def await_value(self, user: Any, request: Mapping[str, Any], value: Any, timeout_s: float) -> float:
        known = self.calls.user_of(user)
        deadline_s = time.monotonic() + timeout_s
        while (seen := self.calls.evaluate(known, request)["value"]) != value:
            assert time.monotonic() < deadline_s, f"the value is {seen!r} to the end"
        return time.monotonic()

    def time_evaluation(self, user: Any, request: Mapping[str, Any], count: int) -> float:
        once = self.calls.bare(self.calls.user_of(user), request)
        started_s = time.perf_counter()
        for _ in range(count):
            once()
        return (time.perf_counter() - started_s) / count

    def sync(self) -> None:
        self.calls.sync()

    def flush(self) -> None:
        self.calls.flush()

    def is_ready(self) -> bool:
        return self.calls.is_ready()

    def close(self) -> None:
        self.calls.close()


COMMANDS = ("start", "evaluate", "call", "await_value", "time_evaluation", "sync", "flush", "is_ready", "close")


def answers(session: Session, lines: Iterator[str]) -> Iterator[str]:
    """Carry out one command per line."""
    for line in lines:
        command = json.loads(line)
        name = command.pop("do")
        try:
            assert name in COMMANDS, name
            yield json.dumps({"gives": getattr(session, name)(**command)})
        except Exception:  # the other side raises it
            yield json.dumps({"fails": traceback.format_exc()})


def main(service: str) -> None:
    """Read commands until the input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        logging.basicConfig(level=logging.ERROR, stream=sys.stderr)  # fbclient warns of each unknown flag
        official_clients.load(service)
        for answer in answers(Session(service), iter(sys.stdin.readline, "")):
            print(answer, file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
