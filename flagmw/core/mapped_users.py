"""Users as the clients of featureflag.co and FeatBit read them from mappings.

Source: featureflag.co reference, section 8; FeatBit reference, section 7; vectors `user:*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.context import UserContext
from flagmw.core.snapshot import Outcome, failed
from flagmw.core.syncing import WORDS
from flagmw.errors import ContextError
from flagmw.evaluation import ErrorCode
from flagmw.frozen import FrozenDict

_NAMED_SELF = FrozenDict({"self": ""})

NAMED_SELF = UserContext(attributes=_NAMED_SELF)
"""Stands for a mapping with an entry "self": the services' own clients evaluate nothing for such a user."""

_NO_USER = failed(ErrorCode.INVALID_CONTEXT, "the user has no key", provider_reason=WORDS[ErrorCode.INVALID_CONTEXT])
_BAD_USER = failed(
    ErrorCode.GENERAL,
    "the user has an attribute named self, with which the service's own client evaluates nothing; rename it",
    provider_reason=WORDS[ErrorCode.GENERAL],
)


def no_user(context: UserContext) -> Outcome:
    """Give the outcome for a context without a usable key."""
    return _BAD_USER if context.attributes is _NAMED_SELF else _NO_USER


def mapping_of(user: object) -> Mapping[str, Any]:
    """Give a user that is a mapping.

    Raises:
        ContextError: it is none.
    """
    if not isinstance(user, Mapping):
        raise ContextError(f"a user is a UserContext or a mapping, got {type(user).__name__}")
    return user


def required_text(value: Any, name: str) -> str:
    """Give an entry that a user must have.

    Raises:
        ContextError: it is no text, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise ContextError(f"the user's {name} must be a str that is not blank")
    return value


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
            if value.__class__ is str and name.__class__ is str:
                texts[name] = value
                continue
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
