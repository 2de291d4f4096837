"""The Django app `flagmw_django`: brings the system checks, the template tags and `manage.py flags`."""

from __future__ import annotations

import contextlib

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from flagmw import ConfigError
from flagmw_django.checks import check_middleware, check_setting
from flagmw_django.conf import setup


class FlagmwConfig(AppConfig):
    """Registers the checks, and names the client that `flagmw.get_client()` gives.

    Starts nothing but the usage agent, where the setting wants it: in each process that runs the project, `manage.py`
    commands included, since what only these call is in use, too.
    """

    name = "flagmw_django"
    verbose_name = "Feature flags"

    def ready(self) -> None:
        """Register the checks and make the client."""
        checks.register(check_setting, "flagmw")
        checks.register(check_middleware, "flagmw")
        with contextlib.suppress(ConfigError, ImproperlyConfigured):  # the checks and the middleware tell them
            setup()
