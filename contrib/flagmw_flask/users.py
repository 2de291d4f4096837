"""Who makes a request of a Flask app: Flask-Login's user where there is one, else what the server says.

Flask-Login is used only where the app has loaded it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flask

from flagmw.context import UserContext
from flagmw.wsgi import remote_user

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FlaskUserBuilder = Callable[[flask.Request], UserContext | Mapping[str, Any] | None]
"""From Flask's request to its user; None when nobody is known."""


def build_user(app: flask.Flask, user: FlaskUserBuilder, environ: WSGIEnvironment) -> Any:
    """Call a user builder, always within Flask's context for the request.

    In a thread, or in a body that is sent after Flask has left the request, the request is entered again; it is
    entered on a copy of the environ because Flask writes to it when it leaves.
    """
    if flask.has_request_context() and flask.request.environ is environ:
        return user(flask.request)
    with app.request_context(dict(environ)):
        return user(flask.request)


def known_user(request: flask.Request) -> UserContext | None:
    """Give the user that Flask-Login or, for an app without it, the server has authenticated; None for nobody."""
    flask_login = sys.modules.get("flask_login")
    if flask_login is None or getattr(flask.current_app, "login_manager", None) is None:
        return remote_user(request.environ)
    user = flask_login.current_user
    key = user.get_id() if getattr(user, "is_authenticated", False) else None
    return UserContext(str(key)) if key is not None else None
