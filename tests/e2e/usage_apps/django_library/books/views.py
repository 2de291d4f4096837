from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.functional import lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from django_library.books.models import Book

ViewFunction = Callable[..., HttpResponseBase]


def staff_only(view: ViewFunction) -> ViewFunction:
    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.headers.get("X-Staff") != "yes":
            raise Http404
        return view(request, *args, **kwargs)

    return inner


def _greeting() -> str:
    return "library"


greeting = lazy(_greeting, str)


@never_cache
def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(greeting())


@staff_only
def shelf(request: HttpRequest, name: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(letter for letter in _letters(name))


def _letters(name: str) -> Any:
    yield from name


class Mixin:
    def context(self, **extra: Any) -> dict[str, Any]:
        return {"mixin": True, **extra}

    def unused(self) -> None:
        return None


@method_decorator(never_cache, name="dispatch")
class BookView(Mixin, View):
    def get(self, request: HttpRequest, pk: int) -> JsonResponse:
        return JsonResponse(self.context(pk=pk))

    def post(self, request: HttpRequest, pk: int) -> JsonResponse:
        book = Book(title="  Posted  ", pages=pk)
        book.save()
        return JsonResponse({"title": str(book), "readable": Book.objects.readable().count()})

    def delete(self, request: HttpRequest, pk: int) -> HttpResponse:
        return HttpResponse()


class Page(TemplateView):
    template_name = "page.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "books": [Book(title="a", pages=600), Book(title="b")]}


async def slow(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(await _wait())


async def _wait(times: int = 2) -> str:
    return "waited" * times


def never(request: HttpRequest) -> HttpResponse:
    return render(request, "never.html")
