"""Events of featureflag.co and FeatBit: a user, and what is told of the user. What their two dialects have in common.

Source: featureflag.co reference, sections 14.6 and 15; FeatBit reference, section 13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flagmw.context import UserContext
from flagmw.core.event_texts import NameTexts, OutcomeTexts, Pieces, UserTexts, json_text, quoted
from flagmw.core.properties import KEY_SLOT, attribute_in_the_place_of_the_key, text_of
from flagmw.core.records import Exposure

KIND = "track"

Item = tuple[str, bytes]
Told = tuple[Mapping[str, Any], Mapping[str, Any]]
"""What is told of a variation, before and after the time at which it was served."""


class SyncEvents:
    """Writes events of users.

    Args:
        user: gives what the service is told of a user, as JSON.
        member: the name of what holds the variations that a user was served.
        told: gives what is told of an exposure's variations, none where the service is told nothing.
    """

    def __init__(
        self, user: Callable[[UserContext], str], member: str, told: Callable[[Exposure], Sequence[Told]]
    ) -> None:
        self._user_text = UserTexts(lambda context: f'{{"user": {user(context)}')
        self._pieces = OutcomeTexts(lambda exposure: _pieces(member, told(exposure)))

    def exposure(self, exposure: Exposure) -> Sequence[Item]:
        """Write that a user was served variations; nothing for a user without a key."""
        context, pieces = exposure.context, self._pieces(exposure)
        if not pieces or not context.key:
            return ()
        user, user_text = self._user_text.last
        if user is not context:
            user_text = self._user_text(context)
        return ((KIND, (user_text + str(int(exposure.at_s * 1000)).join(pieces)).encode()),)

    def about(self, context: UserContext, told: Mapping[str, Any]) -> Sequence[Item]:
        """Write something else about a user; nothing for one without a key."""
        if not context.key:
            return ()
        rest = f", {json_text(told)[1:]}" if told else "}"
        return ((KIND, (self._user_text(context) + rest).encode()),)


def member_names(built_in: frozenset[str]) -> NameTexts:
    """Make what gives the begin of each further property of a user; nothing for those with members of their own.

    Args:
        built_in: their lower-case names.
    """
    return NameTexts(lambda name: "" if name.lower() in built_in else f'{{"name": {quoted(name)}, "value": ')


def customized(context: UserContext, begins: NameTexts) -> str:
    """Write the member of a user that has all further properties that a service may be told of."""
    private, shown = context.private, []
    for name, value in context.values.items():
        begin = begins[name]
        if not begin or name in private:
            continue
        if name == KEY_SLOT:
            text = attribute_in_the_place_of_the_key(context)
        else:
            text = value if value.__class__ is str else text_of(value)
        if text is not None:
            shown.append(f"{begin}{quoted(text)}}}")
    return f'"customizedProperties": [{", ".join(shown)}]'


def shown_text(context: UserContext, name: str) -> str:
    """Give one of a context's fields as a service may be told of it; empty where it may not, or there is none."""
    return text_of(context.values.get(name)) or "" if name not in context.private else ""


def body_of(items: Sequence[Item]) -> bytes:
    """Put items together to one JSON array."""
    return b"[" + b", ".join(text for _, text in items) + b"]"


def _pieces(member: str, told: Sequence[Told]) -> Pieces:
    """Give the text that follows the user, with gaps for the times; nothing of nothing."""
    if not told:
        return ()
    pieces, text = [], f', "{member}": ['
    for before, after in told:
        pieces.append(f'{text}{json_text(before)[:-1]}, "timestamp": ')
        text = f", {json_text(after)[1:]}, "
    return (*pieces, f"{text[:-2]}]}}")
