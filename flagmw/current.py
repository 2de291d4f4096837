"""`flags`: the current request's accessor, for code that has no request at hand."""

from __future__ import annotations

from typing import cast

from werkzeug.local import LocalProxy

from flagmw.accessor import Flags
from flagmw.binding import current_flags, finders


def _find() -> Flags:
    found = current_flags.get()
    if found is None:
        found = next((other for find in finders if (other := find()) is not None), None)
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
