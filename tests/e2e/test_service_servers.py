"""The test servers are honest: the official clients get along with them as with the real services.

featureflag.co's client is not published any more; its server is held to the reference alone, in `test_service_protocols`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.environments import featbit, hackle
from tests.services.faults import CloseWith, Drip, Endpoint, Hangup, Status
from tests.services.featbit_server import FeatBitServer
from tests.services.hackle_server import HackleServer
from tests.services.official import ROOT, OfficialError, OfficialFeatBit, OfficialHackle
from tests.services.official_clients import FeatBitCalls, HackleCalls
from tests.services.tokens import featbit_secret

ANA = {"key": "u-1", "name": "Ana", "country": "fr", "age": 30, "email": "ana@example.com"}
BOB = {"key": "u-2", "name": "Bob"}
CHECKOUT = {"key": "checkout-v2", "default": None}
TEST, FLAG, BANNER = (
    {"call": "variation_detail", "key": 42, "default": "A"},
    {"call": "feature_flag_detail", "key": 7},
    {"call": "remote_config", "key": "banner", "default": "mine"},
)
KIM = {"id": "u-1", "user_id": "kim", "properties": {"age": 42}}
LEO = {"id": "u-2", "properties": {"age": 9}}


@pytest.fixture
def fb() -> Iterator[FeatBitServer]:
    with FeatBitServer() as server:
        server.put_flag(featbit.boolean_flag("checkout-v2"))
        yield server


@pytest.fixture
def featbit_client(fb: FeatBitServer) -> Iterator[OfficialFeatBit]:
    with OfficialFeatBit(secret=fb.secret, streaming_url=fb.ws_url, event_url=fb.url) as client:
        assert client.was_ready_at_start
        yield client


@pytest.fixture
def hk() -> Iterator[HackleServer]:
    with HackleServer() as server:
        server.load(hackle.small_workspace())
        yield server


@pytest.fixture
def hackle_client(hk: HackleServer) -> Iterator[OfficialHackle]:
    with OfficialHackle(sdk_key=hk.sdk_key, url=hk.url) as client:
        assert client.was_ready_at_start
        yield client


# --- FeatBit ------------------------------------------------------------------------------------------------------


def test_the_featbit_client_evaluates_what_the_server_has(fb: FeatBitServer, featbit_client: OfficialFeatBit) -> None:
    fb.put_flag(featbit.flag_with_rule("layout"))
    featbit_client.watch(BOB, {"key": "layout", "default": ""}, "old")
    featbit_client.seen_at_s()
    [[checkout, layout], [_, layout_of_bob]] = featbit_client.evaluate([ANA, BOB], [CHECKOUT, {"key": "layout"}])
    assert checkout == {"value": True, "reason": "fall through all rules", "variation_id": "v0"}
    assert layout == {"value": "old", "reason": "rule match", "variation_id": "v0"}
    assert layout_of_bob == {"value": "old", "reason": "fall through all rules", "variation_id": "v0"}


def test_the_featbit_client_asks_as_the_reference_says(fb: FeatBitServer, featbit_client: OfficialFeatBit) -> None:
    [handshake] = fb.requests_to(Endpoint.STREAM)
    assert handshake.headers["authorization"] == fb.secret
    assert handshake.headers["user-agent"] == "fb-python-server-sdk"
    assert [item.data for item in fb.messages] == [{"messageType": "data-sync", "data": {"timestamp": 0}}]


def test_the_featbit_client_sees_a_pushed_change_at_once(fb: FeatBitServer, featbit_client: OfficialFeatBit) -> None:
    featbit_client.watch(ANA, CHECKOUT, value=False)
    changed_s = time.monotonic()
    fb.put_flag(featbit.boolean_flag("checkout-v2", serves=False))
    assert featbit_client.seen_at_s() - changed_s < 2.0


def test_the_featbit_client_sees_a_pushed_segment(fb: FeatBitServer, featbit_client: OfficialFeatBit) -> None:
    rule = featbit.rule(("User is in segment", None, '["staff"]'))
    fb.put_flag(featbit.flag("for-staff", rules=[rule], serves=1))
    fb.put_segment(featbit.segment("staff", included=["u-1"]))
    request = {"key": "for-staff", "default": None}
    featbit_client.watch(ANA, request, value=True)
    featbit_client.seen_at_s()
    assert featbit_client.evaluate([BOB], [request])[0][0]["value"] is False


def test_the_featbit_client_catches_up_after_an_outage(fb: FeatBitServer, featbit_client: OfficialFeatBit) -> None:
    known_ms = fb.version_ms
    fb.refuse()
    fb.put_flag(featbit.boolean_flag("checkout-v2", serves=False))
    fb.listen()
    featbit_client.watch(ANA, CHECKOUT, value=False, timeout_s=30.0)
    featbit_client.seen_at_s()
    assert fb.messages[-1].data == {"messageType": "data-sync", "data": {"timestamp": known_ms}}


def test_the_events_of_the_featbit_client_arrive_as_documented(
    fb: FeatBitServer, featbit_client: OfficialFeatBit
) -> None:
    featbit_client.evaluate([BOB], [CHECKOUT])
    featbit_client.call(BOB, "track_metric", "purchase", 12.5)
    featbit_client.call(BOB, "identify")
    featbit_client.flush()
    fb.wait_for(lambda s: len(s.events) == 3)
    user = {"keyId": "u-2", "name": "Bob", "customizedProperties": []}
    assert [without_times(event) for event in fb.events] == [
        {
            "user": user,
            "variations": [
                {
                    "featureFlagKey": "checkout-v2",
                    "variation": {"id": "v0", "value": "true", "reason": "fall through all rules"},
                }
            ],
        },
        {
            "user": user,
            "metrics": [
                {
                    "eventName": "purchase",
                    "numericValue": 12.5,
                    "route": "index/metric",
                    "type": "CustomEvent",
                    "appType": "pythonserverside",
                }
            ],
        },
        {"user": user},
    ]


def without_times(item: Any) -> Any:
    """Leave the timestamps out, wherever they are."""
    if isinstance(item, dict):
        return {name: without_times(value) for name, value in item.items() if name != "timestamp"}
    return [without_times(value) for value in item] if isinstance(item, list) else item


def test_the_featbit_client_tries_events_again(fb: FeatBitServer, featbit_client: OfficialFeatBit) -> None:
    fb.misbehave(Status(code=500), on=Endpoint.EVENTS, times=1)
    featbit_client.evaluate([BOB], [CHECKOUT])
    featbit_client.flush()
    fb.wait_for(lambda s: s.events)
    assert [request.fault is None for request in fb.requests_to(Endpoint.EVENTS)] == [False, True]


def test_the_featbit_client_delivers_what_is_queued_when_it_closes(fb: FeatBitServer) -> None:
    with OfficialFeatBit(secret=fb.secret, streaming_url=fb.ws_url, event_url=fb.url) as client:
        client.evaluate([BOB] * 700, [CHECKOUT])
    assert len(fb.events) == 700


def test_the_featbit_client_can_be_kept_from_sending_events(fb: FeatBitServer) -> None:
    options = {"secret": fb.secret, "streaming_url": fb.ws_url, "event_url": fb.url, "sends_events": False}
    with OfficialFeatBit(**options) as client:
        client.evaluate([BOB], [CHECKOUT])
    assert fb.requests_to(Endpoint.EVENTS) == []


def test_the_featbit_client_reconnects_after_an_orderly_close(
    fb: FeatBitServer, featbit_client: OfficialFeatBit
) -> None:
    fb.strike(CloseWith(code=1001))
    fb.wait_for(lambda s: s.connects == 2, timeout_s=30.0)
    assert featbit_client.is_ready()


def test_the_featbit_client_starts_without_flags_where_its_secret_is_refused(fb: FeatBitServer) -> None:
    options = {"streaming_url": fb.ws_url, "event_url": fb.url, "start_wait_s": 1.0}
    with OfficialFeatBit(secret=featbit_secret(), **options) as client:
        assert not client.was_ready_at_start
    assert "nobody has this secret" in fb.rejections


def test_the_featbit_client_takes_the_envelope_of_the_server_as_bootstrap(fb: FeatBitServer) -> None:
    with OfficialFeatBit(bootstrap=json.dumps(fb.envelope())) as client:
        assert client.evaluate([ANA], [CHECKOUT])[0][0]["value"] is True
    assert fb.requests == []


def test_the_featbit_client_takes_a_random_environment(fb: FeatBitServer) -> None:
    envelope = featbit.random_environment(seed=3, flags=40)
    fb.load(envelope)
    with OfficialFeatBit(secret=fb.secret, streaming_url=fb.ws_url, event_url=fb.url, sends_events=False) as client:
        rows = client.evaluate(featbit.random_users(4, 50), featbit.requests_for(envelope))
    assert not [cell for row in rows for cell in row if "raises" in cell]


# --- Hackle -------------------------------------------------------------------------------------------------------


def test_the_hackle_client_evaluates_what_the_server_has(hackle_client: OfficialHackle) -> None:
    rows = hackle_client.evaluate([KIM, LEO], [TEST, FLAG, BANNER])
    assert [[cell["value"] for cell in row] for row in rows] == [["B", True, "hello adult"], ["A", False, "hello"]]
    assert [cell["reason"] for cell in rows[0]] == ["OVERRIDDEN", "TARGET_RULE_MATCH", "TARGET_RULE_MATCH"]


def test_the_hackle_client_reads_the_parameters_of_a_variation(hackle_client: OfficialHackle) -> None:
    [[decision]] = hackle_client.evaluate([KIM], [FLAG])
    assert decision["config"] == {"button": "red", "max": 3}


def test_the_hackle_client_asks_as_the_reference_says(hk: HackleServer, hackle_client: OfficialHackle) -> None:
    [request] = hk.requests_to(Endpoint.CONFIG)
    names = ("x-hackle-sdk-key", "x-hackle-sdk-name", "x-hackle-sdk-version")
    assert [request.headers[name] for name in names] == [hk.sdk_key, "python-sdk", "3.9.0"]
    assert "if-modified-since" not in request.headers


def test_the_hackle_client_is_spared_what_it_has(hk: HackleServer, hackle_client: OfficialHackle) -> None:
    hackle_client.sync()
    assert (hk.fetches, hk.not_modified) == (2, 1)


def test_the_hackle_client_fetches_a_change(hk: HackleServer, hackle_client: OfficialHackle) -> None:
    on_for_all = hackle.experiment(62, 7, [hackle.variation(82, "B")], hackle.serve(82))
    hk.put("featureFlags", on_for_all)
    hackle_client.sync()
    assert hackle_client.evaluate([LEO], [FLAG])[0][0] == {"value": True, "reason": "DEFAULT_RULE", "config": {}}


def test_the_hackle_client_keeps_its_flags_while_the_server_fails(
    hk: HackleServer, hackle_client: OfficialHackle
) -> None:
    hk.misbehave(Status(code=503), on=Endpoint.CONFIG)
    hackle_client.sync()
    assert hackle_client.evaluate([KIM], [FLAG])[0][0]["value"] is True


def test_the_events_of_the_hackle_client_arrive_as_documented(hk: HackleServer, hackle_client: OfficialHackle) -> None:
    hackle_client.evaluate([KIM], [FLAG, BANNER])
    hackle_client.call(KIM, "track", "purchase", 3.5, {"item": "hat"})
    hackle_client.call(KIM, "update_user_properties", ["set", "plan", "pro"], ["clear_all"])
    hackle_client.flush()
    hk.wait_for(lambda s: len(s.events) == 4)
    common = {
        "userId": "u-1",
        "identifiers": {"$id": "u-1", "$userId": "kim"},
        "userProperties": {"age": 42},
        "hackleProperties": {},
    }
    exposure, purchase, properties, remote_config = (
        {name: value for name, value in event.items() if name not in {"insertId", "timestamp"}} for event in hk.events
    )
    assert exposure == {
        "kind": "exposure",
        **common,
        "experimentId": 62,
        "experimentKey": 7,
        "experimentType": "FEATURE_FLAG",
        "experimentVersion": 1,
        "variationId": 82,
        "variationKey": "B",
        "decisionReason": "TARGET_RULE_MATCH",
        "properties": {"$parameterConfigurationId": 301, "$experiment_version": 1, "$execution_version": 1},
    }
    assert purchase == {
        "kind": "track",
        **common,
        "eventTypeId": 21,
        "eventTypeKey": "purchase",
        "value": 3.5,
        "properties": {"item": "hat"},
    }
    assert properties["properties"] == {"$set": {"plan": "pro"}, "$clearAll": {"clearAll": "-"}}
    assert remote_config["valueId"] == 112


def test_the_hackle_client_delivers_what_is_queued_when_it_closes(hk: HackleServer) -> None:
    with OfficialHackle(sdk_key=hk.sdk_key, url=hk.url) as client:
        client.evaluate([LEO] * 1500, [FLAG])
    assert len(hk.events) == 1500


def test_the_hackle_client_loses_no_events_here_while_the_server_is_slow(hk: HackleServer) -> None:
    hk.misbehave(Drip(interval_s=0.005), on=Endpoint.EVENTS, times=1)
    with OfficialHackle(sdk_key=hk.sdk_key, url=hk.url) as client:
        client.evaluate([LEO] * 3000, [FLAG])
    assert len(hk.events) == 3000


def test_the_hackle_client_can_be_kept_from_sending_events(hk: HackleServer) -> None:
    with OfficialHackle(sdk_key=hk.sdk_key, url=hk.url, sends_events=False) as client:
        client.evaluate([LEO], [FLAG, TEST, BANNER])
    assert hk.requests_to(Endpoint.EVENTS) == []


def test_the_hackle_client_starts_without_flags_where_its_key_is_refused(hk: HackleServer) -> None:
    with OfficialHackle(sdk_key="another", url=hk.url) as client:
        assert not client.was_ready_at_start
        assert client.evaluate([KIM], [FLAG])[0][0]["reason"] == "SDK_NOT_READY"


def test_the_hackle_client_takes_a_random_workspace(hk: HackleServer) -> None:
    workspace = hackle.random_workspace(seed=3, experiments=20, flags=20, parameters=10)
    hk.load(workspace)
    with OfficialHackle(sdk_key=hk.sdk_key, url=hk.url, sends_events=False) as client:
        rows = client.evaluate(hackle.random_users(4, 50), hackle.requests_for(workspace))
    assert not [cell for row in rows for cell in row if "raises" in cell or cell["reason"] == "EXCEPTION"]


# --- the other process --------------------------------------------------------------------------------------------


def test_what_escapes_from_an_official_client_is_told_by_name(featbit_client: OfficialFeatBit) -> None:
    assert featbit_client.evaluate([ANA], [{"key": ["unhashable"]}]) == [[{"raises": "TypeError"}]]


def test_a_value_that_does_not_come_is_an_error_here(featbit_client: OfficialFeatBit) -> None:
    featbit_client.watch(ANA, CHECKOUT, "never", timeout_s=0.1)
    with pytest.raises(OfficialError, match="True to the end"):
        featbit_client.seen_at_s()


def test_an_evaluation_of_an_official_client_can_be_timed(featbit_client: OfficialFeatBit) -> None:
    assert 1e-7 < featbit_client.time_evaluation(ANA, CHECKOUT, 50) < 0.1


def test_the_process_of_an_official_client_ends_with_it(fb: FeatBitServer) -> None:
    with OfficialFeatBit(secret=fb.secret, streaming_url=fb.ws_url, event_url=fb.url) as client:
        process = client._process
    assert process.poll() == 0
    fb.wait_for(lambda s: s.connections == 0)


# --- in this process ----------------------------------------------------------------------------------------------


def test_an_official_featbit_client_in_this_process_evaluates(fb: FeatBitServer) -> None:
    calls = FeatBitCalls(secret=fb.secret, streaming_url=fb.ws_url, event_url=fb.url)
    try:
        assert calls.client.variation("checkout-v2", ANA, None) is True
    finally:
        calls.close()


def test_official_hackle_clients_in_this_process_are_no_singletons() -> None:
    with HackleServer("a-key-that-this-client-logs", is_secret=False) as server:
        server.load(hackle.small_workspace())
        one, other = (HackleCalls(sdk_key=server.sdk_key, url=server.url) for _ in range(2))
        try:
            assert one.client is not other.client
            assert one.client.is_feature_on(7, one.user_of(KIM))
        finally:
            one.close()
            other.close()


IMPORT = """
import logging
before = logging.getLoggerClass(), logging.getLogger("schedule").level, logging.getLevelName(5)
from tests.services.official_clients import load
load("featbit"), load("hackle")
after = logging.getLoggerClass(), logging.getLogger("schedule").level, logging.getLevelName(5)
assert before == after, (before, after)
"""


def test_importing_the_official_clients_leaves_no_trace_in_logging() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_official_client_in_another_process_changes_no_logger_here(featbit_client: OfficialFeatBit) -> None:
    assert logging.getLoggerClass() is logging.Logger


def test_a_stream_that_hangs_up_is_opened_again_by_the_official_client(fb: FeatBitServer) -> None:
    fb.misbehave(Hangup(), on=Endpoint.STREAM, times=1)
    with OfficialFeatBit(secret=fb.secret, streaming_url=fb.ws_url, event_url=fb.url) as client:
        assert client.was_ready_at_start
    assert fb.faults_struck == 1
