"""The test project's views. Each shows what it read as JSON, so that a test can look at it from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import alogin, get_user_model, login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views import View

import flagmw
from flagmw_django import FlagsRequest, RequireFlagMixin, context_of, require_flag
from tests.contrib.django_app.provided import CHANGED_FLAGS, provider


def seen(request: FlagsRequest) -> JsonResponse:
    """Show what a request's flags say, and where it was read."""
    user = request.flags.user
    return JsonResponse(
        {
            "on": request.flags.is_enabled("new-checkout"),
            "key": user.key,
            "name": user.name,
            "attributes": dict(user.attributes),
            "thread": threading.get_ident(),
        }
    )


# --- reading nothing ----------------------------------------------------------------------------------------


def hello(request: FlagsRequest) -> HttpResponse:
    return HttpResponse("hello")


async def hello_async(request: FlagsRequest) -> HttpResponse:
    return HttpResponse("hello")


# --- reading ------------------------------------------------------------------------------------------------


def show(request: FlagsRequest) -> JsonResponse:
    return seen(request)


async def show_async(request: FlagsRequest) -> JsonResponse:
    return seen(request)


async def show_nested(request: FlagsRequest) -> JsonResponse:
    """Read in the event loop, below sync code that waits for it."""
    return await sync_to_async(async_to_sync(show_async))(request)


async def show_after_auser(request: FlagsRequest) -> JsonResponse:
    """Read while the thread for sync code is busy, with the user found before."""
    await request.auser()
    return await _read_while_busy(request)


async def show_while_busy(request: FlagsRequest) -> JsonResponse:
    return await _read_while_busy(request)


async def _read_while_busy(request: FlagsRequest) -> JsonResponse:
    release = threading.Event()
    busy = asyncio.ensure_future(sync_to_async(release.wait)(30.0))
    await asyncio.sleep(0)  # lets it begin
    try:
        return seen(request)
    finally:
        release.set()
        await busy


def _below() -> bool:
    return flagmw.flags.is_enabled("new-checkout")


def below(request: FlagsRequest) -> JsonResponse:
    return JsonResponse({"on": _below()})


async def below_async(request: FlagsRequest) -> JsonResponse:
    return JsonResponse({"here": _below(), "in a task": await asyncio.create_task(_below_in_task())})


async def _below_in_task() -> bool:
    return await sync_to_async(_below)()


def failing(request: FlagsRequest) -> HttpResponse:
    request.flags.is_enabled("new-checkout")
    raise LookupError("what a view may do")


async def failing_async(request: FlagsRequest) -> HttpResponse:
    request.flags.is_enabled("new-checkout")
    raise LookupError("what a view may do")


# --- streaming ----------------------------------------------------------------------------------------------


def streamed(request: FlagsRequest) -> StreamingHttpResponse:
    def body() -> Iterator[str]:
        yield flagmw.flags.string("banner")
        provider.update(CHANGED_FLAGS)
        yield flagmw.flags.string("banner")

    request.flags.string("banner")
    return StreamingHttpResponse(body())


async def streamed_async(request: FlagsRequest) -> StreamingHttpResponse:
    async def body() -> AsyncIterator[str]:
        yield flagmw.flags.string("banner")
        provider.update(CHANGED_FLAGS)
        await asyncio.sleep(0)
        yield flagmw.flags.string("banner")

    request.flags.string("banner")
    return StreamingHttpResponse(body())


# --- users --------------------------------------------------------------------------------------------------


def sign_in(request: FlagsRequest) -> JsonResponse:
    """Log in the user whom the query names, with a flag read before and after."""
    before = request.flags.is_enabled("new-checkout")
    user = get_user_model().objects.get_or_create(username=request.GET["name"])[0]
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.flags.identify(context_of(user) or {})
    return JsonResponse({"before": before, "after": request.flags.is_enabled("new-checkout")})


async def sign_in_async(request: FlagsRequest) -> JsonResponse:
    before = request.flags.is_enabled("new-checkout")
    user, _ = await User.objects.aget_or_create(username=request.GET["name"])
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.flags.identify(context_of(user) or {})
    return JsonResponse({"before": before, "after": request.flags.is_enabled("new-checkout")})


async def session_first(request: FlagsRequest) -> JsonResponse:
    """Log in without having read a flag: the user of this very request counts."""
    user, _ = await User.objects.aget_or_create(username=request.GET["name"])
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return seen(request)


# --- gated --------------------------------------------------------------------------------------------------


@require_flag("new-checkout")
def gated(request: FlagsRequest, number: int = 0) -> HttpResponse:
    return HttpResponse(f"in {number}")


@require_flag("new-checkout", redirect_to="hello")
async def gated_async(request: FlagsRequest) -> HttpResponse:
    return HttpResponse("in")


@require_flag("absent", default=True)
def gated_by_default(request: FlagsRequest) -> HttpResponse:
    return HttpResponse("in")


class Gated(RequireFlagMixin, View):
    flag_key = "new-checkout"

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class GatedAsync(RequireFlagMixin, View):
    flag_key = "new-checkout"
    flag_redirect_to = "/hello/"

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class GatedByNothing(RequireFlagMixin, View):
    pass


def page(request: FlagsRequest) -> HttpResponse:
    return render(request, "page.html")
