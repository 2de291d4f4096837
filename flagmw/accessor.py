"""`Flags`: the flags of one request. Nothing is done before the first read.

The first read pins the snapshot in force and finds out who the user is; from then on each flag is evaluated at
most once and keeps its value, whichever thread or task of the request asks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from flagmw.client import Client, User
from flagmw.context import UserContext
from flagmw.core import overrides
from flagmw.core.evaluating import BAD_KEY, as_kind, unique_key
from flagmw.core.records import Record
from flagmw.core.snapshot import Kind, Outcome, Snapshot, Space, failed, settled, value_of
from flagmw.evaluation import ErrorCode, Evaluation
from flagmw.evaluations import Evaluations, flag_keys
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

    __slots__ = (
        "_building_in",
        "_configs",
        "_exposed",
        "_found",
        "_lock",
        "_memo",
        "_overrides",
        "_request",
        "_start_wait_s",
        "_switches",
        "_told",
        "_visitors",
        "client",
        "pin",
    )

    def __init__(self, client: Client, visitors: Visitors[Any], request: Any, start_wait_s: float = 0.0) -> None:
        """Remember where to look; `visitors` is asked about `request` at the first read.

        Args:
            client: evaluates the flags.
            visitors: finds out who makes the request.
            request: what `visitors` is asked about.
            start_wait_s: how long the first read may wait in a process that has no flags yet; see `Runtime.hold`.
        """
        self.client = client
        self._visitors = visitors
        self._request = request
        self._start_wait_s = start_wait_s
        self._memo: dict[Any, Outcome] = {}
        self._switches = self._memo
        self._configs = self._memo
        self._exposed: set[tuple[Any, ...]] | None = None
        self._told: deque[Record] | tuple[()] | None = None
        self._overrides: Mapping[str, Outcome] | None = None
        self.pin: tuple[Visitor, Snapshot | None] | None = None
        self._found: Visitor | None = None
        self._building_in = 0
        self._lock = threading.Lock()

    # --- reading --------------------------------------------------------------------------------------------

    def variation(self, key: str | int, default: Any = None) -> Any:
        """Give the flag's value, of whatever type it is; `default` when there is none."""
        try:
            outcome = self._memo[key]
        except Exception:  # not read yet, or no key at all: both are dealt with there
            return value_of(self._outcome(key, default), default)
        if outcome.direct and self._overrides is overrides.current and key.__class__ is str:
            return outcome.value
        return value_of(self._outcome(key, default), default)

    def variation_detail(self, key: str | int, default: Any = None, kind: Kind | None = None) -> Evaluation:
        """Give the flag's value with its variation and reason; `kind` as in `Client.variation_detail`."""
        return self._detail(key, default, kind, "variations")

    def is_enabled(self, key: str | int, default: bool = False) -> bool:
        """Tell whether a boolean flag is on."""
        try:
            outcome = self._switches[key]
        except Exception:  # not read yet, or a key that cannot be hashed
            return bool(value_of(self._typed(key, default, "boolean", "switches"), default))
        value = outcome.value if outcome.kinds is None else outcome.kinds.get("boolean")
        if outcome.direct and value.__class__ is bool and self._overrides is overrides.current and key.__class__ is str:
            return value
        return bool(value_of(self._typed(key, default, "boolean", "switches"), default))

    def is_enabled_detail(self, key: str | int, default: bool = False) -> Evaluation:
        """Tell whether a boolean flag is on, with its variation and reason."""
        return self._detail(key, default, "boolean", "switches")

    def config(self, key: str, default: Any = None) -> Any:
        """Give the value of a remote configuration; with most services that is a flag like any other."""
        return value_of(self._outcome(key, default, "configs"), default)

    def config_detail(self, key: str, default: Any = None) -> Evaluation:
        """Give the value of a remote configuration, with the reason."""
        return self._detail(key, default, None, "configs")

    def boolean(self, key: str, default: bool = False) -> bool:
        """Give a boolean flag's value."""
        return self.is_enabled(key, default)

    def string(self, key: str, default: str = "") -> str:
        """Give a string flag's value."""
        return value_of(self._typed(key, default, "string"), default)  # type: ignore[no-any-return]  # str by kind

    def integer(self, key: str, default: int = 0) -> int:
        """Give a number flag's value as an int; a fraction is a mismatch."""
        return value_of(self._typed(key, default, "integer"), default)  # type: ignore[no-any-return]  # int by kind

    def number(self, key: str, default: float = 0.0) -> float:
        """Give a number flag's value as a float."""
        return value_of(self._typed(key, default, "number"), default)  # type: ignore[no-any-return]  # float by kind

    def json(self, key: str, default: Any = None) -> Any:
        """Give the mapping or list of a flag, a copy that is the caller's own."""
        return value_of(self._typed(key, default, "json"), default)

    def all(self) -> Mapping[str, Evaluation]:
        """Give every flag's evaluation; each is evaluated when it is read."""
        return Evaluations(flag_keys(self._pinned()[1]), self.variation_detail)

    def read(self) -> Mapping[str, Evaluation]:
        """Give the evaluations of the flags that this request has read so far."""
        snapshot = self.pin[1] if self.pin is not None else None
        read: dict[str, Outcome] = {}
        spaces: tuple[Space, ...] = ("configs", "switches", "variations")
        for space in spaces:
            for key, outcome in list(self._memo_of(space).items()):
                read[unique_key(snapshot, key, space)] = outcome
        return Evaluations(list(read), lambda key: self.client.evaluation(read[key], key, None, snapshot))

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
            self.pin = (visitor, before[1] if before is not None else self._first_snapshot())
            self._request = None
            self._forget()
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
            self._forget()

    def track(self, event: str, value: float | None = None, **properties: Any) -> None:
        """Tell that the user did something that experiments count; see `Client.track`."""
        context = self._pinned()[0].context
        metric = self.client.metric(context, event, value, properties) if context is not None else None
        if metric is not None:
            self._tell(metric)

    # --- for adapters ---------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Keep events from here on until `hand_over`, so that a request's cost one write; the adapter promises that."""
        self._told = ()

    def hand_over(self, *, is_last: bool = False) -> None:
        """Have the events of this request delivered; to be called before what they tell of can be seen outside.

        Args:
            is_last: events that come later, from a thread of the request, are delivered one by one.
        """
        told = self._told
        if is_last:
            self._told = None
        if told:
            self._drain(told)

    @property
    def visitor(self) -> Visitor | None:
        """Who makes the request; None as long as nobody had to know."""
        return self.pin[0] if self.pin is not None else self._found

    def find_visitor(self) -> Visitor:
        """Find out who makes the request without taking any flags, so that none have to be waited for."""
        found = self.visitor
        if found is not None:
            return found
        if self._building_in == threading.get_ident():
            return _REENTERED
        if not self._lock.acquire(timeout=WAIT_S):
            return _UNANSWERED
        try:
            if self.visitor is None:
                self._building_in = threading.get_ident()
                try:
                    self._found = self._visitors.find(self._request)
                finally:
                    self._building_in = 0
                self._request = None  # see `_pinned`
            return self.visitor or _UNANSWERED
        finally:
            self._lock.release()

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
        memos = {id(memo): memo for memo in (self._memo, self._switches, self._configs)}
        return f"<Flags: {sum(len(memo) for memo in memos.values())} read>"

    def keep(self, request: Any) -> None:
        """Find the user in this copy of the request from here on; the original refers to its accessor.

        So what outlives a response may still read flags, and nothing is left to the garbage collector.
        """
        if self.pin is None:
            self._request = request

    # --- inside ---------------------------------------------------------------------------------------------

    def _drain(self, told: deque[Record]) -> None:
        records = []
        try:
            while True:  # another thread of the request may add to it, or take from it
                records.append(told.popleft())
        except IndexError:
            self.client.hand_over(records)

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
                snapshot = self._first_snapshot()
                visitor = self._found or self._visitors.find(self._request)
            finally:
                self._building_in = 0
            if self.pin is None:  # or `identify` has grown tired of waiting
                self.pin = (visitor, snapshot)
                self._forget()
                self._request = None  # a request refers to its accessor: this ends the cycle
            return self.pin
        finally:
            self._lock.release()

    def _first_snapshot(self) -> Snapshot | None:
        snapshot = self.client.snapshot()
        if snapshot is None:
            left_s = self.client.hold(self._start_wait_s)
            if left_s > 0:
                self.client.wait_settled(left_s)
                snapshot = self.client.snapshot()
        return snapshot

    def _forget(self) -> None:
        """Let each flag be evaluated anew. What asks for the same thing by other keys has a memo of its own."""
        if self._told == ():
            self._told = deque()
        snapshot = self.pin[1] if self.pin is not None else None
        self._memo = {}
        apart = snapshot is not None and snapshot.switches is not snapshot.variations
        self._switches = {} if apart else self._memo
        self._configs = {} if apart else self._memo

    def _memo_of(self, space: Space) -> dict[Any, Outcome]:
        return self._memo if space == "variations" else self._switches if space == "switches" else self._configs

    def _outcome(self, key: Any, default: Any, space: Space = "variations") -> Outcome:
        """Give a flag's outcome for a caller with this default, evaluating it if this request has not yet."""
        if self._overrides is not overrides.current:
            self._forget()
            self._overrides = overrides.current
        visitor, snapshot = self._pinned()
        memo = self._memo_of(space)
        if key.__class__ is not str and (key.__class__ is bool or not isinstance(key, (str, int))):
            memo = {}  # no key of any flag; as a dict's key it might be taken for one
        try:
            outcome = memo[key]
        except KeyError:
            pass
        except Exception:  # whatever hashing a key of the caller's does
            return self.client.noted(key, self._evaluate(key, visitor, snapshot, space))
        else:
            return outcome if outcome.resolve is None else self._serve(key, visitor, snapshot, outcome, default, space)
        if visitor is _REENTERED or visitor is _UNANSWERED:
            return self.client.noted(key, self._evaluate(key, visitor, snapshot, space))
        with self._lock:
            if key in memo:
                outcome = memo[key]
            else:
                outcome = memo[key] = self._evaluate(key, visitor, snapshot, space)
                if outcome.resolve is None:
                    self._serve(key, visitor, snapshot, outcome, default, space)
                if self.client.tallies is not None:
                    served = outcome if outcome.resolve is None else settled(outcome, default)
                    self.client.count(snapshot, key, served, space)
        return outcome if outcome.resolve is None else self._serve(key, visitor, snapshot, outcome, default, space)

    def _serve(
        self, key: Any, visitor: Visitor, snapshot: Snapshot | None, outcome: Outcome, default: Any, space: Space
    ) -> Outcome:
        """Settle an outcome and tell the service, once per request for one flag, user and variation."""
        outcome = settled(outcome, default)
        if outcome.exposes and visitor.context is not None and self.client.takes_events:
            unique = unique_key(snapshot, key, space)
            mark = (unique, visitor.context.key, outcome.variation)
            if self._exposed is None:
                self._exposed = set()
            if mark not in self._exposed:
                self._exposed.add(mark)
                exposure = self.client.exposure(snapshot, unique, visitor.context, outcome, default)
                if exposure is not None:
                    self._tell(exposure)
        return self.client.noted(key, outcome)

    def _tell(self, record: Record) -> None:
        told = self._told
        if not isinstance(told, deque):
            self.client.hand_over((record,))
            return
        told.append(record)
        if self._told is not told:  # the request has ended in this very moment
            self._drain(told)

    def _evaluate(self, key: Any, visitor: Visitor, snapshot: Snapshot | None, space: Space) -> Outcome:
        if visitor.context is not None:
            return self.client.outcome(snapshot, key, visitor.context, space)
        try:
            overridden = overrides.current.get(key)
        except Exception:  # whatever hashing a key of the caller's does
            return BAD_KEY
        return self.client.with_default(key, overridden or visitor.failure or BAD_KEY)

    def _typed(self, key: Any, default: Any, kind: Kind, space: Space = "variations") -> Outcome:
        outcome = self._outcome(key, default, space)
        typed = as_kind(outcome, kind)
        return typed if typed is outcome else self.client.noted(key, typed)

    def _detail(self, key: Any, default: Any, kind: Kind | None, space: Space) -> Evaluation:
        outcome = self._outcome(key, default, space)
        if kind is not None:
            outcome = self.client.noted(key, as_kind(outcome, kind))
        return self.client.evaluation(outcome, key, default, self._pinned()[1])
