"""`flagmw.asgi.FlagMiddleware` around apps without any framework: requests and websockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import flagmw
from flagmw import Client, ConfigError
from flagmw.accessor import Flags
from flagmw.asgi import FlagMiddleware
from flagmw.http import AnonymousCookie
from flagmw.providers import Static
from flagmw.testing import MemorySink, override_flags
from tests.contrib.asgi_host import (
    CONNECT,
    REQUEST,
    Connection,
    Message,
    Receive,
    Scope,
    Send,
    answer,
    app_of,
    connect,
    get,
    result_of,
    scope_for,
)
from tests.contrib.contract import HttpContract, TaskContract, banner
from tests.contrib.support import (
    COOKIE,
    Builder,
    Host,
    Reply,
    View,
    Visit,
    file_client,
    given,
    replace_flags,
    served,
    static_client,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


class BareHost:
    """An app that is a function."""

    kind = "http"

    def serve(
        self,
        view: View,
        client: Client,
        *,
        user: Callable[[Any], Any] | None = None,
        anonymous: AnonymousCookie | bool = COOKIE,
        trusted_proxies: int = 0,
        vary: str = "",
    ) -> AbstractContextManager[Visit]:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            body = await result_of(view, scope["state"]["flags"])
            if scope["type"] == "http":
                await answer(send, body, *([(b"Vary", vary.encode())] if vary else []))
            else:
                await send({"type": "websocket.accept", "subprotocol": None})
                await send({"type": "websocket.send", "text": body.decode()})

        middleware = FlagMiddleware(
            app, client, **given(user=user), anonymous=anonymous, trusted_proxies=trusted_proxies
        )

        def visit(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
            scope = scope_for(path, headers, https=https, kind=self.kind)
            return get(middleware, scope) if self.kind == "http" else connect(middleware, scope)

        return served(visit)


class BareWebSocketHost(BareHost):
    """An app that is a function, over a websocket."""

    kind = "websocket"


class TestBareAsgi(HttpContract, TaskContract):
    @pytest.fixture
    def host(self) -> Host:
        return BareHost()


class TestBareWebSocket(TaskContract):
    @pytest.fixture
    def host(self) -> Host:
        return BareWebSocketHost()


# --- users ------------------------------------------------------------------------------------------------------


def key_of(flags: Flags) -> str | None:
    return flags.user.key


@pytest.mark.parametrize("name", ["identity", "username", "display_name"])
def test_the_user_is_the_one_in_the_scope(name: str) -> None:
    scope = scope_for() | {"user": SimpleNamespace(is_authenticated=True, **{name: "ann"})}
    assert get(FlagMiddleware(app_of(key_of), static_client()), scope).json == "ann"


def test_a_user_that_is_put_into_the_scope_later_is_found() -> None:
    async def authenticate(scope: Scope, receive: Receive, send: Send) -> None:
        scope["user"] = SimpleNamespace(is_authenticated=True, identity="ann")
        await app_of(key_of)(scope, receive, send)

    assert get(FlagMiddleware(authenticate, static_client())).json == "ann"


def test_a_user_who_is_not_logged_in_is_anonymous() -> None:
    scope = scope_for() | {"user": SimpleNamespace(is_authenticated=False, display_name="")}
    reply = get(FlagMiddleware(app_of(key_of), static_client(), anonymous=COOKIE), scope)
    assert reply.cookies[0].value.startswith(reply.json)


def test_the_builder_gets_the_scope() -> None:
    def user(scope: Scope) -> dict[str, str]:
        return {"key": scope["path"]}

    assert get(FlagMiddleware(app_of(key_of), static_client(), user), scope_for("/ann")).json == "/ann"


def test_a_coroutine_function_is_refused_as_user_builder() -> None:
    async def user(scope: Scope) -> None:
        return None

    with pytest.raises(ConfigError, match="plain function"):
        FlagMiddleware(app_of(key_of), static_client(), user)  # type: ignore[arg-type]  # that is the mistake


def test_a_builder_that_gives_an_awaitable_gives_defaults() -> None:
    async def user() -> None:
        return None

    app = FlagMiddleware(app_of(banner), static_client(), lambda scope: user(), anonymous=COOKIE)  # type: ignore[arg-type,return-value]  # that is the mistake
    assert get(app).json == ""


def test_a_wrong_client_is_refused_when_the_app_is_made() -> None:
    with pytest.raises(ConfigError):
        FlagMiddleware(app_of(banner), "flags.yaml")  # type: ignore[arg-type]  # that is the mistake


# --- requests ---------------------------------------------------------------------------------------------------


def test_a_scope_without_state_is_served() -> None:
    scope = scope_for()
    del scope["state"]
    assert get(FlagMiddleware(app_of(banner), static_client(), anonymous=COOKIE), scope).json == "old"


def test_a_message_of_the_app_is_not_changed_in_place() -> None:
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["flags"].string("banner")
        await send(start)
        await send({"type": "http.response.body"})

    asyncio.run(FlagMiddleware(app, static_client(), anonymous=COOKIE)(scope_for(), Connection().receive, ignore))
    assert start["headers"] == [(b"content-type", b"text/plain")]


async def ignore(message: Message) -> None:
    """Take a message and do nothing with it."""


def test_an_answer_without_headers_gets_those_of_flags() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["flags"].string("banner")
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b""})

    reply = get(FlagMiddleware(app, static_client(), anonymous=COOKIE))
    assert (reply.vary, len(reply.cookies)) == (["cookie"], 1)


def test_other_messages_pass_as_they_are() -> None:
    push: Message = {"type": "http.response.push", "path": "/style.css", "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["flags"].string("banner")
        await send(push)

    connection = Connection()
    asyncio.run(
        FlagMiddleware(app, static_client(), anonymous=COOKIE)(scope_for(), connection.receive, connection.send)
    )
    assert connection.sent == [push]


def test_other_kinds_of_scopes_pass_as_they_are() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    asyncio.run(FlagMiddleware(app, static_client())({"type": "mqtt"}, Connection().receive, ignore))
    assert scopes == [{"type": "mqtt"}]


def test_a_streamed_body_keeps_the_values_of_the_request(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        flags = scope["state"]["flags"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": flags.string("banner").encode(), "more_body": True})
        await asyncio.to_thread(replace_flags, client, path, "new")
        await send({"type": "http.response.body", "body": flagmw.flags.string("banner").encode(), "more_body": False})

    assert get(FlagMiddleware(app, client, anonymous=COOKIE)).body == b"oldold"


def test_a_task_that_outlives_the_request_keeps_its_values() -> None:
    provider = Static({"banner": "old"})
    results: list[str] = []

    async def scenario() -> None:
        answered = asyncio.Event()
        tasks = []

        async def afterwards() -> None:
            await answered.wait()
            results.append(flagmw.flags.string("banner"))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            tasks.append(asyncio.create_task(afterwards()))
            await answer(send, flagmw.flags.string("banner").encode())

        await Connection(REQUEST).serve(FlagMiddleware(app, Client(provider), anonymous=COOKIE), scope_for())
        provider.update({"banner": "new"})
        answered.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert results == ["old"]


def test_a_task_that_outlives_the_request_may_be_the_first_to_read() -> None:
    results: list[str | None] = []

    async def scenario() -> None:
        answered = asyncio.Event()
        tasks = []

        async def afterwards(scope: Scope) -> None:
            await answered.wait()
            results.append(scope["state"]["flags"].user.key)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            tasks.append(asyncio.create_task(afterwards(scope)))
            await answer(send, b"")

        middleware = FlagMiddleware(app, static_client(), lambda scope: {"key": scope["path"]})
        await Connection(REQUEST).serve(middleware, scope_for("/ann"))
        answered.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert results == ["/ann"]


def test_requests_at_the_same_time_each_have_their_own_flags() -> None:
    both_are_in = asyncio.Barrier(2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await both_are_in.wait()
        await answer(send, str(flagmw.flags.user.key).encode())

    def user(scope: Scope) -> dict[str, str]:
        return {"key": scope["path"]}

    async def scenario() -> list[bytes]:
        middleware = FlagMiddleware(app, static_client(), user)
        visits = (Connection(REQUEST).serve(middleware, scope_for(path)) for path in ("/ann", "/bob"))
        return [reply.body for reply in await asyncio.gather(*visits)]

    assert asyncio.run(scenario()) == [b"/ann", b"/bob"]


def test_an_exception_of_the_app_reaches_the_server() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError(flagmw.flags.string("banner"))

    with pytest.raises(ValueError, match="old"):
        get(FlagMiddleware(app, static_client(), anonymous=COOKIE))


def test_the_proxy_is_of_no_use_after_an_exception_of_the_app() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError

    async def scenario() -> None:
        with pytest.raises(ValueError):
            await Connection().serve(FlagMiddleware(app, static_client()), scope_for())
        with pytest.raises(RuntimeError, match="outside a request"):
            flagmw.flags.all()

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_leaves_no_flags_behind() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await Connection().serve(FlagMiddleware(app, static_client()), scope_for())
        with pytest.raises(RuntimeError, match="outside a request"):
            flagmw.flags.all()

    asyncio.run(scenario())


# --- websockets -------------------------------------------------------------------------------------------------


def test_a_websocket_may_be_refused_after_a_read() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["flags"].string("banner")
        await send({"type": "websocket.close", "code": 4000})

    connection = Connection(CONNECT)
    middleware = FlagMiddleware(app, static_client(), anonymous=COOKIE)
    asyncio.run(middleware(scope_for(kind="websocket"), connection.receive, connection.send))
    assert connection.sent == [{"type": "websocket.close", "code": 4000}]


def test_an_answer_that_refuses_a_websocket_has_the_headers_of_flags() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["flags"].string("banner")
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})

    connection = Connection(CONNECT)
    middleware = FlagMiddleware(app, static_client(), anonymous=COOKIE)
    asyncio.run(middleware(scope_for(kind="websocket"), connection.receive, connection.send))
    assert [name for name, _ in connection.sent[0]["headers"]] == [b"vary", b"set-cookie"]


def test_the_accept_message_keeps_its_subprotocol_and_headers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["flags"].string("banner")
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-own", b"1")]})

    connection = Connection(CONNECT)
    reply = asyncio.run(
        connection.serve(FlagMiddleware(app, static_client(), anonymous=COOKIE), scope_for(kind="websocket"))
    )
    assert (connection.sent[0]["subprotocol"], reply.values("x-own"), len(reply.cookies)) == ("chat", ["1"], 1)


def test_a_websocket_takes_changed_flags_when_it_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        flags = scope["state"]["flags"]
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": flags.string("banner")})
            await asyncio.to_thread(replace_flags, client, path, "new")
            await send({"type": "websocket.send", "text": flags.string("banner")})
            flags.refresh()
            await send({"type": "websocket.send", "text": flags.string("banner")})

    connection = Connection(CONNECT, {"type": "websocket.receive", "text": "?"}, {"type": "websocket.disconnect"})
    asyncio.run(connection.serve(FlagMiddleware(app, client, anonymous=COOKIE), scope_for(kind="websocket")))
    texts = [message["text"] for message in connection.sent if message["type"] == "websocket.send"]
    assert texts == ["old", "old", "new"]


# --- several middlewares ----------------------------------------------------------------------------------------


def test_installed_twice_the_headers_are_set_once() -> None:
    client = static_client()
    twice = FlagMiddleware(FlagMiddleware(app_of(banner), client, anonymous=COOKIE), client, anonymous=COOKIE)
    reply = get(twice)
    assert (reply.vary, len(reply.cookies)) == (["cookie"], 1)


def test_installed_twice_an_exposure_is_counted_once() -> None:
    sink = MemorySink()
    client = static_client(sink)
    get(FlagMiddleware(FlagMiddleware(app_of(banner), client, anonymous=COOKIE), client, anonymous=COOKIE))
    assert len(sink.exposures) == 1


def test_an_app_within_an_app_reads_its_own_client() -> None:
    outer, inner = Client(Static({"banner": "outer"})), Client(Static({"banner": "inner"}))
    app = FlagMiddleware(FlagMiddleware(app_of(banner), inner, anonymous=False), outer, anonymous=False)
    assert get(app).json == "inner"


def test_a_request_within_a_request_has_flags_of_its_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await Connection(REQUEST).serve(middleware, scope_for("/inner"))
        await answer(send, str(flagmw.flags.user.key).encode())

    middleware = FlagMiddleware(app, static_client(), lambda scope: {"key": scope["path"]})
    assert get(middleware).body == b"/"


@override_flags(banner="test")
class TestADecoratedClass:
    async def _read(self) -> Any:
        app = FlagMiddleware(app_of(banner), static_client(), Builder({"key": "ann"}))
        return (await Connection(REQUEST).serve(app, scope_for())).json

    def test_overrides_the_flags_of_its_tests(self) -> None:
        assert asyncio.run(self._read()) == "test"

    @pytest.mark.asyncio
    async def test_overrides_the_flags_of_its_coroutine_functions(self) -> None:
        assert await self._read() == "test"
