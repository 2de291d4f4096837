"""Pages of the shop. The product page reads its flags in the template, the checkout is gated by a decorator."""

import os

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from flagmw_django import FlagsRequest, require_flag

from .users import CHOICES


@require_safe
def product(request: HttpRequest) -> HttpResponse:
    return render(request, "product.html")


@require_safe
@require_flag("checkout")
def checkout(request: HttpRequest) -> HttpResponse:
    return render(request, "checkout.html")


@require_POST
def choose(request: HttpRequest, field: str, value: str) -> HttpResponse:
    """Keep what the visitor has picked at the top of a page, and go back to that page."""
    if value not in CHOICES.get(field, {}):
        raise Http404
    request.session[field] = value
    return redirect("checkout" if request.GET.get("page") == "checkout" else "product")


@require_safe
def flags_json(request: FlagsRequest) -> JsonResponse:
    """Give all flags as this visitor has them, and who answers."""
    evaluations = {
        key: {"value": e.value, "variation": e.variation, "reason": e.reason, "revision": e.revision}
        for key, e in request.flags.all().items()
    }
    return JsonResponse({"pid": os.getpid(), "flags": evaluations})
