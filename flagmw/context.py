"""`UserContext`: who a flag is evaluated for.

A context is checked and copied once, when it is built; evaluating then reads plain values and can rely on
them being JSON: no cycles, no NaN, no objects with code of their own. Needs only `errors` and `frozen`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any
from uuid import UUID

from flagmw.errors import ContextError
from flagmw.frozen import EMPTY, FrozenDict

MAX_DEPTH = 32
MAX_VALUES = 10_000
MAX_TEXT_CHARS = 1_000_000

_FIELDS = ("key", "name", "email", "country", "identifiers", "attributes", "private")


class _Freezer:
    """Copies one context's attributes into immutable JSON values, within bounds."""

    __slots__ = ("chars_left", "values_left")

    def __init__(self) -> None:
        self.values_left = MAX_VALUES
        self.chars_left = MAX_TEXT_CHARS

    def freeze(self, value: Any, where: str, depth: int = 0) -> Any:
        kind = type(value)
        if kind is str:
            self.chars_left -= len(value)
        elif kind is bool or kind is int or value is None:
            pass
        elif kind is float:
            if not math.isfinite(value):
                raise ContextError(f"{where} is NaN or infinite; leave the attribute out or give a finite number")
        else:
            return self._freeze_other(value, where, depth)
        self.values_left -= 1
        if self.values_left < 0 or self.chars_left < 0:
            raise ContextError(
                f"a context takes at most {MAX_VALUES} values and {MAX_TEXT_CHARS} characters, {where} is beyond that"
            )
        return value

    def _freeze_other(self, value: Any, where: str, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise ContextError(f"{where} is nested deeper than {MAX_DEPTH} levels, or contains itself")
        if isinstance(value, Mapping):
            return self.freeze_mapping(value, where, depth)
        if isinstance(value, (list, tuple)):
            self.freeze(None, where)
            return tuple(self.freeze(item, where, depth + 1) for item in value)
        if isinstance(value, Enum):
            return self.freeze(value.value, where, depth + 1)
        return self.freeze(_plain_scalar(value, where), where)

    def freeze_mapping(self, value: Mapping[Any, Any], where: str, depth: int = 0) -> FrozenDict:
        frozen: dict[str, Any] = {}
        for name, item in value.items():
            if type(name) is not str:
                raise ContextError(f"{where} has a name of type {type(name).__name__}, names are str")
            self.chars_left -= len(name)
            frozen[name] = self.freeze(item, f"{where} {name!r}" if depth == 0 else where, depth + 1)
        return FrozenDict(frozen)


def _plain_scalar(value: Any, where: str) -> str | int | float:
    try:
        if isinstance(value, str):
            return str.__str__(value)  # the text itself, without running a subclass's __str__
        if isinstance(value, int):
            return int.__int__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, UUID):
            return str(value)
        if isinstance(value, Decimal):
            return float(value)
    except Exception:  # a subclass of the caller's may do anything, and its text may hold user data
        raise ContextError(f"{where}: reading the {type(value).__name__} raised an error") from None
    raise ContextError(
        f"{where} is of type {type(value).__name__}; attributes are str, int, float, bool, None, date-times, "
        "and lists and mappings of those"
    )


def _text_or_none(name: str, value: Any) -> str | None:
    if value is not None and type(value) is not str:
        if not isinstance(value, str):
            kind = type(value).__name__
            raise ContextError(f"{name} must be a str, got {kind}; convert it, for example with str()")
        value = str.__str__(value)
    text: str | None = value
    if text is not None and len(text) > MAX_TEXT_CHARS:
        raise ContextError(f"{name} has more than {MAX_TEXT_CHARS} characters")
    return text


@dataclass(frozen=True, slots=True, repr=False)
class UserContext:
    """The user (or device, or tenant) that flags are evaluated for. Immutable; values are copied.

    Args:
        key: identifies the user; rollouts place users by it. None: nobody is known, so rollouts by key
            do not decide.
        name: shown to people by flag services.
        email: the user's address.
        country: as the application writes it, usually an ISO 3166 code.
        identifiers: further identifiers, name to text (for example "device").
        attributes: free attributes, name to JSON value; date-times become ISO 8601 text.
        private: names of attributes that never leave the process.

    Raises:
        ContextError: a wrong type, NaN, nested too deeply or too large. It names the attribute, not its value.
    """

    key: str | None = None
    _: KW_ONLY
    name: str | None = None
    email: str | None = None
    country: str | None = None
    identifiers: Mapping[str, str] = field(default=EMPTY)
    attributes: Mapping[str, Any] = field(default=EMPTY)
    private: frozenset[str] = frozenset()
    values: Mapping[str, Any] = field(init=False, compare=False)
    """Everything that rules can read, by name at one level; the key is `targetingKey`. Read-only."""

    def __post_init__(self) -> None:
        """Check and copy what was given."""
        put = object.__setattr__
        values: dict[str, Any] = {}
        if self.attributes is not EMPTY:
            if not isinstance(self.attributes, Mapping):
                raise ContextError(f"attributes must be a mapping, got {type(self.attributes).__name__}")
            if self.attributes.__class__ is not FrozenDict:
                put(self, "attributes", _Freezer().freeze_mapping(self.attributes, "attribute"))
            values.update(self.attributes)
        if self.identifiers is not EMPTY:
            put(self, "identifiers", _check_identifiers(self.identifiers))
            values.update(self.identifiers)
        if self.private.__class__ is not frozenset:
            put(self, "private", _check_private(self.private))
        for name in ("name", "email", "country"):
            value = getattr(self, name)
            if value is not None:
                values[name] = _text_or_none(name, value)
                put(self, name, values[name])
        put(self, "key", _text_or_none("key", self.key))
        values["targetingKey"] = self.key
        put(self, "values", FrozenDict(values))

    @classmethod
    def of(cls, user: UserContext | Mapping[str, Any]) -> UserContext:
        """Give the context for what a caller passed: a context as it is, a mapping read by name.

        Args:
            user: a context, or a mapping with any of `key` (or `targetingKey`), `name`, `email`, `country`,
                `identifiers`, `attributes`, `private`; every other name is a free attribute.

        Raises:
            ContextError: neither of the two, or a value that a context does not take.
        """
        if isinstance(user, cls):
            return user
        if not isinstance(user, Mapping):
            raise ContextError(f"a user is a UserContext or a mapping, got {type(user).__name__}")
        known = {name: user[name] for name in _FIELDS if user.get(name) is not None}
        if "targetingKey" in user:
            known.setdefault("key", user["targetingKey"])
        free = {name: value for name, value in user.items() if name not in _FIELDS and name != "targetingKey"}
        if free:
            stated = known.get("attributes", EMPTY)
            if not isinstance(stated, Mapping):
                raise ContextError(f"attributes must be a mapping, got {type(stated).__name__}")
            known["attributes"] = {**stated, **free}
        return cls(**known)

    def replace(self, **changes: Any) -> UserContext:
        """Give a copy with some fields changed, for example `user.replace(country="DE")`.

        Raises:
            ContextError: as the constructor.
        """
        current = {name: getattr(self, name) for name in _FIELDS}
        unknown = changes.keys() - current.keys()
        if unknown:
            raise ContextError(f"a UserContext has no field {min(unknown)!r}; its fields are {', '.join(_FIELDS)}")
        return UserContext(**{**current, **changes})

    def __repr__(self) -> str:
        """Show only a hash of the key: contexts end up in logs and tracebacks."""
        if self.key is None:
            return "UserContext(no key)"
        digest = hashlib.sha256(self.key.encode("utf-8", "surrogatepass")).hexdigest()
        return f"UserContext(key sha256:{digest[:12]})"


def _check_identifiers(identifiers: Any) -> FrozenDict:
    if not isinstance(identifiers, Mapping):
        raise ContextError(f"identifiers must be a mapping, got {type(identifiers).__name__}")
    for name, value in identifiers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ContextError("identifiers map names to texts; convert other values, for example with str()")
    plain = {str.__str__(name): value for name, value in identifiers.items()}
    return _Freezer().freeze_mapping(plain, "identifier")


def _check_private(private: Any) -> frozenset[str]:
    if isinstance(private, str) or not isinstance(private, Iterable):
        raise ContextError(f"private must be a collection of attribute names, got {type(private).__name__}")
    names = frozenset(islice(private, MAX_VALUES + 1))
    if len(names) > MAX_VALUES:
        raise ContextError(f"private has more than {MAX_VALUES} names")
    if not all(isinstance(name, str) for name in names):
        raise ContextError("private must hold attribute names as str")
    return names
