"""Properties of a context, read as text: how featureflag.co and FeatBit see whatever an application knows of a user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flagmw.context import UserContext

KEY_SLOT = "targetingKey"
"""Where `UserContext.values` has the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """How to read one property of a context.

    Attributes:
        slot: where `UserContext.values` has it; None for what it does not have.
        otherwise: gives the text where that is not a str; None when the user has none. Never raises.
    """

    slot: Any
    otherwise: Callable[[UserContext], str | None]


def text_of(value: Any) -> str | None:
    """Give a scalar as text, as `str` does; None for what is none."""
    if value.__class__ is str:
        return value
    if isinstance(value, (bool, int, float)):
        try:
            return str(value)
        except ValueError:  # an integer of more digits than Python converts
            return None
    return None


def _key_of(context: UserContext) -> str | None:
    return context.key


def _nothing(context: UserContext) -> str | None:
    return None


KEY = Property(slot=KEY_SLOT, otherwise=_key_of)

NOTHING = Property(slot=None, otherwise=_nothing)
"""What no user has."""


def attribute(name: str) -> Property:
    """Read an attribute, an identifier or one of the context's own fields by its name."""
    if name == KEY_SLOT:  # in `UserContext.values` the key takes the place of an attribute of this name
        return Property(slot=None, otherwise=_attribute_in_the_place_of_the_key)

    def otherwise(context: UserContext) -> str | None:
        return text_of(context.values.get(name))

    return Property(slot=name, otherwise=otherwise)


def _attribute_in_the_place_of_the_key(context: UserContext) -> str | None:
    return text_of(context.identifiers.get(KEY_SLOT, context.attributes.get(KEY_SLOT)))


def shown_texts(context: UserContext) -> dict[str, str]:
    """Give everything but the key that a service may be told of a user, as texts by name."""
    texts = {}
    for name, value in context.values.items():
        if name not in context.private:
            text = text_of(value) if name != KEY_SLOT else _attribute_in_the_place_of_the_key(context)
            if text is not None:
                texts[name] = text
    return texts


def taken_texts(user: Any, taken: frozenset[str], *, takes_booleans: bool) -> dict[str, Any]:
    """Read a mapping's entries as the two services' own clients do: what is text, and what is text of a number.

    Args:
        user: the mapping.
        taken: lower-case names that are no attributes.
        takes_booleans: whether they are taken, too.

    Returns:
        Texts by name; what cannot be used is left out.
    """
    texts = {}
    for name, value in user.items():
        if isinstance(name, str) and name.lower() not in taken:
            text = _taken_text(value, takes_booleans=takes_booleans)
            if text is not None:
                texts[str.__str__(name)] = text
    return texts


def _taken_text(value: Any, *, takes_booleans: bool) -> str | None:
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if value is None or isinstance(value, (list, dict, tuple)):
            return None
        text = str.__str__(str(value))
        if not (takes_booleans and isinstance(value, bool)):
            float(text)
    except Exception:  # whatever an object of the caller's does when it is written
        return None
    return text
