"""`Hackle`: A/B tests, feature flags and remote configs of a Hackle workspace, polled."""

from __future__ import annotations

import time
from dataclasses import KW_ONLY, dataclass, field
from typing import Unpack

from flagmw.dialects import Dialect
from flagmw.dialects.hackle import (
    EventTypes,
    HackleConfig,
    HackleDialect,
    HackleEvents,
    PropertyOperations,
    check_sdk_key,
    insert_id,
)
from flagmw.events import Sink
from flagmw.lifecycle.places import StatePlace
from flagmw.providers.options import (
    HTTP_SCHEMES,
    CommonOptions,
    ServiceOptions,
    check_seconds,
    check_secret,
    check_url,
)
from flagmw.providers.parts import make_cache, make_place, make_polling, make_sink, make_source
from flagmw.transports import Source
from flagmw.transports.cache import SnapshotCache

__all__ = ["Hackle", "PropertyOperations"]

FLUSH_INTERVAL_S = 10.0
"""How long events wait in Hackle's own client."""


@dataclass(frozen=True, slots=True, init=False)
class Hackle:
    """Experiments, flags and remote configs from Hackle.

    Args:
        sdk_key: the server key of an environment. May be empty when offline.
        sdk_url: where the workspace is polled.
        event_url: where events are sent.
        poll_interval_s: how often the workspace is asked for.
        **options: see `ServiceOptions`.

    Raises:
        ConfigError: an argument that is not what it should be; shows nothing that may be secret.
    """

    sdk_key: str = field(repr=False)
    _: KW_ONLY
    sdk_url: str
    event_url: str
    poll_interval_s: float
    options: ServiceOptions
    event_types: EventTypes = field(repr=False, compare=False)
    """What the workspace in force declares: its dialect says it, its sink sends it."""

    def __init__(
        self,
        sdk_key: str,
        *,
        sdk_url: str = "https://sdk.hackle.io",
        event_url: str = "https://event.hackle.io",
        poll_interval_s: float = 10.0,
        **options: Unpack[CommonOptions],
    ) -> None:
        """Check the settings; nothing is opened."""
        common = ServiceOptions.of(options, known=("sdk_url", "event_url", "poll_interval_s"))
        put = object.__setattr__
        put(self, "sdk_key", check_secret("sdk_key", sdk_key, check_sdk_key, offline=common.offline))
        put(self, "sdk_url", check_url("sdk_url", sdk_url, HTTP_SCHEMES))
        put(self, "event_url", check_url("event_url", event_url, HTTP_SCHEMES))
        put(self, "poll_interval_s", check_seconds("poll_interval_s", poll_interval_s))
        put(self, "options", common)
        put(self, "event_types", EventTypes())

    def dialect(self) -> Dialect:
        """Make the dialect of Hackle's workspaces."""
        return HackleDialect(self.event_types)

    def source(self) -> Source:
        """Make a source that polls the workspace."""
        return make_source(self.options, self._poll, self.place(), pushes=False)

    def _poll(self) -> Source:
        wire = HackleConfig(self.sdk_key, self.sdk_url, wall_clock=time.time)
        return make_polling(self.options, wire, self.poll_interval_s)

    def sink(self) -> Sink | None:
        """Make a sink that sends exposures, remote config events and tracked ones; None when offline, or without events."""
        return make_sink(self.options, self._events, self.place(), FLUSH_INTERVAL_S)

    def _events(self) -> HackleEvents:
        return HackleEvents(
            self.sdk_key, self.event_url, wall_clock=time.time, uuid4=insert_id, event_types=self.event_types
        )

    def cache(self) -> SnapshotCache | None:
        """Make what keeps the last good workspace; None without `cache_dir`."""
        return make_cache(self.options, "hackle", self.sdk_key)

    def place(self) -> StatePlace | None:
        """Give the folder where the processes of the host meet; None when offline."""
        return make_place(self.options, "hackle", self.sdk_key, self.sdk_url, self.event_url)
