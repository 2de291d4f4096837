"""How the contract of all hosts drives Django: a project of one page, whose settings are those of the host."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.validate import validator

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import re_path
from werkzeug.test import EnvironBuilder, run_wsgi_app

import flagmw
from flagmw import registry
from flagmw.http import AnonymousCookie
from flagmw_django import FlagsRequest
from tests.contrib.asgi_host import REQUEST, Connection, Message, scope_for
from tests.contrib.support import COOKIE, HOST_NAME, PEER, Reply, View, Visit

NAME = "contract"


class DjangoHost:
    """A Django project.

    Args:
        visit: sends requests to it.
        has_async_view: its page is a coroutine function.
    """

    def __init__(self, visit: Visit, *, has_async_view: bool = False) -> None:
        self._visit = visit
        self._has_async_view = has_async_view

    @contextmanager
    def serve(
        self,
        view: View,
        client: flagmw.Client,
        *,
        user: Callable[[Any], Any] | None = None,
        anonymous: AnonymousCookie | bool = COOKIE,
        trusted_proxies: int = 0,
        vary: str = "",
    ) -> Iterator[Visit]:
        setting = {
            "PROVIDER": client.provider,
            "NAME": NAME,
            "USER": user,
            "ANONYMOUS_COOKIE": anonymous,
            "TRUSTED_PROXIES": trusted_proxies,
        }
        page = _page_async(view, vary) if self._has_async_view else _page(view, vary)
        with (
            _shared(client),
            override_settings(
                FLAGMW=setting, MIDDLEWARE=["flagmw_django.FlagMiddleware"], ROOT_URLCONF=(re_path("", page),)
            ),
        ):
            yield self._visit


@contextmanager
def _shared(client: flagmw.Client) -> Iterator[None]:
    """Let the setting find a client that exists: settings name a provider, the contract looks at its client."""
    registry._clients[NAME] = client
    registry._made_with[NAME] = (client.provider, False)
    try:
        yield
    finally:
        registry.forget_client(NAME)


def _page(view: View, vary: str) -> Callable[[FlagsRequest], HttpResponse]:
    def page(request: FlagsRequest) -> HttpResponse:
        return _answer(view(request.flags), vary)

    return page


def _page_async(view: View, vary: str) -> Callable[[FlagsRequest], Any]:
    async def page(request: FlagsRequest) -> HttpResponse:
        result = view(request.flags)
        return _answer(await result if inspect.isawaitable(result) else result, vary)

    return page


def _answer(value: Any, vary: str) -> HttpResponse:
    return HttpResponse(json.dumps(value), headers={"Vary": vary} if vary else {})


# --- sending requests ---------------------------------------------------------------------------------------


def _environ(headers: Mapping[str, str] | None) -> dict[str, Any]:
    named = {"Host": HOST_NAME, **(headers or {})}
    return {
        "REMOTE_ADDR": PEER,
        **{"HTTP_" + name.upper().replace("-", "_"): value.encode().decode("latin-1") for name, value in named.items()},
    }


def _reply_of(response: Any) -> Reply:
    cookies = [("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values()]
    return Reply(status=response.status_code, headers=[*response.items(), *cookies], body=response.content)


def visit_client(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
    """Ask through Django's test client."""
    return _reply_of(Client().get(path, secure=https, **_environ(headers)))


class _AsyncClient(AsyncClient):
    """Sends only the cookies that a test states: Django 5.2 puts a comma between theirs and the client's none."""

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._base_scope(**request)  # type: ignore[misc]  # Django's own seam
        scope["headers"].pop()
        return scope


def visit_async_client(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
    """Ask through Django's async test client."""
    return _reply_of(asyncio.run(_AsyncClient().request(**scope_for(path, headers, https=https))))


def visit_wsgi(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
    """Ask as a WSGI server does, with wsgiref watching both sides."""
    scheme = "https" if https else "http"
    environ = EnvironBuilder(path, f"{scheme}://{HOST_NAME}", environ_overrides=_environ(headers)).get_environ()
    body, status, found = run_wsgi_app(validator(WSGIHandler()), environ, buffered=True)
    return Reply(status=int(status.split()[0]), headers=list(found.items()), body=b"".join(body))


class _Asking(Connection):
    """A connection that the client keeps open."""

    async def receive(self) -> Message:
        if not self._incoming:
            await asyncio.Event().wait()  # until Django, which has answered, cancels it
        return await super().receive()


def visit_asgi(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
    """Ask as an ASGI server does."""
    app: Any = ASGIHandler()
    return asyncio.run(_Asking(REQUEST).serve(app, scope_for(path, headers, https=https)))
