"""The usage agent under each host: what ran and what was evaluated is in the store when the process has ended."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flagmw.tallies import NOT_FOUND
from tests.contrib.usage_hosts import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(folder=tmp_path)


WSGI_REQUEST = """
    from werkzeug.test import Client as Browser
    from flagmw.wsgi import FlagMiddleware
    from shop.with_wsgi import app, client
    flags = client()
    app = FlagMiddleware(app, flags, usage=USAGE)
    tell(Browser(app).get("/").text)
"""

ASGI_REQUEST = """
    from starlette.testclient import TestClient
    from flagmw.asgi import FlagMiddleware
    from shop.with_asgi import app, client
    app = FlagMiddleware(app, client(), usage=USAGE)
    tell(TestClient(app).get("/").text)
"""

FLASK_REQUEST = """
    from shop import with_flask
    with_flask.SETTINGS["USAGE"] = USAGE
    app = with_flask.create_app()
    tell(app.test_client().get("/").text)
"""

DJANGO = """
    import os
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    from shop import settings
"""

DJANGO_REQUEST = (
    DJANGO
    + """
    settings.FLAGMW["USAGE"] = USAGE
    import django
    django.setup()
    from django.test import Client
    tell(Client().get("/").content.decode())
"""
)

STARLETTE_REQUEST = """
    from starlette.testclient import TestClient
    from shop.with_starlette import create_app
    tell(TestClient(create_app(usage=USAGE)).get("/").text)
"""

FASTAPI_REQUEST = """
    from fastapi.testclient import TestClient
    from shop.with_fastapi import app, install
    install(usage=USAGE)
    tell(TestClient(app).get("/").json())
"""

CELERY_TASK = """
    from shop.with_celery import Client, FlagFile, home, install
    install(Client(FlagFile("flags.json")), usage=USAGE)
    tell(home.delay().get())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host with one request, or task.

    Attributes:
        program: sends it.
        modules: of the shop.
        ran: what it calls.
        never: what it does not.
    """

    program: str
    modules: tuple[str, ...]
    ran: frozenset[str]
    never: frozenset[str]


def host(program: str, *modules: str, ran: set[str], never: set[str]) -> Host:
    return Host(
        program=program,
        modules=modules,
        ran=frozenset(ran | {"common.answer"}),
        never=frozenset(never | {"common.forgotten"}),
    )


HOSTS = {
    "WSGI": host(WSGI_REQUEST, "with_wsgi", ran={"with_wsgi.app", "with_wsgi.home"}, never={"with_wsgi.rare"}),
    "ASGI": host(ASGI_REQUEST, "with_asgi", ran={"with_asgi.app", "with_asgi.home"}, never={"with_asgi.rare"}),
    "Flask": host(FLASK_REQUEST, "with_flask", ran={"common.wrapped", "with_flask.home"}, never={"with_flask.rare"}),
    "Django": host(
        DJANGO_REQUEST,
        "settings",
        "urls",
        ran={"common.loud", "common.wrapped", "urls.home"},
        never={"urls.Rare.get", "urls.later"},
    ),
    "Starlette": host(STARLETTE_REQUEST, "with_starlette", ran={"with_starlette.home"}, never={"with_starlette.rare"}),
    "FastAPI": host(
        FASTAPI_REQUEST,
        "with_fastapi",
        ran={"common.wrapped", "with_fastapi.home"},
        never={"with_fastapi.rare", "with_fastapi.later"},
    ),
    "Celery": host(CELERY_TASK, "with_celery", ran={"with_celery.home"}, never={"with_celery.rare"}),
}

of_each_host = pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())


@of_each_host
def test_what_ran_is_in_the_store_and_what_did_not_is_there_as_never(shop: Shop, host: Host) -> None:
    assert shop.run(host.program, *host.modules) == "False False 5"
    assert host.ran <= shop.ran()
    assert host.never <= shop.never()


@of_each_host
def test_what_was_evaluated_is_in_the_store_once_per_request(shop: Shop, host: Host) -> None:
    shop.run(host.program, *host.modules)
    assert shop.counts() == {("beta", "off", "STATIC"): 1, ("gone", None, NOT_FOUND): 1}


@of_each_host
def test_the_providers_flags_are_in_the_store(shop: Shop, host: Host) -> None:
    shop.run(host.program, *host.modules)
    assert {(one.flag_key, one.is_there) for one in shop.history().known} == {("beta", True), ("unread", True)}


# --- off ------------------------------------------------------------------------------------------------------

THREADS = "\ntell(sorted(thread.name for thread in threading.enumerate() if thread.name.startswith('flagmw-')))"
HEAVY = "\ntell(sorted({'flagmw.usage', 'flagmw.flag_counts', 'h2'} & set(sys.modules)))"
SILENT = {"no setting": None, "a setting that is False": False}


@of_each_host
@pytest.mark.parametrize("usage", SILENT.values(), ids=SILENT.keys())
def test_without_being_asked_for_it_starts_no_thread(shop: Shop, host: Host, usage: Any) -> None:
    names = shop.run(textwrap.dedent(host.program) + THREADS, *host.modules, usage=usage)
    assert not {"flagmw-usage", "flagmw-collect"} & set(names)


@of_each_host
def test_without_being_asked_for_it_writes_no_file(shop: Shop, host: Host) -> None:
    shop.run(host.program, *host.modules, usage=None)
    assert not shop.store.exists()


@of_each_host
def test_without_being_asked_for_it_imports_nothing(shop: Shop, host: Host) -> None:
    assert shop.run(textwrap.dedent(host.program) + HEAVY, *host.modules, usage=None) == []


# --- the environment ------------------------------------------------------------------------------------------


@of_each_host
def test_the_environment_says_what_no_setting_does(shop: Shop, host: Host) -> None:
    shop.write_section()
    shop.run(host.program, *host.modules, usage=None, environment={"FLAGMW_USAGE": "pyproject.toml"})
    assert host.ran <= shop.ran()


@of_each_host
@pytest.mark.parametrize("value", ["0", "off"])
def test_the_environment_turns_it_off_whatever_the_setting(shop: Shop, host: Host, value: str) -> None:
    shop.run(host.program, *host.modules, environment={"FLAGMW_USAGE": value})
    assert not shop.store.exists()


def test_the_environment_can_stand_for_what_is_in_the_working_directory(shop: Shop) -> None:
    shop.write_section()
    shop.run(WSGI_REQUEST, "with_wsgi", usage=None, environment={"FLAGMW_USAGE": "1"})
    assert "with_wsgi.home" in shop.ran()


@of_each_host
def test_a_setting_that_is_false_stays_off_whatever_the_environment(shop: Shop, host: Host) -> None:
    shop.write_section()
    shop.run(host.program, *host.modules, usage=False, environment={"FLAGMW_USAGE": "1"})
    assert not shop.store.exists()
