import asyncio
from functools import wraps

from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.functional import lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from django_library.books.models import Book


def staff_only(view):

    @wraps(view)
    def inner(request, *args, **kwargs):
        if request.headers.get("X-Staff") != "yes":
            raise Http404
        return view(request, *args, **kwargs)

    return inner


def _greeting():
    return "library"


greeting = lazy(_greeting, str)


@never_cache
def index(request):
    return HttpResponse(greeting())


@staff_only
def shelf(request, name):
    return StreamingHttpResponse(letter for letter in _letters(name))


def _letters(name):
    yield from name


class Mixin:
    def context(self, **extra):
        return {"mixin": True, **extra}

    def unused(self):
        return None


@method_decorator(never_cache, name="dispatch")
class BookView(Mixin, View):
    def get(self, request, pk):
        return JsonResponse(self.context(pk=pk))

    def post(self, request, pk):
        book = Book(title="  Posted  ", pages=pk)
        book.save()
        return JsonResponse({"title": str(book), "readable": Book.objects.readable().count()})

    def delete(self, request, pk):
        return HttpResponse()


class Page(TemplateView):
    template_name = "page.html"

    def get_context_data(self, **kwargs):
        return {**super().get_context_data(**kwargs), "books": [Book(title="a", pages=600), Book(title="b")]}


async def slow(request):
    await asyncio.sleep(0)
    return HttpResponse(await _wait())


async def _wait(times=2):
    return "waited" * times


def never(request):
    return render(request, "never.html")
