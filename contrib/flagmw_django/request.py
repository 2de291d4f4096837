"""The request with its flags, for type checkers and for the parts of this adapter."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from flagmw.accessor import Flags


class FlagsRequest(HttpRequest):
    """What a view gets, for annotations: `def shop(request: FlagsRequest)`. It is never instantiated."""

    flags: Flags


def flags_of(request: HttpRequest) -> Flags:
    """Give a request's flags.

    Raises:
        ImproperlyConfigured: the middleware is not installed.
    """
    flags = getattr(request, "flags", None)
    if not isinstance(flags, Flags):
        raise ImproperlyConfigured("request.flags is missing; add 'flagmw_django.FlagMiddleware' to MIDDLEWARE")
    return flags
