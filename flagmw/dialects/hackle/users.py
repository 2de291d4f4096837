"""Who Hackle evaluates for: identifiers and properties, from what callers pass and from a `UserContext`.

`$id` is the context's key; the other identifiers keep their names. Properties are the attributes, and a context's name,
email and country where it has no attributes of these names.

Source: Hackle reference, section 4; vectors `users`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from flagmw.context import UserContext
from flagmw.dialects.hackle.values import (
    MAX_IDENTIFIER_CHARS,
    MAX_PROPERTIES,
    identifier_value,
    is_property_name,
    kept_properties,
    property_value,
)
from flagmw.errors import ContextError
from flagmw.frozen import FrozenDict

ID = "$id"
FIELDS = ("name", "email", "country")
"""What a `UserContext` has besides its attributes."""

MAX_ODD_DEPTH = 16

_NAMED = {
    "session_id": "$sessionId",
    "sessionId": "$sessionId",
    "id": ID,
    "user_id": "$userId",
    "userId": "$userId",
    "device_id": "$deviceId",
    "deviceId": "$deviceId",
}
_OTHER_MEMBERS = {"key", "targetingKey", "identifiers", "properties", "attributes", "private", *FIELDS}

NO_IDENTIFIER = "the user has no identifier that Hackle takes: a text of 1 to 512 characters, or a number"


def read_user(user: object) -> UserContext:
    """Give the context for a user as Hackle's own client takes it; a context as it is.

    Args:
        user: a context, or a mapping with `id`, `user_id`, `device_id`, `session_id`, `identifiers` and `properties`;
            also `key`, `attributes` and `private` as `UserContext` has them. Any other name is a property.

    Raises:
        ContextError: neither of the two, or no identifier is left of it.
    """
    if isinstance(user, UserContext):
        return user
    if not isinstance(user, Mapping):
        raise ContextError(f"a user is a UserContext or a mapping, got {type(user).__name__}")
    identifiers = _identifiers(user)
    if not identifiers:
        raise ContextError(NO_IDENTIFIER)
    fields = {name: user.get(name) for name in FIELDS if isinstance(user.get(name), str)}
    return UserContext(
        identifiers.get(ID),
        identifiers=identifiers,
        attributes=FrozenDict(_properties(user, fields)),
        private=user.get("private") or frozenset(),
        **fields,
    )


def _identifiers(user: Mapping[Any, Any]) -> dict[str, str]:
    kept: dict[str, str] = {}
    stated = user.get("identifiers")
    if isinstance(stated, Mapping):
        for name, value in stated.items():
            text = identifier_value(value) if is_property_name(name) else None
            if text is not None:
                kept[name] = text
    members = dict(_NAMED)
    if "id" not in user:
        members = {"key": ID, "targetingKey": ID, **members}
    for member, name in members.items():
        text = identifier_value(user.get(member))
        if text is not None:
            kept[name] = text
    return kept


def _properties(user: Mapping[Any, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    stated = [user.get(member) for member in ("attributes", "properties")]
    stated.append(
        {
            name: value
            for name, value in user.items()
            if name not in _NAMED and name not in fields and (name not in _OTHER_MEMBERS or name in FIELDS)
        }
    )
    properties = {name: value for part in stated if isinstance(part, Mapping) for name, value in part.items()}
    kept = kept_properties(properties, (list,))
    for name, value in kept.items():
        if isinstance(value, (dict, list)):
            kept[name] = _copied(value, 0)
    return kept


def _copied(value: Any, depth: int) -> Any:
    """Copy what stands below a "$" name, so that nobody changes it under the eyes of who encodes it."""
    if depth < MAX_ODD_DEPTH and isinstance(value, dict):
        return FrozenDict({name: _copied(item, depth + 1) for name, item in value.items()})
    if depth < MAX_ODD_DEPTH and isinstance(value, (list, tuple)):
        return tuple(_copied(item, depth + 1) for item in value)
    return value


# --- reading a context ----------------------------------------------------------------------------------------


def identify_by(identifier_type: object) -> Callable[[UserContext], str | None]:
    """Make what gives a prepared context's identifier of a type, None when it has none."""
    if not is_property_name(identifier_type):
        return lambda context: None
    name = str(identifier_type)

    def identify(context: UserContext) -> str | None:
        value = context.identifiers.get(name)
        return value if value and len(value) <= MAX_IDENTIFIER_CHARS else None

    def identify_by_key(context: UserContext) -> str | None:
        key = context.key
        return identify(context) if key is None else key

    return identify_by_key if name == ID else identify


def property_by(name: str) -> Callable[[UserContext], Any]:
    """Make what gives a prepared context's property as it stands in the context, None when there is none."""
    if name in FIELDS:
        field = attrgetter(name)

        def read_field(context: UserContext) -> Any:
            value = context.attributes.get(name)
            return field(context) if value is None else value

        return read_field
    return lambda context: context.attributes.get(name)


def prepared(context: UserContext) -> UserContext | None:
    """Give a context within Hackle's limits for evaluating; None when it has no identifier."""
    key = identifier_value(context.key)
    if key is None and not any(map(identifier_value, context.identifiers.values())):
        return None
    fields = sum(getattr(context, name) is not None for name in FIELDS)
    if len(context.attributes) + fields > MAX_PROPERTIES:
        kept = properties_of(context, frozenset())
        return UserContext(key, identifiers=context.identifiers, attributes=FrozenDict(kept))
    return context if key == context.key else context.replace(key=key)


def identifiers_of(context: UserContext, private: frozenset[str]) -> dict[str, str]:
    """Give a context's identifiers as events tell them."""
    kept: dict[str, str] = {}
    key = identifier_value(context.key)
    for name, value in context.identifiers.items():
        if key is not None and name in ("$userId", "$deviceId") and ID not in context.identifiers:
            kept.setdefault(ID, key)  # where Hackle's own client has it
        text = key if name == ID and key is not None else identifier_value(value)
        if text is not None and is_property_name(name):
            kept[name] = text
    if key is not None:
        kept.setdefault(ID, key)
    return {name: value for name, value in kept.items() if name not in private} if private else kept


def properties_of(context: UserContext, private: frozenset[str]) -> dict[str, Any]:
    """Give a context's properties as events tell them."""
    kept = kept_properties(context.attributes)
    for name in FIELDS:
        if context.attributes.get(name) is None and len(kept) < MAX_PROPERTIES:
            value = property_value(name, getattr(context, name))
            if value is not None:
                kept[name] = value
    return {name: value for name, value in kept.items() if name not in private} if private else kept
