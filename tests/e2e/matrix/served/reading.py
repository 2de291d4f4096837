"""What every served app does with flags, whichever client reads them: ours, or an official one to compare with.

An app answers one request with who it is and what it read:

    GET /?user=u-17&kind=several    {"who": "4711", "user": "u-17", "kind": "several", "value": "A"}

The environment says the rest: `MATRIX_CLIENT` which client, `MATRIX_KEYS` the keys of the three flags as JSON, and
`MATRIX_STARTED` a folder in which a request that takes its time says that it has begun.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from flagmw import Client, UserContext
from tests.e2e.matrix.served.words import DEFAULT, METRIC

faulthandler.register(signal.SIGRTMIN, all_threads=True)  # the harness asks where a worker is that does not answer

KEYS: list[Any] = json.loads(os.environ["MATRIX_KEYS"])


class Reads(Protocol):
    """Flags for one user; the accessor of our middleware is one."""

    def variation(self, key: Any, default: Any = None) -> Any: ...

    def is_enabled(self, key: Any, default: bool = False) -> bool: ...

    def config(self, key: Any, default: Any = None) -> Any: ...

    def track(self, event: str, value: float | None = None) -> None: ...


class Reader(Protocol):
    """A client: makes what reads flags for a user."""

    def reads(self, user: str) -> Reads: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request.

    Attributes:
        user: the key, which no other request has.
        kind: `plain` reads one flag; `several` reads three and tracks a metric; `streamed` does so while it sends its
            body; `deadly` does that, too, and kills its process as soon as the last byte is out; `stuck` never comes back,
            and holds up its thread.
        hold_s: how long the answer takes.
    """

    user: str
    kind: str
    hold_s: float

    @classmethod
    def of(cls, query: str) -> Asked:
        found = dict(parse_qsl(query))
        return cls(user=found["user"], kind=found.get("kind", "plain"), hold_s=float(found.get("hold", "0")))

    def begin(self, reads: Reads) -> Any:
        """Read what is read before the answer begins; gives the value of the first flag."""
        value = reads.variation(KEYS[0], DEFAULT)
        if self.kind == "several":
            self.go_on(reads)
        if self.hold_s or self.kind == "stuck":
            Path(os.environ["MATRIX_STARTED"], self.user).touch()
        if self.kind == "stuck":
            os.read(os.pipe()[0], 1)  # not even gevent knows of it
        return value

    def go_on(self, reads: Reads) -> None:
        """Read the other two flags, and track."""
        reads.is_enabled(KEYS[1])
        reads.config(KEYS[2], DEFAULT)
        reads.track(METRIC, 1)

    @property
    def is_streamed(self) -> bool:
        return self.kind in ("streamed", "deadly")

    def end(self) -> None:
        """Do what is done when the last byte is out."""
        if self.kind == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)

    def answer(self, value: Any, mount: str = "") -> bytes:
        """Write the answer."""
        who = f"{os.getpid()}{mount}"
        return json.dumps({"who": who, "user": self.user, "kind": self.kind, "value": value}).encode()


class OfClient:
    """Flags for one user of our client where there is no request, as in a task."""

    def __init__(self, client: Client, user: str) -> None:
        self._client = client
        self._user = UserContext(user)

    def variation(self, key: Any, default: Any = None) -> Any:
        return self._client.variation(key, self._user, default)

    def is_enabled(self, key: Any, default: bool = False) -> bool:
        return self._client.is_enabled(key, self._user, default)

    def config(self, key: Any, default: Any = None) -> Any:
        return self._client.config(key, self._user, default)

    def track(self, event: str, value: float | None = None) -> None:
        self._client.track(self._user, event, value)


def user_of(query: str) -> UserContext:
    """Give the user whom a request names."""
    return UserContext(Asked.of(query).user)


def our_client() -> Client | None:
    """Make our client from the environment; None when another one is tried."""
    return Client(os.environ["FLAGMW_DSN"]) if os.environ["MATRIX_CLIENT"] == "flagmw" else None


def official_reader() -> Reader:
    """Make the official client that is tried."""
    from tests.e2e.matrix.served import official

    makers: Mapping[str, type[Reader]] = {"hackle-sdk": official.OfHackle, "fb-python-sdk": official.OfFeatBit}
    return makers[os.environ["MATRIX_CLIENT"]]()
