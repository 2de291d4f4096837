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
        return Property(slot=None, otherwise=attribute_in_the_place_of_the_key)

    def otherwise(context: UserContext) -> str | None:
        return text_of(context.values.get(name))

    return Property(slot=name, otherwise=otherwise)


def attribute_in_the_place_of_the_key(context: UserContext) -> str | None:
    """Give the attribute that is named as `UserContext.values` names the key."""
    return text_of(context.identifiers.get(KEY_SLOT, context.attributes.get(KEY_SLOT)))
