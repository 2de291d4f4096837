"""Which values Hackle takes from a user, and how it reads them as another type.

Source: Hackle reference, sections 4.2, 4.3 and 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

MAX_NAME_CHARS = 128
MAX_IDENTIFIER_CHARS = 512
MAX_TEXT_CHARS = 1024
MAX_PROPERTIES = 128
MAX_NUMBER = 2**53
"""Beyond this, doubles skip integers; Hackle takes no number there."""


ListTypes = tuple[type[list[Any]] | type[tuple[Any, ...]], ...]
"""What counts as a list: of what callers pass only lists, while in a `UserContext` lists are tuples."""


def is_number(value: Any) -> TypeGuard[int | float]:
    """Tell whether a value is a number that Hackle takes: finite, at most 2**53, no bool."""
    return isinstance(value, (int, float)) and value.__class__ is not bool and -MAX_NUMBER <= value <= MAX_NUMBER


def text_of(value: Any) -> str | None:
    """Read a text or a number as a text; None for anything else."""
    if isinstance(value, str):
        return value if value.__class__ is str else str.__str__(value)
    if is_number(value):
        return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)
    return None


def number_of(value: Any) -> int | float | None:
    """Read a number, or a text that Python's `float` reads, as a number; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if is_number(value) else None


def property_value(name: str, value: Any, list_types: ListTypes = (list, tuple)) -> Any:
    """Give what is kept of a property's value, None when it is dropped.

    Args:
        name: of the property; below names that begin with "$" anything is kept.
        value: as it was given.
        list_types: what counts as a list.
    """
    kind = value.__class__
    if kind is str:
        return value if len(value) <= MAX_TEXT_CHARS or name.startswith("$") else None
    if kind is bool or value is None:
        return value
    if isinstance(value, list_types):
        return tuple(item for item in value if _is_list_item(item))
    if is_number(value) or (isinstance(value, str) and len(value) <= MAX_TEXT_CHARS) or name.startswith("$"):
        return value
    return None


def _is_list_item(item: Any) -> bool:
    return len(item) <= MAX_TEXT_CHARS if isinstance(item, str) else is_number(item)


def is_property_name(name: Any) -> bool:
    """Tell whether a property or an identifier may have this name."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS


def kept_properties(properties: Any, list_types: ListTypes = (list, tuple)) -> dict[str, Any]:
    """Give what is kept of properties: those that Hackle takes, at most 128 of them."""
    kept: dict[str, Any] = {}
    if not isinstance(properties, Mapping):
        return kept
    for name, value in properties.items():
        if len(kept) >= MAX_PROPERTIES:
            break
        if is_property_name(name):
            taken = property_value(name, value, list_types)
            if taken is not None:
                kept[name] = taken
    return kept


def identifier_value(value: Any) -> str | None:
    """Give an identifier as a text, None when it is none that Hackle takes."""
    if isinstance(value, str):
        text = text_of(value)
        return text if 0 < len(value) <= MAX_IDENTIFIER_CHARS else None
    return text_of(value)
