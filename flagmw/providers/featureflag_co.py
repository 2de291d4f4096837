"""`FeatureFlagCo`: flags from featureflag.co, streamed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Unpack

from flagmw.dialects import Dialect
from flagmw.dialects.featureflag_co import (
    FeatureFlagCoDialect,
    FeatureFlagCoEvents,
    FeatureFlagCoStream,
    check_env_secret,
)
from flagmw.events import Sink
from flagmw.lifecycle.chance import chance
from flagmw.lifecycle.places import StatePlace
from flagmw.providers.options import (
    HTTP_SCHEMES,
    STREAM_SCHEMES,
    CommonOptions,
    ServiceOptions,
    StreamOptions,
    check_defaults,
    check_kind,
    check_secret,
    check_url,
)
from flagmw.providers.parts import make_cache, make_place, make_sink, make_source, make_streaming
from flagmw.transports import Source
from flagmw.transports.cache import SnapshotCache

FLUSH_INTERVAL_S = 3.0
"""How long events wait in featureflag.co's own client."""

DEFAULT_STREAM = StreamOptions()


@dataclass(frozen=True, slots=True, init=False)
class FeatureFlagCo:
    """Flags from featureflag.co, or a server of your own.

    Args:
        env_secret: the secret of an environment. It names the environment's flags, so it is needed offline as well.
        base_uri: where exposures and metrics are sent.
        streaming_uri: where changes are streamed from.
        stream: how the stream is watched, and opened again.
        defaults: by flag key, what is served where a flag cannot be evaluated; it wins over the caller's default.
        **options: see `ServiceOptions`.

    Raises:
        ConfigError: an argument that is not what it should be; shows nothing that may be secret.
    """

    env_secret: str = field(repr=False)
    _: KW_ONLY
    base_uri: str
    streaming_uri: str
    stream: StreamOptions
    defaults: Mapping[str, Any] = field(repr=False, hash=False)
    options: ServiceOptions

    def __init__(
        self,
        env_secret: str,
        *,
        base_uri: str = "https://api.featureflag.co",
        streaming_uri: str = "wss://api.featureflag.co",
        stream: StreamOptions = DEFAULT_STREAM,
        defaults: Mapping[str, Any] | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        """Check the settings; nothing is opened."""
        common = ServiceOptions.of(options, known=("base_uri", "streaming_uri", "stream", "defaults"))
        check_kind("stream", stream, StreamOptions)
        put = object.__setattr__
        put(self, "env_secret", check_secret("env_secret", env_secret, check_env_secret))
        put(self, "base_uri", check_url("base_uri", base_uri, HTTP_SCHEMES))
        put(self, "streaming_uri", check_url("streaming_uri", streaming_uri, STREAM_SCHEMES))
        put(self, "stream", stream)
        put(self, "defaults", check_defaults(defaults))
        put(self, "options", common)

    def dialect(self) -> Dialect:
        """Make the dialect of featureflag.co's documents."""
        return FeatureFlagCoDialect(self.env_secret)

    def source(self) -> Source:
        """Make a source that streams."""
        return make_source(self.options, self._stream, self.place(), pushes=True)

    def _stream(self) -> Source:
        wire = FeatureFlagCoStream(self.env_secret, self.streaming_uri, time.time, chance)
        return make_streaming(self.options, wire, self.stream)

    def sink(self) -> Sink | None:
        """Make a sink that sends evaluations and metrics; None when offline, or without events."""
        wire = partial(FeatureFlagCoEvents, self.env_secret, self.base_uri)
        return make_sink(self.options, wire, self.place(), FLUSH_INTERVAL_S)

    def cache(self) -> SnapshotCache | None:
        """Make what keeps the last good flags; None without `cache_dir`."""
        return make_cache(self.options, "featureflag_co", self.env_secret)

    def place(self) -> StatePlace | None:
        """Give the folder where the processes of the host meet; None when offline."""
        return make_place(self.options, "featureflag_co", self.env_secret, self.streaming_uri, self.base_uri)
