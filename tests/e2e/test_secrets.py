"""A secret is nowhere to be read: not in logs at DEBUG, not in exceptions, not in a repr, not in the status.

Each provider goes through good and bad days at a real server while everything is written down. What the rest of the suite
logs is searched, too: see `tests/leaks.py`.
"""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flagmw import Client, ConfigError, State
from flagmw.network import Network
from flagmw.providers import FeatBit, FeatureFlagCo, Hackle
from flagmw.providers.options import StreamOptions
from flagmw.settings import SettingsError, read_settings
from tests.leaks import LOGGERS, Watch, found_in, remember
from tests.services.environments import featbit, featureflag_co, hackle
from tests.services.faults import At, CloseWith, Endpoint, Garbage, Reset, Status
from tests.services.featbit_server import FeatBitServer
from tests.services.featureflag_co_server import FeatureFlagCoServer
from tests.services.hackle_server import HackleServer
from tests.unit.support import until

DAY_S = 15.0
QUICK = StreamOptions(first_retry_delay_s=0.01, max_retry_delay_s=0.05)
USER: dict[str, Any] = {"key": "u-1", "id": "u-1", "name": "Ana", "plan": "pro"}


def featbit_day(folder: Path) -> Iterator[tuple[Any, Any, Endpoint]]:
    with FeatBitServer() as server:
        server.load(featbit.random_environment(1))
        where = {"streaming_url": server.ws_url, "event_url": server.url, "cache_dir": folder}
        yield server, FeatBit(server.secret, stream=QUICK, **where), Endpoint.STREAM  # type: ignore[arg-type]  # keywords


def featbit_polling_day(folder: Path) -> Iterator[tuple[Any, Any, Endpoint]]:
    with FeatBitServer() as server:
        server.load(featbit.random_environment(2))
        options: dict[str, Any] = {"event_url": server.url, "cache_dir": folder}
        yield server, FeatBit(server.secret, polling=True, poll_interval_s=0.05, **options), Endpoint.CONFIG


def featureflag_co_day(folder: Path) -> Iterator[tuple[Any, Any, Endpoint]]:
    with FeatureFlagCoServer() as server:
        server.load(featureflag_co.random_environment(3, secret=server.secret))
        where = {"streaming_uri": server.ws_url, "base_uri": server.url, "cache_dir": folder}
        yield server, FeatureFlagCo(server.secret, stream=QUICK, **where), Endpoint.STREAM  # type: ignore[arg-type]  # keywords


def hackle_day(folder: Path) -> Iterator[tuple[Any, Any, Endpoint]]:
    with HackleServer("hackle-key-0123456789-abcdefghij") as server:
        server.load(hackle.random_workspace(4))
        where = {"sdk_url": server.url, "event_url": server.url, "cache_dir": folder}
        yield server, Hackle(server.sdk_key, poll_interval_s=0.05, **where), Endpoint.CONFIG  # type: ignore[arg-type]  # keywords


DAYS = {
    "FeatBit": featbit_day,
    "FeatBit polling": featbit_polling_day,
    "featureflag.co": featureflag_co_day,
    "Hackle": hackle_day,
}


@pytest.mark.parametrize("service", DAYS)
def test_no_secret_is_written_down_on_good_and_bad_days(
    service: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    for server, provider, endpoint in DAYS[service](tmp_path):
        remember(getattr(server, "secret", None) or server.sdk_key)
        client = Client(provider)

        def show(client: Client = client) -> None:
            shown.extend([repr(client), repr(client.status), str(client.status), repr(client.provider)])

        client.start()
        assert client.wait_until_ready(DAY_S)
        shown.extend(map(repr, client.all_variations(USER).values()))
        client.track(USER, "purchase", 12.5)
        client.identify(USER)
        assert client.flush(DAY_S)
        show()
        for fault in (Status(code=500), Reset(at=At.HEAD, after_bytes=5), Garbage(payload=b"[" * 50)):
            struck = server.faults_struck
            server.misbehave(fault, on=endpoint, times=1)
            if endpoint is Endpoint.STREAM:
                server.strike(CloseWith(code=1011))
            until(lambda server=server, struck=struck: server.faults_struck > struck, DAY_S)  # type: ignore[misc]  # bound above
            show()
        until(lambda client=client: client.status.state is State.OK, DAY_S)  # type: ignore[misc]  # bound above
        server.misbehave(Status(code=401), on=endpoint)
        server.misbehave(Status(code=401), on=Endpoint.EVENTS)
        client.track(USER, "purchase", 1)
        client.flush(0.1)
        if endpoint is Endpoint.STREAM:
            server.strike(CloseWith(code=1011))
        until(lambda client=client: client.status.state is State.OFF, DAY_S)  # type: ignore[misc]  # bound above
        show()
        client.close()
        show()
        again = Client(provider)  # from what was kept on disk
        again.start()
        shown.append(repr(again.status))
        again.close()
        shown.extend(path.name for path in tmp_path.iterdir())
    ours = [record for record in caplog.records if record.name.split(".")[0] in LOGGERS]  # the server logs, too
    formatter = logging.Formatter("%(levelname)s %(name)s %(threadName)s %(message)s")
    written = "\n".join([*map(formatter.format, ours), *shown])
    assert len(ours) > 5, "too little was logged to say anything"
    assert not [line for line in written.splitlines() if found_in(line)]


SECRETS = {
    FeatBit: "b5Jx9-not-ascii-é-0123456789abcdefgh",
    FeatureFlagCo: "not base64 at all: 0123456789-abcdefgh",
    Hackle: "hackle key with a\nline break 0123456789",
}


def dsn_mistakes(dsn: str) -> Iterator[tuple[str, Callable[[], object]]]:
    yield f"DSN {dsn.split(':', maxsplit=1)[0]}", lambda: Client(dsn)
    yield f"setting {dsn.split(':', maxsplit=1)[0]}", lambda: read_settings("FLAGMW", {"PROVIDER": dsn})


def mistakes() -> Iterator[tuple[str, Callable[[], object]]]:
    good = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"
    remember(good)
    for make, secret in SECRETS.items():
        remember(secret)
        yield f"{make.__name__}, secret", partial(make, secret)
    yield "an option", lambda: FeatBit(good, poll_intervall_s=5)  # type: ignore[call-arg]  # the mistake
    yield "a URL with the secret", lambda: FeatBit(good, event_url=f"https://{good}@host.example")
    yield "a URL of another scheme", lambda: FeatBit(good, event_url=f"ftp://host.example/{good}")
    yield "a secret that is no str", lambda: FeatBit({"secret": good})  # type: ignore[arg-type]  # the mistake
    yield "a proxy", lambda: Network(proxy=f"socks5://user:{good}@proxy.example:1")
    for dsn in (
        f"featbit://{good}@host.example?polling={good}",
        f"featbit://{good}@host.example:port",
        f"feetbit://{good}@host.example",
        f"featureflagco://{good}@host.example",
        f"hackle://{good}@host.example?{good}=1",
    ):
        yield from dsn_mistakes(dsn)


@pytest.mark.parametrize(
    ("what", "mistake"), list(mistakes()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_secret_is_in_what_is_said_of_a_mistake(what: str, mistake: Callable[[], object]) -> None:
    with pytest.raises((ConfigError, SettingsError)) as caught:
        mistake()
    said = "".join(traceback.format_exception(caught.value, chain=True)).splitlines()
    assert not [line for line in said if found_in(line) and "remember" not in line]
    assert not found_in(str(caught.value) + repr(caught.value))


def test_a_copy_of_a_provider_shows_no_secret_either() -> None:
    secret = remember("v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w")
    provider = FeatBit(secret)
    for copied in (copy.copy(provider), copy.deepcopy(provider), pickle.loads(pickle.dumps(provider))):
        assert not found_in(repr(copied))
        assert copied == provider


@pytest.mark.parametrize("name", LOGGERS)
def test_the_whole_suite_is_read_along_at_debug(name: str) -> None:
    logger = logging.getLogger(name)
    assert logger.isEnabledFor(logging.DEBUG)
    assert [handler for handler in logger.handlers if isinstance(handler, Watch)]
