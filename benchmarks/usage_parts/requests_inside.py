"""Answers Django requests in the process, with or without the agent, and says how much CPU time they took."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

from benchmarks.usage_parts.inside import answer

APP = '''
from django import forms
from django.http import HttpResponse
from django.template import engines
from django.urls import path

class Search(forms.Form):
    text = forms.CharField(max_length=30)
    page = forms.IntegerField(required=False)

TEMPLATE = engines["django"].from_string("""<!doctype html><title>{{ title }}</title>{{ form.as_p }}<table>
{% for row in rows %}<tr class="{% cycle 'odd' 'even' %}"><td>{{ row.number }}<td>{{ row.name|upper }}
<td>{% if row.price > 100 %}<b>{{ row.price|floatformat:2 }}</b>{% else %}{{ row.price }}{% endif %}{% endfor %}</table>
""")

def price_of(number):
    return number * 7.5

def rows_for(text):
    return [{"number": number, "name": f"{text} {number}", "price": price_of(number)} for number in range(20)]

def index(request):
    form = Search(request.GET)
    found = rows_for(form.cleaned_data["text"]) if form.is_valid() else []
    return HttpResponse(TEMPLATE.render({"title": "Shop", "form": form, "rows": found}, request))

urlpatterns = [path("shop/", index)]
'''
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
SETTLED_S = 120.0

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/shop/",
    "QUERY_STRING": "text=tea&page=2",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost:8000",
    "HTTP_ACCEPT": "text/html",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


def start_agent(watched: str) -> Any:
    """Start the agent, as an application's first lines would."""
    from flagmw.usage import Agent, UsageConfig

    spec = importlib.util.find_spec("django")
    assert spec is not None
    assert spec.origin is not None
    folders = (".", os.path.dirname(os.path.dirname(spec.origin)))
    packages = ("shop", "django") if watched == "all" else ("shop",)
    agent = Agent(UsageConfig(packages=packages, codebase=folders, store="usage.db"))
    agent.start()
    deadline = time.monotonic() + SETTLED_S
    while agent.status.functions is None and time.monotonic() < deadline:  # its thread reads the code base
        time.sleep(0.05)
    return agent


def write_app() -> None:
    """Make the app's package in the working directory."""
    os.mkdir("shop")
    for name, text in (("__init__", ""), ("urls", APP)):
        with open(f"shop/{name}.py", "w", encoding="utf-8") as file:
            file.write(text)
    sys.path.insert(0, os.getcwd())


def application() -> Callable[..., Any]:
    """Load Django and the app."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler

    settings.configure(
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF="shop.urls",
        SECRET_KEY="only for measuring",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=list(MIDDLEWARE),
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
    django.setup()
    importlib.import_module("shop.urls")
    return WSGIHandler()


def requests(app: Callable[..., Any], number: int) -> float:
    """Make requests, and give the seconds of CPU time that all threads of the process spent meanwhile."""
    statuses = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        statuses.append(status)

    gc.collect()
    gc.disable()
    began = time.process_time()
    for _ in range(number):
        response = app(ENVIRON.copy(), start_response)
        b"".join(response)
        response.close()
    took_s = time.process_time() - began
    gc.enable()
    assert set(statuses) == {"200 OK"}, set(statuses)
    return took_s


def main() -> None:
    """Start the agent if there is something to watch, and answer with how long so many requests took."""
    write_app()
    agent = None if sys.argv[1] == "nothing" else start_agent(sys.argv[1])
    app = application()
    answer(lambda number: requests(app, number))
    del agent


if __name__ == "__main__":
    main()
