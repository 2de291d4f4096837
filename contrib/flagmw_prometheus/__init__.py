"""Prometheus metrics of flagmw clients, read when they are scraped: `register(client)`.

Needs prometheus_client. Nothing is counted twice: the numbers are those of `client.status`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from flagmw.client import DEFAULT_NAME, Client
from flagmw.errors import ConfigError
from flagmw.measures import CHOICES, MEASURES, Choice, Measure
from flagmw.processes import Environment, environment_of
from flagmw.status import Status

__all__ = ["FlagCollector", "register"]

UNITS = {"s": "_seconds", "By": "_bytes"}
LABELS = ("client", "pid")

_locks: dict[str, threading.Lock] = {}  # made at the first use: at import gevent may not have put its own in place
_collectors: weakref.WeakKeyDictionary[CollectorRegistry, FlagCollector] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registered:
    name: str
    client: weakref.ref[Client]
    whole_host: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one client has to tell at one scrape."""

    name: str
    statuses: Sequence[tuple[str, Status]]
    environment: Environment | None = None
    silences: Sequence[tuple[str, float]] = ()


class FlagCollector(Collector):
    """Tells of all clients of one registry. `register` makes it."""

    def __init__(self) -> None:
        self._registered: dict[str, _Registered] = {}

    def add(self, registered: _Registered) -> None:
        """Tell of a client from now on; takes the place of one with the same name."""
        self._registered[registered.name] = registered

    def describe(self) -> Iterable[Metric]:
        """Give the metrics without numbers, which a registry asks for to find names that are taken."""
        return self._families([])

    def collect(self) -> Iterable[Metric]:
        """Give the metrics of this moment."""
        seen = []
        for registered in list(self._registered.values()):
            client = registered.client()
            if client is None:
                self._registered.pop(registered.name, None)
            else:
                seen.append(_look(client, registered))
        return self._families(seen)

    def _families(self, seen: Sequence[_Seen]) -> Iterator[Metric]:
        for choice in CHOICES:
            yield _choice(choice, seen)
        for measure in MEASURES:
            yield _measure(measure, seen)
        yield from _of_hosts(seen)


def register(
    client: Client, registry: CollectorRegistry | None = None, *, name: str = DEFAULT_NAME, whole_host: bool = False
) -> FlagCollector:
    """Have a client's metrics in a registry, labelled with `client` and `pid`. Reading them starts nothing.

    Args:
        client: which one; it is not kept alive.
        registry: where; None is prometheus_client's own.
        name: the label `client`; registering another client under the same name replaces the first.
        whole_host: tell of all processes of this host that use the client's environment, whichever of them is asked.
            That is what a server with several workers needs. Where processes have nothing in common, as with flag
            files, only the one that is asked tells of itself.

    Raises:
        ConfigError: an argument that is not what it should be.
        ValueError: the registry has a metric with one of these names.
    """
    if not isinstance(client, Client):
        raise ConfigError(f"client must be a flagmw.Client, got {type(client).__name__}")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"name must be a text that is not empty, got {name!r}")
    registry = REGISTRY if registry is None else registry
    with _locks.setdefault("", threading.Lock()):
        collector = _collectors.get(registry)
        if collector is None:
            collector = FlagCollector()
            registry.register(collector)
            _collectors[registry] = collector
        collector.add(_Registered(name=name, client=weakref.ref(client), whole_host=whole_host))
    return collector


def _look(client: Client, registered: _Registered) -> _Seen:
    environment = environment_of(client.provider) if registered.whole_host else None
    if environment is None:
        return _Seen(name=registered.name, statuses=[(str(os.getpid()), client.status)])
    numbers: Counter[int] = Counter()
    statuses: list[tuple[str, Status]] = []
    silences: list[tuple[str, float]] = []
    for process in environment.processes:
        # A process may have several clients of one environment, such as several apps in one uWSGI worker.
        numbers[process.pid] += 1
        number = numbers[process.pid]
        label = str(process.pid) if number == 1 else f"{process.pid}-{number}"
        silences.append((label, process.silent_s))
        if process.status is not None:
            statuses.append((label, process.status))
    return _Seen(name=registered.name, statuses=statuses, environment=environment, silences=silences)


def _choice(choice: Choice, seen: Sequence[_Seen]) -> Metric:
    family = GaugeMetricFamily(f"flagmw_{choice.word}", choice.about, labels=[*LABELS, choice.word])
    for one in seen:
        for pid, status in one.statuses:
            current = choice.read(status)
            for value in choice.values:
                family.add_metric([one.name, pid, value], float(value == current))
    return family


def _measure(measure: Measure, seen: Sequence[_Seen]) -> Metric:
    make = CounterMetricFamily if measure.counts else GaugeMetricFamily
    name = "_".join(("flagmw", *measure.words)) + UNITS.get(measure.unit, "")
    family: CounterMetricFamily | GaugeMetricFamily = make(name, measure.about, labels=LABELS)
    for one in seen:
        for pid, status in one.statuses:
            value = measure.read(status)
            if value is not None:
                family.add_metric([one.name, pid], value)
    return family


def _of_hosts(seen: Sequence[_Seen]) -> Iterator[Metric]:
    """Give what only a look at all processes of a host tells."""
    processes = GaugeMetricFamily("flagmw_processes", "Processes of the host that use the flags", labels=["client"])
    revisions = GaugeMetricFamily("flagmw_revisions", "Different revisions that these have", labels=["client"])
    silent = GaugeMetricFamily("flagmw_silent_seconds", "Time since a process last told of itself", labels=LABELS)
    left = GaugeMetricFamily("flagmw_left_bytes", "Events that processes which are gone have left", labels=["client"])
    for one in seen:
        environment = one.environment
        if environment is None:
            continue
        processes.add_metric([one.name], len(environment.processes))
        revisions.add_metric([one.name], len({status.revision for _, status in one.statuses if status.revision}))
        left.add_metric([one.name], environment.left_bytes)
        for pid, silent_s in one.silences:
            silent.add_metric([one.name, pid], silent_s)
    yield from (processes, revisions, silent, left)
