"""`flagmw_starlette` in FastAPI apps: the middleware, `FlagsDep` and `require_flag`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, Response
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from flagmw import ConfigError
from flagmw.testing import override_flags
from flagmw_starlette import FlagMiddleware, FlagsDep, require_flag
from tests.contrib.contract import HttpContract, TaskContract
from tests.contrib.starlette_host import StarletteHost, browser_of, text_of, visit_of, websocket_visit_of
from tests.contrib.support import COOKIE, Host, View, Visit, static_client

if TYPE_CHECKING:
    from starlette.middleware import Middleware
    from starlette.types import ASGIApp


class FastApiHost(StarletteHost):
    """A FastAPI app with async endpoints that take the dependency."""

    def app(self, view: View, headers: dict[str, str], middleware: Middleware) -> ASGIApp:
        app = FastAPI(middleware=[middleware])

        @app.get("/{path:path}")
        async def endpoint(path: str, flags: FlagsDep) -> Response:
            return Response(await text_of(view, flags), headers=headers)

        return app


class SyncFastApiHost(StarletteHost):
    """A FastAPI app with plain endpoints, which run in threads."""

    def app(self, view: View, headers: dict[str, str], middleware: Middleware) -> ASGIApp:
        app = FastAPI(middleware=[middleware])

        @app.get("/{path:path}")
        def endpoint(path: str, flags: FlagsDep) -> Response:
            return Response(json.dumps(view(flags)), headers=headers)

        return app


class FastApiWebSocketHost(StarletteHost):
    """A FastAPI app with a websocket endpoint."""

    visit_of = staticmethod(websocket_visit_of)

    def app(self, view: View, headers: dict[str, str], middleware: Middleware) -> ASGIApp:
        app = FastAPI(middleware=[middleware])

        @app.websocket("/{path:path}")
        async def endpoint(websocket: WebSocket, flags: FlagsDep) -> None:
            text = await text_of(view, flags)
            await websocket.accept()
            await websocket.send_text(text)
            await websocket.close()

        return app


class TestFastApi(HttpContract, TaskContract):
    @pytest.fixture
    def host(self) -> Host:
        return FastApiHost()


class TestFastApiWithPlainEndpoints(HttpContract):
    @pytest.fixture
    def host(self) -> Host:
        return SyncFastApiHost()


class TestFastApiWebSocket(TaskContract):
    @pytest.fixture
    def host(self) -> Host:
        return FastApiWebSocketHost()


# --- FlagsDep ---------------------------------------------------------------------------------------------------


def app_with_middleware() -> FastAPI:
    app = FastAPI()
    app.add_middleware(FlagMiddleware, client=static_client(), anonymous=COOKIE)
    return app


def test_the_dependency_is_the_accessor_of_the_request() -> None:
    app = app_with_middleware()

    @app.get("/")
    async def page(request: Request, flags: FlagsDep) -> bool:
        return flags is request.state.flags

    assert browser_of(app).get("/").json() is True


def test_a_dependency_of_the_app_can_take_the_flags() -> None:
    app = app_with_middleware()

    async def banner(flags: FlagsDep) -> str:
        return flags.string("banner")

    @app.get("/")
    async def page(text: str = Depends(banner)) -> str:
        return text

    assert browser_of(app).get("/").json() == "old"


def test_the_dependency_reads_nothing_by_itself() -> None:
    app = app_with_middleware()

    @app.get("/")
    async def page(flags: FlagsDep) -> str:
        return "hello"

    assert "vary" not in browser_of(app).get("/").headers


def test_the_dependency_is_no_parameter_of_the_api() -> None:
    app = app_with_middleware()

    @app.get("/")
    async def page(flags: FlagsDep) -> str:
        return "hello"

    assert "parameters" not in app.openapi()["paths"]["/"]["get"]


def test_a_background_task_can_take_the_flags() -> None:
    app = app_with_middleware()
    seen: list[str] = []

    @app.get("/")
    async def page(flags: FlagsDep, tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: seen.append(flags.string("banner")))
        return "hello"

    with browser_of(app) as browser:
        browser.get("/")
    assert seen == ["old"]


@pytest.mark.parametrize("gated", [False, True], ids=["FlagsDep", "require_flag"])
def test_an_app_without_the_middleware_is_told_what_to_do(gated: bool) -> None:
    app = FastAPI()

    @app.get("/flags")
    async def page(flags: FlagsDep) -> str:
        return "hello"

    @app.get("/gated", dependencies=[Depends(require_flag("beta"))])
    async def gated_page() -> str:
        return "hello"

    with pytest.raises(RuntimeError, match="add_middleware"):
        TestClient(app).get("/gated" if gated else "/flags")


# --- require_flag -----------------------------------------------------------------------------------------------


def gated(key: str = "beta", *, default: bool = False) -> tuple[FastAPI, Visit]:
    """Serve an async endpoint and a plain one, and a router, behind a flag."""
    app = app_with_middleware()
    router = APIRouter(prefix="/router", dependencies=[Depends(require_flag(key, default=default))])

    @app.get("/async", dependencies=[Depends(require_flag(key, default))])
    async def page() -> str:
        return "hello"

    @app.get("/plain", dependencies=[Depends(require_flag(key, default))])
    def plain_page() -> str:
        return "hello"

    @router.get("/page")
    async def routed_page() -> str:
        return "hello"

    app.include_router(router)
    return app, visit_of(browser_of(app))


paths = pytest.mark.parametrize("path", ["/async", "/plain", "/router/page"])


@paths
def test_an_endpoint_is_served_while_its_flag_is_on(path: str) -> None:
    _, visit = gated()
    with override_flags(beta=True):
        assert visit(path).json == "hello"


@paths
def test_an_endpoint_is_not_found_while_its_flag_is_off(path: str) -> None:
    _, visit = gated()
    reply = visit(path)
    assert (reply.status, reply.json) == (404, {"detail": "Not Found"})


@paths
def test_an_endpoint_whose_flag_is_missing_is_served_by_default_if_it_says_so(path: str) -> None:
    _, visit = gated("missing", default=True)
    assert visit(path).status == 200


def test_an_answer_without_the_endpoint_varies_by_cookie() -> None:
    _, visit = gated()
    assert visit("/async").vary == ["cookie"]


def test_an_endpoint_that_is_not_found_is_answered_by_the_apps_own_page() -> None:
    app, visit = gated()

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        return PlainTextResponse("nothing here", status_code=error.status_code)

    assert visit("/async").body == b"nothing here"


def test_a_websocket_is_refused_while_its_flag_is_off() -> None:
    app = app_with_middleware()

    @app.websocket("/", dependencies=[Depends(require_flag("beta"))])
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()

    with (
        browser_of(app) as browser,
        pytest.raises(WebSocketDenialResponse) as refused,
        browser.websocket_connect("/"),
    ):
        pass
    assert refused.value.status_code == 404


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="flag key"):
        require_flag(1)  # type: ignore[arg-type]  # that is the mistake
