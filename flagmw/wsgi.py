"""Flags for any WSGI app: `FlagMiddleware(app, client)`. Pure WSGI, and nothing is done before a flag is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flagmw.accessor import Flags
from flagmw.binding import current_flags
from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ConfigError
from flagmw.holding import DEFAULT_START_WAIT_S, check_start_wait
from flagmw.http import AnonymousCookie, facts_of_environ
from flagmw.page_views import PageView, PageViewer, PageViews, check_page_views, is_page
from flagmw.users import UserBuilder, Visitors
from flagmw.watching import watch

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
        start_wait: for how many seconds the first flag read of a process may wait, when it has no flags at all yet
            and a flag service is about to send some.
        page_views: tells the flag service which pages users were shown, see `PageViews`, which here needs a `name`;
            False tells nothing.
        usage: has the usage agent watch which functions run, and keep what flags are evaluated to: settings, a path or True,
            see `flagmw.watching.watch`. None leaves it to the environment variable FLAGMW_USAGE.

    Attributes:
        visitors: finds out who makes a request; for adapters that make accessors themselves.

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
        start_wait: float = DEFAULT_START_WAIT_S,
        page_views: PageViews | bool = False,
        usage: Any = None,
    ) -> None:
        check_client(client)
        self._app = app
        self._client = client
        self._start_wait_s = check_start_wait(start_wait)
        self.visitors: Visitors[WSGIEnvironment] = Visitors(
            user, partial(facts_of_environ, trusted_proxies=check_trusted_proxies(trusted_proxies)), anonymous
        )
        wanted = check_page_views(page_views)
        viewer = PageViewer(wanted, client, self.visitors) if wanted is not None else None
        self._respond: Callable[[Flags, Flags | None, WSGIEnvironment, StartResponse], _Response] = (
            partial(_PageResponse, viewer) if viewer is not None else _Response
        )
        self._agent = watch(client, usage)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self._agent is not None:
            self._agent.touch()
        before = current_flags.get()
        if before is not None and before.client is self._client and environ.get(ENVIRON_KEY) is before:
            return self._app(environ, start_response)  # installed twice
        flags = Flags(self._client, self.visitors, environ, self._start_wait_s)
        flags.gather()
        environ[ENVIRON_KEY] = flags
        current_flags.set(flags)
        response = self._respond(flags, before, environ, start_response)
        try:
            body = self._app(environ, response.start)
        except BaseException:
            response.finish()
            raise
        if body.__class__ is list or body.__class__ is tuple or _is_file(body, environ):
            response.send_start()
            response.finish()  # nothing of the app runs while it is sent
            return body
        return _Body(body, response)


class _Response:
    """One response: its start is held back until its first bytes, since until then a flag may be read.

    A server does not send headers before the first bytes either (PEP 3333), so nobody can tell the difference.
    """

    __slots__ = ("_before", "_environ", "_flags", "_held", "_server_write", "_start_response", "begun", "is_open")

    def __init__(
        self, flags: Flags, before: Flags | None, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._flags = flags
        self._before = before
        self._environ = environ
        self.is_open = True
        self._start_response = start_response
        self._held: tuple[str, list[tuple[str, str]], ExcInfo | None] | None = None
        self.begun = False
        self._server_write: Callable[[bytes], object] | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Take the app's start.

        A second one replaces the first if it tells of an error before the first bytes; every other is the
        server's to refuse.
        """
        if self._held is not None and exc_info is None:
            self.send_start()
        self._held = (status, headers, exc_info)
        if self.begun:
            self.send_start()
        return self.write

    def send_start(self) -> None:
        """Hand the held start to the server, with the headers that flags need."""
        held = self._held
        if held is None:
            return
        self._held = None
        self.begun = True
        status, headers, exc_info = held
        if self._flags.visitor is not None:
            self._flags.hand_over(is_last=True)
            vary = [value for name, value in headers if name.lower() == "vary"]
            headers = [*headers, *self._flags.response_headers(vary)]
        if exc_info:
            self._server_write = self._start_response(status, headers, exc_info)
        else:
            self._server_write = self._start_response(status, headers)

    def write(self, data: bytes) -> None:
        """Send body bytes the old way, which PEP 3333 keeps for apps of before."""
        self.send_start()
        if self._server_write is not None:
            self._server_write(data)

    def finish(self) -> None:
        """Take the accessor back, and leave no cycle of accessor and environ for the garbage collector."""
        self.is_open = False
        flags, environ = self._flags, self._environ
        flags.hand_over(is_last=True)
        if current_flags.get() is flags:
            current_flags.set(self._before)
        if flags.pin is None and environ.get(ENVIRON_KEY) is flags:
            del environ[ENVIRON_KEY]


class _PageResponse(_Response):
    """A response that may be a page view."""

    __slots__ = ("_view", "_viewer")

    def __init__(
        self,
        viewer: PageViewer[WSGIEnvironment],
        flags: Flags,
        before: Flags | None,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> None:
        super().__init__(flags, before, environ, start_response)
        self._viewer = viewer
        self._view: PageView | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Take the app's start; the app still knows which route it took."""
        write = super().start(status, headers, exc_info)
        self._view = None
        code = int(status[:3]) if status[:3].isdecimal() else 0
        content_type = next((value for name, value in headers if name.lower() == "content-type"), None)
        if is_page(self._environ.get("REQUEST_METHOD"), code, content_type):
            self._view = self._viewer.begun(self._flags, self._environ)
        return write

    def send_start(self) -> None:
        """Hand the held start to the server; from here on no cookie can be set."""
        if self._held is not None and self._view is not None:
            self._view = self._viewer.sent(self._view, self._flags)
        super().send_start()

    def finish(self) -> None:
        """Tell of the page, then take the accessor back."""
        view, self._view = self._view, None
        if view is not None and self.begun:
            self._viewer.told(view)
        super().finish()


class _Body:
    """The body of a response that is made while it is sent, and may still read flags."""

    __slots__ = ("_body", "_response")

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self._body = body
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._body)
        for chunk in chunks:
            self._response.send_start()
            self._response.begun = True
            yield chunk
            break
        self._response.send_start()
        # Not `yield from`: it would close the app's iterator a second time.
        for chunk in chunks:  # see above
            yield chunk

    def close(self) -> None:
        """End the app's response, then take the accessor back."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._response.finish()

    def __del__(self) -> None:
        """Take the accessor back from a response that nobody has closed, as tests often leave theirs."""
        if self._response.is_open:
            self._response.finish()


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
