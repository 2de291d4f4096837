"""The official client and ours, at one server, for the same users: every value, variation and reason, and the events.

featureflag.co's client is not published any more; its answers are in the conformance vectors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from flagmw import Client
from flagmw.core.snapshot import clone
from flagmw.dialects.hackle import PropertyOperations
from flagmw.evaluation import Evaluation
from flagmw.providers import FeatBit, Hackle
from tests.services.environments import featbit, hackle
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer
from tests.services.official import OfficialFeatBit, OfficialHackle

USERS = 1_000
EVENT_USERS = 40
READY_S = 20.0
EVENTS_S = 60.0

Row = dict[str, Any]


def text_of(value: Any) -> str:
    """Give a value in a form that tells 1, 1.0 and True apart."""
    return json.dumps(clone(value), sort_keys=True)


def differences(users: Sequence[Any], requests: Sequence[Row], official: list[list[Row]], ours: Any) -> Iterator[str]:
    """Compare what the official client said with ours, which is asked by `ours(user, request)`."""
    for user, answers in zip(users, official, strict=True):
        for request, answer in zip(requests, answers, strict=True):
            mine = ours(user, request)
            if {name: text_of(value) for name, value in answer.items()} != {
                name: text_of(mine[name]) for name in answer
            }:
                yield f"{request} for {user}: {mine}, the official client {answer}"


def report(what: str, requests: int, found: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {USERS} users x {requests} flags, {len(found)} differences")
    assert not found, "\n".join(found[:20])


# --- FeatBit ------------------------------------------------------------------------------------------------


def featbit_answer(client: Client, user: Row, request: Row) -> Row:
    detail = client.variation_detail(request["key"], user, request["default"])
    return {"value": detail.value, "reason": detail.provider_reason, "variation_id": detail.variation}


@pytest.mark.parametrize("polling", [False, True], ids=["streaming", "polling"])
def test_featbit_gives_every_user_what_the_official_client_gives(
    polling: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = 20 + polling
    environment, users = featbit.random_environment(seed), featbit.random_users(seed, USERS)
    requests = featbit.requests_for(environment)
    with FeatBitServer() as server:
        server.load(environment)
        where = {"streaming_url": server.ws_url, "event_url": server.url}
        with OfficialFeatBit(secret=server.secret, sends_events=False, **where) as official:
            answers = official.evaluate(users, requests)
        with Client(FeatBit(server.secret, events=False, polling=polling, **where)) as client:  # type: ignore[arg-type]  # a mapping of keywords
            assert client.wait_until_ready(READY_S), client.status
            found = list(differences(users, requests, answers, lambda *asked: featbit_answer(client, *asked)))
    assert distinct(answers) > 3, "everybody got the same: the comparison says nothing"
    report(f"FeatBit, {'polling' if polling else 'streaming'}", len(requests), found, capsys)


def test_featbit_is_sent_the_events_that_the_official_client_sends() -> None:
    environment, users = featbit.random_environment(30), featbit.random_users(30, EVENT_USERS)
    requests = featbit.requests_for(environment)
    with FeatBitServer() as server:
        server.load(environment)
        where = {"streaming_url": server.ws_url, "event_url": server.url}
        with OfficialFeatBit(secret=server.secret, **where) as official:
            official.evaluate(users, requests)
            official.call(users[0], "track_metric", "purchase", 12.5)
            official.call(users[1], "identify")
        theirs = featbit_events(server.events)
        count = len(server.events)
        with Client(FeatBit(server.secret, **where)) as client:  # type: ignore[arg-type]  # a mapping of keywords
            assert client.wait_until_ready(READY_S), client.status
            for user in users:
                for request in requests:
                    client.variation(request["key"], user, request["default"])
            client.track(users[0], "purchase", 12.5)
            client.identify(users[1])
            assert client.flush(EVENTS_S), client.status
            status = client.status
        ours = featbit_events(server.events[count:])
    assert status.events is not None
    assert status.events.sent == sum(ours.values())
    assert ours == theirs


def featbit_events(events: Sequence[Row]) -> Counter[str]:
    """Give the events without their times."""
    found: Counter[str] = Counter()
    for event in events:
        timeless = json.loads(json.dumps(event))
        for part in [*timeless.get("variations", []), *timeless.get("metrics", [])]:
            assert isinstance(part.pop("timestamp"), int)
        found[text_of(timeless)] += 1
    return found


# --- Hackle -------------------------------------------------------------------------------------------------


def hackle_answer(client: Client, user: Row, request: Row) -> Row:
    default = request.get("default")
    detail: Evaluation
    match request["call"]:
        case "variation_detail":
            detail = client.variation_detail(request["key"], user, "A" if default is None else default)
        case "feature_flag_detail":
            detail = client.is_enabled_detail(request["key"], user)
        case _:
            detail = client.config_detail(request["key"], user, default)
    return {"value": detail.value, "reason": detail.provider_reason, "config": detail.parameters}


def test_hackle_gives_every_user_what_the_official_client_gives(capsys: pytest.CaptureFixture[str]) -> None:
    workspace, users = hackle.random_workspace(40), hackle.random_users(40, USERS)
    requests = hackle.requests_for(workspace)
    with HackleServer() as server:
        server.load(workspace)
        with OfficialHackle(sdk_key=server.sdk_key, url=server.url, sends_events=False) as official:
            answers = official.evaluate(users, requests)
        with Client(Hackle(server.sdk_key, sdk_url=server.url, events=False)) as client:
            assert client.wait_until_ready(READY_S), client.status
            found = list(differences(users, requests, answers, lambda *asked: hackle_answer(client, *asked)))
    assert distinct(answers) > 3, "everybody got the same: the comparison says nothing"
    report("Hackle", len(requests), found, capsys)


def test_hackle_is_sent_the_events_that_the_official_client_sends() -> None:
    workspace, users = hackle.random_workspace(50), hackle.random_users(50, EVENT_USERS)
    requests = hackle.requests_for(workspace)
    with HackleServer() as server:
        server.load(workspace)
        with OfficialHackle(sdk_key=server.sdk_key, url=server.url) as official:
            official.evaluate(users, requests)
            official.call(users[0], "track", "purchase", 12.5, {"currency": "EUR"})
            official.call(users[1], "update_user_properties", ["set", "age", 5], ["unset", "plan"])
            official.flush()
        theirs = hackle_events(server.events)
        count = len(server.events)
        with Client(Hackle(server.sdk_key, sdk_url=server.url, event_url=server.url)) as client:
            assert client.wait_until_ready(READY_S), client.status
            for user in users:
                for request in requests:
                    hackle_answer(client, user, request)
            client.track(users[0], "purchase", 12.5, currency="EUR")
            client.identify(users[1], PropertyOperations().set("age", 5).unset("plan"))
            assert client.flush(EVENTS_S), client.status
        ours = hackle_events(server.events[count:])
    assert ours == theirs


def hackle_events(events: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Give the events without their times and ids, which must differ."""
    ids = [event["insertId"] for event in events]
    assert len(set(ids)) == len(ids)
    hidden = {"insertId", "timestamp"}
    return Counter(text_of({name: value for name, value in event.items() if name not in hidden}) for event in events)


def distinct(answers: list[list[Row]]) -> int:
    """Count the different values that a server's flags gave."""
    return len({text_of(answer.get("value")) for row in answers for answer in row})
