"""What of a user travels with a task: from a context to the text of a message header, and back.

Knows nothing of Celery. The text is JSON in ASCII, which every broker takes as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flagmw.context import UserContext
from flagmw.errors import ContextError

MAX_CHARS = 16_384
"""RabbitMQ takes 128 KiB of headers at most and then closes the connection; users need far less."""

_TEXTS = ("key", "name", "email", "country")
_MAPPINGS = ("identifiers", "attributes")
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def public(context: UserContext) -> UserContext:
    """Give a context without the values of its private attributes; their names stay, so that they stay private."""
    private = context.private
    if not private:
        return context
    return UserContext(
        context.key,
        name=None if "name" in private else context.name,
        email=None if "email" in private else context.email,
        country=None if "country" in private else context.country,
        identifiers=_without(private, context.identifiers),
        attributes=_without(private, context.attributes),
        private=private,
    )


def _without(private: frozenset[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in private}


def written(context: UserContext) -> str:
    """Write a context, private attributes included.

    Raises:
        ContextError: it is larger than a header may be.
    """
    fields: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(context, name)) is not None}
    fields.update({name: value for name in _MAPPINGS if (value := getattr(context, name))})
    if context.private:
        fields["private"] = sorted(context.private)
    text = _encode(fields)
    if len(text) > MAX_CHARS:
        raise ContextError(f"the user takes {len(text)} characters, more than the {MAX_CHARS} that travel with a task")
    return text


def read(text: object) -> UserContext:
    """Read what `written` gave; fields that later releases may add are left out, and an empty text is nobody.

    Raises:
        ContextError: it is no such text, and the message shows nothing of it.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARS:
        raise ContextError(f"it must be a str of at most {MAX_CHARS} characters")
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise ContextError("it is no JSON") from None
    if not isinstance(found, dict):
        raise ContextError("it is no JSON object")
    return UserContext(
        **{name: found[name] for name in (*_TEXTS, *_MAPPINGS, "private") if found.get(name) is not None}
    )
