"""What the tests of the usage agent and its store are made of: functions, turns and recorders that tests command."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, Function, FunctionKind, Seen
from flagmw.usage.seams import Interval, ProcessIdentity

DEADLINE_S = 10.0


def function(name: str, line: int = 1, path: str = "/app/shop/views.py", parameters: str = "") -> Function:
    return Function(
        package_name="shop.views",
        declaring_type="shop.views",
        name=name,
        parameter_types=parameters,
        kind=FunctionKind.DEF,
        path=path,
        shown_path="app/shop/views.py",
        first_line=line,
        last_line=line + 1,
    )


def code_base(*functions: Function) -> CodeBase:
    return CodeBase(functions=functions, fingerprint=str(sorted(one.signature for one in functions)))


A, B, C = function("a", 1), function("b", 11), function("c", 21)
SHOP = code_base(A, B, C)


def process(number: int = 1, started_at: float = 1_000.0) -> ProcessIdentity:
    return ProcessIdentity(uuid=f"uuid-{number}", pid=100 + number, hostname="host", started_at=started_at)


class Turns:
    """A turn whose time, code base and calls are the test's."""

    def __init__(self, base: CodeBase = SHOP, at: float = 1_000.0) -> None:
        self.base = base
        self.at = at
        self._ran: set[str] = set()
        self._since = at

    @property
    def monotonic_s(self) -> float:
        return time.monotonic()

    @property
    def wall_s(self) -> float:
        return self.at

    def code_base(self) -> CodeBase:
        return self.base

    def take(self) -> Interval:
        interval = Interval(hashes=frozenset(self._ran), started_at=self._since)
        self._ran, self._since = set(), self.at
        return interval

    def run(self, *functions: Function, passing_s: float = 10.0) -> None:
        """Let functions run, and time pass."""
        self._ran |= {one.signature_hash for one in functions}
        self.at += passing_s


class Recorder:
    """Sees what the test says; tells what was done to it."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem
        self.done: list[str] = []
        self._seen: set[Seen] = set()

    def start(self) -> None:
        self.done.append("start")

    def stop(self) -> None:
        self.done.append("stop")

    def take(self) -> Sequence[Seen]:
        seen, self._seen = self._seen, set()
        return sorted(seen)

    def forked(self) -> None:
        self.done.append("forked")
        self._seen = set()

    def see(self, *functions: Function) -> None:
        self._seen |= {one.seen for one in functions}


def settings(path: Path, **more: Any) -> UsageConfig:
    return UsageConfig(packages=("shop",), app_name="shop", environment="test", store=str(path), **more)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.005)


def names(functions: Iterable[Function]) -> list[str]:
    return [one.name for one in functions]
