"""How the tests drive Flask apps."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from wsgiref.validate import validator

import flask

from flagmw import Client
from flagmw.accessor import Flags as Accessor
from flagmw.http import AnonymousCookie
from flagmw_flask import Flags
from tests.contrib.support import (
    COOKIE,
    HOST_NAME,
    PEER,
    Reply,
    View,
    Visit,
    served,
    static_client,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from _typeshed.wsgi import WSGIApplication


def accessor() -> Accessor:
    """Give `request.flags`, which the type of Flask's request does not know."""
    return cast("Accessor", flask.request.flags)  # type: ignore[attr-defined]  # put there by the extension


def visit_of(app: flask.Flask) -> Visit:
    """Send requests with Flask's own client, without cookies of its own."""
    client = app.test_client(use_cookies=False)

    def visit(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
        response = client.get(
            path,
            base_url=f"{'https' if https else 'http'}://{HOST_NAME}",
            environ_overrides={
                "REMOTE_ADDR": PEER,
                **{
                    "HTTP_" + name.upper().replace("-", "_"): value.encode().decode("latin-1")
                    for name, value in (headers or {}).items()
                },
            },
            buffered=True,
        )
        return Reply(status=response.status_code, headers=list(response.headers.items()), body=response.data)

    return visit


def app_with(view: View, client: Client | None = None, **arguments: Any) -> flask.Flask:
    """Make an app whose every page gives a view's value."""
    app = flask.Flask(__name__)
    Flags(app, client if client is not None else static_client(), **({"anonymous": COOKIE} | arguments))

    @app.get("/")
    @app.get("/<path:path>")
    def page(path: str = "") -> flask.Response:
        return flask.jsonify(view(accessor()))

    return app


class FlaskHost:
    """A Flask app.

    Args:
        validated: have wsgiref check both sides of the middleware.
    """

    def __init__(self, *, validated: bool) -> None:
        self._validated = validated

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
        app = flask.Flask(__name__)
        self._check(app)
        Flags(app, client, user=user, anonymous=anonymous, trusted_proxies=trusted_proxies)
        self._check(app)
        self._add_page(app, view, {"Vary": vary} if vary else {})
        return served(visit_of(app))

    def _check(self, app: flask.Flask) -> None:
        if self._validated:
            checked: WSGIApplication = validator(app.wsgi_app)
            app.wsgi_app = checked  # type: ignore[method-assign,assignment]  # Flask's documented way to add middleware

    def _add_page(self, app: flask.Flask, view: View, headers: dict[str, str]) -> None:
        @app.get("/")
        @app.get("/<path:path>")
        def page(path: str = "") -> tuple[str, dict[str, str]]:
            return json.dumps(view(accessor())), headers


class AsyncFlaskHost(FlaskHost):
    """A Flask app with async views."""

    def _add_page(self, app: flask.Flask, view: View, headers: dict[str, str]) -> None:
        @app.get("/")
        @app.get("/<path:path>")
        async def page(path: str = "") -> tuple[str, dict[str, str]]:
            result = view(accessor())
            return json.dumps(await result if inspect.isawaitable(result) else result), headers
