"""Flags for any ASGI app: `FlagMiddleware(app, client)`. Pure ASGI, and nothing is done before a flag is read.

Serves http and websocket connections, and lets the lifespan start and close the client.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flagmw.accessor import Flags
from flagmw.binding import current_flags, unbind
from flagmw.client import CLOSE_TIMEOUT_S, Client
from flagmw.context import UserContext
from flagmw.holding import DEFAULT_START_WAIT_S, check_start_wait, hold
from flagmw.http import AnonymousCookie, facts_of_scope
from flagmw.page_views import PageView, PageViewer, PageViews, check_page_views, is_page
from flagmw.users import UserBuilder, Visitors
from flagmw.watching import watch
from flagmw.wsgi import check_client, check_trusted_proxies

if TYPE_CHECKING:
    from flagmw.usage import Agent

logger = logging.getLogger("flagmw")

STATE_KEY = "flags"
STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""The messages that carry the headers of a response; the last of them refuses a websocket."""


def scope_user(scope: Mapping[str, Any]) -> UserContext | None:
    """Give the user that an authentication middleware has put into the scope, None when nobody is logged in.

    It understands Starlette's users: `is_authenticated`, then `identity`, `username` or `display_name`.
    """
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    for name in ("identity", "username", "display_name"):
        try:
            value = getattr(user, name, None)
        except NotImplementedError:  # Starlette's base class for what a user does not have
            continue
        if value:
            return UserContext(str(value))
    return None


class FlagMiddleware:
    """Gives each connection of an ASGI app its flags, at `scope["state"]["flags"]` and behind `flagmw.flags`.

    Args:
        app: the app.
        client: evaluates the flags; started and closed with the app's lifespan.
        user: from the scope to the user, None for nobody. Called at the first read of a connection, at most once.
        anonymous: the cookie by which users without a key are recognised; False leaves them without a key.
        trusted_proxies: how many proxies in front of the server add to X-Forwarded-For.
        start_wait: for how many seconds the first connections of a process may be held back, when it has no flags at
            all yet and a flag service is about to send some.
        page_views: tells the flag service which pages users were shown, see `PageViews`, which here needs a `name`;
            False tells nothing.
        usage: has the usage agent watch which functions run, and keep what flags are evaluated to: settings, a path or True,
            see `flagmw.watching.watch`. None leaves it to the environment variable FLAGMW_USAGE.

    Raises:
        ConfigError: an argument that is not what it should be.
    """

    def __init__(
        self,
        app: ASGIApp,
        client: Client,
        user: UserBuilder[Scope] = scope_user,
        *,
        anonymous: AnonymousCookie | bool = True,
        trusted_proxies: int = 0,
        start_wait: float = DEFAULT_START_WAIT_S,
        page_views: PageViews | bool = False,
        usage: Any = None,
    ) -> None:
        check_client(client)
        self._app = app
        self._client = client
        self._start_wait_s = check_start_wait(start_wait)
        self._may_hold = self._start_wait_s > 0
        self._visitors: Visitors[Scope] = Visitors(
            user, partial(facts_of_scope, trusted_proxies=check_trusted_proxies(trusted_proxies)), anonymous
        )
        wanted = check_page_views(page_views)
        self._viewer = PageViewer(wanted, client, self._visitors) if wanted is not None else None
        self._agent = watch(client, usage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await _Lifespan(self._app, self._client, self._agent).run(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._agent is not None:
            self._agent.touch()
        state: MutableMapping[str, Any] | None = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        before = current_flags.get()
        if before is not None and before.client is self._client and state.get(STATE_KEY) is before:
            await self._app(scope, receive, send)  # installed twice
            return
        if self._may_hold:
            await hold(self._client, self._start_wait_s)
            self._may_hold = False
        flags = Flags(self._client, self._visitors, scope)
        if kind == "http":  # a websocket may read flags for long without sending anything
            flags.gather()
        state[STATE_KEY] = flags
        current_flags.set(flags)

        def send_with_headers(message: Message) -> Awaitable[None]:
            kind = message["type"]
            # What the app still does after its answer may take long.
            flags.hand_over(is_last=kind == "http.response.body" and not message.get("more_body", False))
            if kind in STARTS and flags.visitor is not None:
                message = _with_headers(message, flags)
            return send(message)

        watched: Send = send_with_headers
        if self._viewer is not None:
            watched = _watched(self._viewer, flags, scope, send_with_headers)
        try:
            await self._app(scope, receive, watched)
        finally:
            flags.hand_over(is_last=True)
            unbind(flags, before)
            if flags.pin is None:  # leave no cycle of accessor and scope for the garbage collector
                kept = {**scope, "state": {**state}}
                kept["state"].pop(STATE_KEY, None)
                flags.keep(kept)


def _watched(viewer: PageViewer[Scope], flags: Flags, scope: Scope, send: Send) -> Send:
    """Make a `send` that tells of the page when the last of it is sent."""
    view: PageView | None = None

    async def send_and_look(message: Message) -> None:
        nonlocal view
        kind = message["type"]
        if kind == "http.response.start":
            headers = message.get("headers") or ()
            content_type = next((value for name, value in headers if name.lower() == b"content-type"), b"")
            if is_page(scope.get("method"), message["status"], content_type.decode("latin-1")):
                view = viewer.begun(flags, scope)
        if view is not None and kind == "http.response.body" and not message.get("more_body", False):
            viewer.told(view)  # before the last of it is sent: after that the process may be gone
            view = None
        await send(message)

    return send_and_look


def _with_headers(message: Message, flags: Flags) -> Message:
    headers = list(message.get("headers") or ())
    vary = [value.decode("latin-1") for name, value in headers if name.lower() == b"vary"]
    is_websocket = message["type"] == "websocket.accept"
    for name, value in flags.response_headers(vary):
        if not (is_websocket and name == "Vary"):
            headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    return {**message, "headers": headers}


class _Lifespan:
    """One lifespan: the client and the usage agent start before the app, and end after it.

    An app that has no lifespan (Django's raises) must not keep the client from being closed, so its part is then
    answered here.

    Source: ASGI specification, "Lifespan Protocol".
    """

    def __init__(self, app: ASGIApp, client: Client, agent: Agent | None) -> None:
        self._app = app
        self._client = client
        self._agent = agent
        self._answered = ""
        self._last_received = ""

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_first() -> Message:
            message = await receive()
            self._last_received = message["type"]
            if message["type"] == "lifespan.startup":
                await run_in_threadpool(self._start)
            return message

        async def send_last(message: Message) -> None:
            self._answered = message["type"]
            if message["type"] != "lifespan.startup.complete":
                await run_in_threadpool(self._end)
            await send(message)

        try:
            await self._app(scope, receive_first, send_last)
        except Exception as error:  # raising is how an app says that it has no lifespan
            if self._last_received == "lifespan.shutdown":
                await run_in_threadpool(self._end)
                raise
            if self._answered:
                raise
            logger.debug("the app has no lifespan (%s); flagmw answers for it", type(error).__name__)
        if self._answered in ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            return
        while True:
            if self._last_received == "lifespan.startup" and not self._answered:
                await send_last({"type": "lifespan.startup.complete"})
            elif self._last_received == "lifespan.shutdown":
                await send_last({"type": "lifespan.shutdown.complete"})
                return
            await receive_first()

    def _start(self) -> None:
        self._client.start()
        if self._agent is not None:
            self._agent.start()

    def _end(self) -> None:
        if self._agent is not None:
            self._agent.shutdown()
        self._client.close(CLOSE_TIMEOUT_S)
