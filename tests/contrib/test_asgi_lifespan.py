"""`flagmw.asgi.FlagMiddleware` and the lifespan: the client starts before the app and closes after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from flagmw import Client, State
from flagmw.asgi import FlagMiddleware
from tests.contrib.asgi_host import App, Connection, Message, Receive, Scope, Send
from tests.contrib.support import file_client

if TYPE_CHECKING:
    from pathlib import Path

STARTUP: Message = {"type": "lifespan.startup"}
SHUTDOWN: Message = {"type": "lifespan.shutdown"}
WELL = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return file_client(tmp_path / "flags.json")


def live(app: App, client: Client) -> list[str]:
    """Run a whole lifespan; give the types of what was answered."""
    connection = Connection(STARTUP, SHUTDOWN)
    asyncio.run(FlagMiddleware(app, client)({"type": "lifespan", "state": {}}, connection.receive, connection.send))
    return [message["type"] for message in connection.sent]


def app_with(on_startup: Callable[[], Awaitable[None]], on_shutdown: Callable[[], Awaitable[None]]) -> App:
    """Make an app that has a lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        await on_startup()
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await on_shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def nothing() -> None:
    return None


def test_the_client_is_ready_when_the_app_starts(client: Client) -> None:
    seen: list[State] = []

    async def look() -> None:
        seen.append(client.status.state)

    live(app_with(look, nothing), client)
    assert seen == [State.OK]


def test_the_client_still_runs_while_the_app_shuts_down(client: Client) -> None:
    seen: list[State] = []

    async def look() -> None:
        seen.append(client.status.state)

    live(app_with(nothing, look), client)
    assert seen == [State.OK]


def test_the_client_is_closed_after_the_app(client: Client) -> None:
    live(app_with(nothing, nothing), client)
    assert client.status.state is State.OFF


def test_the_answers_of_the_app_are_handed_on(client: Client) -> None:
    assert live(app_with(nothing, nothing), client) == WELL


def test_a_second_lifespan_starts_the_client_again(client: Client) -> None:
    seen: list[State] = []

    async def look() -> None:
        seen.append(client.status.state)

    live(app_with(look, nothing), client)
    live(app_with(look, nothing), client)
    assert seen == [State.OK, State.OK]


def test_an_app_that_raises_on_the_scope_has_its_lifespan_answered(client: Client) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("only http")

    assert live(app, client) == WELL


def test_an_app_that_raises_on_the_startup_message_has_its_lifespan_answered(client: Client) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ValueError("unknown message")

    assert live(app, client) == WELL


def test_an_app_that_returns_at_once_has_its_lifespan_answered(client: Client) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return None

    assert live(app, client) == WELL


def test_an_app_that_answers_only_the_startup_has_its_shutdown_answered(client: Client) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    assert live(app, client) == WELL


@pytest.mark.parametrize("raises", [True, False], ids=["raises", "returns"])
def test_the_client_is_closed_after_an_app_without_a_lifespan(client: Client, raises: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if raises:
            raise ValueError("only http")

    live(app, client)
    assert client.status.state is State.OFF


def test_a_startup_that_failed_is_handed_on(client: Client) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    assert live(app, client) == ["lifespan.startup.failed"]


def test_an_exception_during_the_shutdown_reaches_the_server(client: Client) -> None:
    async def fail() -> None:
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        live(app_with(nothing, fail), client)


def test_installed_twice_the_lifespan_is_answered_once(client: Client) -> None:
    assert live(FlagMiddleware(app_with(nothing, nothing), client), client) == WELL


def test_the_client_is_closed_after_a_startup_that_failed(client: Client) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    live(app, client)
    assert client.status.state is State.OFF


def test_the_client_is_closed_after_an_exception_during_the_shutdown(client: Client) -> None:
    async def fail() -> None:
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        live(app_with(nothing, fail), client)
    assert client.status.state is State.OFF
