"""Setting the usage agent up in a host: mistakes are named, twice is once, and what was there before is seen too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flask
import pytest

import flagmw_flask
from flagmw import ConfigError, asgi, wsgi
from flagmw.settings import SettingsError, read_settings
from flagmw.usage import UsageConfig
from flagmw_starlette import FlagMiddleware
from tests.contrib.support import static_client
from tests.contrib.usage_hosts import Shop

FLASK = """
    from shop import with_flask
    with_flask.SETTINGS["USAGE"] = USAGE
    app = with_flask.create_app()
"""

DJANGO = """
    import os
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    from shop import settings
    settings.FLAGMW["USAGE"] = USAGE
    import django
    from django.test import AsyncClient, Client
"""

COUNTED_ONCE = {"beta": 1, "gone": 1}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(folder=tmp_path)


def numbers(shop: Shop) -> dict[str, int]:
    return {key: number for (key, *_), number in shop.counts().items()}


# --- mistakes -------------------------------------------------------------------------------------------------


def problems_of(usage: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        read_settings("FLAGMW", {"flag_file": "flags.yaml", "usage": usage})
    return raised.value.problems


def test_a_mistake_in_the_setting_is_named_with_the_nearest_right_name() -> None:
    (problem,) = problems_of({"PAKAGES": ["shop"]})
    assert problem.startswith("USAGE: ")
    assert "packages" in problem.lower()


def test_a_mistake_is_told_with_the_others() -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings("FLAGMW", {"flag_file": "flags.yaml", "usage": 5, "start_wait": -1, "trusted_proxies": "x"})
    assert len(raised.value.problems) == 3


def test_a_misspelt_setting_leads_to_this_one() -> None:
    with pytest.raises(SettingsError, match="USAGE"):
        read_settings("FLAGMW", {"flag_file": "flags.yaml", "USAGES": True})


def test_the_setting_comes_back_as_settings() -> None:
    found = read_settings("FLAGMW", {"flag_file": "flags.yaml", "USAGE": {"PACKAGES": ["shop"]}})
    assert found.usage == UsageConfig(packages=["shop"])  # type: ignore[arg-type]  # a list is taken as well


def test_wsgi_asgi_and_starlette_refuse_what_is_no_setting() -> None:
    for middleware in (wsgi.FlagMiddleware, asgi.FlagMiddleware, FlagMiddleware):
        with pytest.raises(ConfigError):
            middleware(lambda *_: None, static_client(), usage=5)  # type: ignore[arg-type]  # never called


def test_flask_refuses_a_wrong_setting() -> None:
    app = flask.Flask("shop")
    app.config["FLAGMW"] = {"FLAG_FILE": "flags.yaml", "USAGE": {"PACKAGES": 5}}
    with pytest.raises(ConfigError, match="USAGE"):
        flagmw_flask.Flags(app)


def test_flask_takes_the_setting_under_a_name_of_its_own() -> None:
    app = flask.Flask("shop")
    app.config["FLAGMW_FLAG_FILE"] = "flags.yaml"
    app.config["FLAGMW_USAGE"] = {"PACKAGES": 5}
    with pytest.raises(ConfigError, match="USAGE"):
        flagmw_flask.Flags(app)


def test_djangos_check_names_a_wrong_setting(shop: Shop) -> None:
    program = (
        DJANGO
        + """
    django.setup()
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError
    try:
        call_command("check")
    except SystemCheckError as error:
        tell(str(error))
    """
    )
    assert "USAGE: " in shop.run(program, "settings", "urls", usage={"PAKAGES": ["shop"]})


def test_djangos_check_deploy_says_nothing_of_a_right_one(shop: Shop) -> None:
    program = (
        DJANGO
        + """
    django.setup()
    from django.core import checks
    tell([str(found.id) for found in checks.run_checks(include_deployment_checks=True)])
    """
    )
    found = shop.run(program, "settings", "urls")
    assert not [one for one in found if one.startswith("flagmw")]


# --- twice is once --------------------------------------------------------------------------------------------


def test_wsgi_middleware_around_another_counts_once(shop: Shop) -> None:
    program = """
    from werkzeug.test import Client as Browser
    from flagmw.wsgi import FlagMiddleware
    from shop.with_wsgi import app, client
    flags = client()
    twice = FlagMiddleware(FlagMiddleware(app, flags, usage=USAGE), flags, usage=USAGE)
    Browser(twice).get("/").text
    tell(sorted(thread.name for thread in threading.enumerate()).count("flagmw-usage"))
    """
    assert shop.run(program, "with_wsgi") == 1
    assert numbers(shop) == COUNTED_ONCE


def test_a_flask_app_that_is_given_it_twice_counts_once(shop: Shop) -> None:
    program = (
        FLASK
        + """
    import flagmw_flask
    flagmw_flask.Flags().init_app(app)
    app.test_client().get("/")
    tell(sorted(thread.name for thread in threading.enumerate()).count("flagmw-usage"))
    """
    )
    assert shop.run(program, "with_flask") == 1
    assert numbers(shop) == COUNTED_ONCE


def test_django_middleware_that_is_listed_twice_counts_once(shop: Shop) -> None:
    program = (
        DJANGO
        + """
    settings.MIDDLEWARE *= 2
    django.setup()
    Client().get("/")
    tell(sorted(thread.name for thread in threading.enumerate()).count("flagmw-usage"))
    """
    )
    assert shop.run(program, "settings", "urls") == 1
    assert numbers(shop) == COUNTED_ONCE


def test_two_apps_of_one_process_share_an_agent(shop: Shop) -> None:
    program = (
        FLASK
        + """
    other = with_flask.create_app()
    app.test_client().get("/")
    other.test_client().get("/rare")
    tell(sorted(thread.name for thread in threading.enumerate()).count("flagmw-usage"))
    """
    )
    assert shop.run(program, "with_flask") == 1
    assert {"with_flask.home", "with_flask.rare"} <= shop.ran()


# --- Django ---------------------------------------------------------------------------------------------------


def test_django_needs_no_installed_app_for_it(shop: Shop) -> None:
    program = (
        DJANGO
        + """
    settings.INSTALLED_APPS = []
    django.setup()
    tell(Client().get("/").status_code)
    """
    )
    assert shop.run(program, "settings", "urls") == 200
    assert "urls.home" in shop.ran()


def test_django_async_views_are_seen(shop: Shop) -> None:
    program = (
        DJANGO
        + """
    import asyncio
    django.setup()
    tell(asyncio.run(AsyncClient().get("/later")).status_code)
    """
    )
    assert shop.run(program, "settings", "urls") == 200
    assert "urls.later" in shop.ran()
    assert {"urls.Rare.get", "common.answer"} <= shop.never()


def test_a_management_command_is_in_use_as_well(shop: Shop) -> None:
    program = (
        DJANGO
        + """
    from django.core.management import execute_from_command_line
    execute_from_command_line(["manage.py", "shell", "-c", "import shop.common; shop.common.forgotten()"])
    tell(0)
    """
    )
    shop.run(program, "settings", "urls")
    assert "common.forgotten" in shop.ran()


# --- what was there before ------------------------------------------------------------------------------------


def test_the_function_that_makes_the_app_is_seen_running(shop: Shop) -> None:
    shop.run(FLASK + "    tell(0)", "with_flask")
    assert "with_flask.create_app" in shop.ran()


def test_an_agent_that_comes_after_the_first_request_sees_the_next(shop: Shop) -> None:
    program = """
    from werkzeug.test import Client as Browser
    from flagmw.watching import watch
    from flagmw.wsgi import FlagMiddleware
    from shop.with_wsgi import app, client
    flags = client()
    app = FlagMiddleware(app, flags)
    Browser(app).get("/rare").text
    watch(flags, USAGE)
    Browser(app).get("/").text
    tell(0)
    """
    shop.run(program, "with_wsgi")
    assert "with_wsgi.home" in shop.ran()
    assert "with_wsgi.rare" in shop.never()
    assert numbers(shop) == COUNTED_ONCE


# --- lifespan -------------------------------------------------------------------------------------------------

LIFESPAN = """
    from starlette.testclient import TestClient
    from flagmw.flag_counts import read_flag_counts
    from shop.with_starlette import create_app
    app = create_app(usage=USAGE)
    counts = []
    for _ in range(2):
        with TestClient(app) as browser:
            browser.get("/")
        counts.append({one.flag_key: one.count for one in read_flag_counts(USAGE["store"]).counts})
    tell(counts)
"""


def test_a_lifespan_ends_with_a_publication_and_the_next_one_goes_on(shop: Shop) -> None:
    assert shop.run(LIFESPAN, "with_starlette") == [{"beta": 1, "gone": 1}, {"beta": 2, "gone": 2}]


# --- Celery ---------------------------------------------------------------------------------------------------


def test_celery_counts_for_a_client_that_comes_later(shop: Shop) -> None:
    program = """
    import flagmw
    from shop.with_celery import FlagFile, home, install
    install(usage=USAGE)
    flagmw.configure(FlagFile("flags.json"))
    home.delay()
    home.delay()
    tell(0)
    """
    shop.run(program, "with_celery")
    assert numbers(shop) == {"beta": 2, "gone": 2}


def test_celery_refuses_another_setting_for_the_same_app(shop: Shop) -> None:
    program = """
    import flagmw
    from shop.with_celery import install
    install(usage=USAGE)
    install(usage=dict(USAGE))
    try:
        install(usage={**USAGE, "environment": "other"})
    except flagmw.ConfigError as error:
        tell(str(error))
    """
    assert "other arguments" in shop.run(program, "with_celery")
