"""The flag services of the matrix: what they serve, and what has arrived there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import quote

from tests.services.environments import featbit, hackle
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer
from tests.services.serving import ServiceServer

POLL_INTERVAL_S = 0.5
FLUSH_INTERVAL_S = 0.2
"""Short, so that events are on their way at every moment."""


class Event(NamedTuple):
    """An event as it is told from others.

    Attributes:
        user: of the request that it belongs to.
        name: of the flag or the metric.
    """

    user: str
    name: str


class Arrival(NamedTuple):
    """An event that has arrived.

    Attributes:
        id: what the service drops repeats by; empty with a service that has no such thing.
    """

    event: Event
    id: str


class Service(Protocol):
    """A flag service with three flags, of which the first can be changed.

    Attributes:
        keys: of the flags.
        before: the value of the first flag.
        after: its value after the change.
    """

    keys: tuple[Any, ...]
    before: str
    after: str

    @property
    def server(self) -> ServiceServer:
        """What clients connect to."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def secret(self) -> str:
        """What opens the environment, and must show up nowhere."""
        ...

    def dsn(self, *, is_hasty: bool) -> str:
        """Give what our client is configured with: in haste, or with its defaults."""
        ...

    def change(self) -> None:
        """Change the first flag."""
        ...

    def arrivals(self) -> Iterator[Arrival]:
        """Give all events that have arrived, as often as they have."""
        ...


class OfHackle:
    """A Hackle workspace: an A/B test, a feature flag and a remote config."""

    keys: tuple[Any, ...] = (42, 7, "banner")
    before = "A"
    after = "B"

    def __init__(self) -> None:
        self.server = HackleServer(is_secret=False)

    def __enter__(self) -> Self:
        self.server.start()
        self._load(71)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    @property
    def secret(self) -> str:
        return self.server.sdk_key

    def dsn(self, *, is_hasty: bool) -> str:
        haste = f"&poll_interval_s={POLL_INTERVAL_S}&event_flush_interval_s={FLUSH_INTERVAL_S}" if is_hasty else ""
        return f"hackle://{quote(self.secret)}@127.0.0.1:{self.server.port}?tls=false{haste}"

    def change(self) -> None:
        self._load(72)

    def _load(self, winner: int) -> None:
        workspace = hackle.small_workspace()
        workspace["experiments"][0]["execution"]["defaultRule"] = hackle.serve(winner)
        self.server.load(workspace)

    def arrivals(self) -> Iterator[Arrival]:
        names = {"exposure": "experimentKey", "track": "eventTypeKey", "remote_config": "parameterKey"}
        for event in self.server.events:
            yield Arrival(Event(event["userId"], str(event[names[event["kind"]]])), event["insertId"])


class OfFeatBit:
    """A FeatBit environment with three flags."""

    keys: tuple[Any, ...] = ("first", "second", "third")
    before = "old"
    after = "new"

    def __init__(self) -> None:
        self.server = FeatBitServer()

    def __enter__(self) -> Self:
        self.server.start()
        self._put(0)
        self.server.put_flag(featbit.boolean_flag("second"))
        self.server.put_flag(featbit.flag("third", values=("x", "y"), kind="string"))
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    @property
    def secret(self) -> str:
        return self.server.secret

    def dsn(self, *, is_hasty: bool) -> str:
        haste = f"&event_flush_interval_s={FLUSH_INTERVAL_S}" if is_hasty else ""
        return f"featbit://{quote(self.secret)}@127.0.0.1:{self.server.port}?tls=false{haste}"

    def change(self) -> None:
        self._put(1)

    def _put(self, serves: int) -> None:
        self.server.put_flag(featbit.flag("first", values=(self.before, self.after), kind="string", serves=serves))

    def arrivals(self) -> Iterator[Arrival]:
        for event in self.server.events:
            names = [told["featureFlagKey"] for told in event.get("variations", ())]
            names += [told["eventName"] for told in event.get("metrics", ())]
            for name in names:
                yield Arrival(Event(event["user"]["keyId"], name), "")


SERVICES: Mapping[str, Callable[[], Service]] = {"hackle": OfHackle, "featbit": OfFeatBit}


class Account(NamedTuple):
    """What became of events.

    Attributes:
        due: how many events belong to requests that were answered.
        lost: those of them that have not arrived.
        twice: events that the service counts more than once.
        repeats: how many arrivals were one too many, those included that the service drops by their id.
    """

    due: int
    lost: list[Event]
    twice: list[Event]
    repeats: int


def account(due: set[Event], arrivals: list[Arrival]) -> Account:
    """Compare what had to arrive with what has."""
    raw = Counter(arrival.event for arrival in arrivals)
    told = {(event, repeat_of or str(number)) for number, (event, repeat_of) in enumerate(arrivals)}
    counted = Counter(event for event, _ in told)
    return Account(
        due=len(due),
        lost=sorted(due - set(raw)),
        twice=sorted(event for event, count in counted.items() if count > 1),
        repeats=len(arrivals) - len(raw),
    )
