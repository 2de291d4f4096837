"""Django for these tests: set up once in a process, with a database for each test module that asks for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.contrib.django_app.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402  # needs the settings
from django.test.utils import (  # noqa: E402  # as above
    setup_databases,
    setup_test_environment,
    teardown_databases,
    teardown_test_environment,
)

from tests.contrib.django_app.provided import FLAGS, provider, sink  # noqa: E402  # belongs to what is set up

__all__ = ["COOKIE", "User", "django_database", "first_flags", "flagmw_setting"]

COOKIE = "flagmw_id"


@pytest.fixture(scope="module", autouse=True)
def django_database() -> Iterator[None]:
    """Give a module what Django's own test runner gives: its test environment and an empty database."""
    setup_test_environment()
    databases = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(databases, verbosity=0)
    teardown_test_environment()


@pytest.fixture(autouse=True)
def first_flags() -> Iterator[None]:
    """Begin and end each test with the flags as they are written, and with no exposure."""
    provider.update(FLAGS)
    sink.exposures.clear()
    yield
    provider.update(FLAGS)


def flagmw_setting(**changes: Any) -> dict[str, Any]:
    """Give the test project's FLAGMW with some names changed."""
    return {"PROVIDER": "tests.contrib.django_app.provided.provider", **changes}
