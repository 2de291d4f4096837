"""`FeatBit`: flags from a FeatBit server, streamed or polled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Unpack

from flagmw.dialects import Dialect
from flagmw.dialects.featbit import FeatBitDialect, FeatBitEvents, FeatBitPoll, FeatBitStream, check_env_secret
from flagmw.events import Sink
from flagmw.lifecycle.chance import chance
from flagmw.lifecycle.places import StatePlace
from flagmw.providers.options import (
    HTTP_SCHEMES,
    STREAM_SCHEMES,
    CommonOptions,
    ServiceOptions,
    StreamOptions,
    check_bool,
    check_defaults,
    check_kind,
    check_seconds,
    check_secret,
    check_url,
)
from flagmw.providers.parts import make_cache, make_place, make_polling, make_sink, make_source, make_streaming
from flagmw.transports import Source
from flagmw.transports.cache import SnapshotCache

FLUSH_INTERVAL_S = 1.0
"""How long events wait in FeatBit's own client."""

DEFAULT_STREAM = StreamOptions()


@dataclass(frozen=True, slots=True, init=False)
class FeatBit:
    """Flags from a FeatBit server.

    Args:
        env_secret: the server key of an environment. May be empty when offline.
        streaming_url: where changes are streamed from.
        event_url: where exposures and metrics are sent, and flags polled.
        polling: ask for flags at intervals instead of streaming them.
        poll_interval_s: how often.
        stream: how a stream is watched, and opened again.
        defaults: by flag key, what is served where a flag cannot be evaluated; it wins over the caller's default.
        **options: see `ServiceOptions`.

    Raises:
        ConfigError: an argument that is not what it should be; shows nothing that may be secret.
    """

    env_secret: str = field(repr=False)
    _: KW_ONLY
    streaming_url: str
    event_url: str
    polling: bool
    poll_interval_s: float
    stream: StreamOptions
    defaults: Mapping[str, Any] = field(repr=False, hash=False)
    options: ServiceOptions

    def __init__(
        self,
        env_secret: str,
        *,
        streaming_url: str = "wss://app-eval.featbit.co",
        event_url: str = "https://app-eval.featbit.co",
        polling: bool = False,
        poll_interval_s: float = 30.0,
        stream: StreamOptions = DEFAULT_STREAM,
        defaults: Mapping[str, Any] | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        """Check the settings; nothing is opened."""
        own = ("streaming_url", "event_url", "polling", "poll_interval_s", "stream", "defaults")
        common = ServiceOptions.of(options, known=own)
        check_bool("polling", polling)
        check_kind("stream", stream, StreamOptions)
        put = object.__setattr__
        put(self, "env_secret", check_secret("env_secret", env_secret, check_env_secret, offline=common.offline))
        put(self, "streaming_url", check_url("streaming_url", streaming_url, STREAM_SCHEMES))
        put(self, "event_url", check_url("event_url", event_url, HTTP_SCHEMES))
        put(self, "polling", polling)
        put(self, "poll_interval_s", check_seconds("poll_interval_s", poll_interval_s))
        put(self, "stream", stream)
        put(self, "defaults", check_defaults(defaults))
        put(self, "options", common)

    def dialect(self) -> Dialect:
        """Make the dialect of FeatBit's documents."""
        return FeatBitDialect()

    def source(self) -> Source:
        """Make a source: a stream, or requests at intervals."""
        service = self._poll if self.polling else self._stream
        return make_source(self.options, service, self.place(), pushes=not self.polling)

    def _stream(self) -> Source:
        wire = FeatBitStream(self.env_secret, self.streaming_url, time.time, chance)
        return make_streaming(self.options, wire, self.stream)

    def _poll(self) -> Source:
        return make_polling(self.options, FeatBitPoll(self.env_secret, self.event_url), self.poll_interval_s)

    def sink(self) -> Sink | None:
        """Make a sink that sends evaluations and metrics; None when offline, or without events."""
        wire = partial(FeatBitEvents, self.env_secret, self.event_url)
        return make_sink(self.options, wire, self.place(), FLUSH_INTERVAL_S)

    def cache(self) -> SnapshotCache | None:
        """Make what keeps the last good flags; None without `cache_dir`."""
        return make_cache(self.options, "featbit", self.env_secret)

    def place(self) -> StatePlace | None:
        """Give the folder where the processes of the host meet; None when offline."""
        return make_place(self.options, "featbit", self.env_secret, self.streaming_url, self.event_url)
