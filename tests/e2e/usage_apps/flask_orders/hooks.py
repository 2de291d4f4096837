from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, g

F = TypeVar("F", bound=Callable[..., Any])


def register_hooks(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_appcontext(lambda _: None)


def _begin() -> None:
    g.began = time.monotonic()


def _end(response: Response) -> Response:
    response.headers["X-Took"] = str(time.monotonic() - g.began)
    return response


def logged(view: F) -> F:
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return wrapper  # type: ignore[return-value]  # as decorators are typed


def cached(seconds: float = 1.0) -> Callable[[F], F]:
    def decorate(view: F) -> F:
        kept: dict[Any, Any] = {}

        def wrapper(*args: Any) -> Any:
            if args not in kept:
                kept[args] = view(*args)
            return kept[args]

        def forget() -> None:
            kept.clear()

        wrapper.forget = forget  # type: ignore[attr-defined]  # an attribute, as caches have them
        return wrapper  # type: ignore[return-value]  # as decorators are typed

    return decorate
