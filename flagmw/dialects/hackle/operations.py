"""`PropertyOperations`: changes of the properties that Hackle keeps of a user.

Source: Hackle reference, section 18; vectors `users`, `events`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flagmw.dialects.hackle.values import MAX_PROPERTIES, is_property_name, property_value
from flagmw.frozen import EMPTY, FrozenDict

UNSET = "-"
CLEAR_ALL = "clearAll"


class PropertyOperations(Mapping[str, Mapping[str, Any]]):
    """Operations, to be handed to `Client.identify`. Immutable: each method gives a new one.

        PropertyOperations().set("plan", "pro").increment("logins", 1).unset("trial_ends")

    A property is changed once at most: a later operation on it is ignored. Names have 1 to 128 characters; a value is a
    str of at most 1024 characters, a bool, a number up to 2**53, or a list of such texts and numbers. A value of another
    type is left out.
    """

    __slots__ = ("_operations",)

    def __init__(self) -> None:
        """Begin without any operation."""
        self._operations: FrozenDict = EMPTY

    def set(self, name: str, value: Any) -> PropertyOperations:
        """Set a property."""
        return self._with("$set", name, value)

    def set_once(self, name: str, value: Any) -> PropertyOperations:
        """Set a property, unless it is set already."""
        return self._with("$setOnce", name, value)

    def unset(self, name: str) -> PropertyOperations:
        """Remove a property."""
        return self._with("$unset", name, UNSET)

    def increment(self, name: str, value: float) -> PropertyOperations:
        """Add to a property that is a number."""
        return self._with("$increment", name, value)

    def append(self, name: str, value: Any) -> PropertyOperations:
        """Add to the end of a property that is a list."""
        return self._with("$append", name, value)

    def append_once(self, name: str, value: Any) -> PropertyOperations:
        """Add to the end of a property that is a list, unless it is in there."""
        return self._with("$appendOnce", name, value)

    def prepend(self, name: str, value: Any) -> PropertyOperations:
        """Add to the beginning of a property that is a list."""
        return self._with("$prepend", name, value)

    def prepend_once(self, name: str, value: Any) -> PropertyOperations:
        """Add to the beginning of a property that is a list, unless it is in there."""
        return self._with("$prependOnce", name, value)

    def remove(self, name: str, value: Any) -> PropertyOperations:
        """Remove from a property that is a list."""
        return self._with("$remove", name, value)

    def clear_all(self) -> PropertyOperations:
        """Remove all properties."""
        return self._with("$clearAll", CLEAR_ALL, UNSET)

    def _with(self, operation: str, name: str, value: Any) -> PropertyOperations:
        if any(name in properties for properties in self._operations.values() if isinstance(name, str)):
            return self
        properties = self._operations.get(operation, EMPTY)
        kept = property_value(name, value, (list,)) if is_property_name(name) else None
        if kept is not None and len(properties) < MAX_PROPERTIES:
            properties = FrozenDict({**properties, name: kept})
        changed = PropertyOperations()
        changed._operations = FrozenDict({**self._operations, operation: properties})
        return changed

    def __getitem__(self, operation: str) -> Mapping[str, Any]:
        """Give an operation's properties by its name on the wire, for example "$set".

        Raises:
            KeyError: there is no such operation in here.
        """
        return self._operations[operation]  # type: ignore[no-any-return]  # made in _with

    def __iter__(self) -> Iterator[str]:
        """Walk over the operations in the order of their first use."""
        return iter(self._operations)

    def __len__(self) -> int:
        """Count the operations that are used."""
        return len(self._operations)

    def __repr__(self) -> str:
        """Name the operations; what they do to a user stays private."""
        return f"<PropertyOperations: {', '.join(self._operations) or 'none'}>"
