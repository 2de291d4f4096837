"""The test servers speak what the protocol references say, seen by plain clients: websocket-client and httpx."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import websocket

from tests.services.environments import featbit, featureflag_co, hackle
from tests.services.featbit_server import FeatBitServer
from tests.services.featureflag_co_server import FeatureFlagCoServer
from tests.services.hackle_server import HackleServer
from tests.services.streaming import StreamingServer
from tests.services.tokens import (
    RefusedError,
    build_token,
    decode_token,
    featbit_environment,
    featbit_secret,
    featureflag_co_secret,
)

DEADLINE_S = 10.0
REFUSAL = b"\x0f\xa3invalid request, close by server"
"""4003 and its text, as in a close frame."""

FEATBIT = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"
PADDED = "N2QxYy00YjVlLSUyMDIyMDMxMTA5MzAwMF9fMzZfXzQ2X185OF9fZGVmYXVsdF85ZjI3Yw=="
TOKENS = [
    # secret, position, time in ms, token: the references' examples and rows of their table
    (FEATBIT, 14, 1666018800754, "QBPBSv3faJy3RCUO8d-BDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w"),
    (
        PADDED,
        7,
        1662600000123,
        "QQXBSN2QxYy0BDDWDQQQQQBWS0YjVlLSUyMDIyMDMxMTA5MzAwMF9fMzZfXzQ2X185OF9fZGVmYXVsdF85ZjI3Yw",
    ),
    (FEATBIT, 2, 999999999999, "QQWBWv3UUUUUUUUUUUUfaJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"),
    (FEATBIT, 22, 7, "QWWQBv3faJy3RCUO8d-EJiVdN6wXaRfGjfNan02Ms9c0LiTD6w"),
    (FEATBIT, 33, 1700000000000, "QSSBSv3faJy3RCUO8d-EJiVdN6waRfGjfNan02BXQQQQQQQQQQQMs9c0LiTD6w"),
    (FEATBIT, 43, 1666018800754, "QPSBSv3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6BDDDQBZZQQXHPw"),
]


@pytest.fixture
def fb() -> Iterator[FeatBitServer]:
    with FeatBitServer() as server:
        yield server


@pytest.fixture
def ffc() -> Iterator[FeatureFlagCoServer]:
    with FeatureFlagCoServer() as server:
        yield server


@pytest.fixture
def hk() -> Iterator[HackleServer]:
    with HackleServer() as server:
        server.load(hackle.small_workspace())
        yield server


def token_of(secret: str, *, age_s: float = 0.0, position: int = 9) -> str:
    return build_token(secret, time_ms=int((time.time() - age_s) * 1000), position=position)


class Stream:
    """A client of a stream that says exactly what it is told to."""

    def __init__(self, server: StreamingServer, token: str | None = None, **query: str) -> None:
        parameters = {"token": token_of(server.secret) if token is None else token, "type": "server", **query}
        url = httpx.URL(server.ws_url + "/streaming", params=parameters)
        self._socket = websocket.create_connection(str(url), timeout=DEADLINE_S)

    def close(self) -> None:
        self._socket.close()
        self._socket.shutdown()  # type: ignore[no-untyped-call]  # close leaves it out after a close frame

    def say(self, message: Any) -> None:
        self._socket.send(message if isinstance(message, str) else json.dumps(message))

    def hear(self) -> str:
        text = self._socket.recv()
        assert isinstance(text, str)
        return text

    def hear_sync(self) -> dict[str, Any]:
        message = json.loads(self.hear())
        assert message["messageType"] == "data-sync"
        data: dict[str, Any] = message["data"]
        return data

    def sync(self, timestamp: Any = 0) -> dict[str, Any]:
        self.say({"messageType": "data-sync", "data": {"timestamp": timestamp}})
        return self.hear_sync()

    def ping(self) -> str:
        """Ping; what comes back before the pong would be what comes back here."""
        self.say({"messageType": "ping", "data": None})
        return self.hear()

    def close_frame(self) -> bytes:
        opcode, payload = self._socket.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        frame: bytes = payload
        return frame


def keys_of(data: dict[str, Any]) -> list[str]:
    return [flag["key"] for flag in data["featureFlags"]]


# --- tokens and secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("secret", "position", "time_ms", "token"), TOKENS)
def test_a_token_is_built_as_in_the_references(secret: str, position: int, time_ms: int, token: str) -> None:
    assert build_token(secret, time_ms=time_ms, position=position) == token


@pytest.mark.parametrize(("secret", "position", "time_ms", "token"), TOKENS)
def test_a_token_is_read_as_in_the_references(secret: str, position: int, time_ms: int, token: str) -> None:
    decoded = decode_token(token)
    assert (decoded.secret, decoded.position, decoded.time_ms) == (secret.rstrip("="), position, time_ms)


def test_a_time_with_leading_zeros_reads_the_same() -> None:
    decoded = decode_token("QBPBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w")
    assert (decoded.secret, decoded.time_ms) == (FEATBIT, 1666018800754)


@pytest.mark.parametrize(
    "token", ["", "QBPB", "abcdefghij", "UUUQBv3faJy", "QQWUUv3faJy", "QQXBSaaaaaaaaaaaaaaaaaaaaaaa"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(RefusedError):
        decode_token(token)


def test_a_featbit_secret_ends_in_the_id_of_its_environment() -> None:
    assert featbit_environment(FEATBIT) == uuid.UUID("8dc61769-5af3-4d9f-8cb3-d7342e24c3eb")


@pytest.mark.parametrize("secret", ["", FEATBIT[:-1], FEATBIT + "A", FEATBIT[:22] + "A" * 22, FEATBIT[:-1] + "\n"])
def test_what_is_no_featbit_secret_is_refused(secret: str) -> None:
    with pytest.raises(RefusedError):
        featbit_environment(secret)


def test_the_featureflag_co_secret_of_the_reference_is_issued() -> None:
    assert featureflag_co_secret(36, 46, 98).startswith("N2QxYy00YjVlLSUyMDIyMDMxMTA5MzAwMF9fMzZfXzQ2X185OF9f")


# --- FeatBit: who may stream --------------------------------------------------------------------------------------


@pytest.mark.parametrize("age_s", [28.0, -28.0])
def test_featbit_takes_a_token_whose_clock_is_a_little_off(fb: FeatBitServer, age_s: float) -> None:
    with closing(Stream(fb, token_of(fb.secret, age_s=age_s))) as stream:
        assert stream.sync()["eventType"] == "full"


@pytest.mark.parametrize("age_s", [32.0, -32.0])
def test_featbit_refuses_a_token_whose_clock_is_off_either_way(fb: FeatBitServer, age_s: float) -> None:
    with closing(Stream(fb, token_of(fb.secret, age_s=age_s))) as stream:
        assert stream.close_frame() == REFUSAL


def test_the_clock_of_the_server_can_be_off_instead(fb: FeatBitServer) -> None:
    fb.clock_offset_s = 32.0
    with closing(Stream(fb)) as stream:
        assert stream.close_frame() == REFUSAL
    assert "32" in fb.rejections[0]


def test_featbit_refuses_a_secret_that_it_does_not_know(fb: FeatBitServer) -> None:
    with closing(Stream(fb, token_of(featbit_secret()))) as stream:
        assert stream.close_frame() == REFUSAL


@pytest.mark.parametrize("token", ["", "nonsense", token_of(FEATBIT[:-1])])
def test_featbit_refuses_what_is_no_token(fb: FeatBitServer, token: str) -> None:
    with closing(Stream(fb, token)) as stream:
        assert stream.close_frame() == REFUSAL


@pytest.mark.parametrize("query", [{"type": "Server"}, {"type": "client"}, {"type": "relay-proxy"}, {"version": "3"}])
def test_featbit_refuses_a_type_or_version_that_is_not_for_the_secret(fb: FeatBitServer, query: dict[str, str]) -> None:
    with closing(Stream(fb, **query)) as stream:
        assert stream.close_frame() == REFUSAL


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_featbit_takes_the_versions_that_there_are(fb: FeatBitServer, version: str) -> None:
    with closing(Stream(fb, version=version)) as stream:
        assert stream.sync()["eventType"] == "full"


def test_a_refused_stream_does_not_count_as_a_connection(fb: FeatBitServer) -> None:
    with closing(Stream(fb, "nonsense")) as stream:
        stream.close_frame()
    assert (fb.connects, fb.connections, len(fb.rejections)) == (0, 0, 1)


# --- FeatBit: messages --------------------------------------------------------------------------------------------


def test_featbit_answers_a_ping_with_exactly_its_pong(fb: FeatBitServer) -> None:
    with closing(Stream(fb)) as stream:
        assert stream.ping() == '{"messageType":"pong","data":{}}'


@pytest.mark.parametrize("data", [{"timestamp": 0}, {}, {"timestamp": 1.5}])
def test_featbit_answers_without_a_version_with_everything(fb: FeatBitServer, data: dict[str, Any]) -> None:
    fb.put_flag(featbit.boolean_flag("kept"))
    fb.put_flag(featbit.boolean_flag("gone"))
    fb.archive_flag("gone")
    with closing(Stream(fb)) as stream:
        stream.say({"messageType": "data-sync", "data": data})
        answer = stream.hear_sync()
    assert (answer["eventType"], sorted(keys_of(answer))) == ("full", ["gone", "kept"])


def test_featbit_answers_a_version_with_what_is_newer(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("old"))
    seen_ms = fb.version_ms
    fb.put_flag(featbit.boolean_flag("new"))
    with closing(Stream(fb)) as stream:
        answer = stream.sync(seen_ms)
    assert (answer["eventType"], keys_of(answer)) == ("patch", ["new"])


def test_featbit_answers_the_newest_version_with_an_empty_patch(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("old"))
    with closing(Stream(fb)) as stream:
        assert stream.sync(fb.version_ms) == {"eventType": "patch", "featureFlags": [], "segments": []}


@pytest.mark.parametrize("timestamp", [None, "7", [], True])
def test_featbit_does_not_answer_what_is_no_version(fb: FeatBitServer, timestamp: Any) -> None:
    with closing(Stream(fb)) as stream:
        stream.say({"messageType": "data-sync", "data": {"timestamp": timestamp}})
        assert "pong" in stream.ping()
    assert len(fb.errors) == 1


@pytest.mark.parametrize("message", ["not JSON", "[]", '{"messageType":"ping"}', '{"messageType":"what","data":1}'])
def test_featbit_ignores_what_it_does_not_understand(fb: FeatBitServer, message: str) -> None:
    with closing(Stream(fb)) as stream:
        stream.say(message)
        assert "pong" in stream.ping()


def test_featbit_compares_types_without_case_and_echoes(fb: FeatBitServer) -> None:
    with closing(Stream(fb)) as stream:
        stream.say({"messageType": "ECHO", "data": {"a": 1}})
        assert json.loads(stream.hear()) == {"messageType": "ECHO", "data": {"a": 1}}


def test_featbit_pushes_a_changed_flag_alone(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("other"))
    with closing(Stream(fb)) as stream:
        stream.sync()
        stored = fb.put_flag(featbit.boolean_flag("changed"))
        assert stream.hear_sync() == {"eventType": "patch", "featureFlags": [stored], "segments": []}


def test_featbit_pushes_a_changed_segment_alone_and_then_the_flags_that_name_it(fb: FeatBitServer) -> None:
    rule = featbit.rule(("User is in segment", None, '["staff"]'))
    fb.put_flag(featbit.flag("for-staff", rules=[rule]))
    with closing(Stream(fb)) as stream:
        stream.sync()
        stored = fb.put_segment(featbit.segment("staff", included=["u-1"]))
        assert stream.hear_sync() == {"eventType": "patch", "featureFlags": [], "segments": [stored]}
        assert keys_of(stream.hear_sync()) == ["for-staff"]


def test_featbit_pushes_an_archived_flag(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("gone"))
    with closing(Stream(fb)) as stream:
        stream.sync()
        fb.archive_flag("gone")
        assert stream.hear_sync()["featureFlags"][0]["isArchived"] is True


def test_featbit_does_not_announce_a_deleted_flag(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("gone"))
    with closing(Stream(fb)) as stream:
        stream.sync()
        fb.delete_flag("gone")
        assert "pong" in stream.ping()


def test_a_change_that_is_not_pushed_comes_with_the_next_question(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("old"))
    seen_ms = fb.version_ms
    with closing(Stream(fb)) as stream:
        stream.sync()
        fb.put_flag(featbit.boolean_flag("missed"), push=False)
        assert "pong" in stream.ping()
        assert keys_of(stream.sync(seen_ms)) == ["missed"]


def test_nobody_is_pushed_changes_who_has_not_asked_for_data(fb: FeatBitServer) -> None:
    with closing(Stream(fb)) as stream:
        fb.wait_for(lambda s: s.connections == 1)
        fb.put_flag(featbit.boolean_flag("early"))
        assert "pong" in stream.ping()


def test_all_streams_are_pushed_a_change(fb: FeatBitServer) -> None:
    with closing(Stream(fb)) as one, closing(Stream(fb)) as other:
        one.sync()
        other.sync()
        fb.put_flag(featbit.boolean_flag("changed"))
        assert keys_of(one.hear_sync()) == keys_of(other.hear_sync()) == ["changed"]


def test_the_first_push_is_not_held_back_by_the_network(fb: FeatBitServer) -> None:
    took_s = []
    for _ in range(10):
        with closing(Stream(fb)) as stream:
            stream.sync()
            started_s = time.monotonic()
            fb.put_flag(featbit.boolean_flag("changed"))
            stream.hear_sync()
            took_s.append(time.monotonic() - started_s)
    assert min(took_s) < 0.03  # 0.04 s is what Nagle's algorithm costs


def test_each_change_has_a_later_time_than_the_one_before(fb: FeatBitServer) -> None:
    stamps = [fb.put_flag(featbit.boolean_flag("flag"))["updatedAt"] for _ in range(50)]
    assert stamps == sorted(set(stamps))


def test_what_is_sent_can_be_rewritten(fb: FeatBitServer) -> None:
    fb.rewrite = lambda message: {**message, "data": None}
    with closing(Stream(fb)) as stream:
        stream.say({"messageType": "data-sync", "data": {"timestamp": 0}})
        assert json.loads(stream.hear()) == {"messageType": "data-sync", "data": None}


def test_any_message_can_be_pushed(fb: FeatBitServer) -> None:
    with closing(Stream(fb)) as stream:
        fb.wait_for(lambda s: s.connections == 1)
        fb.push("{]")
        assert stream.hear() == "{]"


def test_what_clients_say_is_recorded_with_their_connection(fb: FeatBitServer) -> None:
    with closing(Stream(fb)) as one, closing(Stream(fb)) as other:
        one.sync()
        other.ping()
    said = [(item.connection, item.data["messageType"]) for item in fb.messages]
    assert said == [(1, "data-sync"), (2, "ping")]


# --- FeatBit: HTTP ------------------------------------------------------------------------------------------------


def latest(server: FeatBitServer, since_ms: int | None = None, secret: str | None = None) -> httpx.Response:
    headers = {"Authorization": server.secret if secret is None else secret}
    query = {} if since_ms is None else {"timestamp": since_ms}
    return httpx.get(server.url + "/api/public/sdk/server/latest-all", headers=headers, params=query)


def test_latest_all_gives_what_a_full_sync_gives(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag())
    assert latest(fb).json() == fb.envelope()


def test_latest_all_gives_a_patch_for_a_version(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag("old"))
    seen_ms = fb.version_ms
    fb.put_flag(featbit.boolean_flag("new"))
    assert keys_of(latest(fb, seen_ms).json()["data"]) == ["new"]


def test_latest_all_is_empty_when_nothing_is_newer(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag())
    response = latest(fb, fb.version_ms)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("secret", ["", "short", FEATBIT[:22] + "A" * 22])
def test_latest_all_refuses_what_is_no_secret(fb: FeatBitServer, secret: str) -> None:
    assert latest(fb, secret=secret).status_code == 401


def test_latest_all_does_not_look_the_secret_up_and_has_no_flags_for_another(fb: FeatBitServer) -> None:
    fb.put_flag(featbit.boolean_flag())
    response = latest(fb, secret=featbit_secret())
    assert (response.status_code, keys_of(response.json()["data"])) == (200, [])


def test_featbit_takes_events_of_users_with_a_key(fb: FeatBitServer) -> None:
    items: list[Any] = [{"user": {"keyId": "u-1"}}, {"user": {}}, {}, {"user": {"keyId": "u-2"}, "metrics": []}]
    url = fb.url + "/api/public/insight/track"
    response = httpx.post(url, headers={"Authorization": fb.secret}, json=items)
    assert (response.status_code, response.content) == (200, b"")
    assert fb.events == [items[0], items[3]]


def test_featbit_takes_no_events_with_what_is_no_secret(fb: FeatBitServer) -> None:
    response = httpx.post(fb.url + "/api/public/insight/track", headers={"Authorization": "x"}, json=[])
    assert response.status_code == 401


def test_featbit_is_healthy(fb: FeatBitServer) -> None:
    assert httpx.get(fb.url + "/health/readiness").status_code == 200


# --- featureflag.co -----------------------------------------------------------------------------------------------


def names_of(data: dict[str, Any]) -> list[str]:
    return [flag["ff"]["keyName"] for flag in data["featureFlags"]]


@pytest.mark.parametrize("age_s", [28.0, 0.0, -3600.0])
def test_featureflag_co_takes_tokens_from_the_future(ffc: FeatureFlagCoServer, age_s: float) -> None:
    with closing(Stream(ffc, token_of(ffc.secret, age_s=age_s))) as stream:
        assert stream.sync()["eventType"] == "full"


def test_featureflag_co_refuses_an_old_token(ffc: FeatureFlagCoServer) -> None:
    with closing(Stream(ffc, token_of(ffc.secret, age_s=32.0))) as stream:
        assert stream.close_frame() == REFUSAL


@pytest.mark.parametrize(
    "token", ["", "nonsense", token_of("bm90IGEgc2VjcmV0IGF0IGFsbA"), token_of(featureflag_co_secret(36, 0, 98))]
)
def test_featureflag_co_refuses_what_is_no_token(ffc: FeatureFlagCoServer, token: str) -> None:
    with closing(Stream(ffc, token)) as stream:
        assert stream.close_frame() == REFUSAL


def test_featureflag_co_knows_no_relay_proxies(ffc: FeatureFlagCoServer) -> None:
    with closing(Stream(ffc, type="relay-proxy")) as stream:
        assert stream.close_frame() == REFUSAL


def test_featureflag_co_answers_a_ping_with_its_pong(ffc: FeatureFlagCoServer) -> None:
    with closing(Stream(ffc)) as stream:
        assert json.loads(stream.ping()) == {"messageType": "pong", "data": None}


def test_featureflag_co_answers_zero_with_all_flags_that_are_not_archived_newest_first(
    ffc: FeatureFlagCoServer,
) -> None:
    ffc.put_flags([featureflag_co.boolean_flag(key) for key in ("one", "two", "gone")])
    ffc.archive_flag("gone")
    with closing(Stream(ffc)) as stream:
        answer = stream.sync(0)
    assert (answer["eventType"], names_of(answer)) == ("full", ["two", "one"])
    assert (answer["segments"], answer["userTags"]) == ([], [])


def test_featureflag_co_answers_a_version_with_what_is_newer(ffc: FeatureFlagCoServer) -> None:
    ffc.put_flag(featureflag_co.boolean_flag("old"))
    seen_ms = ffc.version_ms
    ffc.put_flag(featureflag_co.boolean_flag("new"))
    with closing(Stream(ffc)) as stream:
        answer = stream.sync(seen_ms)
    assert (answer["eventType"], names_of(answer)) == ("patch", ["new"])


def test_featureflag_co_does_not_answer_a_negative_version(ffc: FeatureFlagCoServer) -> None:
    with closing(Stream(ffc)) as stream:
        stream.say({"messageType": "data-sync", "data": {"timestamp": -1}})
        assert "pong" in stream.ping()


def test_featureflag_co_pushes_changes_and_archived_flags(ffc: FeatureFlagCoServer) -> None:
    with closing(Stream(ffc)) as stream:
        stream.sync()
        stored = ffc.put_flag(featureflag_co.boolean_flag("changed"))
        assert stream.hear_sync() == {"eventType": "patch", "featureFlags": [stored], "segments": [], "userTags": []}
        ffc.archive_flag("changed")
        assert stream.hear_sync()["featureFlags"][0]["isArchived"] is True


def test_featureflag_co_has_flag_ids_made_of_the_secret(ffc: FeatureFlagCoServer) -> None:
    stored = ffc.put_flag({"ff": {"keyName": "checkout-v2"}})
    assert stored["id"] == stored["ff"]["id"] == "FF__36__46__98__checkout-v2"


@pytest.mark.parametrize("place", ["params", "headers", "cookies"])
def test_featureflag_co_finds_the_secret_in_three_places(ffc: FeatureFlagCoServer, place: str) -> None:
    ffc.put_flag(featureflag_co.boolean_flag("one"))
    with httpx.Client(**{place: {"envSecret": ffc.secret}}) as client:  # type: ignore[arg-type]  # any of the three
        response = client.get(ffc.url + "/api/public/sdk/latest-feature-flag")
    assert names_of(response.json()) == ["one"]


def test_featureflag_co_refuses_a_download_without_a_secret(ffc: FeatureFlagCoServer) -> None:
    assert httpx.get(ffc.url + "/api/public/sdk/latest-feature-flag").status_code == 401


def test_featureflag_co_has_no_flags_for_another_environment(ffc: FeatureFlagCoServer) -> None:
    ffc.put_flag(featureflag_co.boolean_flag("one"))
    headers = {"envSecret": featureflag_co_secret(1, 2, 3)}
    assert httpx.get(ffc.url + "/api/public/sdk/latest-feature-flag", headers=headers).json() == {"featureFlags": []}


def test_featureflag_co_takes_events_that_say_something(ffc: FeatureFlagCoServer) -> None:
    good = {"user": {"keyId": "u-1"}, "metrics": [{"eventName": "purchase", "numericValue": 2}]}
    items = [good, {"user": {"keyId": "u-1"}}, {"metrics": good["metrics"]}]
    response = httpx.post(ffc.url + "/api/public/track", headers={"envSecret": ffc.secret}, json=items)
    assert (response.status_code, response.json()) == (200, {"code": "OK", "message": "OK"})
    assert ffc.events == [good]


def test_featureflag_co_takes_no_events_without_a_secret(ffc: FeatureFlagCoServer) -> None:
    assert httpx.post(ffc.url + "/api/public/track", json=[]).status_code == 401


# --- Hackle -------------------------------------------------------------------------------------------------------


def fetch(server: HackleServer, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{server.url}/api/v2/workspaces/{server.sdk_key}/config"
    return httpx.get(url, headers={"X-HACKLE-SDK-KEY": server.sdk_key, **names})


def test_hackle_gives_the_workspace_with_two_validators(hk: HackleServer) -> None:
    response = fetch(hk)
    assert response.json() == hackle.small_workspace()
    assert {"etag", "last-modified"} <= response.headers.keys()


def test_hackle_does_not_send_again_what_was_not_modified_since(hk: HackleServer) -> None:
    response = fetch(hk, If_Modified_Since=fetch(hk).headers["last-modified"])
    assert (response.status_code, response.content) == (304, b"")
    assert (hk.fetches, hk.not_modified) == (2, 1)


def test_hackle_does_not_send_again_what_has_the_same_etag(hk: HackleServer) -> None:
    assert fetch(hk, If_None_Match=fetch(hk).headers["etag"]).status_code == 304


def test_the_etag_decides_where_both_validators_come(hk: HackleServer) -> None:
    known = fetch(hk).headers
    response = fetch(hk, If_None_Match='"another"', If_Modified_Since=known["last-modified"])
    assert response.status_code == 200


def test_hackle_sends_each_change_even_within_a_second(hk: HackleServer) -> None:
    for _ in range(3):
        known = fetch(hk).headers
        hk.put("events", {"id": 33, "key": f"event-{hk.fetches}"})
        assert fetch(hk, If_Modified_Since=known["last-modified"]).status_code == 200
        assert fetch(hk, If_None_Match=known["etag"]).status_code == 200


def test_hackle_can_be_without_validators(hk: HackleServer) -> None:
    hk.sends_etag = hk.sends_last_modified = False
    assert not {"etag", "last-modified"} & fetch(hk).headers.keys()


def test_hackle_refuses_another_key(hk: HackleServer) -> None:
    assert fetch(hk, X_HACKLE_SDK_KEY="another").status_code == 403


def post(server: HackleServer, path: str, body: str) -> int:
    return httpx.post(server.url + path, headers={"X-HACKLE-SDK-KEY": server.sdk_key}, content=body).status_code


def test_hackle_takes_events_of_three_kinds(hk: HackleServer) -> None:
    body = {"exposureEvents": [{"a": 1}], "trackEvents": [{"b": 2}, {"b": 3}], "remoteConfigEvents": [{"c": 4}]}
    assert post(hk, "/api/v2/events", json.dumps(body)) == 202
    assert [event["kind"] for event in hk.events] == ["exposure", "track", "track", "remote_config"]
    assert hk.batches == [body]


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{}",
        "not JSON",
        '{"exposureEvents": [], "trackEvents": [{"value": NaN}], "remoteConfigEvents": []}',
        '{"exposureEvents": [], "trackEvents": []}',
    ],
)
def test_hackle_takes_no_events_that_are_not_as_documented(hk: HackleServer, body: str) -> None:
    assert post(hk, "/api/v2/events", body) == 400
    assert (hk.events, len(hk.errors)) == ([], 1)


def test_hackle_takes_metrics(hk: HackleServer) -> None:
    assert post(hk, "/metrics", '{"metrics": [{"name": "api.call"}]}') == 202
    assert hk.metrics == [{"name": "api.call"}]


# --- all of them --------------------------------------------------------------------------------------------------


def test_waiting_in_vain_says_for_what_and_what_there_was(hk: HackleServer) -> None:
    with pytest.raises(AssertionError, match=r"in vain for a fetch; 0 requests"):
        hk.wait_for(lambda s: s.fetches, timeout_s=0.05, what="a fetch")


def test_answers_are_compressed_for_those_who_accept_it_if_wanted(hk: HackleServer) -> None:
    hk.compresses = True
    response = fetch(hk, Accept_Encoding="gzip")
    assert response.headers["content-encoding"] == "gzip"
    assert response.json() == hackle.small_workspace()
    assert "content-encoding" not in fetch(hk, Accept_Encoding="identity").headers


def test_clearing_forgets_what_came(hk: HackleServer) -> None:
    fetch(hk)
    post(hk, "/api/v2/events", "{}")
    hk.clear()
    assert (hk.requests, hk.fetches, hk.errors) == ([], 0, [])


def test_a_server_can_be_closed_twice_and_refuses_then() -> None:
    with FeatBitServer() as server:
        url = server.url
        server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
