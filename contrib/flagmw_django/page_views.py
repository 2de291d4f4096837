"""What a page of a Django project is called: the route of its URL, unless the application has a name for it."""

from __future__ import annotations

from django.http import HttpRequest


def route_of(request: HttpRequest) -> str | None:
    """Give the route that a request's URL has matched, such as `/products/<int:id>/`; None when it has matched none.

    Django's routes do not begin with a slash; here they do, as in all hosts, unless they are regular expressions.
    """
    match = request.resolver_match
    if match is None:
        return None
    return match.route if match.route.startswith(("/", "^")) else "/" + match.route
