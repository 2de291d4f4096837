"""Django under ASGI: what a request's flags promise to async views, through Django's own async test client.

The client runs the app in the test's own event loop, and `TestCase` the whole in one transaction: a user who was
written in it is only found by a query on the same connection.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient, AsyncRequestFactory, TestCase, override_settings

from flagmw.binding import current_flags
from flagmw_django import FlagMiddleware, users
from flagmw_django.conf import setup
from tests.contrib.django_app.testing import COOKIE, User, django_database, first_flags, flagmw_setting

__all__ = ["django_database", "first_flags"]  # fixtures

ONLY_FLAGS = override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware"])


def cookie_of(response: Any) -> Any:
    return response.cookies.get(COOKIE)


async def signed_in(name: str = "ada") -> tuple[AsyncClient, User]:
    user = await User.objects.acreate_user(name)
    client = AsyncClient()
    await client.aforce_login(user)
    return client, user


class ReadingNothing(TestCase):
    def test_a_view_that_reads_no_flag_queries_nothing_although_somebody_is_logged_in(self) -> None:
        client, _ = async_to_sync(signed_in)()
        with self.assertNumQueries(0):
            async_to_sync(client.get)("/hello-async/")

    async def test_a_response_without_flags_gets_no_cookie(self) -> None:
        assert cookie_of(await self.async_client.get("/hello-async/")) is None

    async def test_a_response_without_flags_gets_no_vary(self) -> None:
        assert not (await self.async_client.get("/hello-async/")).has_header("Vary")


class Reading(TestCase):
    async def test_the_user_who_is_logged_in_decides_although_reading_cannot_await(self) -> None:
        client, user = await signed_in()
        found = (await client.get("/show-async/")).json()
        assert (found["on"], found["key"], found["name"]) == (True, str(user.pk), "ada")

    async def test_async_code_below_sync_code_below_async_code_finds_the_user_too(self) -> None:
        client, user = await signed_in()
        assert (await client.get("/show-nested/")).json()["key"] == str(user.pk)

    async def test_a_sync_view_finds_the_user_too(self) -> None:
        client, user = await signed_in()
        assert (await client.get("/show/")).json()["key"] == str(user.pk)

    def test_nobody_is_found_without_a_query(self) -> None:
        with self.assertNumQueries(0):
            assert async_to_sync(self.async_client.get)("/show-async/").json()["name"] is None

    async def test_a_session_that_nobody_has_is_nobodys(self) -> None:
        self.async_client.cookies["sessionid"] = "a" * 32
        assert (await self.async_client.get("/show-async/")).json()["name"] is None

    def test_the_user_is_looked_up_once(self) -> None:
        client, _ = async_to_sync(signed_in)()
        with self.assertNumQueries(2):  # the session and the user
            async_to_sync(client.get)("/show-async/")

    async def test_any_function_and_task_below_a_request_reads_its_flags(self) -> None:
        client, _ = await signed_in()
        assert (await client.get("/below-async/")).json() == {"here": True, "in a task": True}

    async def test_nothing_stays_bound_after_a_response(self) -> None:
        await self.async_client.get("/below-async/")
        assert current_flags.get() is None

    async def test_nothing_stays_bound_after_a_view_that_raises(self) -> None:
        client = AsyncClient(raise_request_exception=False)
        assert (await client.get("/failing-async/")).status_code == 500
        assert current_flags.get() is None

    async def test_nothing_stays_bound_after_a_request_that_is_cancelled(self) -> None:
        async def cancelled(request: HttpRequest) -> HttpResponseBase:
            raise asyncio.CancelledError

        answer = FlagMiddleware(cancelled)(AsyncRequestFactory().get("/"))
        assert not isinstance(answer, HttpResponseBase)
        with pytest.raises(asyncio.CancelledError):
            await answer
        assert current_flags.get() is None

    async def test_a_login_in_mid_request_counts_from_identify_on(self) -> None:
        response = await self.async_client.get("/sign-in-async/", {"name": "ada"})
        assert response.json() == {"before": False, "after": True}

    async def test_a_login_before_the_first_read_counts_at_once(self) -> None:
        assert (await self.async_client.get("/session-first/", {"name": "ada"})).json()["on"] is True

    @ONLY_FLAGS
    async def test_a_request_without_authentication_is_nobodys(self) -> None:
        assert (await AsyncClient().get("/show-async/")).json()["name"] is None

    @override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware"] * 2)
    async def test_the_middleware_installed_twice_answers_as_once(self) -> None:
        response = await AsyncClient().get("/show-async/")
        assert (response.status_code, response["Vary"]) == (200, "Cookie")


class Threads(TestCase):
    async def test_an_async_view_runs_in_the_event_loops_thread(self) -> None:
        response = await self.async_client.get("/show-async/")
        assert response.json()["thread"] == threading.get_ident()

    async def test_the_middleware_and_a_read_start_no_thread(self) -> None:
        async def view(request: HttpRequest) -> HttpResponse:
            request.flags.is_enabled("new-checkout")  # type: ignore[attr-defined]  # what the middleware sets
            return HttpResponse(str(threading.get_ident()))

        async with ThreadSensitiveContext():  # as in Django's ASGI handler: a change of thread starts one
            before = set(threading.enumerate())
            answer = FlagMiddleware(view)(AsyncRequestFactory().get("/"))
            assert not isinstance(answer, HttpResponseBase)
            response = await answer
            assert set(threading.enumerate()) == before
        assert response.has_header("Vary")


class Waiting(TestCase):
    """Reading in the event loop's thread while the thread for sync code is busy."""

    def setUp(self) -> None:
        self._wait_s = users.WAIT_S
        users.WAIT_S = 0.05
        setup.cache_clear()  # what was logged once is forgotten

    def tearDown(self) -> None:
        users.WAIT_S = self._wait_s

    async def test_a_busy_thread_gives_defaults_and_one_log_line_that_says_what_to_do(self) -> None:
        client, _ = await signed_in()
        with self.assertLogs("flagmw", logging.ERROR) as logs:
            assert (await client.get("/show-while-busy/")).json()["on"] is False
        assert len(logs.output) == 1
        assert "await request.auser()" in logs.output[0]

    async def test_giving_up_leaves_nothing_that_python_complains_about(self) -> None:
        client, _ = await signed_in()
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        with self.assertLogs("flagmw", logging.ERROR):
            await client.get("/show-while-busy/")
        gc.collect()
        assert not complaints

    async def test_a_user_who_was_awaited_before_is_not_waited_for(self) -> None:
        client, _ = await signed_in()
        assert (await client.get("/show-after-auser/")).json()["on"] is True

    async def test_nobody_is_not_waited_for(self) -> None:
        with self.assertNoLogs("flagmw", logging.ERROR):
            assert (await self.async_client.get("/show-while-busy/")).json()["name"] is None


class Users(TestCase):
    @override_settings(FLAGMW=flagmw_setting(USER="tests.contrib.django_app.users.by_query"))
    async def test_a_user_function_may_query_the_database(self) -> None:
        await User.objects.acreate_user("ada")
        found = (await self.async_client.get("/show-async/", headers={"X-Name": "ada"})).json()
        assert (found["key"], found["on"]) == ("one of 1", True)

    @override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware", "tests.contrib.django_app.users.TokenUser"])
    async def test_a_lazy_user_who_comes_without_a_session_is_found(self) -> None:
        await User.objects.acreate_user("ada")
        assert (await AsyncClient().get("/show-async/", headers={"X-Token": "ada"})).json()["on"] is True

    @override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware", "tests.contrib.django_app.users.TokenUser"])
    async def test_a_lazy_user_whose_lookup_raises_gives_defaults_and_an_answer(self) -> None:
        with self.assertLogs("flagmw", logging.ERROR) as logs:
            assert (await AsyncClient().get("/show-async/", headers={"X-Token": "eve"})).json()["on"] is False
        assert "DoesNotExist" in logs.output[0]


class Streaming(TestCase):
    async def test_a_streamed_body_reads_the_flags_of_its_request(self) -> None:
        response: Any = await self.async_client.get("/streamed-async/")
        assert [part async for part in response] == [b"old", b"old"]

    async def test_nothing_stays_bound_after_a_streamed_body(self) -> None:
        response: Any = await self.async_client.get("/streamed-async/")
        assert current_flags.get() is not None
        [part async for part in response]
        assert current_flags.get() is None


class CookiesAndVary(TestCase):
    async def test_somebody_who_is_logged_in_gets_no_anonymous_cookie(self) -> None:
        client, _ = await signed_in()
        assert cookie_of(await client.get("/show-async/")) is None
