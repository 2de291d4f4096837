"""`Client`: evaluates flags that it keeps in sync in the background.

It owns one `Runtime` per process and adds the questions that callers ask. Which client a process shares under
which name is `registry`'s.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import getpid
from types import TracebackType
from typing import Any, Self

from flagmw.context import UserContext
from flagmw.core import overrides
from flagmw.core.evaluating import NOT_READY, OFFLINE, Kind, as_kind, evaluate
from flagmw.core.snapshot import Outcome, Snapshot, evaluation_of, failed, value_of
from flagmw.errors import ConfigError, ContextError
from flagmw.evaluation import ErrorCode, Evaluation, Reason
from flagmw.events import Exposure, Metric
from flagmw.lifecycle.process import PerProcess
from flagmw.once import LogOnce
from flagmw.runtime import ChangeCallback, Provider, Runtime
from flagmw.status import State, Status

logger = logging.getLogger("flagmw")

User = UserContext | Mapping[str, Any]
"""Whoever a flag is evaluated for; a mapping is read by `UserContext.of`."""

CLOSE_TIMEOUT_S = 1.0
MAX_SHOWN_CHARS = 200


class Client:
    """Evaluates flags locally. Safe to share between threads, and to build before a server forks.

    Constructing starts nothing: no thread, no file, no socket. The first use in a process starts it there; a
    flag file is read in that first use, so that the first answer is right. Evaluating never raises and never
    waits: when anything is wrong it gives the caller's default, and `variation_detail` says why.

    Args:
        provider: where flags come from, for example `flagmw.providers.FlagFile("flags.yaml")`.
        offline: do no I/O at all; only a provider that holds its flags in memory then has any.

    Raises:
        ConfigError: `provider` is not one.
    """

    def __init__(self, provider: Provider, *, offline: bool = False) -> None:
        for part in ("dialect", "source", "sink"):
            if not callable(getattr(provider, part, None)):
                raise ConfigError(
                    f"provider must be one of flagmw.providers, for example FlagFile('flags.yaml'), "
                    f"got {type(provider).__name__}"
                )
        self._provider = provider
        self._offline = offline
        self._closed = False
        self._callbacks: list[ChangeCallback] = []
        self._log_once = LogOnce(logger)
        self._created = time.time()
        self._processes = PerProcess(_runtime_builder(weakref.ref(self)))

    def build_runtime(self, inherited: Snapshot | None) -> Runtime:
        """Make this process's runtime; for `PerProcess` only."""
        active = not self._offline and not self._closed
        runtime = Runtime(self._provider, inherited, self._callbacks, active=active)
        weakref.finalize(self, runtime.ask_to_stop).atexit = False
        return runtime

    @property
    def provider(self) -> Provider:
        """Where flags come from."""
        return self._provider

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start in this process now, rather than at the first use; restarts a closed client."""
        if self._closed:
            self._closed = False
            self._processes.rebuild()
        else:
            self._processes.get()

    def wait_until_ready(self, timeout: float) -> bool:
        """Start, and wait until flags are there.

        Args:
            timeout: how long to wait at most, in seconds.

        Returns:
            Whether flags are there.
        """
        self.start()
        return self._processes.get().ready.wait(timeout)

    def flush(self, timeout: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver the events that are waiting.

        Returns:
            Whether none is left; always true for a provider that takes no events.
        """
        runtime = self._processes.peek()
        return runtime.sink.flush(timeout) if runtime is not None and runtime.sink is not None else True

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> bool:
        """Stop syncing and deliver the events that are waiting. Evaluating goes on with the last flags.

        Returns:
            Whether all ended within `timeout` seconds.
        """
        self._closed = True
        runtime = self._processes.peek()
        return runtime.close(timeout) if runtime is not None else True

    def __enter__(self) -> Self:
        """Start the client."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def __repr__(self) -> str:
        """Show provider and state; a provider's repr holds no secret."""
        return f"<Client {self._provider!r} {self.status.state}>"

    @property
    def status(self) -> Status:
        """How things are in this process; reading it starts nothing."""
        runtime = self._processes.peek()
        return runtime.status() if runtime is not None else Status(state=self._state_before_use(), since=self._created)

    def _state_before_use(self) -> State:
        return State.OFF if self._closed or self._offline else State.INITIALIZING

    def on_change(self, callback: ChangeCallback) -> Callable[[], None]:
        """Have `callback` called with the keys of flags that were added, removed or altered.

        It runs in the thread that brought the change; the first flags of a process are no change.

        Returns:
            A function that ends it.
        """
        self._callbacks.append(callback)

        def end() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return end

    # --- evaluating -----------------------------------------------------------------------------------------

    def variation(self, key: str, user: User, default: Any = None) -> Any:
        """Give the flag's value for a user, of whatever type it is; `default` when there is none."""
        state = self._processes.state
        runtime = state[1] if state is not None and state[0] == getpid() else self._processes.get()
        snapshot = runtime.snapshot
        if runtime.sink is not None or type(user) is not UserContext or snapshot is None or overrides.current:
            return self._read(key, user, default, None)
        try:
            flag = snapshot.flags[key]
        except Exception:  # no such flag, or no key that can be looked up
            return self._read(key, user, default, None)
        outcome = flag.evaluate(user)
        return outcome.value if outcome.direct else value_of(self.noted(key, outcome), default)

    def variation_detail(self, key: str, user: User, default: Any = None, kind: Kind | None = None) -> Evaluation:
        """Give the flag's value for a user, with the variation and the reason.

        Args:
            key: the flag.
            user: who it is evaluated for.
            default: the value when the flag has none for this user.
            kind: the type to read it as; a value of another type is a TYPE_MISMATCH. None takes any.
        """
        snapshot = self.snapshot()
        outcome = self.outcome(snapshot, key, user, kind)
        return evaluation_of(outcome, key, default, revision_of(snapshot))

    def is_enabled(self, key: str, user: User, default: bool = False) -> bool:
        """Tell whether a boolean flag is on for a user."""
        state = self._processes.state
        runtime = state[1] if state is not None and state[0] == getpid() else self._processes.get()
        if runtime.sink is None and type(user) is UserContext:
            outcome = evaluate(runtime.snapshot, key, user)
            value = outcome.value
            if outcome.direct and value.__class__ is bool:
                return value
            return bool(value_of(self.noted(key, as_kind(outcome, "boolean")), default))
        return bool(self._read(key, user, default, "boolean"))

    def boolean(self, key: str, user: User, default: bool = False) -> bool:
        """Give a boolean flag's value for a user."""
        return self.is_enabled(key, user, default)

    def string(self, key: str, user: User, default: str = "") -> str:
        """Give a string flag's value for a user."""
        return self._read(key, user, default, "string")  # type: ignore[no-any-return]  # str by kind

    def integer(self, key: str, user: User, default: int = 0) -> int:
        """Give a number flag's value for a user as an int; a fraction is a mismatch."""
        return self._read(key, user, default, "integer")  # type: ignore[no-any-return]  # int by kind

    def number(self, key: str, user: User, default: float = 0.0) -> float:
        """Give a number flag's value for a user as a float."""
        return self._read(key, user, default, "number")  # type: ignore[no-any-return]  # float by kind

    def json(self, key: str, user: User, default: Any = None) -> Any:
        """Give the mapping or list of a flag for a user, a copy that is the caller's own."""
        return self._read(key, user, default, "json")

    def all_variations(self, user: User) -> Mapping[str, Evaluation]:
        """Give every flag's evaluation for a user; each is evaluated when it is read."""
        snapshot = self.snapshot()
        return Evaluations(
            flag_keys(snapshot),
            lambda key: evaluation_of(self.outcome(snapshot, key, user, None), key, None, revision_of(snapshot)),
        )

    def track(self, user: User, event: str, value: float = 1.0, **properties: Any) -> None:
        """Tell that a user did something that experiments count; never raises.

        Args:
            user: who did it.
            event: its name.
            value: a finite number.
            **properties: JSON values that describe it.
        """
        runtime = self._processes.get()
        if runtime.sink is None:
            return
        try:
            context = UserContext.of(user)
            if not isinstance(event, str) or not event:
                raise ContextError("the event's name must be a str that is not empty")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ContextError("the event's value must be a finite number")
            metric = Metric(event=event, context=context, value=float(value), properties=properties, at_s=time.time())
        except ContextError as error:
            self._log_once(logging.WARNING, ("track", str(error)), "an event was not tracked: %s", error)
            return
        runtime.sink.track(metric)

    def _read(self, key: str, user: User, default: Any, kind: Kind | None) -> Any:
        return value_of(self.outcome(self.snapshot(), key, user, kind), default)

    # --- for the accessor -----------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        """Give the flags in force, starting the client if this process has not used it yet."""
        return self._processes.get().snapshot

    def outcome(self, snapshot: Snapshot | None, key: str, user: User, kind: Kind | None) -> Outcome:
        """Evaluate a flag of a snapshot, take note of the exposure, and log what is wrong, once."""
        context = user if type(user) is UserContext else self.context_or_failure(user)
        if isinstance(context, Outcome):
            return self.noted(key, context)
        outcome = evaluate(snapshot, key, context)
        if outcome.variation is not None and outcome.reason is not Reason.ERROR:
            self._expose(snapshot, key, context, outcome)
        return self.noted(key, outcome if kind is None else as_kind(outcome, kind))

    def context_or_failure(self, user: object) -> UserContext | Outcome:
        """Give the context for what a caller passed, or the outcome of every flag for such a user."""
        try:
            return UserContext.of(user)  # type: ignore[arg-type]  # checked there
        except ContextError as error:
            return failed(ErrorCode.INVALID_CONTEXT, str(error))
        except Exception as error:  # a mapping of the caller's may do anything
            return failed(ErrorCode.INVALID_CONTEXT, f"reading the user raised {type(error).__name__}")

    def _expose(self, snapshot: Snapshot | None, key: str, context: UserContext, outcome: Outcome) -> None:
        runtime = self._processes.get()
        if runtime.sink is not None and snapshot is not None and key not in overrides.current:
            runtime.sink.expose(
                Exposure(flag_key=key, context=context, outcome=outcome, revision=snapshot.revision, at_s=time.time())
            )

    def noted(self, key: str, outcome: Outcome) -> Outcome:
        """Log what is wrong with an outcome, once per flag and cause, and give it back."""
        code = outcome.error_code
        if code is None:
            return outcome
        if outcome is NOT_READY and self._offline:
            outcome = OFFLINE
        if code is ErrorCode.PROVIDER_NOT_READY:
            self._log_once(logging.WARNING, code, "flags give the callers' defaults: %s", outcome.error_message)
        else:
            shown = key[:MAX_SHOWN_CHARS] if type(key) is str else type(key)
            cause = (shown, code, outcome.error_message)
            self._log_once(
                logging.WARNING, cause, "flag %r gives the default: %s: %s", shown, code, outcome.error_message
            )
        return outcome


class Evaluations(Mapping[str, Evaluation]):
    """Evaluations by flag key, each made when it is read and kept."""

    def __init__(self, keys: Sequence[str], evaluate_one: Callable[[str], Evaluation]) -> None:
        self._keys = dict.fromkeys(keys)
        self._evaluate = evaluate_one
        self._made: dict[str, Evaluation] = {}

    def __getitem__(self, key: str) -> Evaluation:
        """Give one flag's evaluation.

        Raises:
            KeyError: no such flag.
        """
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._made:
            self._made[key] = self._evaluate(key)
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        """Walk over the flag keys."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Count the flags."""
        return len(self._keys)


def flag_keys(snapshot: Snapshot | None) -> list[str]:
    """Name the flags of a snapshot, and those that tests override."""
    return sorted({*(snapshot.flags if snapshot is not None else ()), *overrides.current})


def revision_of(snapshot: Snapshot | None) -> str:
    """Name a snapshot's state; empty when there is none."""
    return snapshot.revision if snapshot is not None else ""


def _runtime_builder(client: weakref.ref[Client]) -> Callable[[Runtime | None], Runtime]:
    """Make what builds a client's runtimes. It must not keep the client: a dropped client ends its thread."""

    def build(previous: Runtime | None) -> Runtime:
        owner = client()
        if owner is None:
            raise RuntimeError("a client was used after it was dropped")
        inherited = previous.snapshot if previous is not None else None
        return owner.build_runtime(inherited)

    return build
