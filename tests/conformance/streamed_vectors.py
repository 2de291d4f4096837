"""What the runners of services that stream their flags share: a client on messages, and comparing its answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from flagmw import Client
from flagmw.core.documents import Document
from flagmw.core.md5_rollout import make_rollout, percentage
from flagmw.core.tokens import Token, decode_token, encode_token
from flagmw.dialects import Dialect
from flagmw.evaluation import Evaluation
from flagmw.events import EventWire
from flagmw.events.memory import MemorySink
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver, StreamWire
from tests.conformance.flagd_vectors import same

Ran = tuple[dict[str, int], list[str]]


class Messages:
    """A source whose messages come from the test."""

    background = False
    local = True
    awaited = True
    role = Role.ALONE
    heartbeat_s: float | None = None
    agreed_s: float | None = None

    def __init__(self) -> None:
        self._receiver: Receiver | None = None

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def run(self, stopping: Event) -> None:
        """Do nothing: messages come from the test."""

    def wake(self) -> None:
        """Do nothing: nothing waits."""

    def send(self, message: object) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        assert self._receiver is not None, "the client was not started"
        document = Document(name="a message", content=text.encode("utf-8", "surrogatepass"))
        self._receiver.deliver(Delivery(documents=(document,), is_message=True))


class Service(Protocol):
    """What differs between the services."""

    def dialect(self, env_secret: str) -> Dialect: ...

    def stream(self, env_secret: str) -> StreamWire: ...

    def wire(self, env_secret: str) -> EventWire: ...

    def variation_id(self, found: Evaluation) -> object: ...

    def events_of(self, item: Any) -> list[dict[str, Any]]: ...

    def more(self, client: Client, case: Any, events: list[dict[str, Any]]) -> dict[str, Any]: ...


@dataclass
class Provider:
    """A service of the test's own making."""

    service: Service
    env_secret: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    messages: Messages = field(default_factory=Messages)
    sent: MemorySink = field(default_factory=MemorySink)

    def dialect(self) -> Dialect:
        return self.service.dialect(self.env_secret)

    def source(self) -> Messages:
        return self.messages

    def sink(self) -> MemorySink:
        return self.sent

    def place(self) -> None:
        return None

    def cache(self) -> None:
        return None

    def told(self) -> list[dict[str, Any]]:
        """Give the events since the last call, encoded and read again."""
        wire = self.service.wire(self.env_secret)
        items = [item for exposure in self.sent.exposures for item in wire.exposure(exposure)]
        self.sent.exposures.clear()
        return [event for item in json.loads(wire.body(items)) for event in self.service.events_of(item)]


def run(service: Service, vectors: Any) -> Ran:
    """Run one file's cases."""
    if isinstance(vectors, Path):
        return run_rollouts(vectors) if vectors.stem == "rollout" else run_tokens(vectors)
    return _run_sync(service, vectors) if isinstance(vectors, list) else _run_environment(service, vectors)


def _run_environment(service: Service, vectors: Any) -> Ran:
    provider = Provider(service, vectors["env_secret"], vectors["defaults"])
    failures = []
    with Client(provider) as client:
        provider.messages.send(vectors["payload"])
        version = _version(service, client)
        if version != vectors["version"]:
            failures.append(f"version {version}, expected {vectors['version']}")
        for number, case in enumerate(vectors["cases"]):
            lines = _case_differences(provider, client, case)
            failures.extend(f"case {number} ({case['tag']}, {case['key']!r}): {line}" for line in lines)
        for number, case in enumerate(vectors["all"]):
            failures.extend(f"all {number}: {line}" for line in _all_differences(provider, client, case))
    return {"cases": len(vectors["cases"]), "all": len(vectors["all"])}, failures


def _case_differences(provider: Provider, client: Client, case: Any) -> Iterator[str]:
    expect = {**case["expect"], **case.get("better", {})}
    default = case["default"]
    detail = client.variation_detail(case["key"], case["user"], default)
    events = provider.told()
    found = {
        **_seen(provider.service, detail),
        "success": detail.error_code is None,
        "name": detail.metadata.get("name", "flag name unknown"),
        "events": events,
        **provider.service.more(client, case, events),
    }
    again = client.variation(case["key"], case["user"], default)
    if not same_or_nan(again, detail.value) or type(again) is not type(detail.value):
        yield f"variation gives {again!r}, variation_detail {detail.value!r}"
    provider.told()
    for name in expect.keys() | found.keys():
        if not same_or_nan(found.get(name), expect.get(name)):
            yield f"{name} {found.get(name)!r}, expected {expect.get(name)!r}"


def _seen(service: Service, detail: Evaluation) -> dict[str, Any]:
    return {
        "value": detail.value,
        "reason": detail.provider_reason,
        "variation_id": service.variation_id(detail),
    }


def _all_differences(provider: Provider, client: Client, case: Any) -> Iterator[str]:
    found = client.all_variations(case["user"])
    expect, omitted = case["expect"]["flags"], set()
    if "without_bad_flags" in case:
        expect, omitted = case["without_bad_flags"]["flags"], set(case["without_bad_flags"]["omit"])
    if provider.told():
        yield "events were sent before a value was read"
    if not case["expect"]["success"] and "without_bad_flags" not in case:
        reasons = {detail.provider_reason for detail in found.values()}
        if reasons != {case["expect"]["reason"]}:
            yield f"reasons {reasons}, expected {case['expect']['reason']!r}"
        return
    if found.keys() - omitted != expect.keys():
        yield f"flags {sorted(found.keys() - omitted)}, expected {sorted(expect)}"
        return
    for key in expect:
        seen = _seen(provider.service, found[key])
        if not same_or_nan(seen, expect[key]):
            yield f"{key}: {seen}, expected {expect[key]}"
    provider.told()


def same_or_nan(a: Any, b: Any) -> bool:
    """Compare JSON values as `same` does; NaN is NaN."""
    if isinstance(a, float) and isinstance(b, float) and a != a and b != b:  # noqa: PLR0124  # NaN is in no relation
        return True
    return same(a, b)


def _version(service: Service, client: Client) -> int:
    greeting = service.stream("").greeting(client.snapshot())
    return int(json.loads(greeting or "")["data"]["timestamp"])


def _run_sync(service: Service, vectors: Any) -> Ran:
    failures: list[str] = []
    count = 0
    for scenario in vectors:
        env_secret = scenario.get("env_secret", "")
        provider = Provider(service, env_secret)
        changed: set[str] = set()
        with Client(provider) as client:
            client.on_change(changed.update)
            for number, step in enumerate(scenario["steps"]):
                count += 1
                changed.clear()
                provider.messages.send(step["send"])
                expect = {**step["expect"], **step.get("better", {})}
                found = {**_state(service, client, env_secret), "notified": sorted(changed)}
                failures.extend(
                    f"{scenario['name']}, step {number}: {name} {found[name]!r}, expected {expect[name]!r}"
                    for name in expect
                    if not same(found[name], expect[name])
                )
    return {"sync steps": count}, failures


def _state(service: Service, client: Client, env_secret: str) -> dict[str, Any]:
    snapshot = client.snapshot()
    is_ready = client.wait_until_ready(0)
    document: Any = {"data": {"segments": []}}
    if snapshot is not None:
        document = json.loads(b"".join(service.dialect(env_secret).dump(snapshot) or ()))
    found = client.all_variations({"key": "u1", "name": "n"})
    return {
        "initialized": snapshot is not None,
        "ready": is_ready,
        "state": str(client.status.state),
        "version": _version(service, client),
        "flags": sorted(found),
        "segments": sorted(item["id"] for item in document["data"]["segments"] if not item["isArchived"]),
        "values": {key: detail.value for key, detail in found.items()},
    }


def run_rollouts(path: Path) -> Ran:
    """Check the table of hashed texts."""
    failures, count = [], 0
    for row in _rows(path):
        key = json.loads(row["key_json"])
        count += 1
        if key is None:  # not a text: nothing to hash
            if make_rollout([((0, 0.5), "half"), ((0, 1), "all")]).unhashed != "all":
                failures.append("what is not hashed is not in [0, 1]")
            continue
        found = percentage(key.encode("utf-8"))
        if repr(found) != row["percentage"]:
            failures.append(f"{key!r}: {found!r}, expected {row['percentage']}")
        from_here = make_rollout([((found, 2.0), "from here")])
        below = make_rollout([((-1.0, found), "below")])
        if from_here.find(key.encode("utf-8")) != "from here" or below.find(key.encode("utf-8")) is not None:
            failures.append(f"{key!r} is not where a range begins, or is where one ends")
        if row["percentage_ascii"] and repr(percentage(key.encode("ascii", "replace"))) != row["percentage_ascii"]:
            failures.append(f"{key!r} as ASCII")
    return {"rollouts": count}, failures


def run_tokens(path: Path) -> Ran:
    """Check the table of tokens, in both directions."""
    failures, count = [], 0
    for row in _rows(path):
        count += 1
        secret, start, timestamp_ms = row["env_secret"], int(row["start"]), int(row["timestamp"])
        if encode_token(secret, start, timestamp_ms) != row["token"]:
            failures.append(f"row {count} is encoded otherwise")
        if decode_token(row["token"]) != Token(secret.rstrip("="), start, timestamp_ms):
            failures.append(f"row {count} is decoded otherwise")
    return {"tokens": count}, failures


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as table:
        yield from csv.DictReader(table)
