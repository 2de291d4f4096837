"""Runs Hackle vectors through what a user calls: a client on a config document in memory."""

from __future__ import annotations

import csv
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from flagmw import Client
from flagmw.core.documents import Document
from flagmw.core.records import Exposure, Metric
from flagmw.dialects.hackle import EventTypes, HackleDialect, HackleEvents, PropertyOperations
from flagmw.dialects.hackle.buckets import slot_number
from flagmw.evaluation import Evaluation
from flagmw.events import Item
from flagmw.events.memory import MemorySink
from flagmw.status import Role
from flagmw.transports import Receiver, Source
from flagmw.transports.memory import MemoryChannel, MemorySource

Ran = tuple[dict[str, int], list[str]]


def run(vectors: Any, folder: Path) -> Ran:
    """Run one file's cases.

    Returns:
        How many cases ran, by kind, and one line for each that failed.
    """
    if isinstance(vectors, Path):
        return _run_buckets(vectors)
    if "rows" in vectors:
        return _run_matches(vectors)
    return _run_batches(vectors) if "batches" in vectors else _run_cases(vectors)


# --- a client in memory -----------------------------------------------------------------------------------------


class Silent:
    """A source that never brings anything."""

    background = False
    local = True
    awaited = False
    role = Role.ALONE
    heartbeat_s: float | None = None
    agreed_s: float | None = None

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        pass

    def run(self, stopping: threading.Event) -> None:
        pass

    def wake(self) -> None:
        pass


@dataclass
class Provider:
    """Hackle with a document at hand and events that stay."""

    workspace: Any
    told: MemorySink = field(default_factory=MemorySink)
    event_types: EventTypes = field(default_factory=EventTypes)

    def dialect(self) -> HackleDialect:
        return HackleDialect(self.event_types)

    def source(self) -> Source:
        if self.workspace is None:
            return Silent()
        content = json.dumps(self.workspace).encode()
        return MemorySource(MemoryChannel(Document(name="config", content=content)))

    def sink(self) -> MemorySink:
        return self.told

    def place(self) -> None:
        return None

    def cache(self) -> None:
        return None

    def wire(self, insert_id: str = "{}") -> HackleEvents:
        numbers = count(1)
        return HackleEvents(
            "key",
            "https://event.test",
            wall_clock=lambda: 0.0,
            uuid4=lambda: insert_id % next(numbers) if "%" in insert_id else insert_id,
            event_types=self.event_types,
        )

    def records(self) -> list[Any]:
        """Give what was told since the last time."""
        told = [*self.told.exposures, *self.told.metrics, *self.told.identities]
        for kind in (self.told.exposures, self.told.metrics, self.told.identities):
            kind.clear()
        return told


def items_of(wire: HackleEvents, record: Any) -> Sequence[Item]:
    """Encode a record as a sink does."""
    if isinstance(record, Exposure):
        return wire.exposure(record)
    if isinstance(record, Metric):
        return wire.metric(record) if wire.refusal(record) is None else ()
    return wire.identity(record)


# --- what the vectors say ---------------------------------------------------------------------------------------


def decoded(value: Any) -> Any:
    """Give a value of a vector file with its odd floats."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"}:
            return float(value["__float__"])
        return {name: decoded(item) for name, item in value.items()}
    return [decoded(item) for item in value] if isinstance(value, list) else value


def canonical(value: Any) -> str:
    """Write a value so that 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


def user_of(user: Any) -> Any:
    """Give what a caller passes for a vector's user."""
    if user is None or user["type"] == "other":
        return user and user["value"]
    return {name: value for name, value in user.items() if name != "type"}


def call(client: Client, case: Mapping[str, Any]) -> Evaluation | None:
    """Make a vector's call."""
    user = user_of(case["user"])
    if case["call"] == "variation_detail":
        return client.variation_detail(case["key"], user, case["default"])
    if case["call"] == "feature_flag_detail":
        return client.is_enabled_detail(case["key"], user)
    if case["call"] == "remote_config":
        return client.config_detail(case["key"], user, case["default"])
    if case["call"] == "track":
        _track(client, user, case["event"])
    else:
        client.identify(user, _operations(case["operations"]))
    return None


def _track(client: Client, user: Any, event: Any) -> None:
    if event is None or event["type"] == "other":
        # Our `track` takes an event's name: of what is no event object, a bare text alone would be one.
        value: Any = event and event["value"]
        client.track(user, [] if isinstance(value, str) else value)
        return
    properties = event.get("properties")
    client.track(user, event.get("key"), event.get("value"), **(properties if isinstance(properties, dict) else {}))


def _operations(operations: Any) -> Any:
    if isinstance(operations, dict):
        return operations["value"]
    made = PropertyOperations() if operations is not None else None
    for name, *arguments in operations or ():
        made = getattr(made, name)(*arguments)
    return made


# --- the files --------------------------------------------------------------------------------------------------


def _run_cases(vectors: Any) -> Ran:
    provider = Provider(decoded(vectors["workspace"]))
    wire = provider.wire()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with Client(provider) as client:
        for number, raw in enumerate(vectors["cases"]):
            case = decoded(raw)
            counts[case["call"]] += 1
            found = call(client, case)
            events = [_event(item) for record in provider.records() for item in items_of(wire, record)]
            lines = [*_differences(case, found), *_event_differences(case, events)]
            failures.extend(f"case {number}: {case['call']} {case.get('key')!r}: {line}" for line in lines)
    return dict(counts), failures


def _event(item: Item) -> dict[str, Any]:
    event = json.loads(item[1])
    return {"kind": item[0], **{name: event[name] for name in event if name not in ("insertId", "timestamp")}}


def _differences(case: Mapping[str, Any], found: Evaluation | None) -> Iterator[str]:
    expect = case.get("expect")
    if found is None or expect is None:
        return
    if "raises" in expect:
        expect = {"value": case["default"], "reason": "EXCEPTION"}
    given = {"value": found.value, "reason": found.provider_reason}
    wanted = {"reason": expect["reason"]}
    for name in ("value", "variation", "is_on"):
        if name in expect:
            wanted["value"] = expect[name]
    if "config" in expect:
        given["config"], wanted["config"] = dict(found.parameters), expect["config"]
    if canonical(given) != canonical(wanted):
        yield f"{given}, expected {wanted}"
    for get in case.get("gets", ()):
        value = found.parameter(get["key"], get["default"])
        if canonical(value) != canonical(get["expect"]):
            yield f"parameter {get['key']!r} is {value!r}, expected {get['expect']!r}"


def _event_differences(case: Mapping[str, Any], events: list[dict[str, Any]]) -> Iterator[str]:
    if canonical(events) != canonical(case["events"]):
        yield f"events {events}, expected {case['events']}"


def _run_batches(vectors: Any) -> Ran:
    failures = []
    for number, batch in enumerate(vectors["batches"]):
        provider = Provider(decoded(batch["workspace"]))
        wire = provider.wire(vectors["insert_id"])
        items: list[Item] = []
        with Client(provider) as client:
            for position, raw in enumerate(batch["calls"]):
                call(client, decoded(raw))
                at_s = (vectors["first_timestamp"] + position) / 1000
                for record in provider.records():
                    items += items_of(wire, _at(record, at_s))
        if wire.body(items).decode() != batch["body"]:
            failures.append(f"batch {number}: {wire.body(items).decode()}, expected {batch['body']}")
    return {"bodies": len(vectors["batches"])}, failures


def _at(record: Any, at_s: float) -> Any:
    if isinstance(record, Exposure):
        return record._replace(at_s=at_s)
    return type(record)(**{name: getattr(record, name) for name in record.__slots__} | {"at_s": at_s})


def _run_matches(vectors: Any) -> Ran:
    rows = [dict(zip(vectors["columns"], decoded(row), strict=True)) for row in vectors["rows"]]
    failures = []
    with Client(Provider({"featureFlags": [_flag_of(number, row) for number, row in enumerate(rows, 1)]})) as client:
        for number, row in enumerate(rows, 1):
            user = {"id": "u", "properties": {"p": row["user_value"]}}
            if client.is_enabled(number, user, default=not row["matches"]) is not row["matches"]:
                failures.append(f"row {number}: {row}")
    return {"matches": len(rows)}, failures


def _flag_of(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    match = {
        "type": row["match_type"],
        "operator": row["operator"],
        "valueType": row["value_type"],
        "values": row["values"],
    }
    condition = {"key": {"type": "USER_PROPERTY", "name": "p"}, "match": match}
    rule = {"target": {"conditions": [condition]}, "action": {"type": "VARIATION", "variationId": 2}}
    return {
        "id": number,
        "key": number,
        "identifierType": "$id",
        "version": 1,
        "variations": [{"id": 1, "key": "A", "status": "ACTIVE"}, {"id": 2, "key": "B", "status": "ACTIVE"}],
        "execution": {
            "status": "RUNNING",
            "version": 1,
            "userOverrides": [],
            "targetRules": [rule],
            "defaultRule": {"type": "VARIATION", "variationId": 1},
        },
    }


def _run_buckets(path: Path) -> Ran:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    failures = [
        str(row)
        for row in rows
        if slot_number(int(row["seed"]), int(row["slot_size"]), row["value"]) != int(row["slot"])
    ]
    return {"buckets": len(rows)}, failures
