"""featureflag.co's users: mappings as its own client reads them, and what its events tell of a user.

Source: featureflag.co reference, sections 8 and 15; vectors `user:*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.context import UserContext
from flagmw.core.event_texts import quoted
from flagmw.core.mapped_users import NAMED_SELF, mapping_of, required_text, taken_texts
from flagmw.core.sync_events import customized, member_names, shown_text
from flagmw.frozen import FrozenDict

BUILT_IN = frozenset({"key", "keyid", "name", "email", "country"})
_MEMBERS = member_names(BUILT_IN)


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


def event_user(context: UserContext) -> str:
    """Give what events tell of a user, as JSON; private attributes stay here."""
    name, email, country = [quoted(shown_text(context, field)) for field in ("name", "email", "country")]
    return (
        f'{{"keyId": {quoted(context.key or "")}, "userName": {name}, "email": {email}, "country": {country}, '
        f"{customized(context, _MEMBERS)}}}"
    )
