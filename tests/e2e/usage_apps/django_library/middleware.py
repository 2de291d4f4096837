from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

Next = Callable[[HttpRequest], HttpResponseBase]


class Timing:
    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers["X-Timing"] = self._format(1.5)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        return None

    def _format(self, seconds: float, digits: int = 3) -> str:
        return f"{seconds:.{digits}f}"


def plain(get_response: Next) -> Next:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        return get_response(request)

    return middleware
