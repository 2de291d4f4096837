"""FeatBit's users: mappings as its own client reads them, and what its events tell of a user.

Source: FeatBit reference, sections 7 and 13; vectors `user:*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.context import UserContext
from flagmw.core.properties import shown_texts, taken_texts
from flagmw.core.snapshot import Outcome, failed
from flagmw.core.syncing import WORDS
from flagmw.errors import ContextError
from flagmw.evaluation import ErrorCode
from flagmw.frozen import FrozenDict

BUILT_IN = frozenset({"key", "keyid", "name"})

_NAMED_SELF = FrozenDict({"self": ""})
"""Marks the context of a mapping with an entry "self": FeatBit's client evaluates nothing for such a user."""

_NO_USER = failed(ErrorCode.INVALID_CONTEXT, "the user has no key", provider_reason=WORDS[ErrorCode.INVALID_CONTEXT])
_BAD_USER = failed(
    ErrorCode.GENERAL,
    "the user has an attribute named self, which FeatBit's client cannot evaluate either; rename it",
    provider_reason=WORDS[ErrorCode.GENERAL],
)


def read_user(user: object) -> UserContext:
    """Give the context for a user.

    Raises:
        ContextError: FeatBit's client would not take it; says what is missing.
    """
    if isinstance(user, UserContext):
        return user
    if not isinstance(user, Mapping):
        raise ContextError(f"a user is a UserContext or a mapping, got {type(user).__name__}")
    key = _required(user.get("key") or user.get("keyid"), "key")
    name = _required(user.get("name"), "name")
    if "self" in user:
        return UserContext(attributes=_NAMED_SELF)
    texts = taken_texts(user, BUILT_IN, takes_booleans=True)
    return UserContext(key, name=name, attributes=FrozenDict(texts))


def _required(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ContextError(f"a FeatBit user needs a {name}: a str that is not blank")
    return value


def no_user(context: UserContext) -> Outcome:
    """Give the outcome for a context without a usable key."""
    return _BAD_USER if context.attributes is _NAMED_SELF else _NO_USER


def event_user(context: UserContext) -> dict[str, Any]:
    """Give what events tell of a user; private attributes stay here."""
    texts = shown_texts(context)
    name = texts.get("name") or context.key
    return {
        "keyId": context.key,
        "name": name,
        "customizedProperties": [
            {"name": name, "value": text} for name, text in texts.items() if name.lower() not in BUILT_IN
        ],
    }
