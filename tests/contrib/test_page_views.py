"""Page views in every host: which pages are told, of whom, by what name, and that no request suffers from it."""

from __future__ import annotations

import asyncio
import posixpath
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, override_settings
from django.test import Client as DjangoBrowser
from django.urls import include, re_path
from django.urls import path as django_path
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Host, Mount, Route, Router
from starlette.testclient import TestClient
from werkzeug.test import Client as Browser
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response as WerkzeugResponse

import flagmw
import flagmw_flask
import flagmw_starlette
from flagmw import asgi, wsgi
from flagmw.errors import ConfigError
from flagmw.http import AnonymousIds
from flagmw.page_views import PageViews
from flagmw.settings import SettingsError, read_settings
from flagmw_starlette.page_views import path_of
from tests.contrib.asgi_host import get, scope_for
from tests.contrib.django_app import testing  # sets Django up
from tests.contrib.django_app.host import NAME, _shared
from tests.contrib.page_hosts import HOSTS, Experimenting, PageHost, _django_page
from tests.contrib.support import COOKIE, HOST_NAME, Builder

__all__ = ["testing"]

ANN = {"key": "ann"}


def path_name(request: Any) -> str:
    """Name a page by its path, whatever the host's request is."""
    if isinstance(request, dict):
        return str(request.get("PATH_INFO") or request["path"])
    return str(request.path if hasattr(request, "path") else request.url.path)


NAMED = PageViews(name=path_name)
NAMED_FOR_ALL = PageViews(name=path_name, everyone=True)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> PageHost:
    return HOSTS[request.param]


@pytest.fixture
def provider() -> Experimenting:
    return Experimenting()


# --- which pages ------------------------------------------------------------------------------------------------


def test_a_page_that_takes_its_user_into_an_experiment_is_told(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=NAMED, user=Builder(ANN)) as browse:
        assert browse("/products/7").status == 200
    assert provider.views == [("/products/7", "ann")]


def test_a_page_is_named_by_the_template_of_its_route(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=True, user=Builder(ANN)) as browse:
        browse("/products/7")
        browse("/plain")
    expected = [] if host.product is None else [(host.product, "ann"), (host.plain, "ann")]
    assert provider.views == expected


def test_a_page_that_reads_no_flag_is_told_of_who_takes_part_already(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=NAMED, user=Builder(ANN)) as browse:
        browse("/products/7")
        browse("/thanks")
    assert provider.views == [("/products/7", "ann"), ("/thanks", "ann")]


def test_a_page_of_a_user_in_no_experiment_is_not_told(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=NAMED, user=Builder(ANN)) as browse:
        browse("/plain")
        browse("/thanks")
    assert provider.views == []


def test_a_page_of_a_user_in_no_experiment_is_told_when_everyone_counts(
    host: PageHost, provider: Experimenting
) -> None:
    with host.serve(provider, page_views=NAMED_FOR_ALL, user=Builder(ANN)) as browse:
        browse("/plain")
        browse("/thanks")
    assert provider.views == [("/plain", "ann"), ("/thanks", "ann")]


@pytest.mark.parametrize("path", ["/created", "/xhtml"])
def test_every_success_in_html_is_a_page(host: PageHost, provider: Experimenting, path: str) -> None:
    with host.serve(provider, page_views=NAMED, user=Builder(ANN)) as browse:
        browse(path)
    assert provider.views == [(path, "ann")]


@pytest.mark.parametrize("path", ["/data", "/picture", "/gone", "/moved", "/failing"])
def test_what_is_not_looked_at_is_no_page(host: PageHost, provider: Experimenting, path: str) -> None:
    with host.serve(provider, page_views=NAMED_FOR_ALL, user=Builder(ANN)) as browse:
        try:
            browse(path)
        except LookupError:
            assert path == "/failing"
    assert provider.views == []


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_only_get_shows_a_page(host: PageHost, provider: Experimenting, method: str) -> None:
    with host.serve(provider, page_views=NAMED_FOR_ALL, user=Builder(ANN)) as browse:
        browse("/thanks", method)
    assert provider.views == []


def test_an_event_of_a_page_has_no_value(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=NAMED, user=Builder(ANN)) as browse:
        browse("/products/7")
    (metric,) = provider.events.metrics
    assert (metric.value, dict(metric.properties)) == (None, {})


# --- off --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_views", [None, False])
def test_no_page_is_told_unless_asked_for(host: PageHost, provider: Experimenting, page_views: bool | None) -> None:
    user = Builder(ANN)
    with host.serve(provider, page_views=page_views, user=user) as browse:
        browse("/products/7")
        browse("/thanks")
    assert provider.views == []
    assert user.calls == 1, "only for the page that reads a flag"


@pytest.mark.parametrize("path", ["/data", "/gone", "/products/7"])
def test_no_request_has_its_user_looked_up_twice(host: PageHost, provider: Experimenting, path: str) -> None:
    user = Builder(ANN)
    with host.serve(provider, page_views=NAMED, user=user) as browse:
        browse(path)
    assert user.calls == 1


# --- names ------------------------------------------------------------------------------------------------------


def test_a_function_for_names_is_given_what_one_for_users_is_given(host: PageHost, provider: Experimenting) -> None:
    given: list[tuple[bool, str]] = []

    def name(request: Any) -> str:
        given.append((isinstance(request, host.request_type), path_name(request)))
        return "page"

    with host.serve(provider, page_views=PageViews(name=name), user=Builder(ANN)) as browse:
        browse("/products/7")
    assert given == [(True, "/products/7")]


def test_a_prefix_comes_before_each_name(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=PageViews(prefix="view ", name=path_name), user=Builder(ANN)) as browse:
        browse("/products/7")
    assert provider.views == [("view /products/7", "ann")]


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_page_without_a_name_is_not_told(host: PageHost, provider: Experimenting, nothing: str | None) -> None:
    with host.serve(provider, page_views=PageViews(name=lambda request: nothing), user=Builder(ANN)) as browse:
        browse("/products/7")
    assert provider.views == []


def raising(request: Any) -> str:
    raise ValueError("ann@example.com")


def wrong(request: Any) -> Any:
    return 42


@pytest.mark.parametrize("name", [raising, wrong])
def test_a_function_for_names_that_fails_harms_no_request_and_is_told_once(
    host: PageHost, provider: Experimenting, name: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with host.serve(provider, page_views=PageViews(name=name), user=Builder(ANN)) as browse:
        assert [browse("/products/7").status for _ in range(3)] == [200, 200, 200]
    lines = [record.getMessage() for record in caplog.records if record.name == "flagmw"]
    assert len(lines) == 1
    assert "ann@example.com" not in lines[0]
    assert provider.views == []


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("page_views", [True, PageViews(everyone=True)])
def test_a_host_without_routes_warns_once_that_nothing_is_told(
    kind: str, provider: Experimenting, page_views: PageViews | bool, caplog: pytest.LogCaptureFixture
) -> None:
    with HOSTS[kind].serve(provider, page_views=page_views, user=Builder(ANN)) as browse:
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "PageViews(name=" in caplog.text
        for _ in range(3):
            browse("/products/7")
    assert len(caplog.records) == 1
    assert provider.views == []


def test_a_host_with_routes_warns_of_nothing(
    host: PageHost, provider: Experimenting, caplog: pytest.LogCaptureFixture
) -> None:
    if host.product is None:
        return
    with host.serve(provider, page_views=True, user=Builder(ANN)) as browse:
        browse("/products/7")
    assert [record for record in caplog.records if record.name == "flagmw"] == []


# --- users ------------------------------------------------------------------------------------------------------


def test_an_anonymous_user_is_told_by_the_id_of_the_cookie(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=NAMED) as browse:
        cookie = browse("/products/7").headers["set-cookie"].partition(";")[0]
        browse("/thanks", cookie=cookie)
    anonymous_id = AnonymousIds(COOKIE).read(cookie)
    assert anonymous_id is not None
    assert provider.views == [("/products/7", anonymous_id), ("/thanks", anonymous_id)]


@pytest.mark.parametrize("page_views", [NAMED, NAMED_FOR_ALL])
def test_a_page_view_alone_sets_no_cookie_and_splits_no_cache(
    host: PageHost, provider: Experimenting, page_views: PageViews
) -> None:
    with host.serve(provider, page_views=page_views) as browse:
        headers = browse("/thanks").headers
    assert not headers.keys() & {"set-cookie", "vary"}
    assert provider.views == []


def test_a_known_user_splits_no_cache_by_a_page_view_alone(host: PageHost, provider: Experimenting) -> None:
    with host.serve(provider, page_views=NAMED_FOR_ALL, user=Builder(ANN)) as browse:
        assert "vary" not in browse("/thanks").headers
    assert provider.views == [("/thanks", "ann")]


@pytest.mark.parametrize("path", ["/products/7", "/thanks"])
def test_a_user_who_cannot_be_built_harms_no_request(host: PageHost, provider: Experimenting, path: str) -> None:
    with host.serve(provider, page_views=NAMED_FOR_ALL, user=Builder(ValueError("ann@example.com"))) as browse:
        assert browse(path).status == 200
    assert provider.views == []


def test_the_answers_are_the_same_with_page_views_and_without(host: PageHost) -> None:
    def answers(page_views: PageViews | bool) -> list[Any]:
        with host.serve(Experimenting(), page_views=page_views, user=Builder(ANN)) as browse:
            seen = [browse(path) for path in ("/products/7", "/plain", "/thanks", "/data", "/gone", "/moved")]
        return [(one.status, one.body, sorted(one.headers)) for one in seen]

    assert answers(NAMED_FOR_ALL) == answers(page_views=False)


# --- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"everyone": 1}, "everyone must be a bool"),
        ({"prefix": None}, "prefix must be a str"),
        ({"name": "shop.names.page"}, "name must be a function"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        PageViews(**arguments)


def test_a_function_for_names_must_be_a_plain_one() -> None:
    async def name(request: Any) -> str:
        return "page"

    with pytest.raises(ConfigError, match="plain function"):
        PageViews(name=name)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("wrong_value", [1, "yes", {"everyone": True}])
@pytest.mark.parametrize(
    "make", [wsgi.FlagMiddleware, asgi.FlagMiddleware, flagmw_starlette.FlagMiddleware, flagmw_flask.Flags]
)
def test_a_middleware_refuses_what_says_nothing_of_page_views(
    make: Callable[..., Any], provider: Experimenting, wrong_value: Any
) -> None:
    with pytest.raises(ConfigError, match="page_views must be"):
        make(flask.Flask(__name__), flagmw.Client(provider), page_views=wrong_value)


# --- routes -----------------------------------------------------------------------------------------------------


def html(request: Request) -> HTMLResponse:
    return HTMLResponse(str(request.state.flags.variation("hero")))


def starlette_views(provider: Experimenting, routes: list[BaseRoute], *paths: str) -> list[str]:
    """Visit paths of a Starlette app; give what the pages are called."""
    app = Starlette(routes=routes)
    app.add_middleware(
        flagmw_starlette.FlagMiddleware, client=flagmw.Client(provider), user=Builder(ANN), page_views=True
    )
    browser = TestClient(app, base_url=f"http://{HOST_NAME}")
    for path in paths:
        assert browser.get(path).status_code == 200
    return [name for name, _ in provider.views]


def test_a_route_below_mounts_is_called_by_its_whole_path(provider: Experimenting) -> None:
    inner = [Route("/", html), Route("/orders/{number}", html)]
    routes: list[BaseRoute] = [
        Route("/orders/{number}", html),
        Mount("/shops/{shop}", routes=[Mount("/old", app=Starlette(routes=inner)), *inner]),
    ]
    names = starlette_views(
        provider, routes, "/orders/1", "/shops/ann/orders/1", "/shops/ann/old/orders/1", "/shops/x/"
    )
    assert names == [
        "/orders/{number}",
        "/shops/{shop}/orders/{number}",
        "/shops/{shop}/old/orders/{number}",
        "/shops/{shop}/",
    ]


def test_routers_that_leave_no_trace_of_the_route_are_asked_once_more() -> None:
    routes: list[BaseRoute] = [Route("/a", html), Mount("/shops/{shop}", routes=[Route("/orders/{number}", html)])]
    scope = {"type": "http", "method": "GET", "path": "/shops/ann/orders/1", "root_path": "", "router": Router(routes)}
    assert path_of({**scope, "path": "/a"}) == "/a"
    assert path_of({**scope, "path": "/b"}) is None
    assert path_of(scope) == "/shops/{shop}/orders/{number}"
    assert path_of({**scope, "root_path": "/shops/ann", "app_root_path": ""}) == "/shops/{shop}/orders/{number}"


def test_a_route_of_a_host_is_called_by_its_path(provider: Experimenting) -> None:
    routes: list[BaseRoute] = [Host("{shop}.example", app=Router([Route("/orders/{number}", html)]))]
    assert starlette_views(provider, routes, "/orders/1") == ["/orders/{number}"]


def test_a_mount_without_routes_is_called_by_its_own_path(provider: Experimenting) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["flags"].variation("hero")
        await HTMLResponse("static")(scope, receive, send)

    assert starlette_views(provider, [Mount("/docs", app=page)], "/docs/a/b") == ["/docs"]


def test_an_app_below_a_root_path_is_called_by_its_own_routes(provider: Experimenting) -> None:
    app = flagmw_starlette.FlagMiddleware(
        Starlette(routes=[Route("/orders/{number}", html)]),
        flagmw.Client(provider),
        user=Builder(ANN),
        page_views=True,
    )
    TestClient(app, root_path="/shop").get("/orders/1")
    assert provider.views == [("/orders/{number}", "ann")]


def test_a_route_of_fastapi_is_called_by_its_path_with_the_prefix_of_its_router(provider: Experimenting) -> None:
    router = APIRouter(prefix="/orders")

    def order(number: int, flags: flagmw_starlette.FlagsDep) -> HTMLResponse:
        return HTMLResponse(str(flags.variation("hero")))

    router.add_api_route("/{number}", order)
    outer, app, below = APIRouter(prefix="/shop"), FastAPI(), FastAPI()
    outer.include_router(router)
    app.include_router(outer)
    below.include_router(router)
    app.mount("/mounted", below)
    app.add_route("/direct", html)
    app.add_middleware(
        flagmw_starlette.FlagMiddleware, client=flagmw.Client(provider), user=Builder(ANN), page_views=True
    )
    browser = TestClient(app)
    assert browser.get("/shop/orders/1").status_code == 200
    assert browser.get("/mounted/orders/1").status_code == 200
    assert browser.get("/direct").status_code == 200
    assert [name for name, _ in provider.views] == ["/shop/orders/{number}", "/mounted/orders/{number}", "/direct"]


def test_a_rule_of_a_blueprint_is_called_by_its_path_with_the_prefix(provider: Experimenting) -> None:
    app = flask.Flask(__name__)
    flagmw_flask.Flags(app, flagmw.Client(provider), user=Builder(ANN), page_views=True)
    orders = flask.Blueprint("orders", __name__, url_prefix="/orders")
    orders.add_url_rule("/<int:number>", "order", lambda number: str(flagmw.flags.variation("hero")))
    app.register_blueprint(orders)
    app.test_client().get("/orders/1", buffered=True)
    assert provider.views == [("/orders/<int:number>", "ann")]


def test_a_page_that_flask_streams_is_told_when_it_has_been_sent(provider: Experimenting) -> None:
    app = flask.Flask(__name__)
    flagmw_flask.Flags(app, flagmw.Client(provider), user=Builder(ANN), page_views=True)
    seen: list[int] = []

    @app.get("/long")
    def long() -> flask.Response:
        def body() -> Iterator[str]:
            yield str(flagmw.flags.variation("hero"))
            seen.append(len(provider.views))
            yield "end"

        return flask.Response(body(), content_type="text/html")

    app.test_client().get("/long", buffered=True).close()
    assert seen == [0]
    assert provider.views == [("/long", "ann")]


def test_flask_is_asked_for_a_name_only_where_it_answers(provider: Experimenting) -> None:
    app = flask.Flask(__name__)
    app.wsgi_app = WerkzeugResponse("maintenance", content_type="text/html")  # type: ignore[method-assign]  # Flask's documented way to add middleware
    flagmw_flask.Flags(
        app, flagmw.Client(provider), user=Builder(ANN), page_views=PageViews(everyone=True, name=lambda _: "page")
    )
    assert app.test_client().get("/thanks", buffered=True).status_code == 200
    with flask.Flask("another").test_request_context("/another"):
        assert app.test_client().get("/thanks", buffered=True).status_code == 200
    assert provider.views == []


@pytest.mark.parametrize(
    ("patterns", "path", "name"),
    [
        ([django_path("", _django_page)], "/", "/"),
        ([django_path("a/", include([django_path("<int:number>/", _django_page)]))], "/a/7/", "/a/<int:number>/"),
        ([re_path(r"^b/(?P<number>[0-9]+)/$", _django_page)], "/b/7/", "^b/(?P<number>[0-9]+)/$"),
    ],
)
def test_a_route_of_django_begins_with_a_slash_unless_it_is_a_regular_expression(
    provider: Experimenting, patterns: list[Any], path: str, name: str
) -> None:
    setting = {"PROVIDER": provider, "NAME": NAME, "USER": Builder(ANN), "PAGE_VIEWS": True}
    with (
        _shared(flagmw.Client(provider)),
        override_settings(FLAGMW=setting, MIDDLEWARE=["flagmw_django.FlagMiddleware"], ROOT_URLCONF=(*patterns,)),
    ):
        assert DjangoBrowser().get(path).status_code == 200
    assert provider.views == [(name, "ann")]


# --- installed twice, late reads, failures ----------------------------------------------------------------------


def test_a_page_is_told_once_where_the_middleware_is_installed_twice(provider: Experimenting) -> None:
    client = flagmw.Client(provider)

    def app(environ: Any, start_response: Any) -> Any:
        environ["flagmw.flags"].variation("hero")
        return WerkzeugResponse("page", content_type="text/html")(environ, start_response)

    inner = wsgi.FlagMiddleware(app, client, Builder(ANN), page_views=NAMED)
    Browser(wsgi.FlagMiddleware(inner, client, Builder(ANN), page_views=NAMED)).get("/a").close()
    assert provider.views == [("/a", "ann")]


def test_a_flag_that_is_read_just_before_the_first_bytes_counts(provider: Experimenting) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        yield str(environ["flagmw.flags"].variation("hero")).encode()

    middleware = wsgi.FlagMiddleware(app, flagmw.Client(provider), anonymous=COOKIE, page_views=NAMED)
    response = Browser(middleware, use_cookies=False).get("/a", buffered=True)
    anonymous_id = AnonymousIds(COOKIE).read(response.headers["Set-Cookie"].partition(";")[0])
    assert provider.views == [("/a", anonymous_id)]


def test_a_page_that_turns_into_an_error_is_not_told(provider: Experimenting) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ["flagmw.flags"].variation("hero")
        start_response("200 OK", [("Content-Type", "text/html")])
        try:
            raise LookupError
        except LookupError:
            start_response("500 Oops", [("Content-Type", "text/html")], sys.exc_info())
        return [b"sorry"]

    middleware = wsgi.FlagMiddleware(app, flagmw.Client(provider), Builder(ANN), page_views=NAMED)
    started: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        started.append(status)

    assert list(middleware(EnvironBuilder("/a").get_environ(), start_response)) == [b"sorry"]
    assert started == ["500 Oops"]
    assert provider.views == []


def test_a_page_whose_app_raises_after_its_start_is_not_told(provider: Experimenting) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ["flagmw.flags"].variation("hero")
        start_response("200 OK", [("Content-Type", "text/html")])
        raise LookupError

    with pytest.raises(LookupError):
        Browser(wsgi.FlagMiddleware(app, flagmw.Client(provider), Builder(ANN), page_views=NAMED)).get("/a")
    assert provider.views == []


def test_a_page_that_asgi_does_not_send_to_its_end_is_not_told(provider: Experimenting) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["flags"].variation("hero")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    middleware = asgi.FlagMiddleware(app, flagmw.Client(provider), Builder(ANN), page_views=NAMED)
    with pytest.raises(LookupError):
        TestClient(middleware).get("/a")
    assert provider.views == []


def test_a_page_that_asgi_sends_in_parts_is_told_once(provider: Experimenting) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["flags"].variation("hero")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        await send({"type": "http.response.body", "body": b"what no server sends on"})

    get(asgi.FlagMiddleware(app, flagmw.Client(provider), Builder(ANN), page_views=NAMED), scope_for("/a"))
    assert provider.views == [("/a", "ann")]


def test_an_async_view_of_django_may_have_its_user_queried_for_a_page_view(provider: Experimenting) -> None:
    threads: list[int] = []

    def user(request: Any) -> dict[str, str]:
        threads.append(threading.get_ident())
        return ANN

    async def page(request: HttpRequest) -> HttpResponse:
        threads.append(threading.get_ident())
        return HttpResponse("page")

    setting = {"PROVIDER": provider, "NAME": NAME, "USER": user, "PAGE_VIEWS": {"everyone": True}}
    with (
        _shared(flagmw.Client(provider)),
        override_settings(
            FLAGMW=setting, MIDDLEWARE=["flagmw_django.FlagMiddleware"], ROOT_URLCONF=(django_path("a", page),)
        ),
    ):
        assert asyncio.run(AsyncClient().get("/a")).status_code == 200
    assert provider.views == [("/a", "ann")]
    assert len(set(threads)) == 2, "the event loop does not wait for a query"


# --- settings ---------------------------------------------------------------------------------------------------

FLAG_FILE = {"FLAG_FILE": "flags.yaml"}


def shown_name(request: Any) -> str:
    return "shown"


@pytest.mark.parametrize(
    ("setting", "page_views"),
    [
        (True, PageViews()),
        (False, False),
        ({}, PageViews()),
        ({"EVERYONE": True, "prefix": "view "}, PageViews(everyone=True, prefix="view ")),
        (PageViews(everyone=True), PageViews(everyone=True)),
        ({"NAME": shown_name}, PageViews(name=shown_name)),
    ],
)
def test_a_setting_says_which_page_views_are_told(setting: Any, page_views: PageViews | bool) -> None:
    assert read_settings("FLAGMW", {**FLAG_FILE, "PAGE_VIEWS": setting}).page_views == page_views


def test_a_function_for_names_may_be_a_dotted_path() -> None:
    settings = read_settings("FLAGMW", {**FLAG_FILE, "PAGE_VIEWS": {"NAME": "posixpath.basename"}})
    assert settings.page_views == PageViews(name=posixpath.basename)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("yes", "PAGE_VIEWS must be a PageViews, True or False, got str"),
        ({"EVERYBODY": True}, "PAGE_VIEWS: 'EVERYBODY' is no setting; did you mean 'EVERYONE'?"),
        ({"EVERYONE": 1}, "PAGE_VIEWS: everyone must be a bool, got int"),
        ({"NAME": "page"}, "PAGE_VIEWS: NAME is a text that is no dotted path such as 'shop.flags.name'"),
        ({"NAME": 3}, "PAGE_VIEWS: name must be a function from request to str, got int"),
        ({"NAME": "shop.names.page"}, "PAGE_VIEWS: NAME: 'shop.names.page' cannot be imported: "),
    ],
)
def test_a_wrong_setting_is_named(setting: Any, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings("FLAGMW", {**FLAG_FILE, "PAGE_VIEWS": setting})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)


def test_flask_reads_the_setting(provider: Experimenting) -> None:
    app = flask.Flask(__name__)
    app.config["FLAGMW_PAGE_VIEWS"] = {"PREFIX": "view "}
    flagmw_flask.Flags(app, flagmw.Client(provider), user=Builder(ANN))
    app.add_url_rule("/a", "a", lambda: str(flagmw.flags.variation("hero")))
    app.test_client().get("/a", buffered=True)
    assert provider.views == [("view /a", "ann")]
