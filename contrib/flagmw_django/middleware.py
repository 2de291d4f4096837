"""`FlagMiddleware`: gives each request its flags, sync and async alike, without a change of thread.

Nothing is done for a request before it reads a flag, so the place in MIDDLEWARE does not matter to authentication;
only caching middleware belongs before it, because a response that depended on flags gets its `Vary` here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from flagmw import ConfigError
from flagmw.accessor import Flags
from flagmw.binding import current_flags, unbind
from flagmw.holding import hold
from flagmw.page_views import is_page
from flagmw_django.conf import setup

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class FlagMiddleware:
    """Gives each request its flags, at `request.flags` and behind `flagmw.flags`.

    Args:
        get_response: the next in Django's chain; it decides between sync and async.

    Raises:
        ImproperlyConfigured: the setting FLAGMW is missing or wrong; names every mistake.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        try:
            setup()
        except ConfigError as error:
            raise ImproperlyConfigured(str(error)) from error
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request."""
        if isinstance(getattr(request, "flags", None), Flags):
            return self._get_response(request)  # installed twice
        if self._is_async:
            return self._answer_async(request)
        flags, before = _begin(request)
        try:
            response: HttpResponseBase = self._get_response(request)  # type: ignore[assignment]  # sync by `__init__`
        except BaseException:
            flags.hand_over(is_last=True)
            unbind(flags, before)
            raise
        if _is_told_of(request, response):
            _tell_of_page(request, flags)
        return _finish(request, response, flags, before)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        await hold(setup().client, setup().start_wait_s)
        flags, before = _begin(request)
        try:
            response: HttpResponseBase = await self._get_response(request)  # type: ignore[misc]  # async by `__init__`
        except BaseException:
            flags.hand_over(is_last=True)
            unbind(flags, before)
            raise
        if _is_told_of(request, response):
            if flags.visitor is None:  # finding the user may take a query, for which the event loop must not wait
                await sync_to_async(_tell_of_page)(request, flags)
            else:
                _tell_of_page(request, flags)
        return _finish(request, response, flags, before)


def _begin(request: HttpRequest) -> tuple[Flags, Flags | None]:
    """Make a request's flags and let `flagmw.flags` stand for them; it stood for the second that is returned."""
    now, before = setup(), current_flags.get()
    if now.agent is not None:
        now.agent.touch()
    flags = Flags(now.client, now.visitors, request, now.start_wait_s)
    flags.gather()
    request.flags = flags  # type: ignore[attr-defined]  # see `FlagsRequest`
    current_flags.set(flags)
    return flags, before


def _is_told_of(request: HttpRequest, response: HttpResponseBase) -> bool:
    return setup().viewer is not None and is_page(request.method, response.status_code, response.get("Content-Type"))


def _tell_of_page(request: HttpRequest, flags: Flags) -> None:
    """Tell of the page that answers a request."""
    viewer = setup().viewer
    view = viewer.begun(flags, request) if viewer is not None else None
    if viewer is not None and view is not None:
        viewer.told(view)


def _finish(request: HttpRequest, response: HttpResponseBase, flags: Flags, before: Flags | None) -> HttpResponseBase:
    """Add to a response what it needs because of what was read, and unbind, at once or when it has been sent."""
    visitor = flags.visitor
    flags.hand_over(is_last=True)
    if visitor is not None:
        patch_vary_headers(response, ("Cookie",))
        ids = setup().visitors.ids
        if visitor.anonymous_id is not None and ids is not None:
            attributes = ids.attributes(is_secure=visitor.is_secure)
            response.set_cookie(ids.cookie.name, ids.signed(visitor.anonymous_id), **attributes)
    if response.streaming:
        _being_sent.set((flags, before))
        request_finished.connect(_unbind_sent, dispatch_uid="flagmw_django")  # only apps that stream pay for it
    else:
        unbind(flags, before)
        if visitor is None and getattr(request, "flags", None) is flags:
            del request.flags  # type: ignore[attr-defined]  # leaves no cycle for the garbage collector
    return response


_being_sent: ContextVar[tuple[Flags, Flags | None] | None] = ContextVar("flagmw_django_being_sent", default=None)
"""What to unbind when the streamed body that this thread or task sends has been sent."""


def _unbind_sent(**_: Any) -> None:
    sent = _being_sent.get()
    if sent is not None:
        unbind(*sent)
        _being_sent.set(None)
