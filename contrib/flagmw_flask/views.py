"""`require_flag`: views that exist only while a flag is on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import flask
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

import flagmw
from flagmw.errors import ConfigError

View = TypeVar("View", bound=Callable[..., Any])


def require_flag(key: str, default: bool = False, redirect_to: str | None = None) -> Callable[[View], View]:
    """Decorate a view, plain or async, so that it is served only when a boolean flag is on.

    Args:
        key: the flag.
        default: whether the view is served when the flag has no value.
        redirect_to: where to send users otherwise, a URL with a slash in it or an endpoint's name; None answers
            404 Not Found.

    Raises:
        ConfigError: `key` is no text, for example when the decorator is written without its parentheses.
    """
    if not isinstance(key, str):
        raise ConfigError(f'require_flag takes a flag key: @require_flag("new-checkout"), got {type(key).__name__}')

    def decorate(view: View) -> View:
        if inspect.iscoroutinefunction(view):

            @functools.wraps(view)
            async def gated_async(*args: Any, **kwargs: Any) -> Any:
                return _refusal(key, default, redirect_to) or await view(*args, **kwargs)

            return gated_async  # type: ignore[return-value]  # the same signature

        @functools.wraps(view)
        def gated(*args: Any, **kwargs: Any) -> Any:
            return _refusal(key, default, redirect_to) or view(*args, **kwargs)

        return gated  # type: ignore[return-value]  # the same signature

    return decorate


def _refusal(key: str, default: bool, redirect_to: str | None) -> Response | None:
    """Give the answer for a user who does not have the flag; None lets the view answer.

    Raises:
        NotFound: that is the answer.
        RuntimeError: the app does not have the extension.
    """
    if "flagmw" not in flask.current_app.extensions:
        raise RuntimeError("require_flag needs the extension: call flagmw_flask.Flags(app) when the app is made")
    if flagmw.flags.is_enabled(key, default):
        return None
    if redirect_to is None:
        raise NotFound
    return flask.redirect(redirect_to if "/" in redirect_to else flask.url_for(redirect_to))
