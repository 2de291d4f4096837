"""What `manage.py check` says about flags: every mistake in FLAGMW, and a middleware that is missing or misplaced."""

from __future__ import annotations

import os
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from flagmw import ConfigError
from flagmw.providers.dsn import VARIABLE
from flagmw.settings import SettingsError
from flagmw_django.conf import SETTING, setup

MIDDLEWARE = "flagmw_django.FlagMiddleware"
MISSING = "flagmw.E001"
WRONG = "flagmw.E002"
NOT_INSTALLED = "flagmw.W001"
BEFORE_CACHE = "flagmw.W002"


def check_setting(**_: Any) -> list[checks.CheckMessage]:
    """Name every mistake in the setting."""
    try:
        setup()
    except SettingsError as error:
        problems: tuple[str, ...] = error.problems
    except (ConfigError, ImproperlyConfigured) as error:
        problems = (str(error),)
    else:
        return []
    module = os.environ.get(ENVIRONMENT_VARIABLE, "your settings")
    if not hasattr(settings, SETTING) and VARIABLE not in os.environ:
        hint = f"FLAGMW belongs in {module}, unless 'flagmw_django' leaves INSTALLED_APPS."
        return [checks.Error(f"{SETTING}: {problem}", hint=hint, id=MISSING) for problem in problems]
    hint = f"Correct FLAGMW in {module}." if hasattr(settings, SETTING) else f"Correct {VARIABLE} in the environment."
    return [checks.Error(f"{SETTING}: {problem}", hint=hint, id=WRONG) for problem in problems]


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Warn when no request gets flags, and when cached pages would be shared by users with other flags."""
    from flagmw_django.middleware import FlagMiddleware  # noqa: PLC0415  # not needed before checks run

    found = [path for path in settings.MIDDLEWARE if _is_or_inherits(path, FlagMiddleware)]
    if not found:
        return [
            checks.Warning(
                "'flagmw_django' is in INSTALLED_APPS, but no request gets flags.",
                hint=f"Add '{MIDDLEWARE}' to MIDDLEWARE.",
                id=NOT_INSTALLED,
            )
        ]
    cache = "django.middleware.cache.UpdateCacheMiddleware"
    after = settings.MIDDLEWARE[settings.MIDDLEWARE.index(found[0]) :]
    if cache in after:
        return [
            checks.Warning(
                f"'{found[0]}' is listed before '{cache}': pages are cached before they get 'Vary: Cookie', so users "
                "would see pages that were made with the flags of others.",
                hint=f"List '{found[0]}' after '{cache}'.",
                id=BEFORE_CACHE,
            )
        ]
    return []


def _is_or_inherits(path: str, middleware: type) -> bool:
    try:
        found = import_string(path)
    except Exception:  # the application's module; Django tells about it when it loads the middleware
        return False
    return isinstance(found, type) and issubclass(found, middleware)
