"""`Flags`: the flags of one request. Nothing is done before the first read.

The first read pins the snapshot in force and finds out who the user is; from then on each flag is evaluated at
most once and keeps its value, whichever thread or task of the request asks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from flagmw.client import Client, Evaluations, User, flag_keys, revision_of
from flagmw.context import UserContext
from flagmw.core import overrides
from flagmw.core.evaluating import BAD_KEY, Kind, as_kind
from flagmw.core.snapshot import Outcome, Snapshot, evaluation_of, failed, value_of
from flagmw.evaluation import ErrorCode, Evaluation
from flagmw.http import varies_by_cookie
from flagmw.users import Visitor, Visitors

WAIT_S = 1.0
"""How long a read waits for the user to be found out by another thread of the request."""

_REENTERED = Visitor(
    context=None,
    failure=failed(ErrorCode.INVALID_CONTEXT, "the user builder reads a flag, which needs the user"),
)
_UNANSWERED = Visitor(
    context=None,
    failure=failed(ErrorCode.INVALID_CONTEXT, f"another thread has not found out the user within {WAIT_S:g} s"),
)


class Flags:
    """Reads flags for the user of one request. Safe to hand to the request's threads and tasks.

    Adapters make it; an application finds it at `request.flags`, `flagmw.flags` and the like.

    Attributes:
        client: evaluates the flags.
        pin: who makes the request, and the flags of its moment; None as long as nothing was read.
    """

    __slots__ = ("_building_in", "_lock", "_memo", "_overrides", "_request", "_visitors", "client", "pin")

    def __init__(self, client: Client, visitors: Visitors[Any], request: Any) -> None:
        """Remember where to look; `visitors` is asked about `request` at the first read."""
        self.client = client
        self._visitors = visitors
        self._request = request
        self._memo: dict[str, Outcome] = {}
        self._overrides: Mapping[str, Outcome] | None = None
        self.pin: tuple[Visitor, Snapshot | None] | None = None
        self._building_in = 0
        self._lock = threading.Lock()

    # --- reading --------------------------------------------------------------------------------------------

    def variation(self, key: str, default: Any = None) -> Any:
        """Give the flag's value, of whatever type it is; `default` when there is none."""
        try:
            outcome = self._memo[key]
        except Exception:  # not read yet, or no key at all: both are dealt with there
            return value_of(self._outcome(key), default)
        if outcome.direct and self._overrides is overrides.current:
            return outcome.value
        return value_of(self._outcome(key), default)

    def variation_detail(self, key: str, default: Any = None, kind: Kind | None = None) -> Evaluation:
        """Give the flag's value with its variation and reason; `kind` as in `Client.variation_detail`."""
        outcome = self._typed(key, kind) if kind is not None else self._outcome(key)
        return evaluation_of(outcome, key, default, revision_of(self._pinned()[1]))

    def is_enabled(self, key: str, default: bool = False) -> bool:
        """Tell whether a boolean flag is on."""
        try:
            outcome = self._memo[key]
        except Exception:  # not read yet, or a key that cannot be hashed
            return bool(value_of(self._typed(key, "boolean"), default))
        value = outcome.value
        if outcome.direct and value.__class__ is bool and self._overrides is overrides.current:
            return value
        return bool(value_of(self._typed(key, "boolean"), default))

    def boolean(self, key: str, default: bool = False) -> bool:
        """Give a boolean flag's value."""
        return self.is_enabled(key, default)

    def string(self, key: str, default: str = "") -> str:
        """Give a string flag's value."""
        return value_of(self._typed(key, "string"), default)  # type: ignore[no-any-return]  # str by kind

    def integer(self, key: str, default: int = 0) -> int:
        """Give a number flag's value as an int; a fraction is a mismatch."""
        return value_of(self._typed(key, "integer"), default)  # type: ignore[no-any-return]  # int by kind

    def number(self, key: str, default: float = 0.0) -> float:
        """Give a number flag's value as a float."""
        return value_of(self._typed(key, "number"), default)  # type: ignore[no-any-return]  # float by kind

    def json(self, key: str, default: Any = None) -> Any:
        """Give the mapping or list of a flag, a copy that is the caller's own."""
        return value_of(self._typed(key, "json"), default)

    def all(self) -> Mapping[str, Evaluation]:
        """Give every flag's evaluation; each is evaluated when it is read."""
        return Evaluations(flag_keys(self._pinned()[1]), self.variation_detail)

    def read(self) -> Mapping[str, Evaluation]:
        """Give the evaluations of the flags that this request has read so far."""
        return Evaluations(list(self._memo), self.variation_detail)

    # --- the user -------------------------------------------------------------------------------------------

    @property
    def user(self) -> UserContext:
        """Who flags are evaluated for; without a key when the user could not be built."""
        return self._pinned()[0].context or UserContext()

    def identify(self, user: User) -> None:
        """Evaluate for another user from here on, for example after a login. Never raises.

        The flags stay those of the request's moment; each is evaluated anew when it is read.
        """
        held = self._building_in != threading.get_ident() and self._lock.acquire(timeout=WAIT_S)
        try:
            before = self.pin
            visitor = self._visitors.identified(self._request, self.visitor, user)
            self.pin = (visitor, before[1] if before is not None else self.client.snapshot())
            self._request = None
            self._memo = {}
        finally:
            if held:
                self._lock.release()

    def refresh(self) -> None:
        """Take the flags in force now, for connections that live long; the user stays."""
        self._pinned()
        if self.pin is None:
            return  # the first read is still under way, and takes them anyway
        with self._lock:
            self.pin = (self.pin[0], self.client.snapshot())
            self._memo = {}

    def track(self, event: str, value: float = 1.0, **properties: Any) -> None:
        """Tell that the user did something that experiments count; see `Client.track`."""
        context = self._pinned()[0].context
        if context is not None:
            self.client.track(context, event, value, **properties)

    # --- for adapters ---------------------------------------------------------------------------------------

    @property
    def visitor(self) -> Visitor | None:
        """Who makes the request; None as long as nothing was read."""
        return self.pin[0] if self.pin is not None else None

    def response_headers(self, vary: Iterable[str]) -> list[tuple[str, str]]:
        """Give the headers that the response needs because of what was read.

        Args:
            vary: the values of the Vary headers that it has.

        Returns:
            Names and values: none when no flag was read.
        """
        visitor = self.visitor
        if visitor is None:
            return []
        headers = [] if varies_by_cookie(vary) else [("Vary", "Cookie")]
        ids = self._visitors.ids
        if visitor.anonymous_id is not None and ids is not None:
            headers.append(("Set-Cookie", ids.header(visitor.anonymous_id, is_secure=visitor.is_secure)))
        return headers

    def __repr__(self) -> str:
        """Tell how many flags were read, and of the user nothing."""
        return f"<Flags: {len(self._memo)} read>"

    def keep(self, request: Any) -> None:
        """Find the user in this copy of the request from here on; the original refers to its accessor.

        So what outlives a response may still read flags, and nothing is left to the garbage collector.
        """
        if self.pin is None:
            self._request = request

    # --- inside ---------------------------------------------------------------------------------------------

    def _pinned(self) -> tuple[Visitor, Snapshot | None]:
        pin = self.pin
        if pin is not None:
            return pin
        if self._building_in == threading.get_ident():
            return _REENTERED, None
        # Bounded, because a user builder in another thread may wait for the very event loop that waits here.
        if not self._lock.acquire(timeout=WAIT_S):
            return _UNANSWERED, None
        try:
            if self.pin is not None:
                return self.pin
            self._building_in = threading.get_ident()
            try:
                snapshot = self.client.snapshot()
                visitor = self._visitors.find(self._request)
            finally:
                self._building_in = 0
            if self.pin is None:  # or `identify` has grown tired of waiting
                self.pin = (visitor, snapshot)
                self._request = None  # a request refers to its accessor: this ends the cycle
            return self.pin
        finally:
            self._lock.release()

    def _outcome(self, key: str) -> Outcome:
        if self._overrides is not overrides.current:
            self._memo = {}
            self._overrides = overrides.current
        memo = self._memo
        try:
            return memo[key]
        except KeyError:
            pass
        except Exception:  # whatever hashing a key of the caller's does
            return self.client.noted(key, BAD_KEY)
        visitor, snapshot = self._pinned()
        if visitor is _REENTERED or visitor is _UNANSWERED:
            return self.client.noted(key, self._evaluate(key, visitor, snapshot))
        with self._lock:
            if key not in memo:
                memo[key] = self._evaluate(key, visitor, snapshot)
            return memo[key]

    def _evaluate(self, key: str, visitor: Visitor, snapshot: Snapshot | None) -> Outcome:
        if visitor.context is not None:
            return self.client.outcome(snapshot, key, visitor.context, None)
        overridden = overrides.current.get(key)
        return overridden or visitor.failure or BAD_KEY

    def _typed(self, key: str, kind: Kind) -> Outcome:
        outcome = self._outcome(key)
        typed = as_kind(outcome, kind)
        return typed if typed is outcome else self.client.noted(key, typed)
