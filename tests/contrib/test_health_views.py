"""The health app inside of frameworks' apps, through each framework's own client, as docs/operations.md shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastapi
import fastapi.testclient
import flask
import pytest
import starlette.applications
import starlette.testclient
from django.http import HttpRequest, HttpResponse
from django.test import Client as DjangoClient
from django.test import RequestFactory
from django.urls import path
from starlette.routing import Mount, Route

from flagmw import Client, health_app
from flagmw.health import HealthApp
from flagmw.providers import FlagFile, Static
from tests.contrib.django_app.testing import django_database, first_flags

__all__ = ["django_database", "first_flags"]  # fixtures

Ask = Callable[[HealthApp, str], tuple[int, bytes, Any]]


def by_django(health: HealthApp, method: str) -> tuple[int, bytes, Any]:
    def show_health(request: HttpRequest) -> HttpResponse:
        answer = health.answer(request.method or "")
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))

    response = show_health(RequestFactory().generic(method, "/health"))
    return response.status_code, response.content, response.headers


def by_flask(health: HealthApp, method: str) -> tuple[int, bytes, Any]:
    app = flask.Flask(__name__)
    app.add_url_rule("/health", view_func=lambda: health, endpoint="health")
    response = app.test_client().open("/health", method=method)
    return response.status_code, response.data, response.headers


def by_starlette(health: HealthApp, method: str) -> tuple[int, bytes, Any]:
    app = starlette.applications.Starlette(routes=[Route("/health", health)])
    response = starlette.testclient.TestClient(app).request(method, "/health")
    return response.status_code, response.content, response.headers


def by_starlette_mounted(health: HealthApp, method: str) -> tuple[int, bytes, Any]:
    app = starlette.applications.Starlette(routes=[Mount("/health", health)])
    response = starlette.testclient.TestClient(app).request(method, "/health/")
    return response.status_code, response.content, response.headers


def by_fastapi(health: HealthApp, method: str) -> tuple[int, bytes, Any]:
    app = fastapi.FastAPI()
    app.add_route("/health", health)
    response = fastapi.testclient.TestClient(app).request(method, "/health")
    return response.status_code, response.content, response.headers


HOSTS = pytest.mark.parametrize("ask", [by_django, by_flask, by_starlette, by_starlette_mounted, by_fastapi])


@HOSTS
def test_a_framework_serves_what_the_app_answers(ask: Ask) -> None:
    health = health_app(Client(Static({"a": True})))
    code, body, headers = ask(health, "GET")
    assert (code, b'"is_ready": true' in body, headers["Content-Type"]) == (200, True, "application/json")
    assert headers["Cache-Control"] == "no-store"
    assert int(headers["Content-Length"]) == len(body)


@HOSTS
def test_a_framework_serves_that_a_process_is_not_ready(ask: Ask) -> None:
    code, body, _ = ask(health_app(Client(FlagFile("gone.yaml"))), "GET")
    assert (code, b'"is_ready": false' in body) == (503, True)


@HOSTS
def test_a_framework_serves_head(ask: Ask) -> None:
    code, body, _ = ask(health_app(Client(Static({"a": True}))), "HEAD")
    assert (code, body) == (200, b"")


def view(request: HttpRequest) -> HttpResponse:
    """Answer as the page shows it, with the client that the settings name."""
    import flagmw

    answer = flagmw.health_app(flagmw.get_client()).answer(request.method or "")
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


urlpatterns = [path("health", view)]


def test_a_django_site_serves_the_view_with_the_client_of_its_settings(settings_with_urls: None) -> None:
    response = DjangoClient().get("/health")
    assert (response.status_code, response.json()["is_ready"]) == (200, True)


@pytest.fixture
def settings_with_urls() -> Any:
    from django.test import override_settings

    with override_settings(ROOT_URLCONF=__name__):
        yield
