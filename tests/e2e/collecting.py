"""An application whose clock the tests turn, for publishers of the usage agent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from flagmw.usage import UsageConfig
from flagmw.usage.functions import CodeBase, Function, FunctionKind, hash_of
from flagmw.usage.scavenger.publisher import CollectorPublisher
from flagmw.usage.seams import Interval, ProcessIdentity

if TYPE_CHECKING:
    from tests.services.scavenger_server import ScavengerServer

API_KEY = "5ecret-key-of-a-workspace"
BEGAN_AT = 1_700_000_000.0
MINUTE_S = 60.0
HOUR_S = 3600.0
PATIENCE_S = 15.0
"""Far below the timeouts that must not be waited for, and long enough for a busy machine."""

DEADLINE_S = 30.0
MAX_TURNS = 10_000


def function(name: str, declaring_type: str = "shop.views", parameters: str = "request") -> Function:
    """Make a function of a code base that has no files."""
    return Function(
        package_name=declaring_type,
        declaring_type=declaring_type,
        name=name,
        parameter_types=parameters,
        kind=FunctionKind.DEF,
        path=f"/{declaring_type}.py",
        shown_path=f"{declaring_type}.py",
        first_line=1 + sum(map(ord, name)),
        last_line=1 + sum(map(ord, name)),
    )


def code_base(*names: str, fingerprint: str = "fingerprint-1") -> CodeBase:
    return CodeBase(functions=tuple(function(name) for name in names), fingerprint=fingerprint)


class App:
    """A running application: what a publisher works with (a `Turn`). Its clocks stand still unless they are turned."""

    def __init__(self, found: CodeBase | None = None) -> None:
        self.found = found if found is not None else code_base("index", "buy", "sell")
        self.scans = 0
        self.monotonic_s = 5_000.0
        self.wall_s = BEGAN_AT
        self.ran: set[str] = set()
        self.taken: list[Interval] = []
        self._since_s = BEGAN_AT

    def call(self, *names: str) -> set[str]:
        """Let functions run, and give their hashes."""
        hashes = {hash_of(f"shop.views.{name}(request)") for name in names}
        self.ran |= hashes
        return hashes

    def pass_time(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds

    def code_base(self) -> CodeBase:
        self.scans += 1
        return self.found

    def take(self) -> Interval:
        interval = Interval(hashes=frozenset(self.ran), started_at=self._since_s)
        self.ran, self._since_s = set(), self.wall_s
        self.taken.append(interval)
        return interval


def process(**changed: Any) -> ProcessIdentity:
    identity = {"uuid": "uuid-1", "pid": 7, "hostname": "host-1", "started_at": BEGAN_AT, **changed}
    return ProcessIdentity(**identity)


def config_for(url: str, **settings: Any) -> UsageConfig:
    """Make settings for a collector."""
    base: dict[str, Any] = {
        "packages": ("shop",),
        "app_name": "shop",
        "environment": "test",
        "server_url": url,
        "api_key": API_KEY,
        "proxy": "",
        "store": None,
        "http_connect_timeout_s": 5.0,
        "http_read_timeout_s": 5.0,
    }
    return UsageConfig(**{**base, **settings})


def publisher_for(url: str, **settings: Any) -> CollectorPublisher:
    """Make a publisher that is always as early as it may be."""
    return CollectorPublisher(config_for(url, **settings), process(), random=lambda: 0.0)


def go_on(
    publisher: CollectorPublisher, app: App, *, until: Callable[[], object] = lambda: False, for_s: float = 1e9
) -> list[float]:
    """Give a publisher its turns when it wants them, until a condition holds, or for so long by the app's clock.

    Returns:
        When, by the app's clock, it had its turns.
    """
    deadline = time.monotonic() + DEADLINE_S
    end_s = app.monotonic_s + for_s
    turns: list[float] = []
    while not until():
        assert time.monotonic() < deadline, f"it did not come true after {len(turns)} turns: {publisher.problem}"
        assert len(turns) < MAX_TURNS, "the publisher spins"
        turns.append(app.monotonic_s)
        delay_s = publisher.run(app)
        if app.monotonic_s + delay_s > end_s:
            if end_s < float("inf"):
                app.pass_time(max(end_s - app.monotonic_s, 0.0))
            break
        app.pass_time(delay_s)
    return turns


def names(entries: Iterable[Any]) -> list[str]:
    return sorted(entry.signature for entry in entries)


def patient_collector() -> ScavengerServer:
    """Make a collector that wants to be asked every two minutes."""
    # Here, because gRPC's library has no place in the processes that fork.
    from tests.services.scavenger_server import ScavengerServer

    return ScavengerServer(api_keys={API_KEY}, poll_s=120, publish_s=120, retry_s=60)


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the levels of what was logged for people."""
    return [record.levelname for record in caplog.records if record.levelno >= logging.WARNING]
