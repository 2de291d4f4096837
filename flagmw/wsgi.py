"""Flags for any WSGI app: `FlagMiddleware(app, client)`. Pure WSGI, and nothing is done before a flag is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flagmw.accessor import Flags
from flagmw.binding import current_flags, unbind
from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ConfigError
from flagmw.http import AnonymousCookie, facts_of_environ
from flagmw.users import UserBuilder, Visitors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

ENVIRON_KEY = "flagmw.flags"


def remote_user(environ: Mapping[str, Any]) -> UserContext | None:
    """Give the user that the server has authenticated (REMOTE_USER, RFC 3875), None when it has none."""
    name = environ.get("REMOTE_USER")
    return UserContext(name) if name else None


class FlagMiddleware:
    """Gives each request of a WSGI app its flags, at `environ["flagmw.flags"]` and behind `flagmw.flags`.

    Args:
        app: the app.
        client: evaluates the flags.
        user: from the environ to the user, None for nobody. Called at the first read of a request, at most once.
        anonymous: the cookie by which users without a key are recognised; False leaves them without a key.
        trusted_proxies: how many proxies in front of the server add to X-Forwarded-For.

    Raises:
        ConfigError: an argument that is not what it should be.
    """

    def __init__(
        self,
        app: WSGIApplication,
        client: Client,
        user: UserBuilder[WSGIEnvironment] = remote_user,
        *,
        anonymous: AnonymousCookie | bool = True,
        trusted_proxies: int = 0,
    ) -> None:
        check_client(client)
        self._app = app
        self._client = client
        self._visitors: Visitors[WSGIEnvironment] = Visitors(
            user, partial(facts_of_environ, trusted_proxies=check_trusted_proxies(trusted_proxies)), anonymous
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        before = current_flags.get()
        if before is not None and before.client is self._client and environ.get(ENVIRON_KEY) is before:
            return self._app(environ, start_response)  # installed twice
        flags = Flags(self._client, self._visitors, environ)
        environ[ENVIRON_KEY] = flags
        current_flags.set(flags)

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            if flags.visitor is not None:
                vary = [value for name, value in headers if name.lower() == "vary"]
                headers = headers + flags.response_headers(vary)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        try:
            body = self._app(environ, start)
        except BaseException:
            unbind(flags, before)
            raise
        if body.__class__ is list or body.__class__ is tuple or _is_file(body, environ):
            unbind(flags, before)  # nothing of the app runs while it is sent
            return body
        return _Body(body, flags, before)


class _Body:
    """An app's response that may still read flags while it is sent."""

    __slots__ = ("_before", "_body", "_flags")

    def __init__(self, body: Iterable[bytes], flags: Flags, before: Flags | None) -> None:
        self._body = body
        self._flags = flags
        self._before = before

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            unbind(self._flags, self._before)


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    """Tell whether the server is to send a file by its own quick way (PEP 3333), which needs the very object."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def check_client(client: object) -> None:
    """Refuse what is no client.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(client, Client):
        raise ConfigError(f"client must be a flagmw.Client, got {type(client).__name__}")


def check_trusted_proxies(trusted_proxies: object) -> int:
    """Give the number of proxies to trust.

    Raises:
        ConfigError: it is no number from 0 up.
    """
    if isinstance(trusted_proxies, bool) or not isinstance(trusted_proxies, int) or trusted_proxies < 0:
        raise ConfigError(f"trusted_proxies must be an int from 0 up, got {trusted_proxies!r}")
    return trusted_proxies
