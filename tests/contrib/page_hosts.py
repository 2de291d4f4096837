"""A small shop of a few pages in every host, for the tests of page views."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import flask
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path as django_path
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient
from werkzeug.test import Client as Browser
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wrappers import Response as WerkzeugResponse

import flagmw
import flagmw_flask
import flagmw_starlette
from flagmw import asgi, wsgi
from flagmw.accessor import Flags
from flagmw.core.records import Metric
from flagmw.dialects import Dialect
from flagmw.dialects.featbit import FeatBitDialect
from flagmw.page_views import PageViews
from flagmw.providers.bootstrapping import OfflineSource
from flagmw.testing import MemorySink
from flagmw.transports import Source
from tests.contrib.django_app.host import NAME, _shared
from tests.contrib.support import COOKIE, HOST_NAME

# --- flags of which one is an experiment ------------------------------------------------------------------------


def _flag(key: str, *ranges: tuple[str, float, float]) -> dict[str, Any]:
    served = [{"id": name, "rollout": [low, high], "exptRollout": 1} for name, low, high in ranges]
    return {
        "id": key,
        "key": key,
        "name": key,
        "variationType": "string",
        "variations": [{"id": "a", "value": "A"}, {"id": "b", "value": "B"}],
        "targetUsers": [],
        "rules": [],
        "isEnabled": True,
        "isArchived": False,
        "disabledVariationId": "b",
        "fallthrough": {"dispatchKey": "keyId", "includedInExpt": True, "variations": served},
        "updatedAt": "2024-05-01T10:00:00Z",
    }


FLAGS = [_flag("hero", ("a", 0, 0.5), ("b", 0.5, 1)), _flag("plain", ("a", 0, 1))]
DOCUMENT = json.dumps(
    {"messageType": "data-sync", "data": {"eventType": "full", "featureFlags": FLAGS, "segments": []}}
).encode()


class Experimenting:
    """A provider with the flags above: who is served `hero` takes part in an experiment, who is served `plain` does not.

    Attributes:
        events: what a service would be told.
    """

    def __init__(self) -> None:
        self.events = MemorySink()

    def dialect(self) -> Dialect:
        return FeatBitDialect()

    def source(self) -> Source:
        return OfflineSource(DOCUMENT)

    def sink(self) -> MemorySink:
        return self.events

    def place(self) -> None:
        return None

    def cache(self) -> None:
        return None

    @property
    def views(self) -> list[tuple[str, str | None]]:
        """Names of pages, and the keys of those who were shown them."""
        metrics: Sequence[Metric] = list(self.events.metrics)
        return [(metric.event, metric.context.key) for metric in metrics]


# --- pages ------------------------------------------------------------------------------------------------------

HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page answers."""

    flag: str | None = None
    status: int = 200
    content_type: str = HTML

    def read(self, flags: Flags) -> str:
        if self.status == 599:
            raise LookupError("what a view may do")
        return str(flags.variation(self.flag)) if self.flag is not None else "-"


PAGES: dict[str, Page] = {
    "/products/": Page(flag="hero"),  # and a number behind it
    "/plain": Page(flag="plain"),
    "/thanks": Page(),
    "/xhtml": Page(flag="hero", content_type="application/xhtml+xml"),
    "/created": Page(flag="hero", status=201),
    "/data": Page(flag="hero", content_type="application/json"),
    "/picture": Page(flag="hero", content_type="image/png"),
    "/gone": Page(flag="hero", status=410),
    "/moved": Page(flag="hero", status=302),
    "/failing": Page(flag="hero", status=599),
}


def page_of(path: str) -> Page:
    return PAGES.get(path) or PAGES["/products/"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a browser was given; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Browse(Protocol):
    """Asks for a page; the cookies are those that are passed."""

    def __call__(self, path: str, method: str = "GET", cookie: str = "") -> Seen: ...


class PageHost(Protocol):
    """A way to serve the pages above.

    Attributes:
        product: what the page of a product is called without any function for names; None where there is no name.
        plain: the like for `/plain`.
        request_type: what functions for users and names are given.
    """

    product: str | None
    plain: str | None
    request_type: type

    def serve(
        self, provider: Experimenting, *, page_views: PageViews | bool | None, user: Callable[[Any], Any] | None = None
    ) -> AbstractContextManager[Browse]: ...


def _given(page_views: PageViews | bool | None) -> dict[str, Any]:
    return {} if page_views is None else {"page_views": page_views}


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _ask_wsgi(app: Any, path: str, method: str, cookie: str) -> Seen:
    browser = Browser(app, use_cookies=False)
    response = browser.open(path, method=method, base_url=f"http://{HOST_NAME}", headers={"Cookie": cookie})
    try:
        return Seen(status=response.status_code, headers=_lowered(response.headers), body=response.data)
    finally:
        response.close()


def _ask_asgi(browser: TestClient, path: str, method: str, cookie: str) -> Seen:
    browser.cookies.clear()
    response = browser.request(method, path, headers={"Cookie": cookie}, follow_redirects=False)
    return Seen(status=response.status_code, headers=_lowered(response.headers), body=response.content)


# --- hosts without routes ---------------------------------------------------------------------------------------


class WsgiPages:
    """A WSGI app."""

    product: str | None = None
    plain: str | None = None
    request_type: type = dict

    @contextmanager
    def serve(
        self, provider: Experimenting, *, page_views: PageViews | bool | None, user: Callable[[Any], Any] | None = None
    ) -> Iterator[Browse]:
        def app(environ: Any, start_response: Any) -> Any:
            request = WerkzeugRequest(environ)
            page = page_of(request.path)
            text = page.read(environ["flagmw.flags"])
            return WerkzeugResponse(text, page.status, content_type=page.content_type)(environ, start_response)

        middleware = wsgi.FlagMiddleware(
            app, flagmw.Client(provider), user or wsgi.remote_user, anonymous=COOKIE, **_given(page_views)
        )
        yield lambda path, method="GET", cookie="": _ask_wsgi(middleware, path, method, cookie)


class AsgiPages:
    """An ASGI app."""

    product: str | None = None
    plain: str | None = None
    request_type: type = dict

    @contextmanager
    def serve(
        self, provider: Experimenting, *, page_views: PageViews | bool | None, user: Callable[[Any], Any] | None = None
    ) -> Iterator[Browse]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            page = page_of(scope["path"])
            await Response(page.read(scope["state"]["flags"]), page.status, media_type=page.content_type)(
                scope, receive, send
            )

        middleware = asgi.FlagMiddleware(
            app, flagmw.Client(provider), user or asgi.scope_user, anonymous=COOKIE, **_given(page_views)
        )
        browser = TestClient(middleware, base_url=f"http://{HOST_NAME}", raise_server_exceptions=False)
        yield lambda path, method="GET", cookie="": _ask_asgi(browser, path, method, cookie)


# --- frameworks -------------------------------------------------------------------------------------------------


class FlaskPages:
    """A Flask app."""

    product: str | None = "/products/<int:number>"
    plain: str | None = "/plain"
    request_type: type = flask.Request

    @contextmanager
    def serve(
        self, provider: Experimenting, *, page_views: PageViews | bool | None, user: Callable[[Any], Any] | None = None
    ) -> Iterator[Browse]:
        app = flask.Flask(__name__)
        flagmw_flask.Flags(app, flagmw.Client(provider), user=user, anonymous=COOKIE, **_given(page_views))
        for path in PAGES:
            rule = path + "<int:number>" if path.endswith("/") else path
            app.add_url_rule(rule, path, self._view, methods=["GET", "POST"])
        yield lambda path, method="GET", cookie="": _ask_wsgi(app, path, method, cookie)

    @staticmethod
    def _view(number: int = 0) -> flask.Response:
        page = page_of(flask.request.path)
        text = page.read(flask.request.flags)  # type: ignore[attr-defined]  # put there by the extension
        return flask.Response(text, page.status, content_type=page.content_type)


class StarlettePages:
    """A Starlette app."""

    product: str | None = "/products/{number:int}"
    plain: str | None = "/plain"
    request_type: type = HTTPConnection

    @contextmanager
    def serve(
        self, provider: Experimenting, *, page_views: PageViews | bool | None, user: Callable[[Any], Any] | None = None
    ) -> Iterator[Browse]:
        middleware = Middleware(
            flagmw_starlette.FlagMiddleware,
            client=flagmw.Client(provider),
            user=user,
            anonymous=COOKIE,
            **_given(page_views),
        )
        app = self._app(middleware)
        browser = TestClient(app, base_url=f"http://{HOST_NAME}", raise_server_exceptions=False)
        yield lambda path, method="GET", cookie="": _ask_asgi(browser, path, method, cookie)

    def _app(self, middleware: Middleware) -> Any:
        async def view(request: Request) -> Response:
            page = page_of(request.url.path)
            return Response(page.read(request.state.flags), page.status, media_type=page.content_type)

        routes: list[BaseRoute] = [
            Route(path + "{number:int}" if path.endswith("/") else path, view, methods=["GET", "POST"])
            for path in PAGES
        ]
        return Starlette(routes=routes, middleware=[middleware])


class FastAPIPages(StarlettePages):
    """A FastAPI app."""

    product: str | None = "/products/{number}"

    def _app(self, middleware: Middleware) -> Any:
        app = FastAPI(middleware=[middleware])

        def view(request: FastAPIRequest) -> Response:
            page = page_of(request.url.path)
            return Response(page.read(request.state.flags), page.status, media_type=page.content_type)

        for path in PAGES:
            app.add_api_route(path + "{number}" if path.endswith("/") else path, view, methods=["GET", "POST"])
        return app


def _django_page(request: HttpRequest, number: int = 0) -> HttpResponse:
    page = page_of(request.path)
    text = page.read(request.flags)  # type: ignore[attr-defined]  # put there by the middleware
    return HttpResponse(text, status=page.status, content_type=page.content_type)


async def _django_page_async(request: HttpRequest, number: int = 0) -> HttpResponse:
    return _django_page(request, number)


class DjangoPages:
    """A Django project below WSGI."""

    product: str | None = "/products/<int:number>"
    plain: str | None = "/plain"
    request_type: type = HttpRequest
    view: Callable[..., Any] = staticmethod(_django_page)

    @contextmanager
    def serve(
        self, provider: Experimenting, *, page_views: PageViews | bool | None, user: Callable[[Any], Any] | None = None
    ) -> Iterator[Browse]:
        setting = {
            "PROVIDER": provider,
            "NAME": NAME,
            "USER": user,
            "ANONYMOUS_COOKIE": COOKIE,
            **({} if page_views is None else {"PAGE_VIEWS": page_views}),
        }
        patterns = [
            django_path(path.lstrip("/") + "<int:number>" if path.endswith("/") else path.lstrip("/"), self.view)
            for path in PAGES
        ]
        with (
            _shared(flagmw.Client(provider)),
            override_settings(
                FLAGMW=setting,
                MIDDLEWARE=["flagmw_django.FlagMiddleware"],
                ROOT_URLCONF=(*patterns,),
                ALLOWED_HOSTS=[HOST_NAME],
            ),
        ):
            yield self._browse()

    def _browse(self) -> Browse:
        app = WSGIHandler()
        return lambda path, method="GET", cookie="": _ask_wsgi(app, path, method, cookie)


class AsyncDjangoPages(DjangoPages):
    """A Django project below ASGI, with async views."""

    view = staticmethod(_django_page_async)

    def _browse(self) -> Browse:
        app: Any = ASGIHandler()
        browser = TestClient(app, base_url=f"http://{HOST_NAME}", raise_server_exceptions=False)
        return lambda path, method="GET", cookie="": _ask_asgi(browser, path, method, cookie)


HOSTS: dict[str, PageHost] = {
    "wsgi": WsgiPages(),
    "asgi": AsgiPages(),
    "flask": FlaskPages(),
    "starlette": StarlettePages(),
    "fastapi": FastAPIPages(),
    "django": DjangoPages(),
    "django-async": AsyncDjangoPages(),
}
