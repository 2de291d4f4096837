"""What FeatBit is told: events, greetings, tokens; and what its secrets look like."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flagmw.context import UserContext
from flagmw.core.records import Exposure, Identity, Metric
from flagmw.core.snapshot import failed
from flagmw.core.tokens import Token, decode_token
from flagmw.dialects.featbit import FeatBitEvents, FeatBitPoll, FeatBitStream, check_env_secret
from flagmw.evaluation import ErrorCode
from tests.unit.streamed_support import fb, fb_flag, outcome_of

SECRET = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"
NOW_S = 1666018800.754

EVENTS = FeatBitEvents(SECRET, "https://featbit.test/")
ANA = UserContext("u-1", name="Ana", country="fr", attributes={"age": 30, "vip": True, "tags": ["x"]})


def exposure(context: UserContext = ANA, **members: Any) -> Exposure:
    snapshot = fb(fb_flag(**members))
    return Exposure("a", context, outcome_of(snapshot, "a", context), snapshot.revision, NOW_S)


def body_of(*exposures: Exposure) -> str:
    return EVENTS.body([item for one in exposures for item in EVENTS.exposure(one)]).decode()


def test_an_exposure_is_written_as_featbits_client_writes_it() -> None:
    assert body_of(exposure()) == (
        '[{"user": {"keyId": "u-1", "name": "Ana", "customizedProperties": [{"name": "age", "value": "30"}, '
        '{"name": "vip", "value": "True"}, {"name": "country", "value": "fr"}]}, '
        '"variations": [{"featureFlagKey": "a", "timestamp": 1666018800754, '
        '"variation": {"id": "f", "value": "false", "reason": "fall through all rules"}}]}]'
    )


def test_the_value_is_the_text_of_the_document_and_not_what_it_was_converted_to() -> None:
    served = exposure(variationType="number", variations=[{"id": "f", "name": "f", "value": " 5 "}])
    assert json.loads(body_of(served))[0]["variations"][0]["variation"]["value"] == " 5 "


def test_items_are_one_array() -> None:
    assert [item["user"]["keyId"] for item in json.loads(body_of(exposure(), exposure(UserContext("u-2"))))] == [
        "u-1",
        "u-2",
    ]
    assert EVENTS.body([]) == b"[]"


def test_a_metric_is_written_with_its_time_and_counts_1_where_no_value_is_given() -> None:
    metric = Metric(event="purchase", context=UserContext("u-1"), value=12.5, properties={}, at_s=NOW_S)
    ((kind, text),) = EVENTS.metric(metric)
    assert kind == "track"
    assert text.decode() == (
        '{"user": {"keyId": "u-1", "name": "u-1", "customizedProperties": []}, "metrics": [{"eventName": "purchase", '
        '"numericValue": 12.5, "route": "index/metric", "type": "CustomEvent", "appType": "pythonserverside", '
        '"timestamp": 1666018800754}]}'
    )
    ((_, text),) = EVENTS.metric(Metric(event="x", context=ANA, value=None, properties={}, at_s=NOW_S))
    assert json.loads(text)["metrics"][0]["numericValue"] == 1.0


def test_who_a_user_is_is_an_item_of_nothing_but_the_user() -> None:
    ((_, text),) = EVENTS.identity(Identity(context=UserContext("u-1"), operations=None, at_s=NOW_S))
    assert text == b'{"user": {"keyId": "u-1", "name": "u-1", "customizedProperties": []}}'


def test_what_is_private_never_leaves() -> None:
    context = ANA.replace(private=frozenset({"name", "age", "country", "vip"}))
    assert json.loads(body_of(exposure(context)))[0]["user"] == {
        "keyId": "u-1",
        "name": "u-1",
        "customizedProperties": [],
    }


def test_a_user_without_a_key_is_not_told() -> None:
    nobody = UserContext(name="Ana")
    metric = Metric(event="x", context=nobody, value=1.0, properties={}, at_s=NOW_S)
    assert list(EVENTS.metric(metric)) == []
    assert EVENTS.refusal(metric) is not None
    assert list(EVENTS.identity(Identity(context=nobody, operations=None, at_s=NOW_S))) == []


@pytest.mark.parametrize("value", [-1.0, 0, None, 5])
def test_any_value_is_taken(value: float | None) -> None:
    assert EVENTS.refusal(Metric(event="x", context=ANA, value=value, properties={}, at_s=NOW_S)) is None


def test_an_outcome_of_something_else_is_not_told() -> None:
    other = failed(ErrorCode.GENERAL, "an override, for example")
    assert list(EVENTS.exposure(Exposure("a", ANA, other, "", NOW_S))) == []


def test_texts_that_are_no_unicode_can_be_written() -> None:
    assert "\\ud800" in body_of(exposure(UserContext("\ud800")))


def test_events_are_posted_where_featbit_takes_them() -> None:
    assert EVENTS.url == "https://featbit.test/api/public/insight/track"
    assert EVENTS.headers() == {
        "Authorization": SECRET,
        "User-Agent": "fb-python-server-sdk",
        "Content-Type": "application/json",
    }
    assert EVENTS.max_items == 50


# --- streaming and polling ------------------------------------------------------------------------------------


def stream(url: str = "wss://featbit.test", fraction: float = 0.33) -> FeatBitStream:
    return FeatBitStream(SECRET, url, lambda: NOW_S, lambda: fraction)


def test_the_streams_address_has_a_token_of_this_moment() -> None:
    parts = urlsplit(stream("wss://featbit.test/").url())
    assert (parts.scheme, parts.netloc, parts.path) == ("wss", "featbit.test", "/streaming")
    query = parse_qs(parts.query)
    assert query["type"] == ["server"]
    assert decode_token(query["token"][0]) == Token(SECRET, 14, 1666018800754)


def test_a_token_is_written_so_that_every_character_arrives() -> None:
    wire = FeatBitStream("ab+/cd=ef", "wss://featbit.test", lambda: NOW_S, lambda: 0.5)
    (token,) = parse_qs(urlsplit(wire.url()).query)["token"]
    assert decode_token(token).secret == "ab+/cd=ef"


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        ("http://f.test:5100", "ws://f.test:5100/streaming?"),
        ("https://f.test", "wss://f.test/streaming?"),
        ("HTTPS://f.test/x/", "wss://f.test/x/streaming?"),
    ],
)
def test_an_address_for_http_is_one_for_websockets(url: str, begins: str) -> None:
    assert stream(url).url().startswith(begins)


def test_the_stream_asks_for_everything_first() -> None:
    assert stream().greeting(None) == '{"messageType": "data-sync", "data": {"timestamp": 0}}'
    assert stream().ping == '{"messageType": "ping", "data": null}'
    assert stream().refusal_codes == {4003}
    assert stream().headers()["Authorization"] == SECRET


def test_polling_asks_for_what_is_newer_than_the_flags_in_force() -> None:
    poll = FeatBitPoll(SECRET, "https://featbit.test/")
    begins = "https://featbit.test/api/public/sdk/server/latest-all?timestamp="
    assert poll.url(None) == begins + "0"
    assert poll.url(fb(fb_flag(updatedAt="2024-01-01T00:00:00.123Z"))) == begins + "1704067200123"
    assert poll.headers()["Authorization"] == SECRET


def test_nothing_shows_the_secret() -> None:
    shown = repr([EVENTS, stream(), FeatBitPoll(SECRET, "https://featbit.test")])
    assert SECRET not in shown


def test_a_secret_that_can_be_used_is_well() -> None:
    assert check_env_secret(SECRET) is None
    assert check_env_secret("rp-anything") is None


@pytest.mark.parametrize("secret", ["", None, 5, b"bytes", "zoé-secret", "with space", "with\nline"])
def test_a_secret_that_cannot_be_used_is_refused_without_being_shown(secret: Any) -> None:
    problem = check_env_secret(secret)
    assert problem is not None
    assert not secret or str(secret) not in problem
