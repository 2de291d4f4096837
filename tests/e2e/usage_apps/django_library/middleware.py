from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

Next = Callable[[HttpRequest], HttpResponseBase]


class Timing:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response.headers["X-Timing"] = self._format(1.5)
        return response

    def process_exception(self, request, exception):
        return None

    def _format(self, seconds, digits=3):
        return f"{seconds:.{digits}f}"


def plain(get_response):

    def middleware(request):
        return get_response(request)

    return middleware
