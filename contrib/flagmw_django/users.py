"""Who a Django request's flags are for: `request.user`, looked at only when a flag is read, from sync or async code.

Under ASGI a flag is read in the event loop's thread, where Django refuses to query the database
(`SynchronousOnlyOperation`), and reading cannot await. So, when the user is not known yet, the query is handed to the
thread in which `sync_to_async` runs the request's sync code (the same connection, the same transaction of a test)
and the event loop waits for it, `WAIT_S` at most. `await request.auser()` before the first read avoids the wait.

The wait cannot be answered when that thread is itself waiting for this event loop: when another task of the same
request is in `async_to_sync` below `sync_to_async`, or in a query that is slower than `WAIT_S`. Flags then give their
defaults and one line is logged; the request goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

from flagmw import ContextError, UserContext
from flagmw.users import UserBuilder

T = TypeVar("T")

WAIT_S = 1.0
"""Longer than a healthy query of one user takes, and short enough to live through when it never ends."""


def default_user(request: HttpRequest) -> UserContext | None:
    """Give the user who is logged in, None when nobody is.

    Raises:
        ContextError: the user could not be found within `WAIT_S`.
    """
    user = getattr(request, "user", None)
    if _is_unknown(user):
        user = getattr(request, "_acached_user", user)  # where `await request.auser()` keeps the user
    if not (_is_unknown(user) and _in_event_loop()):
        return context_of(user)
    in_thread = partial(_run_in_sync_thread, partial(default_user, request))
    if settings.SESSION_COOKIE_NAME in request.COOKIES:
        return in_thread()
    try:
        return context_of(user)  # without a session nobody is logged in, which takes no query to find out
    except SynchronousOnlyOperation:  # unless the user comes from elsewhere, such as a token
        return in_thread()


def context_of(user: Any) -> UserContext | None:
    """Make the context of a user of `django.contrib.auth`, or of anything alike; None when nobody is logged in.

    For `request.flags.identify(context_of(user))` after a login, and as a start for a `USER` function.

    Args:
        user: its primary key becomes the key; name, email, `is_staff` and `is_superuser` are read where they exist.
    """
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    get_username = getattr(user, "get_username", None)
    name = get_username() if get_username is not None else None
    pk = getattr(user, "pk", None)
    identity = pk if pk is not None else name
    email = getattr(user, "email", None)
    roles = {role: bool(getattr(user, role)) for role in ("is_staff", "is_superuser") if hasattr(user, role)}
    return UserContext(
        None if identity is None else str(identity),
        name=None if name is None else str(name),
        email=str(email) if email else None,
        attributes=roles,
    )


def from_any_thread(build: UserBuilder[HttpRequest]) -> UserBuilder[HttpRequest]:
    """Let an application's function query the database although a flag is read in the event loop's thread.

    It is called there first; when Django refuses its query, once more in the thread for sync code.
    """

    def build_anywhere(request: HttpRequest) -> UserContext | Mapping[str, Any] | None:
        try:
            return build(request)
        except SynchronousOnlyOperation:
            return _run_in_sync_thread(partial(build, request))

    return build_anywhere


def _is_unknown(user: object) -> bool:
    """Tell whether finding out about a lazy user would run code."""
    return isinstance(user, LazyObject) and user.__dict__.get("_wrapped") is empty


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Work:
    """A call in another thread. Its outcome is kept here, so that no future is left with an error that nobody reads."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._ended = threading.Event()
        self._given_up = False
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        if self._given_up:
            return
        try:
            self._value = self._function()
        except BaseException as error:  # raised again where it is waited for
            self._error = error
        finally:
            self._ended.set()

    def wait(self) -> Any:
        if not self._ended.wait(WAIT_S):
            self._given_up = True
            raise ContextError(
                f"the thread for sync code did not answer within {WAIT_S:g} s; "
                "write 'await request.auser()' before the first flag is read, or read request.flags.user in sync_to_async"
            )
        if self._error is not None:
            raise self._error
        return self._value


def _run_in_sync_thread(function: Callable[[], T]) -> T:
    """Call a function where `sync_to_async` would, and block this thread, an event loop's, until it has ended.

    The coroutine of `sync_to_async` hands the call over in its first step, which is taken by hand; it would then
    wait for the event loop to tell it about the end, so it is closed instead.
    """
    work = _Work(function)
    coroutine = sync_to_async(work.run, thread_sensitive=True)()
    try:
        coroutine.send(None)
        return work.wait()  # type: ignore[no-any-return]  # what `function` returned
    finally:
        coroutine.close()
