"""Views that exist only while a flag is on: `require_flag` for functions, `RequireFlagMixin` for classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views import View

from flagmw_django.request import flags_of

V = TypeVar("V", bound=Callable[..., Any])


def require_flag(key: str, default: bool = False, redirect_to: str | None = None) -> Callable[[V], V]:
    """Let a view, sync or async, answer only while a boolean flag is on for the user.

    Args:
        key: the flag.
        default: what counts when the flag has no value.
        redirect_to: where to send the user while it is off: a URL, a path or the name of a URL pattern. None
            answers 404.
    """

    def decorate(view: V) -> V:
        if iscoroutinefunction(view):

            async def gated_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                return _refusal(request, key, default, redirect_to) or await view(request, *args, **kwargs)

            return cast("V", functools.wraps(view)(gated_async))

        def gated(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return _refusal(request, key, default, redirect_to) or view(request, *args, **kwargs)

        return cast("V", functools.wraps(view)(gated))

    return decorate


class RequireFlagMixin:
    """Lets a class-based view, sync or async, answer only while a boolean flag is on; listed before `View`.

    Attributes:
        flag_key: the flag.
        flag_default: what counts when the flag has no value.
        flag_redirect_to: as `require_flag`'s `redirect_to`.
    """

    flag_key: str = ""
    flag_default: bool = False
    flag_redirect_to: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse an order of base classes in which the flag would not be asked.

        Raises:
            ImproperlyConfigured: `View` is listed first.
        """
        super().__init_subclass__(**kwargs)
        if View in cls.__mro__ and cls.__mro__.index(View) < cls.__mro__.index(RequireFlagMixin):
            raise ImproperlyConfigured(f"{cls.__name__} must list RequireFlagMixin before its view class")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Answer, or refuse."""
        if not self.flag_key:
            raise ImproperlyConfigured(f"{type(self).__name__} needs flag_key, the key of the flag that gates it")
        refusal = _refusal(request, self.flag_key, self.flag_default, self.flag_redirect_to)
        if refusal is None:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]  # `View` comes after this class
        return _awaitable(refusal) if getattr(self, "view_is_async", False) else refusal


async def _awaitable(response: HttpResponseBase) -> HttpResponseBase:
    return response


def _refusal(request: HttpRequest, key: str, default: bool, redirect_to: str | None) -> HttpResponseBase | None:
    """Give the response for a user who may not see the view, None for one who may.

    Raises:
        Http404: there is nowhere to redirect to.
    """
    if flags_of(request).is_enabled(key, default):
        return None
    if redirect_to is None:
        raise Http404(f"the flag {key!r} is off")
    return redirect(redirect_to)
