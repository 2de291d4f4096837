"""OpenTelemetry metrics of flagmw clients, read when they are collected: `instrument(client)`.

Needs opentelemetry-api; without an SDK nothing is collected. The numbers are those of `client.status`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from flagmw import __version__
from flagmw.client import DEFAULT_NAME, Client
from flagmw.errors import ConfigError
from flagmw.measures import CHOICES, MEASURES, Choice, Measure
from flagmw.status import Status

__all__ = ["instrument"]

Callback = Callable[[CallbackOptions], Iterable[Observation]]

_locks: dict[str, threading.Lock] = {}  # made at the first use: at import gevent may not have put its own in place
_instruments: weakref.WeakKeyDictionary[MeterProvider, _Instruments] = weakref.WeakKeyDictionary()


class _Instruments:
    """The instruments of one meter provider, which tell of all its clients."""

    def __init__(self, provider: MeterProvider) -> None:
        self._clients: dict[str, weakref.ref[Client]] = {}
        meter = provider.get_meter("flagmw", __version__)
        for choice in CHOICES:
            callbacks: list[Callback] = [partial(self._observe_choice, choice)]
            meter.create_observable_gauge(f"flagmw.{choice.word}", callbacks, description=choice.about)
        for measure in MEASURES:
            make = meter.create_observable_counter if measure.counts else meter.create_observable_gauge
            name = ".".join(("flagmw", *measure.words))
            make(name, [partial(self._observe, measure)], unit=measure.unit, description=measure.about)

    def add(self, name: str, client: Client) -> None:
        """Tell of a client from now on."""
        self._clients[name] = weakref.ref(client)

    def _statuses(self) -> Iterable[tuple[dict[str, str | int], Status]]:
        for name, reference in list(self._clients.items()):
            client = reference()
            if client is None:
                self._clients.pop(name, None)
            else:
                yield {"flagmw.client": name, "process.pid": os.getpid()}, client.status

    def _observe(self, measure: Measure, options: CallbackOptions) -> Iterable[Observation]:
        for attributes, status in self._statuses():
            value = measure.read(status)
            if value is not None:
                yield Observation(value, attributes)

    def _observe_choice(self, choice: Choice, options: CallbackOptions) -> Iterable[Observation]:
        for attributes, status in self._statuses():
            current = choice.read(status)
            for value in choice.values:
                yield Observation(int(value == current), {**attributes, f"flagmw.{choice.word}": value})


def instrument(client: Client, meter_provider: MeterProvider | None = None, *, name: str = DEFAULT_NAME) -> None:
    """Have a client's metrics collected, with the attributes `flagmw.client` and `process.pid`; starts nothing.

    Args:
        client: which one; it is not kept alive.
        meter_provider: of the SDK; None is the global one.
        name: the attribute `flagmw.client`; another client under the same name replaces the first.

    Raises:
        ConfigError: an argument that is not what it should be.
    """
    if not isinstance(client, Client):
        raise ConfigError(f"client must be a flagmw.Client, got {type(client).__name__}")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"name must be a text that is not empty, got {name!r}")
    provider = get_meter_provider() if meter_provider is None else meter_provider
    with _locks.setdefault("", threading.Lock()):
        instruments = _instruments.get(provider)
        if instruments is None:
            instruments = _instruments[provider] = _Instruments(provider)
        instruments.add(name, client)
