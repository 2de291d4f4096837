"""`flags`: the current request's accessor, for code that has no request at hand."""

from __future__ import annotations

from typing import cast

from werkzeug.local import LocalProxy

from flagmw.accessor import Flags
from flagmw.binding import find_flags


def _find() -> Flags:
    found = find_flags()
    if found is None:
        raise RuntimeError(
            "flagmw.flags is used outside a request. Wrap the app with flagmw's middleware; in a thread of your own, "
            "pass request.flags to it or run it in contextvars.copy_context(); without a request, use "
            "flagmw.get_client()."
        )
    return found


flags: Flags = cast("Flags", LocalProxy(_find))
"""Behaves as the `Flags` of the request that this thread or task works on.

Raises:
    RuntimeError: on use outside a request.
"""
