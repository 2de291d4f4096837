"""What the providers of flag services make their parts with: sources, sinks and caches as their options say."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from flagmw.events import EventWire, Sink
from flagmw.events.delivery import DeliverySink
from flagmw.lifecycle.places import StatePlace
from flagmw.providers.bootstrapping import BootstrappedSource, OfflineSource
from flagmw.providers.options import ServiceOptions, StreamOptions
from flagmw.session import HttpSession
from flagmw.transports import PollWire, Source, StreamWire
from flagmw.transports.cache import SnapshotCache, cache_path
from flagmw.transports.polling import PollingSource
from flagmw.transports.shared import SharedSource
from flagmw.transports.streaming import StreamSource


def make_source(
    options: ServiceOptions, service: Callable[[], Source], place: StatePlace | None, *, pushes: bool
) -> Source:
    """Make a source: the service's, with a bootstrap document before it if there is one, or that alone when offline.

    Args:
        options: of the provider.
        service: makes the source that brings what the service says.
        place: where the processes of the host meet, one of which brings it for all if that is wanted.
        pushes: the service tells of changes, rather than being asked at intervals.
    """
    if options.offline:
        return OfflineSource(options.bootstrap)
    source = service() if place is None or not options.shared else SharedSource(service, place, pushes=pushes)
    return source if options.bootstrap is None else BootstrappedSource(options.bootstrap, source)


def make_streaming(options: ServiceOptions, wire: StreamWire, stream: StreamOptions) -> Source:
    """Make a source that keeps a stream open."""
    return StreamSource(
        wire,
        options.network,
        ping_interval_s=stream.ping_interval_s,
        first_retry_delay_s=stream.first_retry_delay_s,
        max_retry_delay_s=stream.max_retry_delay_s,
    )


def make_polling(options: ServiceOptions, wire: PollWire, poll_interval_s: float) -> Source:
    """Make a source that asks at intervals."""
    return PollingSource(wire, options.network, interval_s=poll_interval_s)


def make_place(options: ServiceOptions, service: str, *identity: str) -> StatePlace | None:
    """Give the folder where the processes of the host that use this environment meet; None when offline.

    Args:
        options: of the provider.
        service: the flag service, for people who look into the folder.
        *identity: the environment's secret and the service's addresses; only a hash of them is seen.
    """
    return None if options.offline else _place(options.state_dir, service, identity)


@lru_cache(maxsize=16)
def _place(root: Path | None, service: str, identity: tuple[str, ...]) -> StatePlace:
    return StatePlace(root, service, identity)


def make_sink(
    options: ServiceOptions, wire: Callable[[], EventWire], place: StatePlace | None, flush_interval_s: float
) -> Sink | None:
    """Make a sink that delivers events; None when none are to be sent.

    Args:
        options: of the provider.
        wire: makes what knows how the service wants its events.
        place: where events are kept until they are delivered, if they are to outlive their process.
        flush_interval_s: of the service's own client, unless the options say otherwise.
    """
    events = options.events
    if options.offline or events is None:
        return None
    return DeliverySink(
        wire(),
        lambda: HttpSession(options.network),
        capacity=events.capacity,
        flush_interval_s=flush_interval_s if events.flush_interval_s is None else events.flush_interval_s,
        place=place if events.durability == "process" else None,
        max_spool_bytes=events.max_spool_bytes,
        max_spool_age_s=events.max_spool_age_s,
        exit_timeout_s=events.exit_timeout_s,
        wall_clock=time.time,
    )


def make_cache(options: ServiceOptions, service: str, secret: str) -> SnapshotCache | None:
    """Make what keeps the last good flags; None when they are not kept.

    Args:
        options: of the provider.
        service: names the format of what is kept.
        secret: the file is named by a hash of it.
    """
    if options.offline or options.cache_dir is None:
        return None
    return SnapshotCache(cache_path(options.cache_dir, service, secret))
