"""FeatBit's users: mappings as its own client reads them, and what its events tell of a user.

Source: FeatBit reference, sections 7 and 13; vectors `user:*`.
"""

from __future__ import annotations

from flagmw.context import UserContext
from flagmw.core.event_texts import quoted
from flagmw.core.mapped_users import NAMED_SELF, mapping_of, required_text, taken_texts
from flagmw.core.sync_events import customized, member_names, shown_text
from flagmw.frozen import FrozenDict

BUILT_IN = frozenset({"key", "keyid", "name"})
_MEMBERS = member_names(BUILT_IN)


def read_user(user: object) -> UserContext:
    """Give the context for a user.

    Raises:
        ContextError: FeatBit's client would not take it; says what is missing.
    """
    if isinstance(user, UserContext):
        return user
    mapping = mapping_of(user)
    key = required_text(mapping.get("key") or mapping.get("keyid"), "key")
    name = required_text(mapping.get("name"), "name")
    if "self" in mapping:
        return NAMED_SELF
    texts = taken_texts(mapping, BUILT_IN, takes_booleans=True)
    return UserContext(key, name=name, attributes=FrozenDict(texts))


def event_user(context: UserContext) -> str:
    """Give what events tell of a user, as JSON; private attributes stay here."""
    key = quoted(context.key or "")
    name = shown_text(context, "name")
    return f'{{"keyId": {key}, "name": {quoted(name) if name else key}, {customized(context, _MEMBERS)}}}'
