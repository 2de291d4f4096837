"""The setting `FLAGMW`: checked, and made once into what each request needs; without it, FLAGMW_DSN says it all.

It is read anew when a test overrides it. Needs Django's settings; starts nothing but the usage agent, where that is
wanted.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http import HttpRequest

from flagmw import Client
from flagmw.http import RequestFacts, facts_of_environ
from flagmw.page_views import PageViewer, check_page_views
from flagmw.providers.dsn import VARIABLE
from flagmw.settings import Settings, SettingsError, read_settings
from flagmw.users import Visitors
from flagmw.watching import watch
from flagmw_django.page_views import route_of
from flagmw_django.users import default_user, from_any_thread

if TYPE_CHECKING:
    from flagmw.usage import Agent

SETTING = "FLAGMW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What each request needs.

    Attributes:
        client: evaluates the flags.
        visitors: finds out who makes a request.
        start_wait_s: how long requests may be held back for the first flags.
        viewer: tells of page views; None when none are wanted.
        agent: watches the usage; None when that is not wanted.
    """

    client: Client
    visitors: Visitors[HttpRequest]
    start_wait_s: float
    viewer: PageViewer[HttpRequest] | None
    agent: Agent | None


def read() -> Settings:
    """Check the setting.

    Raises:
        SettingsError: it is missing or wrong; lists every mistake.
        ImproperlyConfigured: SECRET_KEY, which signs the anonymous cookie, is empty.
    """
    found = getattr(settings, SETTING, None if VARIABLE not in os.environ else {})
    if found is None:
        raise SettingsError(
            SETTING,
            [f"the setting is missing; add FLAGMW = {{'FLAG_FILE': BASE_DIR / 'flags.yaml'}}, or set {VARIABLE}"],
        )
    keys = [*settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY]
    return read_settings(SETTING, found, secret=[_text(key) for key in keys])


@functools.cache
def setup() -> Setup:
    """Give what the setting says; the same until the setting changes.

    Raises:
        ConfigError: the setting is missing or wrong.
        ImproperlyConfigured: as `read`.
    """
    found = read()
    build = from_any_thread(found.user) if found.user is not None else default_user
    visitors = Visitors(build, functools.partial(facts_of, trusted_proxies=found.trusted_proxies), found.anonymous)
    client, wanted = found.client(), check_page_views(found.page_views)
    viewer = PageViewer(wanted, client, visitors, route_of) if wanted is not None else None
    agent = watch(client, found.usage)
    return Setup(client=client, visitors=visitors, start_wait_s=found.start_wait, viewer=viewer, agent=agent)


def facts_of(request: HttpRequest, trusted_proxies: int = 0) -> RequestFacts:
    """Read a request as flags need it: Django knows path and scheme under WSGI and ASGI alike."""
    facts = facts_of_environ(request.META, trusted_proxies)
    return replace(facts, path=request.path, is_secure=facts.is_secure or request.is_secure())


@receiver(setting_changed, dispatch_uid="flagmw_django.conf")
def _forget(*, setting: str, **_: Any) -> None:
    if setting in {SETTING, "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        setup.cache_clear()


def _text(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)
