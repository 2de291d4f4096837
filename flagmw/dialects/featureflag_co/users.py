"""featureflag.co's users: mappings as its own client reads them, and what its events tell of a user.

Source: featureflag.co reference, sections 8 and 15; vectors `user:*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.context import UserContext
from flagmw.core.mapped_users import NAMED_SELF, mapping_of, required_text, shown_texts, taken_texts
from flagmw.frozen import FrozenDict

BUILT_IN = frozenset({"key", "keyid", "name", "email", "country"})


def read_user(user: object) -> UserContext:
    """Give the context for a user.

    Raises:
        ContextError: featureflag.co's client would not take it; says what is missing.
    """
    if isinstance(user, UserContext):
        return user
    mapping = mapping_of(user)
    key = required_text(mapping.get("key") or mapping.get("keyid"), "key")
    name, email, country = (_optional(mapping, field) for field in ("name", "email", "country"))
    if "self" in mapping:
        return NAMED_SELF
    texts = taken_texts(mapping, BUILT_IN, takes_booleans=False)
    return UserContext(key, name=name, email=email, country=country, attributes=FrozenDict(texts))


def _optional(mapping: Mapping[str, Any], name: str) -> str | None:
    value = mapping.get(name)
    return required_text(value, name) if value else None


def event_user(context: UserContext) -> dict[str, Any]:
    """Give what events tell of a user; private attributes stay here."""
    texts = shown_texts(context)
    return {
        "keyId": context.key,
        "userName": texts.get("name", ""),
        "email": texts.get("email", ""),
        "country": texts.get("country", ""),
        "customizedProperties": [
            {"name": name, "value": text} for name, text in texts.items() if name.lower() not in BUILT_IN
        ],
    }
