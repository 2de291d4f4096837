"""Providers against servers of their services: bootstrap, offline, last known good, a refused secret, the DSN."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import pytest

from flagmw import Client, Reason, State
from flagmw.providers import EventOptions, FeatBit, FeatureFlagCo, Hackle, StreamOptions
from flagmw_flask import Flags
from tests.leaks import remember
from tests.services.environments import featbit, featureflag_co, hackle
from tests.services.faults import CloseWith, Endpoint, Status
from tests.services.featbit_server import FeatBitServer
from tests.services.featureflag_co_server import FeatureFlagCoServer
from tests.services.hackle_server import HackleServer
from tests.unit.support import until

READY_S = 10.0
ON, OFF = True, False
SOON = StreamOptions(first_retry_delay_s=0.02, max_retry_delay_s=0.1)
AT_ONCE = EventOptions(flush_interval_s=0.02)
USER = {"key": "u-1", "name": "Ann", "id": "u-1"}

Server = FeatBitServer | FeatureFlagCoServer | HackleServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How one service is driven: one thing that can be on or off."""

    server: Callable[[], Any]
    secret: Callable[[Any], str]
    provider: Callable[..., Any]
    put: Callable[[Any, bool], Any]
    document: Callable[[bool], dict[str, Any]]
    is_on: Callable[[Client], bool]
    detail: Callable[[Client], Any]
    dsn: str


def _workspace(is_on: bool) -> dict[str, Any]:
    workspace = hackle.small_workspace()
    workspace["featureFlags"][0]["execution"]["defaultRule"] = hackle.serve(82 if is_on else 81)
    return workspace


def _hackle(secret: str, server: Any, **options: Any) -> Hackle:
    return Hackle(secret, **{"sdk_url": server.url, "event_url": server.url, "poll_interval_s": 0.05, **options})


def _polled_featbit(secret: str, server: Any, **options: Any) -> FeatBit:
    return _featbit(secret, server, **{"polling": True, "poll_interval_s": 0.05, **options})


def _featbit(secret: str, server: Any, **options: Any) -> FeatBit:
    urls = {"streaming_url": server.ws_url, "event_url": server.url}
    return FeatBit(secret, **{**urls, "stream": SOON, **options})


def _featureflag_co(secret: str, server: Any, **options: Any) -> FeatureFlagCo:
    urls = {"streaming_uri": server.ws_url, "base_uri": server.url}
    return FeatureFlagCo(secret, **{**urls, "stream": SOON, **options})


FEATBIT = Service(
    server=FeatBitServer,
    secret=lambda server: str(server.secret),
    provider=_featbit,
    put=lambda server, on: server.put_flag(featbit.boolean_flag("f", serves=on)),
    document=lambda on: featbit.environment([featbit.boolean_flag("f", serves=on)]),
    is_on=lambda client: client.is_enabled("f", USER),
    detail=lambda client: client.is_enabled_detail("f", USER),
    dsn="featbit",
)
POLLED_FEATBIT = Service(
    server=FeatBitServer,
    secret=FEATBIT.secret,
    provider=_polled_featbit,
    put=FEATBIT.put,
    document=FEATBIT.document,
    is_on=FEATBIT.is_on,
    detail=FEATBIT.detail,
    dsn="featbit",
)
FEATUREFLAG_CO = Service(
    server=FeatureFlagCoServer,
    secret=lambda server: str(server.secret),
    provider=_featureflag_co,
    put=lambda server, on: server.put_flag(featureflag_co.boolean_flag("f", serves=on)),
    document=lambda on: featureflag_co.environment([featureflag_co.boolean_flag("f", serves=on)]),
    is_on=lambda client: client.is_enabled("f", USER),
    detail=lambda client: client.is_enabled_detail("f", USER),
    dsn="featureflagco",
)
HACKLE = Service(
    server=HackleServer,
    secret=lambda server: str(server.sdk_key),
    provider=_hackle,
    put=lambda server, on: server.load(_workspace(on)),
    document=_workspace,
    is_on=lambda client: client.is_enabled(7, USER),
    detail=lambda client: client.is_enabled_detail(7, USER),
    dsn="hackle",
)
SERVICES = {"featbit": FEATBIT, "featbit-polled": POLLED_FEATBIT, "featureflag.co": FEATUREFLAG_CO, "hackle": HACKLE}


@pytest.fixture(params=list(SERVICES.values()), ids=list(SERVICES))
def service(request: pytest.FixtureRequest) -> Service:
    chosen: Service = request.param
    return chosen


@pytest.fixture
def server(service: Service) -> Iterator[Any]:
    with service.server() as running:
        remember(service.secret(running))
        yield running


def provider_for(service: Service, server: Any, **options: Any) -> Any:
    return service.provider(service.secret(server), server, **options)


# --- in sync ------------------------------------------------------------------------------------------------


def test_flags_come_and_change(service: Service, server: Any) -> None:
    service.put(server, OFF)
    with Client(provider_for(service, server)) as client:
        assert client.wait_until_ready(READY_S)
        assert service.is_on(client) is False
        service.put(server, ON)
        until(lambda: service.is_on(client), READY_S)
        assert client.status.state is State.OK


def test_a_value_that_is_read_is_told_to_the_service(service: Service, server: Any) -> None:
    service.put(server, ON)
    with Client(provider_for(service, server, events=AT_ONCE)) as client:
        assert client.wait_until_ready(READY_S)
        assert service.is_on(client)
        assert client.flush(READY_S)
        assert len(server.events) == 1
        counts = client.status.events
        assert counts is not None
        assert (counts.sent, counts.waiting, counts.dropped) == (1, 0, 0)


def test_without_events_nothing_is_told(service: Service, server: Any) -> None:
    service.put(server, ON)
    with Client(provider_for(service, server, events=False)) as client:
        assert client.wait_until_ready(READY_S)
        assert service.is_on(client)
        client.track(USER, "purchase", 3)
        client.identify(USER)
        assert client.flush(READY_S)
        assert client.status.events is None
    assert server.requests_to(Endpoint.EVENTS) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_secret_ends_the_attempts_with_one_error(
    service: Service, server: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    service.put(server, ON)
    endpoint = Endpoint.CONFIG if service in (HACKLE, POLLED_FEATBIT) else Endpoint.STREAM
    server.misbehave(Status(code=status), on=endpoint)
    with Client(provider_for(service, server)) as client:
        until(lambda: client.status.state is State.OFF, READY_S)
        assert f"HTTP {status}" in str(client.status.error)
        assert service.secret(server) not in str(client.status.error)
        assert service.is_on(client) is False
        until(lambda: server.tcp_open == 0, READY_S)
        assert len(server.requests_to(endpoint)) == 1
    errors = [record for record in caplog.records if record.levelname == "ERROR" and record.name == "flagmw"]
    assert len(errors) == 1


@pytest.mark.parametrize("service", [FEATBIT, FEATUREFLAG_CO], ids=["featbit", "featureflag.co"])
def test_a_stream_closed_as_invalid_keeps_the_flags(service: Service, server: Any) -> None:
    service.put(server, ON)
    with Client(provider_for(service, server)) as client:
        assert client.wait_until_ready(READY_S)
        assert server.strike(CloseWith(code=4003)) == 1
        until(lambda: client.status.state is State.OFF, READY_S)
        assert service.is_on(client)


# --- documents at hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [False, True], ids=["mapping", "path"])
def test_offline_a_document_is_all_there_is(service: Service, server: Any, tmp_path: Path, as_path: bool) -> None:
    document: Any = service.document(ON)
    if as_path:
        (tmp_path / "flags.json").write_text(json.dumps(document))
        document = tmp_path / "flags.json"
    before = threading.active_count()
    with Client(provider_for(service, server, offline=True, bootstrap=document)) as client:
        assert service.is_on(client)
        assert service.detail(client).reason is not Reason.STALE
        client.track(USER, "purchase", 3)
        assert client.status.state is State.OK
        assert client.status.events is None
        assert threading.active_count() == before
    assert server.tcp_accepted == 0


def test_a_bootstrap_document_is_in_force_until_the_service_answers(service: Service, server: Any) -> None:
    service.put(server, OFF)
    server.refuse()
    with Client(provider_for(service, server, bootstrap=service.document(ON))) as client:
        assert service.is_on(client)
        assert service.detail(client).reason is Reason.STALE
        assert client.status.state is State.INTERRUPTED
        server.listen()
        until(lambda: not service.is_on(client), READY_S)
        assert service.detail(client).reason is not Reason.STALE
        until(lambda: client.status.state is State.OK, READY_S)


def test_flags_of_the_document_that_the_service_does_not_have_go(server: Any, service: Service) -> None:
    if service is HACKLE:
        document = _workspace(ON)
        document["featureFlags"].append({**document["featureFlags"][0], "id": 99, "key": 99})
        gone: Any = 99
    else:
        flags = featbit if service in (FEATBIT, POLLED_FEATBIT) else featureflag_co
        document = flags.environment([flags.boolean_flag("f"), flags.boolean_flag("gone")])
        gone = "gone"
    service.put(server, OFF)
    with Client(provider_for(service, server, bootstrap=document)) as client:
        until(lambda: client.status.state is State.OK, READY_S)
        until(lambda: not client.is_flag_known(gone), READY_S)
        assert service.is_on(client) is False


def test_a_broken_bootstrap_document_does_not_keep_the_service_away(
    service: Service, server: Any, tmp_path: Path
) -> None:
    (tmp_path / "flags.json").write_text("{")
    service.put(server, ON)
    with Client(provider_for(service, server, bootstrap=tmp_path / "flags.json")) as client:
        until(lambda: service.is_on(client), READY_S)
        until(lambda: client.status.state is State.OK, READY_S)


# --- last known good ----------------------------------------------------------------------------------------


def test_a_process_that_starts_while_the_service_is_down_serves_the_last_flags(
    service: Service, server: Any, tmp_path: Path
) -> None:
    provider = provider_for(service, server, cache_dir=tmp_path / "kept")
    service.put(server, ON)
    with Client(provider) as client:
        until(lambda: service.is_on(client), READY_S)
    server.refuse()
    with Client(provider) as later:
        assert service.is_on(later)
        assert service.detail(later).reason is Reason.STALE
        until(lambda: later.status.error is not None, READY_S)
        assert later.status.state is State.INTERRUPTED
        server.listen()
        until(lambda: later.status.state is State.OK, READY_S)
        assert service.detail(later).reason is not Reason.STALE
        service.put(server, OFF)
        until(lambda: not service.is_on(later), READY_S)
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert service.secret(server).encode() not in kept.read_bytes()


def test_flags_that_were_kept_come_before_a_bootstrap_document(service: Service, server: Any, tmp_path: Path) -> None:
    service.put(server, ON)
    with Client(provider_for(service, server, cache_dir=tmp_path)) as client:
        until(lambda: service.is_on(client), READY_S)
    server.refuse()
    provider = provider_for(service, server, cache_dir=tmp_path, bootstrap=service.document(OFF))
    with Client(provider) as later:
        assert service.is_on(later)


# --- in one line of text ------------------------------------------------------------------------------------


def test_an_app_is_told_by_the_environment(service: Service, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service.put(server, ON)
    interval = "&poll_interval_s=0.05" if service is HACKLE else ""
    dsn = f"{service.dsn}://{service.secret(server)}@127.0.0.1:{server.port}?tls=false&event_flush_interval_s=0.02"
    monkeypatch.setenv("FLAGMW_DSN", dsn + interval)
    app = flask.Flask("shop")
    app.secret_key = "a secret of the tests"
    Flags(app, user=lambda request: USER)
    client: Client = app.extensions["flagmw"].client

    @app.get("/")
    def home() -> str:
        flags = flask.request.flags  # type: ignore[attr-defined]  # see `Flags.init_app`
        return str(flags.is_enabled(7 if service is HACKLE else "f"))

    with client:
        assert app.test_client().get("/").text == "True"
        assert client.flush(READY_S)
        server.wait_for(lambda s: len(s.events) == 1)
