"""What the tests of event delivery need: events with a name, a wire that shows the name, sessions that follow a script."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flagmw.context import UserContext
from flagmw.core.records import Exposure, Identity, Metric
from flagmw.core.snapshot import decided
from flagmw.errors import TransportError
from flagmw.evaluation import Reason
from flagmw.events import Item

USER = UserContext("user-1")
OUTCOME = decided("on", "on", Reason.STATIC)


def exposure(name: str) -> Exposure:
    """Make an exposure whose flag key is its name."""
    return Exposure(flag_key=name, context=USER, outcome=OUTCOME, revision="r1", at_s=0.0)


def metric(name: str, **properties: object) -> Metric:
    return Metric(event=name, context=USER, value=None, properties=properties, at_s=0.0)


def identity(name: str) -> Identity:
    return Identity(context=UserContext(name), operations=None, at_s=0.0)


@dataclass(kw_only=True)
class NamingWire:
    """A format that is a JSON list of names.

    Names that begin with `bad` cannot be encoded, `many:3:x` is three items, `none` is none; `refused` metrics are
    refused.
    """

    url: str = "http://events.example/track"
    max_items: int = 50
    takes_gzip: bool = False
    padding: int = 0
    headers_made: int = 0
    encoded: list[str] = field(default_factory=list)

    def headers(self) -> Mapping[str, str]:
        self.headers_made += 1
        return {"Content-Type": "application/json", "X-Made": str(self.headers_made)}

    def exposure(self, exposure: Exposure) -> Sequence[Item]:
        return self._items(exposure.flag_key)

    def metric(self, metric: Metric) -> Sequence[Item]:
        return self._items(metric.event)

    def identity(self, identity: Identity) -> Sequence[Item]:
        return self._items(str(identity.context.key))

    def refusal(self, metric: Metric) -> str | None:
        if metric.event.startswith("explosive"):
            raise ZeroDivisionError("secret of the user")
        return "the value must be above 0" if metric.event.startswith("refused") else None

    def body(self, items: Sequence[Item]) -> bytes:
        return b"[" + b",".join(text for _, text in items) + b"]"

    def _items(self, name: str) -> Sequence[Item]:
        self.encoded.append(name)
        if name.startswith("bad"):
            raise ValueError("secret of the user")
        if name.startswith("none"):
            return ()
        if name.startswith("many:"):
            _, count, rest = name.split(":")
            return [("x", json.dumps(f"{rest}.{place}").encode()) for place in range(int(count))]
        return [("x", json.dumps(name + " " * self.padding).encode())]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer of a service."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Posted:
    """A request as a session was asked to make it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def names(self) -> list[str]:
        body = gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body
        return [name.rstrip() for name in json.loads(body)]


Step = int | Answered | str | Exception | Callable[[Posted], Answered]
"""A status, an answer, an error's text, an error, or what makes the answer."""


class ScriptedSession:
    """Answers requests by a script, and with 200 when that is at its end."""

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.posted: list[Posted] = []
        self.interrupted = threading.Event()
        self.closed = threading.Event()

    def __call__(self) -> ScriptedSession:
        return self

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, max_bytes: int = 0
    ) -> Answered:
        posted = Posted(method=method, url=url, headers=dict(headers), body=body or b"")
        self.posted.append(posted)
        step = self.script.pop(0) if self.script else 200
        if isinstance(step, str):
            raise TransportError(step)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, int):
            return Answered(status=step)
        return step if isinstance(step, Answered) else step(posted)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed.set()

    @property
    def bodies(self) -> list[list[str]]:
        """The names in each post."""
        return [posted.names for posted in self.posted]

    @property
    def names(self) -> list[str]:
        """All names, in the order in which they were posted."""
        return [name for body in self.bodies for name in body]
