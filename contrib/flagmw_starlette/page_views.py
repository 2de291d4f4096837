"""What a page of a Starlette or FastAPI app is called: the path of its route, unless the application has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import Scope

from flagmw.page_views import PageViews, check_page_views


def named(page_views: PageViews | bool) -> PageViews | bool:
    """Let page views take their names from a connection, or from its route.

    Raises:
        ConfigError: it is neither a bool nor a `PageViews`.
    """
    wanted = check_page_views(page_views)
    if wanted is None:
        return False
    return replace(wanted, name=path_of if wanted.name is None else _of_scope(wanted.name))


def path_of(scope: Scope) -> str | None:
    """Give the path of the route that answered, such as `/products/{id}`; None when there is none.

    Below a mount it begins with the mount's own path, below FastAPI's `include_router` with the prefix.
    """
    root = scope.get("app_root_path", scope.get("root_path", ""))
    routes = getattr(scope.get("router"), "routes", None) or ()
    own = _own_path(scope)
    if own is None:
        return _path_among(routes, {**scope, "root_path": root})
    if scope.get("root_path", "") == root:
        return own or None
    return _mounted_at(routes, {**scope, "root_path": root}) + own


def _own_path(scope: Scope) -> str | None:
    """Give the path of the innermost route, as it stands in its own app; None when it has left no trace."""
    route = scope.get("route")  # FastAPI's routes put themselves there, of late also Starlette's routers
    if isinstance(route, (Mount, Host)):
        return ""  # of an app that has no routes, such as one of static files
    # Where a recent FastAPI keeps what `include_router` has made of a route; the route has the path without prefix.
    included = scope.get("fastapi", {}).get("effective_route_context")
    if included is not None and included.original_route is route:
        return str(included.path)
    path = getattr(route, "path", None)
    return None if path is None else str(path)


def _mounted_at(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """Give the paths of the mounts that a request came through, which only matching it once more can tell."""
    for route in routes:
        if isinstance(route, (Mount, Host)):
            match, child = route.matches(scope)
            if match is Match.FULL:
                return str(getattr(route, "path", "")) + _mounted_at(route.routes or (), {**scope, **child})
    return ""


def _path_among(routes: Iterable[BaseRoute], scope: Scope) -> str | None:
    """Give the path of the first route that matches, mounts included."""
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            path = str(getattr(route, "path", ""))
            if isinstance(route, (Mount, Host)):
                path += _path_among(route.routes or (), {**scope, **child}) or ""
            return path or None
    return None


def _of_scope(name: Callable[[Any], str | None]) -> Callable[[Scope], str | None]:
    def name_of(scope: Scope) -> str | None:
        return name(HTTPConnection(scope))

    return name_of
