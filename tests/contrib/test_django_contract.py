"""Django meets the contract of all hosts: below WSGI and ASGI, with sync and async views."""

from __future__ import annotations

import pytest

from tests.contrib.contract import HttpContract, TaskContract
from tests.contrib.django_app import testing  # sets Django up
from tests.contrib.django_app.host import DjangoHost, visit_asgi, visit_async_client, visit_client, visit_wsgi
from tests.contrib.support import Host

__all__ = ["testing"]


class TestDjango(HttpContract):
    @pytest.fixture(params=[visit_client, visit_wsgi], ids=["client", "validated"])
    def host(self, request: pytest.FixtureRequest) -> Host:
        return DjangoHost(request.param)


class TestDjangoWithAsyncViews(HttpContract, TaskContract):
    @pytest.fixture(params=[visit_client, visit_async_client, visit_asgi], ids=["wsgi", "client", "asgi"])
    def host(self, request: pytest.FixtureRequest) -> Host:
        return DjangoHost(request.param, has_async_view=True)


class TestDjangoWithSyncViewsBelowAsgi(HttpContract):
    @pytest.fixture
    def host(self) -> Host:
        return DjangoHost(visit_asgi)
