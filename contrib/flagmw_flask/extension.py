"""`Flags`: the Flask extension. It installs the WSGI middleware and makes its accessor easy to reach.

Evaluating, cookies and headers are the middleware's; who the user is, is `users`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import flask

import flagmw
from flagmw.accessor import Flags as Accessor
from flagmw.binding import finders
from flagmw.client import Client
from flagmw.errors import ConfigError
from flagmw.http import AnonymousCookie
from flagmw.page_views import PageViews, check_page_views
from flagmw.settings import Settings, read_settings
from flagmw.users import Visitors, check_user_builder
from flagmw.wsgi import ENVIRON_KEY, FlagMiddleware, check_client
from flagmw_flask.commands import flag_commands
from flagmw_flask.page_views import named
from flagmw_flask.users import FlaskUserBuilder, build_user, known_user

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

EXTENSION = "flagmw"
PROVIDER_SETTINGS = ("flag_file", "fractional", "provider", "dsn")


class Installed:
    """What an app has of flagmw, at `app.extensions["flagmw"]`.

    Attributes:
        client: evaluates the app's flags.
    """

    __slots__ = ("_visitors", "client")

    def __init__(self, client: Client, visitors: Visitors[WSGIEnvironment]) -> None:
        self.client = client
        self._visitors = visitors

    def flags_of(self, environ: WSGIEnvironment) -> Accessor:
        """Give a request's accessor; without the middleware, as in `app.test_request_context()`, a new one."""
        found = environ.get(ENVIRON_KEY)
        if found is None:
            found = environ.setdefault(ENVIRON_KEY, Accessor(self.client, self._visitors, environ))
        return cast("Accessor", found)


class Flags:
    """Gives the requests of Flask apps their flags.

    Settings are in `app.config["FLAGMW"]`, a mapping as `flagmw.settings.read_settings` takes it, or in
    `FLAGMW_FLAG_FILE` and so on; where they say nothing of flags, the environment variable FLAGMW_DSN does. The app's
    `SECRET_KEY` signs the anonymous cookie.

    Args:
        app: the app; without it, call `init_app`.
        client: evaluates the flags; None makes one from the settings.
        user: from Flask's request to the user, None for nobody. Called at the first read of a request, at most
            once. The default is Flask-Login's current user where the app has a login manager, else REMOTE_USER.
        anonymous: the cookie for users without a key, False for none; None as the settings say.
        trusted_proxies: how many proxies add to X-Forwarded-For; None as the settings say.
        start_wait: for how many seconds the first flag read of a process may wait for a flag service; None as the
            settings say.
        page_views: which pages are told to the flag service, see `PageViews`; the rule of a page's URL is its name
            unless `name` gives another, called with Flask's request. None as the settings say.
        usage: has the usage agent watch which functions run, see `flagmw.watching.watch`. None as the settings say.

    Raises:
        ConfigError: a setting or an argument that is not what it should be.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        client: Client | None = None,
        *,
        user: FlaskUserBuilder | None = None,
        anonymous: AnonymousCookie | bool | None = None,
        trusted_proxies: int | None = None,
        start_wait: float | None = None,
        page_views: PageViews | bool | None = None,
        usage: Any = None,
    ) -> None:
        if client is not None:
            check_client(client)
        self._client = client
        self._user = user
        self._anonymous = anonymous
        self._trusted_proxies = trusted_proxies
        self._start_wait = start_wait
        self._page_views = page_views
        self._usage = usage
        if page_views is not None:
            check_page_views(page_views)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Install into an app. A second time does nothing.

        Raises:
            ConfigError: a setting that is not what it should be, or the app has another client already.
        """
        settings = read_config(app, self._client)
        client = self._client if self._client is not None else settings.client()
        before = app.extensions.get(EXTENSION)
        if before is not None:
            if before.client is not client:
                raise ConfigError("this app has flagmw with another client already; call Flags(app) once per app")
            return
        user = next(found for found in (self._user, settings.user, known_user) if found is not None)
        anonymous = self._anonymous if self._anonymous is not None else settings.anonymous
        trusted_proxies = self._trusted_proxies if self._trusted_proxies is not None else settings.trusted_proxies
        check_user_builder(user)  # while it is still seen
        middleware = FlagMiddleware(
            app.wsgi_app,
            client,
            partial(build_user, app, user),
            anonymous=anonymous,
            trusted_proxies=trusted_proxies,
            start_wait=self._start_wait if self._start_wait is not None else settings.start_wait,
            page_views=named(self._page_views if self._page_views is not None else settings.page_views),
            usage=self._usage if self._usage is not None else settings.usage,
        )
        app.wsgi_app = middleware  # type: ignore[method-assign]  # Flask's documented way to add middleware
        installed = app.extensions[EXTENSION] = Installed(client, middleware.visitors)
        app.request_class = _request_class(app.request_class, installed)
        app.jinja_env.globals.setdefault("flags", flagmw.flags)
        if _find not in finders:
            finders.append(_find)
        app.cli.add_command(flag_commands(client))


def _find() -> Accessor | None:
    """Give the accessor of a request that passed no middleware, as in `app.test_request_context()`."""
    if not flask.has_request_context():
        return None
    installed = flask.current_app.extensions.get(EXTENSION)
    return installed.flags_of(flask.request.environ) if installed is not None else None


def read_config(app: flask.Flask, client: Client | None) -> Settings:
    """Read an app's settings; with a client of its own, they need not say where flags come from.

    Raises:
        ConfigError: lists every mistake.
    """
    found: Any = app.config.get("FLAGMW")
    if found is None or isinstance(found, Mapping):
        found = {**app.config.get_namespace("FLAGMW_"), **(found or {})}
        if client is not None:
            found = {name: value for name, value in found.items() if str(name).lower() not in PROVIDER_SETTINGS}
            found["provider"] = client.provider
    return read_settings("FLAGMW", found, secret=_secrets(app))


def _secrets(app: flask.Flask) -> list[str]:
    """Give the app's secret keys, the one that signs last."""
    keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.config.get("SECRET_KEY")]
    return [key.decode("latin-1") if isinstance(key, bytes) else key for key in keys if key]


def _request_class(base: type[flask.Request], installed: Installed) -> type[flask.Request]:
    """Add `flags` to an app's own request class; what that class calls `flags` itself stays."""

    def flags(request: flask.Request) -> Accessor:
        """Read the flags of this request."""
        return installed.flags_of(request.environ)

    if hasattr(base, "flags"):
        return base
    return type(base.__name__, (base,), {"flags": property(flags), "__module__": base.__module__})
