"""`Client`: evaluates flags that it keeps in sync in the background.

It owns one `Runtime` per process and adds the questions that callers ask. Which client a process shares under
which name is `registry`'s.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import getpid
from types import TracebackType
from typing import Any, Self

from flagmw.context import UserContext
from flagmw.core import overrides
from flagmw.core.evaluating import NOT_READY, OFFLINE, absent, as_kind, evaluate, unique_key
from flagmw.core.records import Exposure, Identity, Metric, Record
from flagmw.core.snapshot import Kind, Outcome, Snapshot, Space, evaluation_of, failed, settled, value_of
from flagmw.core.text_values import boolean_word
from flagmw.errors import ConfigError, ContextError
from flagmw.evaluation import ErrorCode, Evaluation
from flagmw.evaluations import Evaluations, flag_keys
from flagmw.frozen import EMPTY
from flagmw.lifecycle import hooks
from flagmw.lifecycle.imports import import_optional
from flagmw.lifecycle.process import PerProcess
from flagmw.once import LogOnce
from flagmw.runtime import ChangeCallback, Provider, Runtime
from flagmw.status import State, Status
from flagmw.tallies import NOT_FOUND, Tallies

logger = logging.getLogger("flagmw")

User = UserContext | Mapping[str, Any]
"""Whoever a flag is evaluated for; a mapping is read by `UserContext.of`."""

DEFAULT_NAME = "default"
CLOSE_TIMEOUT_S = 1.0
WARM_TIMEOUT_S = 1.0
MAX_SHOWN_CHARS = 200


class Client:
    """Evaluates flags locally. Safe to share between threads, and to build before a server forks.

    Constructing starts nothing: no thread, no file, no socket. The first use in a process starts it there; a
    flag file is read in that first use, so that the first answer is right. Evaluating never raises and never
    waits: when anything is wrong it gives the caller's default, and `variation_detail` says why.

    Args:
        provider: where flags come from, for example `flagmw.providers.FlagFile("flags.yaml")`, or its text form such as
            "file:flags.yaml", see `flagmw.providers.provider_from_dsn`.
        offline: do no I/O at all; only a provider that holds its flags in memory then has any.
        name: what reports call it; `flagmw.configure` gives the name under which it is shared.

    Attributes:
        name: see above.
        tallies: counts the evaluations, see `tally`; None where nobody wants to know.

    Raises:
        ConfigError: `provider` is not one.
    """

    def __init__(self, provider: Provider | str, *, offline: bool = False, name: str = DEFAULT_NAME) -> None:
        self._provider = checked_provider(provider)
        self._defaults: Mapping[str, Any] = getattr(self._provider, "defaults", EMPTY)
        self.name = name
        self.tallies: Tallies | None = None
        self._touches: list[Callable[[], object]] = []
        self._offline = offline
        self._closed = False
        self._callbacks: list[ChangeCallback] = []
        self._log_once = LogOnce(logger)
        self._created = time.time()
        self._warmed: Snapshot | None = None
        self._ending: weakref.finalize[Any, Client] | None = None
        self._processes = PerProcess(_runtime_builder(weakref.ref(self)))

    def build_runtime(self, inherited: Snapshot | None) -> Runtime:
        """Make this process's runtime; for `PerProcess` only."""
        for touch in self._touches:
            touch()
        active = not self._offline and not self._closed
        inherited = inherited if inherited is not None else self._warmed
        runtime = Runtime(self._provider, inherited, self._callbacks, active=active)
        if self._ending is not None:
            self._ending.detach()  # it would keep what is the parent's, after a fork
        self._ending = weakref.finalize(self, runtime.ask_to_stop)
        self._ending.atexit = False
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
        # uWSGI's master has no thread that would bring them.
        return self.warm(timeout) if hooks.forks_blindly() else self._processes.get().ready.wait(timeout)

    def warm(self, timeout: float = WARM_TIMEOUT_S) -> bool:
        """Fetch the flags here and now, for the processes that will be forked from this one.

        Starts no thread and leaves nothing open, so it is safe in a master that preloads the app. This process itself
        starts to sync with its first use of the client, as any other.

        Args:
            timeout: how long that may take at most, in seconds.

        Returns:
            Whether flags are there.
        """
        runtime = self._processes.peek()
        if runtime is None and not self._offline and not self._closed:
            runtime = Runtime(self._provider, self._warmed, (), active=False)
            runtime.fetch(self._provider.source(), timeout)
            self._warmed = runtime.snapshot
        elif runtime is not None and runtime.snapshot is None and hooks.forks_blindly():
            runtime.fetch(self._provider.source(), timeout)
            timeout = 0.0  # nobody else brings any
        return runtime is not None and (runtime.snapshot is not None or runtime.ready.wait(timeout))

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

        It runs in the thread that brought the change. Flags that are there when the client starts are no change; those
        that a flag service sends a moment later are.

        Returns:
            A function that ends it.
        """
        self._callbacks.append(callback)

        def end() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return end

    # --- evaluating -----------------------------------------------------------------------------------------

    def variation(self, key: str | int, user: User, default: Any = None) -> Any:
        """Give the flag's value for a user, of whatever type it is; `default` when there is none.

        A key is a str, or an int where the flag service numbers its flags.
        """
        state = self._processes.state
        runtime = state[1] if state is not None and state[0] == getpid() else self._processes.get()
        snapshot = runtime.snapshot
        is_key = key.__class__ is str or key.__class__ is int
        if not is_key or user.__class__ is not UserContext or snapshot is None or overrides.current:
            return self._read(key, user, default, None)
        try:
            flag = snapshot.variations[key]
        except KeyError:
            return self._read(key, user, default, None)
        outcome = flag.evaluate(user)
        if outcome.direct and (runtime.sink is None or not outcome.exposes):
            if self.tallies is not None:
                self.count(snapshot, key, outcome, "variations")
            return outcome.value
        outcome = self._served(runtime, snapshot, flag.key, user, outcome, default)
        if self.tallies is not None:
            self.count(snapshot, key, outcome, "variations")
        return value_of(self.noted(key, outcome), default)

    def variation_detail(self, key: str | int, user: User, default: Any = None, kind: Kind | None = None) -> Evaluation:
        """Give the flag's value for a user, with the variation and the reason.

        Args:
            key: the flag.
            user: who it is evaluated for.
            default: the value when the flag has none for this user.
            kind: the type to read it as; a value of another type is a TYPE_MISMATCH. None takes any.
        """
        return self._detail(key, user, default, kind, "variations")

    def is_enabled(self, key: str | int, user: User, default: bool = False) -> bool:
        """Tell whether a boolean flag is on for a user."""
        state = self._processes.state
        runtime = state[1] if state is not None and state[0] == getpid() else self._processes.get()
        if runtime.sink is None and type(user) is UserContext:
            snapshot = runtime.snapshot
            outcome = evaluate(snapshot, key, user, "switches")
            if self.tallies is not None:
                served = outcome if outcome.resolve is None else settled(outcome, default)
                self.count(snapshot, key, served, "switches")
            value = outcome.value if outcome.kinds is None else outcome.kinds.get("boolean")
            if outcome.direct and value.__class__ is bool:
                return value
            outcome = as_kind(self.with_default(key, settled(outcome, default)), "boolean")
            return bool(value_of(self.noted(key, outcome), default))
        return bool(self._read(key, user, default, "boolean", "switches"))

    def is_enabled_detail(self, key: str | int, user: User, default: bool = False) -> Evaluation:
        """Tell whether a boolean flag is on for a user, with the variation and the reason."""
        return self._detail(key, user, default, "boolean", "switches")

    def config(self, key: str, user: User, default: Any = None) -> Any:
        """Give the value of a remote configuration for a user; with most services that is a flag like any other."""
        return self._read(key, user, default, None, "configs")

    def config_detail(self, key: str, user: User, default: Any = None) -> Evaluation:
        """Give the value of a remote configuration for a user, with the reason."""
        return self._detail(key, user, default, None, "configs")

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
            flag_keys(snapshot), lambda key: self._detail(key, user, None, None, "variations", snapshot=snapshot)
        )

    def is_flag_known(self, key: str | int) -> bool:
        """Tell whether there is a flag with this key; false while no flags have arrived."""
        snapshot = self.snapshot()
        spaces: tuple[Space, ...] = ("variations", "switches", "configs")
        try:
            return snapshot is not None and any(key in getattr(snapshot, space) for space in spaces)
        except TypeError:  # a key that cannot be hashed
            return False

    def _read(self, key: str | int, user: User, default: Any, kind: Kind | None, space: Space = "variations") -> Any:
        runtime = self._processes.get()
        outcome = self._outcome(runtime, runtime.snapshot, key, user, default, kind, space)
        return value_of(outcome, default)

    def _detail(
        self,
        key: str | int,
        user: User,
        default: Any,
        kind: Kind | None,
        space: Space,
        *,
        snapshot: Snapshot | None = None,
    ) -> Evaluation:
        runtime = self._processes.get()
        snapshot = snapshot or runtime.snapshot
        outcome = self._outcome(runtime, snapshot, key, user, default, kind, space)
        return evaluation_of(outcome, key, default, snapshot, runtime.dialect.provider_reasons)

    def _outcome(
        self,
        runtime: Runtime,
        snapshot: Snapshot | None,
        key: str | int,
        user: User,
        default: Any,
        kind: Kind | None,
        space: Space,
    ) -> Outcome:
        context = user if type(user) is UserContext else self.context_or_failure(user)
        outcome = self._evaluated(snapshot, key, context, space)
        if outcome.resolve is not None or (outcome.exposes and runtime.sink is not None):
            unique = unique_key(snapshot, key, space)
            outcome = self._served(runtime, snapshot, unique, context, outcome, default)
        if self.tallies is not None:
            self.count(snapshot, key, outcome, space)
        return self.noted(key, outcome if kind is None else as_kind(outcome, kind))

    def _served(
        self,
        runtime: Runtime,
        snapshot: Snapshot | None,
        key: str,
        context: UserContext | Outcome,
        outcome: Outcome,
        default: Any,
    ) -> Outcome:
        """Settle an outcome for a caller, and tell the service that it was served."""
        outcome = self.with_default(key, settled(outcome, default))
        if outcome.exposes and type(context) is UserContext:
            exposure = self._exposure(runtime, snapshot, key, context, outcome, default)
            if exposure is not None and runtime.sink is not None:
                runtime.sink.expose(exposure)
        return outcome

    # --- telling the service ----------------------------------------------------------------------------------

    def track(self, user: User, event: str, value: float | None = None, **properties: Any) -> None:
        """Tell that a user did something that experiments count; never raises.

        Args:
            user: who did it.
            event: its name.
            value: a finite number; None is 1 for services that need one.
            **properties: JSON values that describe it.
        """
        metric = self.metric(user, event, value, properties)
        if metric is not None:
            self.hand_over((metric,))

    def metric(self, user: User, event: str, value: float | None, properties: Mapping[str, Any]) -> Metric | None:
        """Make what `track` tells; None for what cannot be told, which is logged, and where nobody takes it."""
        runtime = self._processes.get()
        if runtime.sink is None:
            return None
        try:
            context = self._read_user(runtime, user)
            if not isinstance(event, str) or not event:
                raise ContextError("the event's name must be a str that is not empty")
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
            ):
                raise ContextError("the event's value must be a finite number")
        except ContextError as error:
            self._log_once(logging.WARNING, ("track", str(error)), "an event was not tracked: %s", error)
            return None
        return Metric(event=event, context=context, value=value, properties=properties, at_s=time.time())

    def hand_over(self, records: Sequence[Record]) -> None:
        """Have events delivered; they are safe when this returns, see `EventOptions`. Never raises, never waits."""
        sink = self._processes.get().sink
        if sink is not None:
            sink.take_all(records)

    def identify(self, user: User, operations: Mapping[str, Any] | None = None) -> None:
        """Tell the flag service who a user is, without an event; never raises.

        Args:
            user: who it is.
            operations: changes of the properties that the service keeps of the user, for services that have that.
        """
        runtime = self._processes.get()
        if runtime.sink is None:
            return
        try:
            context = self._read_user(runtime, user)
            if operations is not None and not isinstance(operations, Mapping):
                raise ContextError(f"operations must be a mapping, got {type(operations).__name__}")
        except ContextError as error:
            self._log_once(logging.WARNING, ("identify", str(error)), "a user was not identified: %s", error)
            return
        runtime.sink.identify(Identity(context=context, operations=operations, at_s=time.time()))

    @property
    def has_participants(self) -> bool:
        """Whether this process has served anybody a running experiment's variation."""
        runtime = self._processes.peek()
        return runtime is not None and runtime.has_participants

    def takes_part(self, context: UserContext) -> bool:
        """Tell whether a user was served a running experiment's variation by this process, not too long ago."""
        runtime = self._processes.peek()
        return runtime is not None and runtime.takes_part(context.key)

    # --- counting -------------------------------------------------------------------------------------------

    def tally(self, touch: Callable[[], object]) -> Tallies:
        """Count what is evaluated from now on, for whoever keeps it.

        Args:
            touch: called in each process when it begins to use the client; it never raises.

        Returns:
            What counts; the same for everybody who asks.
        """
        if touch not in self._touches:
            self._touches.append(touch)
        if self.tallies is None:
            self.tallies = Tallies()
        return self.tallies

    def count(self, snapshot: Snapshot | None, key: Any, outcome: Outcome, space: Space) -> None:
        """Count a settled outcome that a caller was given; does nothing where nobody wants to know."""
        tallies = self.tallies
        if tallies is None:
            return
        try:
            tallies.counters[space, key, outcome.variation, outcome.reason]()
        except Exception:  # not counted before, or a key of the caller's that cannot be hashed
            self._count_first(tallies, snapshot, key, outcome, space)

    @staticmethod
    def _count_first(tallies: Tallies, snapshot: Snapshot | None, key: Any, outcome: Outcome, space: Space) -> None:
        try:
            if key in overrides.current:
                return
            flag = getattr(snapshot, space).get(key) if snapshot is not None else None
            reason = NOT_FOUND if flag is None and snapshot is not None else outcome.reason
            tallies.add(space, key, flag.key if flag is not None else None, reason, outcome)
        except Exception:  # whatever a key of the caller's does, who has the answer already
            return

    # --- for the accessor -----------------------------------------------------------------------------------

    def snapshot_if_used(self) -> Snapshot | None:
        """Give the flags in force; None where there are none, or this process has not used the client. Starts nothing."""
        runtime = self._processes.peek()
        return runtime.snapshot if runtime is not None else None

    def snapshot(self) -> Snapshot | None:
        """Give the flags in force, starting the client if this process has not used it yet."""
        return self._processes.get().snapshot

    def hold(self, start_wait_s: float) -> float:
        """Tell for how many seconds a request may be held back for the first flags; mostly 0. See `Runtime.hold`."""
        return self._processes.get().hold(start_wait_s) if start_wait_s > 0 else 0.0

    def wait_settled(self, timeout_s: float) -> None:
        """Wait until flags are there, or it is known that none will come."""
        self._processes.get().wait_settled(timeout_s)

    def outcome(self, snapshot: Snapshot | None, key: str | int, user: User, space: Space) -> Outcome:
        """Evaluate a flag of a snapshot, without telling anybody; the outcome is not settled."""
        return self._evaluated(
            snapshot, key, user if type(user) is UserContext else self.context_or_failure(user), space
        )

    def _evaluated(self, snapshot: Snapshot | None, key: Any, context: UserContext | Outcome, space: Space) -> Outcome:
        failure = context if isinstance(context, Outcome) else None
        if snapshot is None or failure is not None:
            outcome = self._without(snapshot, key, space, failure)
        else:
            outcome = evaluate(snapshot, key, context, space)  # type: ignore[arg-type]  # a context, if no failure
        return self.with_default(key, outcome)

    def _without(self, snapshot: Snapshot | None, key: Any, space: Space, failure: Outcome | None) -> Outcome:
        """Give the outcome where there are no flags, or no user who can be built, which counts only for flags there are."""
        try:
            if overrides.current and key in overrides.current:
                return overrides.current[key]
            is_known = snapshot is not None and key in getattr(snapshot, space)
        except Exception:  # a key that cannot be looked up
            is_known = False
        refusal = self._processes.get().dialect.refusal(space, key, failure)
        if refusal is not None:
            return refusal
        if snapshot is None:
            return NOT_READY
        return failure if failure is not None and is_known else absent(snapshot, key, space)

    def with_default(self, key: Any, outcome: Outcome) -> Outcome:
        """Let the provider's own default for a flag, if it has one, take the place of the caller's."""
        if not outcome.uses_default or not self._defaults or not isinstance(key, str) or key not in self._defaults:
            return outcome
        value = self._defaults[key]
        kinds: Mapping[Kind, Any] | None = None
        if isinstance(value, str):
            kinds = {"string": value, "boolean": boolean_word(value)}
        is_direct = not isinstance(value, (dict, list))
        return replace(outcome, value=value, uses_default=False, direct=is_direct, kinds=kinds)

    @property
    def takes_events(self) -> bool:
        """Whether anybody is told what was served."""
        return self._processes.get().sink is not None

    def exposure(
        self, snapshot: Snapshot | None, key: str, context: UserContext, outcome: Outcome, default: Any
    ) -> Exposure | None:
        """Make what tells the service that a settled outcome was served; None when it is not to be told.

        Args:
            snapshot: what was evaluated.
            key: the flag's unique key.
            context: the user.
            outcome: settled.
            default: the caller's.
        """
        return self._exposure(self._processes.get(), snapshot, key, context, outcome, default)

    def evaluation(self, outcome: Outcome, key: str | int, default: Any, snapshot: Snapshot | None) -> Evaluation:
        """Give the full answer of an outcome."""
        reasons = self._processes.get().dialect.provider_reasons
        return evaluation_of(outcome, key, default, snapshot, reasons)

    def context_or_failure(self, user: object) -> UserContext | Outcome:
        """Give the context for what a caller passed, or the outcome of every flag for such a user."""
        try:
            return self._read_user(self._processes.get(), user)
        except ContextError as error:
            return failed(ErrorCode.INVALID_CONTEXT, str(error))

    def _read_user(self, runtime: Runtime, user: object) -> UserContext:
        try:
            return runtime.dialect.read_user(user)
        except ContextError:
            raise
        except Exception as error:  # a mapping of the caller's may do anything
            raise ContextError(f"reading the user raised {type(error).__name__}") from None

    def _exposure(
        self,
        runtime: Runtime,
        snapshot: Snapshot | None,
        key: str,
        context: UserContext,
        outcome: Outcome,
        default: Any,
    ) -> Exposure | None:
        if runtime.sink is None or snapshot is None or key in overrides.current:
            return None
        if outcome.in_experiment and context.key is not None:
            runtime.note_participant(context.key)
        return Exposure(key, context, outcome, snapshot.revision, time.time(), default)

    def noted(self, key: str | int, outcome: Outcome) -> Outcome:
        """Log what is wrong with an outcome, once per flag and cause, and give it back."""
        code = outcome.error_code
        if code is None:
            return outcome
        if outcome is NOT_READY and self._offline:
            outcome = OFFLINE
        if code is ErrorCode.PROVIDER_NOT_READY:
            self._log_once(logging.WARNING, code, "flags give the callers' defaults: %s", outcome.error_message)
        else:
            shown = key[:MAX_SHOWN_CHARS] if type(key) is str else key if type(key) is int else type(key)
            cause = (shown, code, outcome.error_message)
            self._log_once(
                logging.WARNING, cause, "flag %r gives the default: %s: %s", shown, code, outcome.error_message
            )
        return outcome


def checked_provider(given: Provider | str) -> Provider:
    """Give a provider for what a caller passed: a provider as it is, a text read as a DSN.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(given, str):
        import_optional("flagmw.providers.dsn")  # it brings all flag services, and a fork waits for it here
        from flagmw.providers.dsn import provider_from_dsn  # noqa: PLC0415  # as above

        try:
            return provider_from_dsn(given)
        except ConfigError as error:
            raise ConfigError(f"provider: {error}") from None
    for part in ("dialect", "source", "sink"):
        if not callable(getattr(given, part, None)):
            raise ConfigError(
                f"provider must be one of flagmw.providers, for example FlagFile('flags.yaml'), "
                f"got {type(given).__name__}"
            )
    return given


def _runtime_builder(client: weakref.ref[Client]) -> Callable[[Runtime | None], Runtime]:
    """Make what builds a client's runtimes. It must not keep the client: a dropped client ends its thread."""

    def build(previous: Runtime | None) -> Runtime:
        owner = client()
        if owner is None:
            raise RuntimeError("a client was used after it was dropped")
        return owner.build_runtime(previous.snapshot if previous is not None else None)

    return build
