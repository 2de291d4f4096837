"""Texts of events at the price of a request: what many events share is written once. Needs nothing of any service."""

from __future__ import annotations

from collections.abc import Callable
from json import JSONEncoder
from json.encoder import encode_basestring_ascii

from flagmw.context import UserContext
from flagmw.core.records import Exposure
from flagmw.core.snapshot import Outcome

MAX_KEPT_CHARS = 1_000_000
"""How much text is kept for outcomes; when it is more, writing begins anew."""

MAX_KEPT_NAMES = 500
"""The same for the names of attributes."""

UNCHANGING = frozenset({type(None), bool, int, float, str})
"""Types of defaults that are as they were as long as they are the same object; callers mostly write them as literals."""

Pieces = tuple[str, ...]
"""A text with gaps for what differs from event to event."""

json_text = JSONEncoder().encode
"""What `json.dumps` gives, without its look at options."""

quoted = encode_basestring_ascii
"""The same for a str, at a tenth of the price."""


class NameTexts(dict[str, str]):
    """Gives what is written of a name, which mostly is one of a few that the application uses: `texts[name]`.

    Args:
        write: makes the text of a name.
    """

    __slots__ = ("_write",)

    def __init__(self, write: Callable[[str], str]) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, name: str) -> str:
        """Write a name that is new, and forget all others when they are too many."""
        text = self._write(name)
        if len(self) >= MAX_KEPT_NAMES:
            self.clear()
        self[name] = text
        return text


class UserTexts:
    """Gives what is written of a user; the events of one request are mostly of one, whose text is written once.

    Args:
        write: makes the text of a user.

    Attributes:
        last: the user of whom was told last, with the text; for writers in a hurry.
    """

    __slots__ = ("_write", "last")

    def __init__(self, write: Callable[[UserContext], str]) -> None:
        self.last: tuple[UserContext | None, str] = (None, "")
        self._write = write

    def __call__(self, context: UserContext) -> str:
        """Give the text of a user; from any thread, since user and text are replaced together."""
        known, text = self.last
        if known is not context:
            text = self._write(context)
            self.last = (context, text)
        return text


class OutcomeTexts:
    """Gives what is written of an outcome, once for as long as the flags stay the same.

    By identity, since outcomes are made when a flag is compiled, and shared by all who are served alike.

    Args:
        write: makes the pieces of an exposure, of nothing but its flag key, its outcome and, if you say so, its default.
        by_default: whether they depend on the caller's default.
    """

    __slots__ = ("_by_default", "_chars", "_kept", "_write")

    def __init__(self, write: Callable[[Exposure], Pieces], *, by_default: bool = False) -> None:
        self._write = write
        self._by_default = by_default
        # With the outcome, which therefore lives, so that no other can have its identity.
        self._kept: tuple[str, dict[int, tuple[Outcome, str, object, Pieces]]] = ("", {})
        self._chars = 0

    def __call__(self, exposure: Exposure) -> Pieces:
        """Give the pieces of an exposure; from any thread."""
        kept_for, kept = self._kept
        flag_key, _, outcome, revision, _, default = exposure
        if kept_for != revision or self._chars > MAX_KEPT_CHARS:
            kept = {}
            self._kept = (revision, kept)
            self._chars = 0
        known = kept.get(id(outcome))
        if known is not None and known[1] == flag_key and (known[2] is default or not self._by_default):
            return known[3]
        pieces = self._write(exposure)
        if not self._by_default:
            default = None
        if default.__class__ in UNCHANGING:
            kept[id(outcome)] = (outcome, flag_key, default, pieces)
            self._chars += sum(map(len, pieces))
        return pieces
