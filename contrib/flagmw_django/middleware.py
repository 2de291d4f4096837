"""`FlagMiddleware`: gives each request its flags, sync and async alike, without a change of thread.

Nothing is done for a request before it reads a flag, so the place in MIDDLEWARE does not matter to authentication;
only caching middleware belongs before it, because a response that depended on flags gets its `Vary` here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from flagmw import ConfigError
from flagmw.accessor import Flags
from flagmw.binding import current_flags, unbind
from flagmw.users import Visitors
from flagmw_django.conf import setup
from flagmw_django.request import FlagsRequest

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class _Visit:
    """One request's flags, while `flagmw.flags` stands for them."""

    __slots__ = ("_before", "_flags", "_visitors")

    def __init__(self, request: HttpRequest) -> None:
        now = setup()
        self._visitors: Visitors[HttpRequest] = now.visitors
        self._flags = Flags(now.client, now.visitors, request)
        self._before = current_flags.get()
        cast("FlagsRequest", request).flags = self._flags
        current_flags.set(self._flags)

    def end(self) -> None:
        unbind(self._flags, self._before)

    def answer(self, response: HttpResponseBase) -> HttpResponseBase:
        """Add to the response what it needs because of what was read, and end, at once or when it is sent."""
        visitor = self._flags.visitor
        if visitor is not None:
            patch_vary_headers(response, ("Cookie",))
            ids = self._visitors.ids
            if visitor.anonymous_id is not None and ids is not None:
                cookie = ids.attributes(is_secure=visitor.is_secure)
                response.set_cookie(ids.cookie.name, ids.signed(visitor.anonymous_id), **cookie)
        if response.streaming:
            _being_sent.set(self)
        else:
            self.end()
        return response


_being_sent: ContextVar[_Visit | None] = ContextVar("flagmw_django_being_sent", default=None)
"""Whose streamed body this thread or task sends."""


@receiver(request_finished, dispatch_uid="flagmw_django.middleware")
def _end_sent(**_: Any) -> None:
    visit = _being_sent.get()
    if visit is not None:
        visit.end()
        _being_sent.set(None)


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
        visit = _Visit(request)
        try:
            response = self._get_response(request)
        except BaseException:
            visit.end()
            raise
        return visit.answer(cast("HttpResponseBase", response))

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        visit = _Visit(request)
        try:
            response = await cast("Awaitable[HttpResponseBase]", self._get_response(request))
        except BaseException:
            visit.end()
            raise
        return visit.answer(response)
