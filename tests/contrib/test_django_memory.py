"""The Django adapter leaves no request to the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from flagmw.testing import Static
from tests.contrib.django_app import testing as _settings_are_configured  # noqa: F401  # before Django is used

pytestmark = pytest.mark.usefixtures("_no_collector")


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("reads", [True, False])
def test_a_request_is_freed_when_it_is_done(reads: bool) -> None:
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory, override_settings

    from flagmw_django import FlagMiddleware

    def view(request: HttpRequest) -> HttpResponse:
        if reads:
            assert request.flags.is_enabled("f")  # type: ignore[attr-defined]  # the middleware's
        return HttpResponse("hello")

    with override_settings(FLAGMW={"PROVIDER": Static({"f": True})}):
        middleware = FlagMiddleware(view)
        request = RequestFactory().get("/")
        gone = weakref.ref(request)
        middleware(request)
        del request
        assert gone() is None
