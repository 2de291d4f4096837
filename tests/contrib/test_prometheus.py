"""Prometheus metrics of clients, through the real client library: scraped as text, and parsed again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from flagmw import Client, ConfigError
from flagmw.lifecycle.places import StatePlace
from flagmw.presence import Presence
from flagmw.providers import FlagFile, Static
from flagmw.providers.dsn import provider_from_dsn
from flagmw.status import EventCounts, Role, State
from flagmw.testing import MemorySink
from flagmw_prometheus import register
from tests.unit.presence_support import ROOT, living, place_in, shown, status
from tests.unit.support import until

PID = str(os.getpid())


class CountingSink(MemorySink):
    """Tells of events that never were."""

    def counts(self) -> EventCounts:
        return EventCounts(waiting=1, sent=2, retried=3, dropped=4, adopted=5, spool_bytes=6)


class Meeting(Static):
    """Flags in memory, of an environment whose processes meet in a folder."""

    __slots__ = ("folder",)

    folder: Path

    def place(self) -> StatePlace:  # type: ignore[override]  # here there is one
        return place_in(self.folder)


def meeting(folder: Path) -> Client:
    provider = Meeting({"a": True})
    object.__setattr__(provider, "folder", folder)
    return Client(provider)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


# The library does not say the types of these.
parse: Any = text_string_to_metric_families
expose: Any = generate_latest
parse_openmetrics: Any = openmetrics_families
expose_openmetrics: Any = openmetrics_text


def scraped(registry: CollectorRegistry) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Scrape as Prometheus does; give the numbers by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in parse(expose(registry).decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), f"{sample.name} is there twice"
            found[sample.name][labels] = sample.value
    return found


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"client": "default", "pid": PID, **labels})


# --- one process --------------------------------------------------------------------------------------------------


def test_the_state_is_one_of_all_states(registry: CollectorRegistry) -> None:
    client = Client(Static({"a": True}))
    client.start()
    register(client, registry)
    found = {dict(labels)["state"]: number for labels, number in scraped(registry)["flagmw_state"].items()}
    assert found == {"OK": 1.0, "INITIALIZING": 0.0, "INTERRUPTED": 0.0, "OFF": 0.0}


def test_flags_ages_and_the_role_are_told(registry: CollectorRegistry) -> None:
    client = Client(Static({"a": True, "b": 1}))
    client.start()
    register(client, registry)
    assert value(registry, "flagmw_flags") == 2.0
    assert value(registry, "flagmw_role", role="alone") == 1.0
    assert value(registry, "flagmw_role", role="leader") == 0.0
    age, revision_age = value(registry, "flagmw_flags_age_seconds"), value(registry, "flagmw_revision_age_seconds")
    assert age is not None
    assert revision_age is not None
    assert 0.0 <= age < 60.0
    assert revision_age < 60.0


def test_what_became_of_events_is_told(registry: CollectorRegistry) -> None:
    client = Client(Static({"a": True}, sink=CountingSink()))
    client.start()
    register(client, registry)
    names = ["waiting", "sent_total", "retried_total", "dropped_total", "adopted_total", "spool_bytes"]
    assert [value(registry, f"flagmw_events_{name}") for name in names] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_what_only_grows_is_a_counter(registry: CollectorRegistry) -> None:
    register(Client(Static({})), registry)
    kinds = {family.name: family.type for family in registry.collect()}
    assert kinds["flagmw_events_sent"] == kinds["flagmw_events_dropped"] == "counter"
    assert kinds["flagmw_events_waiting"] == kinds["flagmw_revision_age_seconds"] == "gauge"


def test_what_is_not_known_is_not_told(registry: CollectorRegistry, tmp_path: Path) -> None:
    register(Client(FlagFile(tmp_path / "gone.json")), registry)
    assert value(registry, "flagmw_revision_age_seconds") is None
    assert value(registry, "flagmw_events_sent_total") is None


def test_scraping_starts_nothing(registry: CollectorRegistry) -> None:
    client = Client(Static({"a": True}))
    register(client, registry)
    assert value(registry, "flagmw_state", state="INITIALIZING") == 1.0
    assert client.status.pid == 0


def test_all_of_it_is_openmetrics_too(registry: CollectorRegistry) -> None:
    client = Client(Static({"a": True}))
    client.start()
    register(client, registry)
    families = list(parse_openmetrics(expose_openmetrics(registry).decode()))
    assert "flagmw_state" in [family.name for family in families]


def test_several_clients_are_told_apart_by_name(registry: CollectorRegistry) -> None:
    clients = {name: Client(Static(dict.fromkeys("abc"[:number], True))) for name, number in (("one", 1), ("two", 2))}
    for name, client in clients.items():
        client.start()
        register(client, registry, name=name)
    found = {dict(labels)["client"]: number for labels, number in scraped(registry)["flagmw_flags"].items()}
    assert found == {"one": 1.0, "two": 2.0}


def test_another_client_of_the_same_name_takes_the_place_of_the_first(registry: CollectorRegistry) -> None:
    first, second = Client(Static({"a": True})), Client(Static({"a": True, "b": True}))
    for client in (first, second):
        client.start()
        register(client, registry)
    assert value(registry, "flagmw_flags") == 2.0


def test_a_client_that_is_dropped_is_no_longer_told_of(registry: CollectorRegistry) -> None:
    client: Client | None = Client(Static({"a": True}))
    assert client is not None
    register(client, registry)
    del client
    gc.collect()
    assert "flagmw_state" not in scraped(registry)


def test_a_name_that_is_taken_is_an_error_at_once(registry: CollectorRegistry) -> None:
    Gauge("flagmw_flags", "somebody else's", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        register(Client(Static({})), registry)


def test_no_secret_is_told(registry: CollectorRegistry) -> None:
    client = Client("hackle://a-secret-key?state_dir=nowhere")
    register(client, registry, whole_host=True)
    assert "a-secret-key" not in expose(registry).decode()


@pytest.mark.parametrize("arguments", [{"client": object()}, {"name": ""}, {"name": 3}])
def test_wrong_arguments_are_refused(registry: CollectorRegistry, arguments: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError):
        register(**{"client": Client(Static({})), "registry": registry, **arguments})


# --- all processes of a host --------------------------------------------------------------------------------------


def test_whoever_is_asked_tells_of_all_processes(registry: CollectorRegistry, tmp_path: Path) -> None:
    client = meeting(tmp_path)
    register(client, registry, whole_host=True)
    with living(tmp_path, number=2) as others, shown(tmp_path, status(role=Role.LEADER, events=EventCounts(sent=7))):
        found = scraped(registry)
    pids = {dict(labels)["pid"] for labels in found["flagmw_flags"]}
    assert pids == {PID, *(str(process.pid) for process in others)}
    assert found["flagmw_processes"] == {(("client", "default"),): 3.0}
    assert found["flagmw_role"][("client", "default"), ("pid", PID), ("role", "leader")] == 1.0
    assert found["flagmw_events_sent_total"] == {(("client", "default"), ("pid", PID)): 7.0}
    assert max(found["flagmw_silent_seconds"].values()) < 5.0


def test_unless_that_is_wanted_a_process_tells_only_of_itself(registry: CollectorRegistry, tmp_path: Path) -> None:
    client = meeting(tmp_path)
    register(client, registry)
    with living(tmp_path):
        found = scraped(registry)
    assert [dict(labels)["pid"] for labels in found["flagmw_flags"]] == [PID]
    assert "flagmw_processes" not in found


def test_processes_with_different_flags_are_counted(registry: CollectorRegistry, tmp_path: Path) -> None:
    client = meeting(tmp_path)
    register(client, registry, whole_host=True)
    with living(tmp_path), shown(tmp_path, status(revision="r2")):
        assert registry.get_sample_value("flagmw_revisions", {"client": "default"}) == 2.0


def test_each_client_of_a_process_that_has_two_is_told(registry: CollectorRegistry, tmp_path: Path) -> None:
    client = meeting(tmp_path)
    register(client, registry, whole_host=True)
    first, second = status(events=EventCounts(sent=3)), status(events=EventCounts(sent=4))
    with shown(tmp_path, first), shown(tmp_path, second), living(tmp_path) as [other]:
        found = scraped(registry)
    sent = {dict(labels)["pid"]: number for labels, number in found["flagmw_events_sent_total"].items()}
    assert sent == {PID: 3.0, f"{PID}-2": 4.0}
    assert {dict(labels)["pid"] for labels in found["flagmw_silent_seconds"]} == {*sent, str(other.pid)}


def test_nobody_is_told_as_none(registry: CollectorRegistry, tmp_path: Path) -> None:
    register(client := meeting(tmp_path), registry, whole_host=True)
    assert registry.get_sample_value("flagmw_processes", {"client": "default"}) == 0.0
    assert client.status.state is State.INITIALIZING


def test_where_processes_have_nothing_in_common_one_tells_of_itself(registry: CollectorRegistry) -> None:
    client = Client(Static({"a": True}))
    client.start()
    register(client, registry, whole_host=True)
    assert value(registry, "flagmw_flags") == 1.0
    assert "flagmw_processes" not in scraped(registry)


# --- the library's multiprocess mode ------------------------------------------------------------------------------

MULTIPROCESS = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess
from flagmw import Client
from flagmw.providers.dsn import provider_from_dsn
from flagmw_prometheus import register

Counter("of_the_app", "A metric of the app.").inc()
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
client = Client(sys.argv[1])
register(client, registry, whole_host=True)
print(generate_latest(registry).decode())
"""


def test_it_goes_together_with_the_librarys_multiprocess_mode(tmp_path: Path) -> None:
    dsn = f"hackle://a-key?state_dir={tmp_path}"
    place = provider_from_dsn(dsn).place()
    assert place is not None
    (tmp_path / "multi").mkdir()
    presence = Presence(place, lambda: status(flags=12))
    presence.start()
    try:
        until(lambda: list(place.path().glob("process-*.json")))
        done = subprocess.run(
            [sys.executable, "-c", MULTIPROCESS, dsn],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "multi")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    finally:
        presence.close()
    assert f'flagmw_flags{{client="default",pid="{PID}"}} 12.0' in done.stdout
    assert "of_the_app_total 1.0" in done.stdout
