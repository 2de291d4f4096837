"""`USER` functions, and a middleware that finds the user elsewhere than in a session."""

from __future__ import annotations

from typing import Any, NoReturn

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject


def by_query(request: HttpRequest) -> dict[str, Any]:
    """Ask the database, as an application's function would."""
    return {"key": f"one of {User.objects.count()}", "name": request.headers.get("X-Name", "")}


def raising(request: HttpRequest) -> NoReturn:
    raise LookupError("secret text")


async def awaiting(request: HttpRequest) -> None:
    """Be what a `USER` function cannot be."""


class TokenUser(MiddlewareMixin):
    """Takes the user from a header, when somebody asks."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        request.user = SimpleLazyObject(lambda: User.objects.get(username=request.headers["X-Token"]))  # type: ignore[assignment]  # stands for a user
        return None
