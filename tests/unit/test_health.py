"""The health app: what it answers to whom, by both protocols."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import flagmw
from flagmw import Client, ConfigError, health_app
from flagmw.health import HealthApp, problem_of
from flagmw.lifecycle import places
from flagmw.providers import FeatBit, FlagFile, Static
from flagmw.status import State
from tests.services.tokens import featbit_secret
from tests.unit.presence_support import status


def service(secret: str, folder: Path) -> Client:
    """Make a client of a service that is not there."""
    nowhere = "http://127.0.0.1:9"
    return Client(FeatBit(secret, streaming_url=nowhere, event_url=nowhere, state_dir=folder))


def healthy() -> HealthApp:
    return health_app(Client(Static({"a": True})))


def ill() -> HealthApp:
    return health_app(Client(Static({"a": True})), starts=False)


def by_wsgi(app: HealthApp, method: str = "GET", path: str = "/health") -> tuple[str, dict[str, str], bytes]:
    """Ask by WSGI, checked by the standard library's validator."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": ""}
    started: list[Any] = []

    def start_response(code: str, headers: list[tuple[str, str]], *_: object) -> Any:
        started.extend((code, dict(headers)))
        return lambda data: None

    body: Any = validator(app)(environ, start_response)
    try:
        return started[0], started[1], b"".join(body)
    finally:
        body.close()


def by_asgi(app: HealthApp, method: str = "GET", *, two_calls: bool = False) -> tuple[int, dict[bytes, bytes], bytes]:
    """Ask by ASGI, of version 3, or of version 2 where an app is called twice."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def serve() -> None:
        scope = {"type": "http", "method": method, "path": "/", "headers": []}
        await (app(scope)(receive, send) if two_calls else app(scope, receive, send))

    asyncio.run(serve())
    [start, body] = sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    return start["status"], dict(start["headers"]), body["body"]


# --- answers ------------------------------------------------------------------------------------------------------


def test_flags_that_are_current_are_answered_with_200() -> None:
    answer = healthy().answer()
    told = json.loads(answer.body)
    assert (answer.status, told["is_ready"], told["problem"], told["state"]) == (200, True, None, "OK")
    assert (told["flags"], told["role"], told["pid"] > 0, told["revision_age_s"]) == (1, "alone", True, 0.0)


def test_no_flags_are_answered_with_503_and_the_reason() -> None:
    answer = health_app(Client(FlagFile("gone.yaml"))).answer()
    told = json.loads(answer.body)
    assert (answer.status, told["is_ready"], told["state"]) == (503, False, "INITIALIZING")
    assert told["problem"].startswith("no flags have arrived: ")
    assert "gone.yaml" in told["problem"]


def test_a_service_that_has_not_answered_yet_is_answered_with_503(tmp_path: Path) -> None:
    client = service(featbit_secret(), tmp_path)
    try:
        assert health_app(client).answer().status == 503
    finally:
        client.close()


def test_no_secret_is_in_the_answer(tmp_path: Path) -> None:
    secret = featbit_secret()
    client = service(secret, tmp_path)
    try:
        app = health_app(client)
        assert secret not in app.answer().body.decode() + repr(app)
    finally:
        client.close()


def test_a_request_starts_a_client_that_was_not_used_yet() -> None:
    client = Client(Static({"a": True}))
    assert health_app(client).answer().status == 200
    assert client.status.state is State.OK


def test_a_request_need_not_start_the_client() -> None:
    client = Client(Static({"a": True}))
    assert health_app(client, starts=False).answer().status == 503
    assert client.status.pid == 0


def test_a_request_does_not_open_a_closed_client_again(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {}}')
    client = Client(FlagFile(path))
    client.start()
    client.close()
    health_app(client).answer()
    assert client.status.state is State.OFF


def test_an_offline_client_with_flags_is_ready() -> None:
    assert health_app(Client(Static({"a": True}), offline=True)).answer().status == 200


@pytest.mark.parametrize("method", ["POST", "DELETE", "get", ""])
def test_other_methods_are_answered_with_405(method: str) -> None:
    answer = healthy().answer(method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("told", "max_stale_s", "said"),
    [
        (status(), 60.0, None),
        (status(revision_age_s=60.0), 60.0, None),
        (status(revision_age_s=60.1), 60.0, "last known to be the newest 60 s ago"),
        (status(revision_age_s=0.2), 0.1, "last known to be the newest"),
        (status(revision_age_s=1e9), math.inf, None),
        (status(revision_age_s=None), 60.0, "of an earlier time"),
        (status(revision_age_s=None), math.inf, None),
        (status(age_s=None, revision_age_s=None), math.inf, "no flags have arrived"),
        (status(state=State.INTERRUPTED, error="down", revision_age_s=5.0), 60.0, None),
        (status(state=State.INTERRUPTED, error="down", revision_age_s=61.0), 60.0, ": down"),
        (status(state=State.OFF, error="refused", revision_age_s=61.0), 60.0, ": refused"),
    ],
)
def test_flags_are_current_as_long_as_they_were_known_to_be(told: Any, max_stale_s: float, said: str | None) -> None:
    problem = problem_of(told, max_stale_s)
    assert problem is None if said is None else problem is not None and said in problem


@pytest.mark.parametrize("max_stale_s", [0, -1, math.nan, "60", True, None])
def test_a_bound_that_is_none_is_refused(max_stale_s: Any) -> None:
    with pytest.raises(ConfigError, match="max_stale_s must be"):
        health_app(Client(Static({})), max_stale_s)


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be a flagmw\.Client"):
        health_app(object())  # type: ignore[arg-type]  # what the test is about


def test_importing_flagmw_does_not_import_it() -> None:
    assert "health_app" in flagmw.__all__
    assert "health_app" not in vars(sys.modules["flagmw"])


# --- WSGI and ASGI ------------------------------------------------------------------------------------------------


def test_wsgi_gives_the_answer() -> None:
    code, headers, body = by_wsgi(healthy())
    assert (code, json.loads(body)["is_ready"]) == ("200 OK", True)
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }


def test_wsgi_says_that_a_process_is_not_ready() -> None:
    assert by_wsgi(ill())[0] == "503 Service Unavailable"


def test_wsgi_answers_head_without_a_body() -> None:
    code, headers, body = by_wsgi(healthy(), "HEAD")
    assert (code, body, int(headers["Content-Length"]) > 0) == ("200 OK", b"", True)


@pytest.mark.parametrize("two_calls", [False, True], ids=["ASGI 3", "ASGI 2"])
def test_asgi_gives_the_answer(two_calls: bool) -> None:
    code, headers, body = by_asgi(healthy(), two_calls=two_calls)
    assert (code, json.loads(body)["is_ready"]) == (200, True)
    assert headers == {
        b"content-type": b"application/json",
        b"content-length": str(len(body)).encode(),
        b"cache-control": b"no-store",
    }


def test_a_server_that_tries_it_as_a_factory_is_told_that_it_is_none() -> None:
    with pytest.raises(TypeError):
        healthy()()  # type: ignore[call-arg]  # as uvicorn does


def test_asgi_says_that_a_process_is_not_ready() -> None:
    assert by_asgi(ill())[0] == 503


def test_asgi_answers_head_without_a_body() -> None:
    assert by_asgi(healthy(), "HEAD")[2] == b""


def test_asgi_takes_part_in_the_lifespan() -> None:
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    asyncio.run(healthy()({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_asgi_refuses_websockets() -> None:
    sent: list[Any] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(healthy()({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1003}]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
