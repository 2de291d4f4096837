"""`Flags`: gives the tasks of a Celery app their flags, and messages the user on whose behalf they are sent.

It uses Celery's signals only. What of a user travels is `carrying`'s; the last delivery of a pool process is
`flagmw.lifecycle`'s.
"""

from __future__ import annotations

import inspect
import logging
import os
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.signals import before_task_publish, task_postrun, task_prerun

from flagmw.accessor import Flags as Accessor
from flagmw.binding import current_flags, find_flags, unbind
from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ConfigError, ContextError
from flagmw.holding import DEFAULT_START_WAIT_S, check_start_wait
from flagmw.once import LogOnce
from flagmw.registry import configure, get_client
from flagmw.users import Visitors
from flagmw.watching import watch
from flagmw.wsgi import check_client
from flagmw_celery.carrying import public, read, written

logger = logging.getLogger("flagmw")
_log_once = LogOnce(logger)

HEADER = "flagmw"
"""The header of a task's message; a caller who sends one of their own, such as an empty text, is left alone."""

SPAWNED = "FORKED_BY_MULTIPROCESSING"
"""The environment variable that Celery sets for pool processes that are started anew instead of forked."""

Carry = Callable[[UserContext], UserContext | Mapping[str, Any] | None]
"""From the user to what of them travels with a task; None sends nothing."""


class _Message:
    """What a running task was sent with.

    Attributes:
        header: the user on whose behalf it was sent; None is nobody.
        context: the user, once a flag was read.
    """

    __slots__ = ("context", "header")

    def __init__(self, header: Any) -> None:
        self.header = header
        self.context: UserContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A task that runs in this thread or greenlet; `outside` and `before` are what it hides."""

    task_id: str
    flush_s: float
    message: _Message
    flags: Accessor
    outside: Accessor | None
    before: _Running | None


_running: ContextVar[_Running | None] = ContextVar("flagmw_celery_running", default=None)


class Flags:
    """Gives the tasks of a Celery app their flags, behind `flagmw.flags`: those of the user who queued the task.

    Call it once, where the app is made, in whatever imports that: the web processes, which put the user of a request
    into the messages that they send, and the worker. It starts nothing. A second time does nothing.

    Args:
        app: the app.
        client: evaluates the flags; None is the one that `flagmw.get_client()` gives when the first task runs, or, when
            none is configured by then, one for the environment variable FLAGMW_DSN.
        carry: what of a user travels with a task. True: everything but private attributes. False: nothing, so that
            tasks run for nobody. Or a function from the user to the part that travels, private attributes included;
            it is called when a request sends a task, and not when that task sends others, which get the same.
        start_wait: for how many seconds the first flag read of a process may wait for a flag service.
        flush: for how many seconds the end of a task may wait until its events are with the flag service; 0 does
            not wait, as events are in a file before that, see `EventOptions.durability`.
        usage: has the usage agent watch which functions run, see `flagmw.watching.watch`. None leaves it to the
            environment variable FLAGMW_USAGE.

    Raises:
        ConfigError: an argument that is not what it should be, or the app has flags with other arguments already.
    """

    def __init__(
        self,
        app: Celery,
        client: Client | None = None,
        *,
        carry: Carry | bool = True,
        start_wait: float = DEFAULT_START_WAIT_S,
        flush: float = 0.0,
        usage: Any = None,
    ) -> None:
        app = getattr(app, "_get_current_object", lambda: app)()
        if not isinstance(app, Celery):
            raise ConfigError(f"app must be a celery.Celery, got {type(app).__name__}")
        if client is not None:
            check_client(client)
        self._given = client
        self._carry = _check_carry(carry)
        self._start_wait_s = check_start_wait(start_wait)
        self._flush_s = _check_flush(flush)
        self._usage = usage
        self._app = weakref.ref(app)
        self._visitors: Visitors[_Message] = Visitors(_user_of, _no_request)
        before = _installed.get(app)
        if before is None:
            self._agent = watch(client, usage)
            self._is_counted = self._agent is None or client is not None
            self._install(app)
        elif before.arguments != self.arguments:
            raise ConfigError("this app has flagmw with other arguments already; call Flags(app) once per app")

    def _install(self, app: Celery) -> None:
        _installed[app] = self  # Celery's signals hold it weakly: it lives as long as the app
        uid = f"flagmw_celery-{id(self)}"
        before_task_publish.connect(self._on_publish, dispatch_uid=uid)
        task_prerun.connect(self._on_begin, dispatch_uid=uid)
        task_postrun.connect(self._on_end, dispatch_uid=uid)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What it was made with."""
        return self._given, self._carry, self._start_wait_s, self._flush_s, self._usage

    @property
    def client(self) -> Client:
        """Evaluates the flags of tasks.

        Raises:
            ConfigError: none was given, none is configured yet, and FLAGMW_DSN is not set or wrong.
        """
        if self._given is not None:
            return self._given
        try:
            return get_client()
        except ConfigError:
            return configure()

    # --- sending --------------------------------------------------------------------------------------------

    def _on_publish(self, headers: Any = None, declare: Any = None, **_: Any) -> None:
        """Put the user of this moment into a message."""
        try:
            if isinstance(headers, dict) and HEADER not in headers and self._is_mine(declare):
                header = self._header()
                if header is not None:
                    headers[HEADER] = header
        except Exception as error:  # whatever it is, the task is sent
            _tell("the user of a task does not travel with it", error)

    def _is_mine(self, declare: Any) -> bool:
        """Tell whether a message is this app's. Celery does not say; so its queue does, but only where it matters."""
        if len(_installed) == 1:
            return True
        app = self._app()
        own = list(app.amqp.queues.values()) if app is not None else []
        return any(queue is mine for queue in declare or () for mine in own)

    def _header(self) -> Any:
        flags = find_flags()
        if flags is None:
            return None
        flags.hand_over()  # what the request was served may be seen in the task
        running = _running.get()
        if running is not None and running.flags is flags:
            visitor = flags.visitor
            if visitor is None or visitor.context is running.message.context:
                return running.message.header
        if self._carry is False:
            return None
        context = flags.find_visitor().context
        if context is None:
            return None
        if self._carry is True:
            return written(public(context))
        carried = self._carry(context)
        return written(UserContext.of(carried)) if carried is not None else None

    # --- running --------------------------------------------------------------------------------------------

    def _on_begin(self, task_id: str, task: Any, **_: Any) -> None:
        """Let `flagmw.flags` stand for the flags of the task's user; nobody is looked up before one is read."""
        try:
            if not self._is_own(task.app):
                return
            header = _header_of(task.request)
            if header is None and task.request.is_eager:
                header = self._header()  # runs in the request itself, where nothing is sent
            message = _Message(header)
            # Each event is on its way before the task goes on: a task may be killed at any time, as by a time limit.
            client = self.client
            if not self._is_counted:  # the client was not known when the agent started
                self._is_counted = True
                watch(client, self._agent)
            if self._agent is not None:
                self._agent.touch()
            flags = Accessor(client, self._visitors, message, self._start_wait_s)
            outside, before = current_flags.get(), _running.get()
            running = _Running(
                task_id=task_id, flush_s=self._flush_s, message=message, flags=flags, outside=outside, before=before
            )
            _running.set(running)
            current_flags.set(flags)
        except Exception as error:  # whatever it is, the task runs
            _tell("a task has no flags", error)

    def _is_own(self, app: Celery) -> bool:
        own = self._app()
        if app is own or own is None:
            return app is own
        # A pool process that was spawned runs the tasks of a copy of the app, which nobody has given flags.
        return SPAWNED in os.environ and app not in _installed and app.main == own.main

    def _on_end(self, task_id: str, **_: Any) -> None:
        """Take the flags back, and have the events delivered if that is wanted."""
        try:
            running = _running.get()
            if running is None or running.task_id != task_id:
                return
            _running.set(running.before)
            unbind(running.flags, running.outside)
            if running.flush_s > 0:
                running.flags.client.flush(running.flush_s)
        except Exception as error:  # whatever it is, the task is done
            _tell("the events of a task were not delivered at its end", error)


_installed: weakref.WeakKeyDictionary[Celery, Flags] = weakref.WeakKeyDictionary()


def _header_of(request: Any) -> Any:
    """Give the header of a running task: Celery has it among others, or as a member, depending on its message format."""
    headers = request.headers
    found = headers.get(HEADER) if isinstance(headers, Mapping) else None
    return found if found is not None else getattr(request, HEADER, None)


def _user_of(message: _Message) -> UserContext:
    """Find out for whom a task runs; a header that cannot be read is nobody's."""
    try:
        message.context = read(message.header) if message.header is not None else UserContext()
    except Exception as error:
        _tell("the user of a task cannot be read, so that it runs for nobody", error)
        message.header, message.context = None, UserContext()
    return message.context


def _no_request(message: _Message) -> None:
    """Tell that there is no HTTP request."""


def _tell(what: str, error: Exception) -> None:
    # An exception's text may hold user data, so only its type is told; ours is safe.
    why = str(error) if isinstance(error, (ConfigError, ContextError)) else type(error).__name__
    _log_once(logging.WARNING, (what, why), "%s: %s; others like it are not told", what, why)


def _check_carry(carry: Any) -> Carry | bool:
    if isinstance(carry, bool) or (callable(carry) and not inspect.iscoroutinefunction(carry)):
        return carry  # type: ignore[no-any-return]  # a bool or a function, as was just seen
    raise ConfigError(f"carry must be True, False or a plain function from a UserContext, got {type(carry).__name__}")


def _check_flush(flush: object) -> float:
    try:
        return check_start_wait(flush)
    except ConfigError:
        raise ConfigError(f"flush must be a number of seconds from 0 up, got {flush!r}") from None


__all__ = ["HEADER", "Carry", "Flags"]
