"""What the tests of all hosts share: flags, answers, and how a host is driven."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any, Protocol

from flagmw import Client
from flagmw.accessor import Flags
from flagmw.core.records import Record
from flagmw.http import AnonymousCookie
from flagmw.providers import FlagFile, Static
from flagmw.testing import MemorySink

HOST_NAME = "shop.example"
PEER = "192.0.2.7"
SECRET = "a secret of the tests"
COOKIE = AnonymousCookie(secret=SECRET)
DEADLINE_S = 10.0

View = Callable[[Flags], Any]
"""What an app does with a request's flags; the JSON value that it gives is the answer's body."""


# --- flags --------------------------------------------------------------------------------------------------


def document(banner: str = "old") -> dict[str, Any]:
    """Give a flag document: `banner` is what is passed, `beta` is on for ann only, `theme` is a mapping."""
    return {
        "flags": {
            "banner": {"state": "ENABLED", "variants": {"old": "old", "new": "new"}, "defaultVariant": banner},
            "beta": {
                "state": "ENABLED",
                "variants": {"on": True, "off": False},
                "defaultVariant": "off",
                "targeting": {"if": [{"===": [{"var": "targetingKey"}, "ann"]}, "on", "off"]},
            },
            "theme": {"state": "ENABLED", "variants": {"dark": {"colour": "black"}}, "defaultVariant": "dark"},
        }
    }


class Takings(MemorySink):
    """A sink that remembers how many events it was given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def take_all(self, records: Sequence[Record]) -> None:
        self.sizes.append(len(records))
        super().take_all(records)


def static_client(sink: MemorySink | None = None) -> Client:
    """Make a client that holds `document()` in memory."""
    return Client(Static(document(), sink=sink))


def file_client(path: Path) -> Client:
    """Make a client on a flag file with `document()`."""
    path.write_text(json.dumps(document()))
    return Client(FlagFile(path))


def replace_flags(client: Client, path: Path, banner: str) -> None:
    """Put another document into a client's flag file, and wait until the client has it."""
    arrived = threading.Event()
    end = client.on_change(lambda keys: arrived.set())
    client.start()
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(document(banner)))
    os.replace(beside, path)
    assert arrived.wait(DEADLINE_S), "the edited flag file was not picked up"
    end()


# --- users --------------------------------------------------------------------------------------------------


class Builder:
    """A user builder that counts its calls.

    Args:
        user: what it gives; an exception is raised.
    """

    def __init__(self, user: Any = None) -> None:
        self._user = user
        self._lock = threading.Lock()
        self.calls = 0

    def __call__(self, request: Any) -> Any:
        with self._lock:
            self.calls += 1
        if isinstance(self._user, Exception):
            raise self._user
        return self._user


# --- answers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an app answers; of a websocket, the headers of its accept message and the first text."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Give a header's values."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def vary(self) -> list[str]:
        """Name the headers that the response varies by, in lower case."""
        return [name.strip().lower() for value in self.values("Vary") for name in value.split(",")]

    @property
    def cookies(self) -> list[Morsel[str]]:
        """Give the cookies that it sets."""
        return [morsel for value in self.values("Set-Cookie") for morsel in SimpleCookie(value).values()]

    @property
    def cookie_header(self) -> str:
        """Give what a browser sends back."""
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in self.cookies)

    @property
    def json(self) -> Any:
        """Give the view's value."""
        return json.loads(self.body)


# --- hosts --------------------------------------------------------------------------------------------------


class Visit(Protocol):
    """Sends one request to an app, without any cookies of earlier ones."""

    def __call__(self, path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply: ...


class Host(Protocol):
    """A way to serve a view: a framework, or none."""

    def serve(
        self,
        view: View,
        client: Client,
        *,
        user: Callable[[Any], Any] | None = None,
        anonymous: AnonymousCookie | bool = COOKIE,
        trusted_proxies: int = 0,
        vary: str = "",
    ) -> AbstractContextManager[Visit]:
        """Serve a view.

        Args:
            view: given the request's accessor as the host's users find it.
            client: evaluates.
            user: the user builder; None is the host's default.
            anonymous: the cookie.
            trusted_proxies: as the middleware takes it.
            vary: a Vary header of the app's own.
        """
        ...


def given(**arguments: Any) -> dict[str, Any]:
    """Give the arguments that are not None, so that a host's own defaults hold."""
    return {name: value for name, value in arguments.items() if value is not None}


@contextmanager
def served(visit: Visit) -> Iterator[Visit]:
    """Serve without anything to start or stop."""
    yield visit


def in_threads(function: Callable[[], Any], count: int = 8) -> list[Any]:
    """Call a function in threads that all begin at the same moment; give what it gave."""
    barrier = threading.Barrier(count)
    results: list[Any] = []

    def run() -> None:
        barrier.wait(DEADLINE_S)
        results.append(function())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(results) == count, "a thread did not end, or raised"
    return results
