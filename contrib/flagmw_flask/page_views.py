"""What a page of a Flask app is called: the rule of its URL, unless the application has a name for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import flask

from flagmw.page_views import PageViews, check_page_views

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def named(page_views: PageViews | bool) -> PageViews | bool:
    """Let page views take their names from Flask's request.

    Raises:
        ConfigError: it is neither a bool nor a `PageViews`.
    """
    wanted = check_page_views(page_views)
    return wanted is not None and replace(wanted, name=_of_environ(wanted.name or rule_of))


def rule_of(request: flask.Request) -> str | None:
    """Give the rule that a request's URL has matched, such as `/products/<int:id>`; None when it has matched none."""
    return request.url_rule.rule if request.url_rule is not None else None


def _of_environ(name: Callable[[flask.Request], str | None]) -> Callable[[WSGIEnvironment], str | None]:
    """Make what gives the name of a page while Flask still is within its request."""

    def name_of(environ: WSGIEnvironment) -> str | None:
        is_within = flask.has_request_context() and flask.request.environ is environ
        return name(flask.request) if is_within else None  # else another app has answered, in front of Flask

    return name_of
