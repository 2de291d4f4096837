"""The ASGI middleware for Starlette: the same as `flagmw.asgi.FlagMiddleware`, but users come from a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from flagmw import asgi
from flagmw.accessor import Flags
from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.holding import DEFAULT_START_WAIT_S
from flagmw.http import AnonymousCookie
from flagmw.page_views import PageViews
from flagmw.users import check_user_builder
from flagmw_starlette.page_views import named

ConnectionUserBuilder = Callable[[HTTPConnection], UserContext | Mapping[str, Any] | None]
"""From a request or a websocket to its user; None when nobody is known. A plain function: flags are read without
await."""


class FlagMiddleware:
    """Gives each request and websocket its flags, at `request.state.flags` and behind `flagmw.flags`.

    Put it anywhere among the middleware: the user is looked up when a flag is first read, so an
    `AuthenticationMiddleware` may come before or after it.

    Args:
        app: the app; `add_middleware` gives it.
        client: evaluates the flags; started and closed with the app's lifespan.
        user: from Starlette's `HTTPConnection` (what `Request` and `WebSocket` have in common) to the user, None
            for nobody. Called at the first read of a connection, at most once. The default is the user whom an
            `AuthenticationMiddleware` has authenticated.
        anonymous: the cookie by which users without a key are recognised; False leaves them without a key.
        trusted_proxies: how many proxies in front of the server add to X-Forwarded-For.
        start_wait: for how many seconds the first connections of a process may be held back for a flag service.
        page_views: which pages are told to the flag service, see `PageViews`; the path of a page's route is its name
            unless `name` gives another, called with the `HTTPConnection`.
        usage: has the usage agent watch which functions run, see `flagmw.watching.watch`. None leaves it to the
            environment variable FLAGMW_USAGE.

    Raises:
        ConfigError: an argument that is not what it should be.
    """

    def __init__(
        self,
        app: ASGIApp,
        client: Client,
        user: ConnectionUserBuilder | None = None,
        *,
        anonymous: AnonymousCookie | bool = True,
        trusted_proxies: int = 0,
        start_wait: float = DEFAULT_START_WAIT_S,
        page_views: PageViews | bool = False,
        usage: Any = None,
    ) -> None:
        self._middleware = asgi.FlagMiddleware(
            app,
            client,
            asgi.scope_user if user is None else _of_scope(user),
            anonymous=anonymous,
            trusted_proxies=trusted_proxies,
            start_wait=start_wait,
            page_views=named(page_views),
            usage=usage,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        await self._middleware(scope, receive, send)


def _of_scope(user: ConnectionUserBuilder) -> Callable[[Scope], UserContext | Mapping[str, Any] | None]:
    """Make a builder that takes a scope.

    Raises:
        ConfigError: `user` is no plain function.
    """
    check_user_builder(user)  # while it is still seen

    def build(scope: Scope) -> UserContext | Mapping[str, Any] | None:
        return user(HTTPConnection(scope))

    return build


def get_flags(connection: HTTPConnection) -> Flags:
    """Give the flags of a request or websocket; the typed form of `request.state.flags`.

    Raises:
        RuntimeError: the app does not have the middleware.
    """
    flags = connection.scope.get("state", {}).get(asgi.STATE_KEY)
    if flags is None:
        raise RuntimeError(
            "this connection has no flags: add the middleware with "
            "app.add_middleware(flagmw_starlette.FlagMiddleware, client=client)"
        )
    return cast("Flags", flags)
