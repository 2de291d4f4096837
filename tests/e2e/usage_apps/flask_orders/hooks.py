import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import g

F = TypeVar("F", bound=Callable[..., Any])


def register_hooks(app):
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_appcontext(lambda _: None)


def _begin():
    g.began = time.monotonic()


def _end(response):
    response.headers["X-Took"] = str(time.monotonic() - g.began)
    return response


def logged(view):

    @functools.wraps(view)
    def wrapper(*args, **kwargs):
        return view(*args, **kwargs)

    return wrapper


def cached(seconds=1.0):

    def decorate(view):
        kept: dict[Any, Any] = {}

        def wrapper(*args):
            if args not in kept:
                kept[args] = view(*args)
            return kept[args]

        def forget():
            kept.clear()

        wrapper.forget = forget
        return wrapper

    return decorate
