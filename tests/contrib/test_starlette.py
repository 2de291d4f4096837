"""`flagmw_starlette.FlagMiddleware` in Starlette apps."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

import flagmw
from flagmw import Client, ConfigError, State
from flagmw.providers import Static
from flagmw.testing import override_flags
from flagmw_starlette import FlagMiddleware, get_flags
from tests.contrib.contract import HttpContract, TaskContract
from tests.contrib.starlette_host import (
    StarletteHost,
    StarletteWebSocketHost,
    SyncStarletteHost,
    browser_of,
    visit_of,
)
from tests.contrib.support import COOKIE, Host, file_client, replace_flags, static_client


class TestStarlette(HttpContract, TaskContract):
    @pytest.fixture
    def host(self) -> Host:
        return StarletteHost()


class TestStarletteWithPlainEndpoints(HttpContract):
    @pytest.fixture
    def host(self) -> Host:
        return SyncStarletteHost()


class TestStarletteWebSocket(TaskContract):
    @pytest.fixture
    def host(self) -> Host:
        return StarletteWebSocketHost()


def app_with(
    endpoint: Callable[[Request], Any], client: Client | None = None, *middleware: Middleware, **arguments: Any
) -> Starlette:
    """Make an app with one endpoint; further middleware is outside of flagmw's."""
    client = client if client is not None else static_client()
    ours = Middleware(FlagMiddleware, client=client, **({"anonymous": COOKIE} | arguments))
    return Starlette(routes=[Route("/{path:path}", endpoint)], middleware=[*middleware, ours])


def text_of(app: Starlette, path: str = "/") -> str:
    """Get a page's text."""
    with browser_of(app) as browser:
        return browser.get(path).text


# --- where the accessor is --------------------------------------------------------------------------------------


def test_get_flags_gives_the_accessor_of_a_request() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(get_flags(request) is request.state.flags))

    assert text_of(app_with(endpoint)) == "True"


def test_get_flags_without_the_middleware_says_what_to_do() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(get_flags(request).string("banner"))

    with (
        TestClient(Starlette(routes=[Route("/", endpoint)])) as browser,
        pytest.raises(RuntimeError, match="add_middleware"),
    ):
        browser.get("/")


def test_the_middleware_can_be_added_to_an_app_that_is_made() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(request.state.flags.string("banner"))

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(FlagMiddleware, client=static_client(), anonymous=COOKIE)
    assert text_of(app) == "old"


def test_an_app_that_is_mounted_has_the_flags_of_the_request() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(get_flags(request).string("banner"))

    app = Starlette(
        routes=[Mount("/shop", app=Starlette(routes=[Route("/", endpoint)]))],
        middleware=[Middleware(FlagMiddleware, client=static_client(), anonymous=COOKIE)],
    )
    assert text_of(app, "/shop/") == "old"


def test_the_flags_of_a_lifespan_state_are_not_shared_between_requests() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(str(get_flags(request).user.key))

    with browser_of(app_with(endpoint)) as browser:
        visit = visit_of(browser)
        assert visit().body != visit().body


def test_flags_are_read_behind_a_middleware_that_runs_the_app_in_a_task() -> None:
    async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["X-Banner"] = flagmw.flags.string("banner")
        return response

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(flagmw.flags.string("banner"))

    inside = Middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app = Starlette(
        routes=[Route("/", endpoint)],
        middleware=[Middleware(FlagMiddleware, client=static_client(), anonymous=COOKIE), inside],
    )
    with browser_of(app) as browser:
        response = browser.get("/")
    assert (response.text, response.headers["X-Banner"]) == ("old", "old")


def test_an_error_page_can_read_flags() -> None:
    async def endpoint(request: Request) -> Response:
        raise LookupError

    async def on_error(request: Request, error: Exception) -> Response:
        return PlainTextResponse(get_flags(request).string("banner"), status_code=418)

    app = app_with(endpoint)
    app.add_exception_handler(LookupError, on_error)
    assert text_of(app) == "old"


# --- streams and background -------------------------------------------------------------------------------------


def test_a_streamed_body_keeps_the_values_of_the_request(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    async def endpoint(request: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            yield flagmw.flags.string("banner")
            await asyncio.to_thread(replace_flags, client, path, "new")
            yield flagmw.flags.string("banner")

        return StreamingResponse(body())

    assert text_of(app_with(endpoint, client)) == "oldold"


def test_a_body_that_is_streamed_in_threads_keeps_the_values_of_the_request(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    def endpoint(request: Request) -> Response:
        def body() -> Iterator[str]:
            yield flagmw.flags.string("banner")
            replace_flags(client, path, "new")
            yield flagmw.flags.string("banner")

        return StreamingResponse(body())

    assert text_of(app_with(endpoint, client)) == "oldold"


@pytest.mark.parametrize("in_a_thread", [False, True], ids=["task", "thread"])
def test_a_background_task_keeps_the_values_of_the_request(tmp_path: Path, in_a_thread: bool) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)
    seen: list[str] = []

    def afterwards() -> None:
        replace_flags(client, path, "new")
        seen.append(flagmw.flags.string("banner"))

    async def afterwards_async() -> None:
        await asyncio.to_thread(replace_flags, client, path, "new")
        seen.append(flagmw.flags.string("banner"))

    async def endpoint(request: Request) -> Response:
        task = BackgroundTask(afterwards if in_a_thread else afterwards_async)
        return PlainTextResponse(flagmw.flags.string("banner"), background=task)

    text_of(app_with(endpoint, client))
    assert seen == ["old"]


# --- users ------------------------------------------------------------------------------------------------------


class Backend(AuthenticationBackend):
    """Believes the query, as no real app would."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.query_params.get("user")
        return (AuthCredentials(), SimpleUser(name)) if name else None


async def key_page(request: Request) -> Response:
    return JSONResponse(get_flags(request).user.key)


authentication = Middleware(AuthenticationMiddleware, backend=Backend())


def test_the_user_is_the_one_whom_a_middleware_outside_has_authenticated() -> None:
    assert text_of(app_with(key_page, None, authentication), "/?user=ann") == '"ann"'


def test_the_user_is_the_one_whom_a_middleware_inside_has_authenticated() -> None:
    ours = Middleware(FlagMiddleware, client=static_client(), anonymous=COOKIE)
    app = Starlette(routes=[Route("/", key_page)], middleware=[ours, authentication])
    assert text_of(app, "/?user=ann") == '"ann"'


def test_a_user_who_is_not_authenticated_is_anonymous() -> None:
    assert len(text_of(app_with(key_page, None, authentication))) == 22 + 2


def test_the_builder_gets_a_connection() -> None:
    def user(connection: HTTPConnection) -> dict[str, str]:
        return {"key": connection.query_params["user"]}

    assert text_of(app_with(key_page, user=user), "/?user=ann") == '"ann"'


def test_the_builder_gets_a_connection_of_a_websocket() -> None:
    def user(connection: HTTPConnection) -> dict[str, str]:
        return {"key": connection.query_params["user"]}

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(get_flags(websocket).user.key))
        await websocket.close()

    app = Starlette(
        routes=[WebSocketRoute("/", endpoint)],
        middleware=[Middleware(FlagMiddleware, client=static_client(), user=user)],
    )
    with browser_of(app) as browser, browser.websocket_connect("/?user=ann") as session:
        assert session.receive_text() == "ann"


def test_a_coroutine_function_is_refused_as_user_builder() -> None:
    async def user(connection: HTTPConnection) -> None:
        return None

    with pytest.raises(ConfigError, match="plain function"):
        FlagMiddleware(Starlette(), static_client(), user)  # type: ignore[arg-type]  # that is the mistake


def test_a_wrong_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="client"):
        FlagMiddleware(Starlette(), "flags.yaml")  # type: ignore[arg-type]  # that is the mistake


# --- websockets -------------------------------------------------------------------------------------------------


def test_a_websocket_takes_changed_flags_when_it_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async for message in websocket.iter_text():
            if message == "refresh":
                websocket.state.flags.refresh()
            await websocket.send_text(websocket.state.flags.string("banner"))

    app = Starlette(
        routes=[WebSocketRoute("/", endpoint)],
        middleware=[Middleware(FlagMiddleware, client=client, anonymous=COOKIE)],
    )
    texts = []
    with browser_of(app) as browser, browser.websocket_connect("/") as session:
        for message in ("read", "read", "refresh"):
            session.send_text(message)
            texts.append(session.receive_text())
            if message == "read" and len(texts) == 1:
                replace_flags(client, path, "new")
    assert texts == ["old", "old", "new"]


# --- lifespan ---------------------------------------------------------------------------------------------------


def test_the_client_runs_while_the_app_runs(tmp_path: Path) -> None:
    client = file_client(tmp_path / "flags.json")
    with browser_of(app_with(key_page, client)):
        during = client.status.state
    assert (during, client.status.state) == (State.OK, State.OFF)


def test_a_test_client_can_be_used_twice(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(get_flags(request).string("banner"))

    app = app_with(endpoint, client)
    before = text_of(app)
    with browser_of(app) as browser:
        replace_flags(client, path, "new")
        assert (before, browser.get("/").text) == ("old", "new")


def test_a_test_client_without_a_lifespan_reads_flags(tmp_path: Path) -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(get_flags(request).string("banner"))

    assert browser_of(app_with(endpoint, file_client(tmp_path / "flags.json"))).get("/").text == "old"


def test_two_apps_read_their_own_flags() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(flagmw.flags.string("banner"))

    inner = app_with(endpoint, Client(Static({"banner": "inner"})), anonymous=False)
    outer = Starlette(
        routes=[Mount("/inner", app=inner), Route("/", endpoint)],
        middleware=[Middleware(FlagMiddleware, client=Client(Static({"banner": "outer"})), anonymous=False)],
    )
    assert [text_of(outer, path) for path in ("/", "/inner/", "/")] == ["outer", "inner", "outer"]


# --- FastAPI is optional ----------------------------------------------------------------------------------------


def test_without_fastapi_its_dependencies_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import flagmw_starlette

    monkeypatch.delitem(sys.modules, "flagmw_starlette.dependencies", raising=False)
    monkeypatch.delattr(flagmw_starlette, "dependencies", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ModuleNotFoundError, match=r"flagmw\[fastapi\]"):
        flagmw_starlette.FlagsDep  # noqa: B018  # looking it up is what imports


def test_what_the_module_does_not_have_is_an_attribute_error() -> None:
    import flagmw_starlette

    with pytest.raises(AttributeError, match="no attribute 'Flag'"):
        flagmw_starlette.Flag  # noqa: B018  # looking it up is the mistake


@override_flags(banner="test")
class TestADecoratedClass:
    async def _endpoint(self, request: Request) -> Response:
        return PlainTextResponse(get_flags(request).string("banner"))

    def test_overrides_the_flags_of_its_tests(self) -> None:
        assert text_of(app_with(self._endpoint)) == "test"
