"""What featureflag.co is told: events, greetings, tokens; and what its secrets look like."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flagmw.context import UserContext
from flagmw.core.records import Exposure, Identity, Metric
from flagmw.core.snapshot import failed
from flagmw.core.tokens import decode_token
from flagmw.dialects.featureflag_co import (
    FeatureFlagCoDialect,
    FeatureFlagCoEvents,
    FeatureFlagCoStream,
    check_env_secret,
)
from flagmw.evaluation import ErrorCode
from tests.unit.streamed_support import FFC_SECRET, compiled, ffc, ffc_flag, ffc_prerequisite, outcome_of, sync

NOW_S = 1662600000.123

EVENTS = FeatureFlagCoEvents(FFC_SECRET, "https://api.featureflag.test/")
ANA = UserContext("u-1", name="Ana", country="fr", attributes={"age": 30, "tags": ["x"], "Email": "y"})


def written(context: UserContext = ANA, *flags: dict[str, Any]) -> str:
    snapshot = ffc(*(flags or (ffc_flag(),)))
    exposure = Exposure("a", context, outcome_of(snapshot, "a", context), snapshot.revision, NOW_S)
    return EVENTS.body(EVENTS.exposure(exposure)).decode()


def metric(value: float | None, context: UserContext = ANA) -> Metric:
    return Metric(event="purchase", context=context, value=value, properties={}, at_s=NOW_S)


def test_an_exposure_is_written_as_the_services_client_writes_it() -> None:
    assert written() == (
        '[{"user": {"keyId": "u-1", "userName": "Ana", "email": "", "country": "fr", '
        '"customizedProperties": [{"name": "age", "value": "30"}]}, "userVariations": [{"featureFlagKeyName": "a", '
        '"sendToExperiment": true, "timestamp": 1662600000123, '
        '"variation": {"localId": 2, "variationValue": "off", "reason": "fall through all rules"}}]}]'
    )


def test_prerequisites_are_told_in_front_of_the_flag() -> None:
    text = written(ANA, ffc_flag(ffp=[ffc_prerequisite("b", 1)]), ffc_flag("b"))
    (item,) = json.loads(text)
    assert [told["featureFlagKeyName"] for told in item["userVariations"]] == ["b", "a"]
    assert [told["sendToExperiment"] for told in item["userVariations"]] == [True, False]


def test_a_metric_is_written_without_a_time() -> None:
    ((kind, text),) = EVENTS.metric(metric(12.5, UserContext("u-1")))
    assert kind == "track"
    assert text.decode() == (
        '{"user": {"keyId": "u-1", "userName": "", "email": "", "country": "", "customizedProperties": []}, '
        '"metrics": [{"eventName": "purchase", "numericValue": 12.5, "route": "index/metric", "type": "CustomEvent", '
        '"appType": "pythonserverside"}]}'
    )


def test_a_metric_without_a_value_counts_1() -> None:
    ((_, text),) = EVENTS.metric(metric(None))
    assert json.loads(text)["metrics"][0]["numericValue"] == 1.0


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_value_that_is_not_above_0_is_refused(value: float) -> None:
    assert EVENTS.refusal(metric(value)) == "featureflag.co takes only values above 0"
    assert list(EVENTS.metric(metric(value))) == []


@pytest.mark.parametrize("value", [None, 0.001, 5])
def test_a_value_above_0_is_taken(value: float | None) -> None:
    assert EVENTS.refusal(metric(value)) is None


def test_the_service_is_not_told_who_a_user_is_without_an_event() -> None:
    assert list(EVENTS.identity(Identity(context=ANA, operations=None, at_s=NOW_S))) == []


def test_a_user_without_a_key_is_not_told() -> None:
    assert EVENTS.refusal(metric(1.0, UserContext())) is not None
    assert list(EVENTS.metric(metric(1.0, UserContext()))) == []
    other = failed(ErrorCode.GENERAL, "an override, for example")
    assert list(EVENTS.exposure(Exposure("a", ANA, other, "", NOW_S))) == []


def test_what_is_private_never_leaves() -> None:
    private = ANA.replace(email="a@b.c", private=frozenset({"name", "email", "country", "age"}))
    assert json.loads(written(private))[0]["user"] == {
        "keyId": "u-1",
        "userName": "",
        "email": "",
        "country": "",
        "customizedProperties": [],
    }


def test_events_are_posted_where_the_service_takes_them() -> None:
    assert EVENTS.url == "https://api.featureflag.test/api/public/track"
    assert EVENTS.headers() == {
        "envSecret": FFC_SECRET,
        "User-Agent": "fb-python-server-sdk",
        "Content-Type": "application/json",
    }
    assert EVENTS.max_items == 50


# --- streaming ------------------------------------------------------------------------------------------------


def test_the_streams_address_has_a_token_of_this_moment_in_which_every_character_arrives() -> None:
    secret = "ab+/cdefgh=="
    wire = FeatureFlagCoStream(secret, "wss://api.featureflag.test/", lambda: NOW_S, lambda: 0.5)
    parts = urlsplit(wire.url())
    assert (parts.scheme, parts.netloc, parts.path) == ("wss", "api.featureflag.test", "/streaming")
    query = parse_qs(parts.query)
    assert query["type"] == ["server"]
    token = decode_token(query["token"][0])
    assert (token.secret, token.timestamp_ms) == ("ab+/cdefgh", 1662600000123)


def test_the_stream_asks_for_what_is_newer_than_the_flags_in_force() -> None:
    wire = FeatureFlagCoStream(FFC_SECRET, "wss://api.featureflag.test", lambda: NOW_S, lambda: 0.5)
    snapshot = compiled(FeatureFlagCoDialect(FFC_SECRET), sync([ffc_flag(timestamp=77), ffc_flag("b")]))
    assert wire.greeting(snapshot) == '{"messageType": "data-sync", "data": {"timestamp": 77}}'
    assert wire.greeting(None) == '{"messageType": "data-sync", "data": {"timestamp": 0}}'
    assert wire.ping == '{"messageType": "ping", "data": null}'
    assert wire.refusal_codes == {4003}
    assert wire.headers()["envSecret"] == FFC_SECRET


# --- secrets --------------------------------------------------------------------------------------------------


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def test_a_secret_that_names_an_environment_is_well() -> None:
    assert check_env_secret(FFC_SECRET) is None


@pytest.mark.parametrize(
    "secret",
    ["", None, 5, b"bytes", "not base64!", "zoé", "YWJ", encoded("a__1__2"), encoded("only text"), "/////w=="],
)
def test_a_secret_that_cannot_be_used_is_refused_without_being_shown(secret: Any) -> None:
    problem = check_env_secret(secret)
    assert problem is not None
    assert not secret or str(secret) not in problem


def test_nothing_shows_the_secret() -> None:
    wire = FeatureFlagCoStream(FFC_SECRET, "wss://x", lambda: NOW_S, lambda: 0.5)
    shown = repr([EVENTS, wire, FeatureFlagCoDialect(FFC_SECRET)])
    assert FFC_SECRET not in shown
    assert "36" not in shown
