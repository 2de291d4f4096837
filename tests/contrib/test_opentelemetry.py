"""OpenTelemetry metrics of clients, through the real SDK."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Sum

from flagmw import Client, ConfigError
from flagmw.providers import Static
from flagmw.status import EventCounts
from flagmw.testing import MemorySink
from flagmw_opentelemetry import instrument


class CountingSink(MemorySink):
    """Tells of events that never were."""

    def counts(self) -> EventCounts:
        return EventCounts(waiting=1, sent=2, retried=3, dropped=4, adopted=5, spool_bytes=6)


class Collected:
    """What an exporter would get."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader])

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        assert {scope.scope.name for scope in scopes} <= {"flagmw"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def values(self, name: str) -> list[tuple[dict[str, Any], float]]:
        metric = self.metrics().get(name)
        return [] if metric is None else [(dict(point.attributes), point.value) for point in metric.data.data_points]


@pytest.fixture
def collected(caplog: pytest.LogCaptureFixture) -> Iterator[Collected]:
    """Collect, and see that the SDK logs nothing: it catches the errors of those who observe."""
    made = Collected()
    yield made
    made.provider.shutdown()
    assert caplog.get_records("call") == []


def started(flags: Mapping[str, Any], sink: MemorySink | None = None) -> Client:
    client = Client(Static(flags, sink=sink))
    client.start()
    return client


def test_numbers_come_with_the_client_and_the_process(collected: Collected) -> None:
    client = started({"a": True, "b": True})
    instrument(client, collected.provider)
    assert collected.values("flagmw.flags") == [({"flagmw.client": "default", "process.pid": os.getpid()}, 2)]


def test_the_state_is_one_of_all_states(collected: Collected) -> None:
    client = started({"a": True})
    instrument(client, collected.provider)
    found = {attributes["flagmw.state"]: value for attributes, value in collected.values("flagmw.state")}
    assert found == {"OK": 1, "INITIALIZING": 0, "INTERRUPTED": 0, "OFF": 0}


def test_the_role_is_one_of_all_roles(collected: Collected) -> None:
    client = started({"a": True})
    instrument(client, collected.provider)
    found = {attributes["flagmw.role"]: value for attributes, value in collected.values("flagmw.role")}
    assert found == {"alone": 1, "leader": 0, "follower": 0}


def test_what_became_of_events_is_told(collected: Collected) -> None:
    client = started({"a": True}, CountingSink())
    instrument(client, collected.provider)
    names = ["waiting", "sent", "retried", "dropped", "adopted", "spool"]
    assert [collected.values(f"flagmw.events.{name}")[0][1] for name in names] == [1, 2, 3, 4, 5, 6]


def test_what_only_grows_is_a_monotonic_sum(collected: Collected) -> None:
    client = started({"a": True}, CountingSink())
    instrument(client, collected.provider)
    found = collected.metrics()
    assert isinstance(found["flagmw.events.sent"].data, Sum)
    assert found["flagmw.events.sent"].data.is_monotonic
    assert isinstance(found["flagmw.events.waiting"].data, Gauge)


def test_units_are_those_of_opentelemetry(collected: Collected) -> None:
    client = started({"a": True}, CountingSink())
    instrument(client, collected.provider)
    found = collected.metrics()
    assert [found[f"flagmw.{name}"].unit for name in ("revision.age", "events.spool", "events.sent", "flags")] == [
        "s",
        "By",
        "{event}",
        "{flag}",
    ]


def test_what_is_not_known_is_not_told(collected: Collected) -> None:
    client = Client(Static({"a": True}))
    instrument(client, collected.provider)
    assert (collected.values("flagmw.revision.age"), collected.values("flagmw.events.sent")) == ([], [])


def test_collecting_starts_nothing(collected: Collected) -> None:
    client = Client(Static({"a": True}))
    instrument(client, collected.provider)
    collected.metrics()
    assert client.status.pid == 0


def test_several_clients_are_told_apart_by_name(collected: Collected) -> None:
    one, two = started({"a": True}), started({"a": True, "b": True})
    instrument(one, collected.provider, name="one")
    instrument(two, collected.provider, name="two")
    found = {attributes["flagmw.client"]: value for attributes, value in collected.values("flagmw.flags")}
    assert found == {"one": 1, "two": 2}


def test_a_client_that_is_dropped_is_no_longer_told_of(collected: Collected) -> None:
    client: Client | None = Client(Static({"a": True}))
    assert client is not None
    instrument(client, collected.provider)
    del client
    gc.collect()
    assert collected.values("flagmw.state") == []


def test_without_an_sdk_nothing_happens() -> None:
    client = Client(Static({"a": True}))
    instrument(client)
    instrument(client, NoOpMeterProvider())
    assert client.status.pid == 0


@pytest.mark.parametrize("arguments", [{"client": object()}, {"name": ""}, {"name": 3}])
def test_wrong_arguments_are_refused(collected: Collected, arguments: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError):
        instrument(**{"client": Client(Static({})), "meter_provider": collected.provider, **arguments})
