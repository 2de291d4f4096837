"""Where hosts take a DSN: in their settings, and in the environment variable FLAGMW_DSN when these say nothing of flags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import Client as Browser
from django.test import override_settings
from django.urls import re_path

from flagmw import Client, ConfigError
from flagmw.registry import forget_client
from flagmw_django import FlagMiddleware
from flagmw_django.conf import setup
from flagmw_flask import Flags
from tests.contrib.django_app import testing  # sets Django up
from tests.contrib.support import document

__all__ = ["testing"]

SECRET = "a-secret-nobody-may-see"
WRONG = f"featbit://{SECRET}@flags.example.com?poll_interval=5"


@pytest.fixture
def dsn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("FLAGMW_DSN", raising=False)
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(document()))
    yield f"file:{path}"
    forget_client()


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.flags.variation("banner"))  # type: ignore[attr-defined]  # by the middleware


# --- Django -------------------------------------------------------------------------------------------------


def django_answer(**setting: Any) -> bytes:
    urls = (re_path("", page),)
    with override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware"], ROOT_URLCONF=urls, **setting):
        return Browser().get("/").content


@contextmanager
def without_setting() -> Iterator[None]:
    with override_settings():
        del settings.FLAGMW
        setup.cache_clear()  # Django signals what is overridden, not what is deleted
        yield
    setup.cache_clear()


@pytest.mark.parametrize("name", ["PROVIDER", "DSN", "dsn"])
def test_django_takes_a_dsn_in_its_setting(dsn: str, name: str) -> None:
    assert django_answer(FLAGMW={name: dsn}) == b"old"


def test_django_takes_a_dsn_from_the_environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGMW_DSN", dsn)
    assert django_answer(FLAGMW={}) == b"old"


def test_django_needs_no_setting_beside_the_environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGMW_DSN", dsn)
    with without_setting():
        assert django_answer() == b"old"


def test_djangos_checks_say_what_is_wrong_with_the_environment_and_show_nothing_of_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGMW_DSN", WRONG)
    with without_setting():
        (error,) = [found for found in run_checks(tags=["flagmw"]) if found.id == "flagmw.E002"]
        with pytest.raises(ImproperlyConfigured) as raised:
            FlagMiddleware(lambda request: HttpResponse())
    assert "FLAGMW_DSN: 'poll_interval' is no option; did you mean 'poll_interval_s'?" in error.msg
    assert error.hint == "Correct FLAGMW_DSN in the environment."
    assert SECRET not in f"{error.msg} {error.hint} {raised.value}"


def test_django_without_either_says_how_to_give_one(dsn: str) -> None:
    with without_setting():
        (error,) = [found for found in run_checks(tags=["flagmw"]) if found.id == "flagmw.E001"]
    assert "or set FLAGMW_DSN" in error.msg


# --- Flask --------------------------------------------------------------------------------------------------


def flask_answer(config: dict[str, Any]) -> str:
    app = flask.Flask(__name__)
    app.config.update(config, SECRET_KEY="a secret of the tests")
    Flags(app)

    @app.get("/")
    def home() -> str:
        return str(flask.request.flags.variation("banner"))  # type: ignore[attr-defined]  # by the extension

    return app.test_client().get("/").text


@pytest.mark.parametrize("name", ["PROVIDER", "DSN"])
def test_flask_takes_a_dsn_in_its_settings(dsn: str, name: str) -> None:
    assert flask_answer({"FLAGMW": {name: dsn}}) == "old"
    assert flask_answer({f"FLAGMW_{name}": dsn}) == "old"


def test_flask_takes_a_dsn_from_the_environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGMW_DSN", dsn)
    assert flask_answer({}) == "old"
    monkeypatch.setenv("FLASK_FLAGMW_DSN", dsn)
    monkeypatch.delenv("FLAGMW_DSN")
    app = flask.Flask(__name__)
    app.config.from_prefixed_env()
    assert flask_answer(dict(app.config)) == "old"


def test_a_client_passed_to_flask_wins_over_a_dsn_in_its_settings(dsn: str) -> None:
    app = flask.Flask(__name__)
    app.config.update(FLAGMW_DSN="hackle://KEY", SECRET_KEY="a secret of the tests")
    client = Client(dsn)
    Flags(app, client)
    assert app.extensions["flagmw"].client is client


def test_flask_says_what_is_wrong_with_a_dsn_and_shows_nothing_of_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGMW_DSN", WRONG)
    for config in ({}, {"FLAGMW_DSN": WRONG}, {"FLAGMW": {"PROVIDER": WRONG}}):
        with pytest.raises(ConfigError, match="did you mean 'poll_interval_s'") as raised:
            flask_answer(config)
        assert SECRET not in str(raised.value)
