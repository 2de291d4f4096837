"""`start_wait` in every host: the first request of a process is held back for its first flags, bounded, and only then."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import flask
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import Client as DjangoBrowser
from django.test import override_settings
from django.urls import re_path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from werkzeug.test import Client as Browser

from flagmw import AuthError, Client, ConfigError, asgi, wsgi
from flagmw.core.documents import Document
from flagmw.dialects.flagd import FlagdDialect
from flagmw.events import Sink
from flagmw.registry import forget_client, get_client
from flagmw.runtime import Runtime
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver
from flagmw_flask import Flags
from flagmw_starlette import FlagMiddleware
from tests.contrib.asgi_host import REQUEST, Connection, app_of, scope_for
from tests.contrib.django_app import testing  # sets Django up
from tests.contrib.support import COOKIE, DEADLINE_S, document, in_threads

__all__ = ["testing"]

LONG_S = 3 * DEADLINE_S
"""Nobody who is held back for this long answers in time."""

LATE_S = 0.2
NAME = "start-wait"
OLD, NEW, DEFAULT = "old", "new", "the caller's"


class Late:
    """A provider whose source brings flags when the test says so, from its thread as a flag service's does.

    Args:
        kept: flags of an earlier process, None for none.
        late_s: bring flags this long after the start, without being told.
    """

    background = True
    local = False
    awaited = True
    role = Role.ALONE
    heartbeat_s: float | None = None
    agreed_s: float | None = None

    def __init__(self, kept: str | None = None, late_s: float | None = None) -> None:
        self._kept = kept
        self._late_s = late_s
        self._told = threading.Event()
        self._delivery = _delivery_of(NEW)
        self._receiver: Receiver | None = None

    def bring(self, delivery: Delivery | None = None) -> None:
        """Have the source deliver."""
        self._delivery = delivery or self._delivery
        self._told.set()

    def dialect(self) -> FlagdDialect:
        return FlagdDialect(fractional="v2", wall_clock=time.time)

    def source(self) -> Late:
        return self

    def sink(self) -> Sink | None:
        return None

    def place(self) -> None:
        return None

    def cache(self) -> Late:
        return self

    def load(self) -> bytes | None:
        return json.dumps(document(self._kept)).encode() if self._kept is not None else None

    def save(self, pieces: Iterable[bytes]) -> None:
        raise AssertionError("flags of this dialect are not kept")

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def run(self, stopping: threading.Event) -> None:
        assert self._receiver is not None
        if self._late_s is not None:
            stopping.wait(self._late_s)
        else:
            self._told.wait()
        if not stopping.is_set():
            self._receiver.deliver(self._delivery)

    def wake(self) -> None:
        self._told.set()


def _delivery_of(banner: str) -> Delivery:
    content = json.dumps(document(banner)).encode()
    return Delivery(documents=(Document(name="late flags", content=content),))


# --- hosts --------------------------------------------------------------------------------------------------

Visit = Callable[[], Any]


class Host(Protocol):
    """Serves an app whose only page answers with the flag `banner`."""

    def serve(self, provider: Late, start_wait: Any) -> Any:
        """Give a context manager of a function that asks for the page."""


class AsyncHost(Host, Protocol):
    """A host whose requests are coroutines."""

    def ask(self, provider: Late, start_wait: float) -> Any:
        """Give a context manager of a function that gives the coroutine of one request."""


def banner(flags: Any) -> Any:
    return flags.variation("banner", DEFAULT)


class WsgiHost:
    @contextmanager
    def serve(self, provider: Late, start_wait: Any) -> Iterator[Visit]:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [banner(environ["flagmw.flags"]).encode()]

        with Client(provider) as client:
            wrapped = wsgi.FlagMiddleware(app, client, anonymous=COOKIE, start_wait=start_wait)
            yield lambda: Browser(wrapped, use_cookies=False).get("/").text


class FlaskHost:
    @contextmanager
    def serve(self, provider: Late, start_wait: Any) -> Iterator[Visit]:
        app = flask.Flask(__name__)
        app.secret_key = "a secret of the tests"
        app.config["FLAGMW"] = {"PROVIDER": provider, "START_WAIT": start_wait, "NAME": NAME}
        Flags(app)

        @app.get("/")
        def page() -> str:
            return str(banner(flask.request.flags))  # type: ignore[attr-defined]  # put there by the extension

        try:
            yield lambda: app.test_client(use_cookies=False).get("/").text
        finally:
            forget_client(NAME)


class DjangoHost:
    """Sync views."""

    @contextmanager
    def settings(self, provider: Late, start_wait: Any) -> Iterator[None]:
        setting = {"PROVIDER": provider, "START_WAIT": start_wait, "NAME": NAME}
        urls = (re_path("", self.view()),)
        try:
            with override_settings(FLAGMW=setting, MIDDLEWARE=["flagmw_django.FlagMiddleware"], ROOT_URLCONF=urls):
                yield
        finally:
            forget_client(NAME)

    def view(self) -> Callable[[HttpRequest], Any]:
        return lambda request: HttpResponse(banner(request.flags))  # type: ignore[attr-defined]  # by the middleware

    @contextmanager
    def serve(self, provider: Late, start_wait: Any) -> Iterator[Visit]:
        with self.settings(provider, start_wait):
            yield _django_page


def _django_page() -> str:
    return str(DjangoBrowser().get("/").content.decode())


class _Asking(Connection):
    """A connection that the client keeps open."""

    async def receive(self) -> Any:
        if not self._incoming:
            await asyncio.Event().wait()  # until the app, which has answered, cancels it
        return await super().receive()


async def _body_of(app: Any) -> str:
    body = (await _Asking(REQUEST).serve(app, scope_for())).body.decode()
    return str(json.loads(body)) if body.startswith('"') else body


class AsyncDjangoHost(DjangoHost):
    """Async views below ASGI."""

    def view(self) -> Callable[[HttpRequest], Any]:
        async def page(request: HttpRequest) -> HttpResponse:
            return HttpResponse(banner(request.flags))  # type: ignore[attr-defined]  # by the middleware

        return page

    @contextmanager
    def ask(self, provider: Late, start_wait: float) -> Iterator[Callable[[], Coroutine[Any, Any, str]]]:
        with self.settings(provider, start_wait):
            app: Any = ASGIHandler()
            yield lambda: _body_of(app)

    @contextmanager
    def serve(self, provider: Late, start_wait: Any) -> Iterator[Visit]:
        with self.ask(provider, start_wait) as ask:
            yield lambda: asyncio.run(ask())


class AsgiHost:
    def app(self, client: Client, start_wait: Any) -> Any:
        async def view(flags: Any) -> Any:
            return banner(flags)

        return asgi.FlagMiddleware(app_of(view), client, anonymous=COOKIE, start_wait=start_wait)

    @contextmanager
    def ask(self, provider: Late, start_wait: Any) -> Iterator[Callable[[], Coroutine[Any, Any, str]]]:
        with Client(provider) as client:
            app = self.app(client, start_wait)
            yield lambda: _body_of(app)

    @contextmanager
    def serve(self, provider: Late, start_wait: Any) -> Iterator[Visit]:
        with self.ask(provider, start_wait) as ask:
            yield lambda: asyncio.run(ask())


class StarletteHost(AsgiHost):
    def app(self, client: Client, start_wait: Any) -> Any:
        async def page(request: Request) -> JSONResponse:
            return JSONResponse(banner(request.state.flags))

        app = Starlette(routes=[Route("/", page)])
        return FlagMiddleware(app, client, anonymous=COOKIE, start_wait=start_wait)


HOSTS: dict[str, Host] = {
    "wsgi": WsgiHost(),
    "flask": FlaskHost(),
    "django": DjangoHost(),
    "django-async": AsyncDjangoHost(),
    "asgi": AsgiHost(),
    "starlette": StarletteHost(),
}
ASYNC_HOSTS: dict[str, AsyncHost] = {
    "django-async": AsyncDjangoHost(),
    "asgi": AsgiHost(),
    "starlette": StarletteHost(),
}
every_host = pytest.mark.parametrize("host", list(HOSTS.values()), ids=list(HOSTS))
every_async_host = pytest.mark.parametrize("host", list(ASYNC_HOSTS.values()), ids=list(ASYNC_HOSTS))


def timed(visit: Visit) -> tuple[Any, float]:
    began_s = time.monotonic()
    return visit(), time.monotonic() - began_s


# --- what must hold -----------------------------------------------------------------------------------------


@every_host
def test_flags_that_come_a_moment_later_are_waited_for(host: Host) -> None:
    with host.serve(Late(late_s=LATE_S), LONG_S) as visit:
        assert visit() == NEW


@every_host
def test_without_a_wait_nothing_is_held(host: Host) -> None:
    provider = Late()
    with host.serve(provider, 0) as visit:
        answer, took_s = timed(visit)
        assert answer == DEFAULT
        assert took_s < DEADLINE_S
        provider.bring()


@every_host
def test_flags_that_never_come_hold_up_the_first_seconds_of_a_process_only(host: Host) -> None:
    wait_s, visits = 0.5, 6
    with host.serve(Late(), wait_s) as visit:
        answer, first_s = timed(visit)
        assert answer == DEFAULT
        assert first_s >= 0.9 * wait_s
        began_s = time.monotonic()
        assert [visit() for _ in range(visits)] == [DEFAULT] * visits
        assert time.monotonic() - began_s < visits * wait_s / 2


@every_host
def test_requests_at_the_same_time_share_one_wait(host: Host) -> None:
    wait_s, visits = 0.5, 6
    with host.serve(Late(), wait_s) as visit:
        began_s = time.monotonic()
        assert in_threads(visit, visits) == [DEFAULT] * visits
        assert time.monotonic() - began_s < visits * wait_s / 2


@every_host
def test_with_flags_at_hand_nothing_is_held(host: Host) -> None:
    with host.serve(Late(kept=OLD), LONG_S) as visit:
        answer, took_s = timed(visit)
        assert answer == OLD
        assert took_s < DEADLINE_S


@every_host
def test_a_refused_secret_ends_the_holding_at_once(host: Host) -> None:
    provider = Late()
    with host.serve(provider, LONG_S) as visit:
        threading.Timer(LATE_S, provider.bring, [Delivery(error=AuthError("our secret is refused"))]).start()
        answer, took_s = timed(visit)
        assert answer == DEFAULT
        assert took_s < DEADLINE_S
        assert timed(visit)[1] < DEADLINE_S


@every_host
def test_flags_that_come_while_nothing_waits_any_more_are_served(host: Host) -> None:
    provider = Late()
    with host.serve(provider, 0.05) as visit:
        assert visit() == DEFAULT
        provider.bring()
        deadline_s = time.monotonic() + DEADLINE_S
        while visit() != NEW:
            assert time.monotonic() < deadline_s


@every_async_host
def test_the_event_loop_goes_on_while_a_request_is_held(host: AsyncHost) -> None:
    provider = Late()

    async def run(ask: Callable[[], Coroutine[Any, Any, str]]) -> str:
        held = asyncio.create_task(ask())
        for _ in range(20):  # on the same loop; only if it goes on do flags ever come
            await asyncio.sleep(0.01)
        assert not held.done()
        provider.bring()
        return await asyncio.wait_for(held, DEADLINE_S)

    with host.ask(provider, LONG_S) as ask:
        assert asyncio.run(run(ask)) == NEW


@every_async_host
def test_requests_on_one_loop_are_held_side_by_side(host: AsyncHost) -> None:
    provider = Late(late_s=LATE_S)

    async def run(ask: Callable[[], Coroutine[Any, Any, str]]) -> list[str]:
        return await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(10))), DEADLINE_S)

    with host.ask(provider, LONG_S) as ask:
        assert asyncio.run(run(ask)) == [NEW] * 10


@every_host
@pytest.mark.parametrize("wrong", [-1, "1", None, True, float("nan"), float("inf")])
def test_a_wait_that_is_no_number_of_seconds_is_refused(host: Host, wrong: Any) -> None:
    refused = pytest.raises((ConfigError, ImproperlyConfigured), match=r"(?i)start_wait must be a number of seconds")
    with refused, host.serve(Late(), wrong) as visit:
        visit()


def test_the_flags_of_the_process_that_forked_this_one_are_at_hand() -> None:
    provider = Late()
    first = Runtime(provider, None, [], active=True)
    assert first.hold(LONG_S) > 0
    provider.bring()
    first.wait_settled(DEADLINE_S)
    child = Runtime(Late(), first.snapshot, [], active=True)
    assert first.snapshot is not None
    assert child.hold(LONG_S) == 0.0
    first.close(1.0)
    child.close(1.0)


def test_a_client_that_reads_no_service_is_never_held() -> None:
    with Client("file:nowhere.json") as client:
        assert client.hold(LONG_S) == 0.0
    with pytest.raises(ConfigError):
        get_client(NAME)
