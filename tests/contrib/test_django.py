"""Django under WSGI: what a request's flags promise, through Django's own test client."""

from __future__ import annotations

import threading
import urllib.request
from typing import Any
from wsgiref.validate import validator

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import Client, LiveServerTestCase, RequestFactory, TestCase, override_settings
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flagmw.binding import current_flags
from flagmw.http import AnonymousCookie, AnonymousIds
from flagmw.testing import override_flags
from flagmw_django import FlagMiddleware
from flagmw_django.conf import setup
from tests.contrib.django_app.testing import COOKIE, User, django_database, first_flags, flagmw_setting

__all__ = ["django_database", "first_flags"]  # fixtures


def cookie_of(response: Any) -> Any:
    return response.cookies.get(COOKIE)


class ReadingNothing(TestCase):
    def test_a_view_that_reads_no_flag_queries_nothing_although_somebody_is_logged_in(self) -> None:
        self.client.force_login(User.objects.create_user("ada"))
        with self.assertNumQueries(0):
            self.client.get("/hello/")

    def test_a_response_without_flags_gets_no_cookie(self) -> None:
        assert cookie_of(self.client.get("/hello/")) is None

    def test_a_response_without_flags_gets_no_vary(self) -> None:
        assert not self.client.get("/hello/").has_header("Vary")


class Reading(TestCase):
    def test_the_user_who_is_logged_in_decides(self) -> None:
        user = User.objects.create_user("ada", email="ada@example.org", is_staff=True)
        self.client.force_login(user)
        found = self.client.get("/show/").json()
        assert (found["on"], found["key"], found["name"]) == (True, str(user.pk), "ada")

    def test_rules_can_read_roles_and_the_request(self) -> None:
        self.client.force_login(User.objects.create_user("ada", is_staff=True))
        attributes = self.client.get("/show/").json()["attributes"]
        assert (attributes["is_staff"], attributes["is_superuser"]) == (True, False)
        assert attributes["request"]["path"] == "/show/"

    def test_a_sync_view_runs_in_the_callers_thread(self) -> None:
        assert self.client.get("/show/").json()["thread"] == threading.get_ident()

    def test_an_async_view_below_wsgi_finds_the_user_too(self) -> None:
        self.client.force_login(User.objects.create_user("ada"))
        assert self.client.get("/show-async/").json()["on"] is True

    def test_any_function_below_a_request_reads_its_flags(self) -> None:
        self.client.force_login(User.objects.create_user("ada"))
        assert self.client.get("/below/").json() == {"on": True}

    def test_nothing_stays_bound_after_a_response(self) -> None:
        self.client.get("/below/")
        assert current_flags.get() is None

    def test_nothing_stays_bound_after_a_view_that_raises(self) -> None:
        self.client.raise_request_exception = False
        self.client.get("/failing/")
        assert current_flags.get() is None

    def test_nothing_stays_bound_after_a_middleware_chain_that_raises(self) -> None:
        def interrupted(request: object) -> HttpResponse:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            FlagMiddleware(interrupted)(RequestFactory().get("/"))
        assert current_flags.get() is None

    def test_a_login_in_mid_request_counts_from_identify_on(self) -> None:
        assert self.client.get("/sign-in/", {"name": "ada"}).json() == {"before": False, "after": True}

    def test_the_middleware_installed_twice_answers_as_once(self) -> None:
        name = "flagmw_django.FlagMiddleware"
        with override_settings(MIDDLEWARE=[name, name]):
            response = Client().get("/show/")
        assert response.json()["key"]
        assert response["Vary"] == "Cookie"


class Streaming(TestCase):
    def test_a_streamed_body_reads_the_flags_of_its_request(self) -> None:
        response = self.client.get("/streamed/")
        assert b"".join(response) == b"oldold"

    def test_nothing_stays_bound_after_a_streamed_body(self) -> None:
        response = self.client.get("/streamed/")
        assert current_flags.get() is not None
        list(response)
        assert current_flags.get() is None


class Users(TestCase):
    def test_the_user_function_of_the_setting_replaces_the_default(self) -> None:
        with override_settings(FLAGMW=flagmw_setting(USER="tests.contrib.django_app.users.by_query")):
            assert self.client.get("/show/", headers={"X-Name": "ada"}).json()["on"] is True

    def test_a_request_without_authentication_is_nobodys(self) -> None:
        with override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware"]):
            assert Client().get("/show/").json()["name"] is None


class CookiesAndVary(TestCase):
    @override_settings(FLAGMW=flagmw_setting(TRUSTED_PROXIES=1))
    def test_the_cookie_is_secure_behind_a_trusted_proxy_on_https(self) -> None:
        response = self.client.get("/show/", headers={"X-Forwarded-Proto": "https"})
        assert cookie_of(response)["secure"] is True

    def test_somebody_who_is_logged_in_gets_no_anonymous_cookie(self) -> None:
        self.client.force_login(User.objects.create_user("ada"))
        assert cookie_of(self.client.get("/show/")) is None

    def test_an_id_signed_with_a_former_secret_key_stays(self) -> None:
        former = AnonymousIds(AnonymousCookie(secret="former"))
        self.client.cookies[COOKIE] = former.signed("A" * 22)
        with override_settings(SECRET_KEY_FALLBACKS=["former"]):
            assert self.client.get("/show/").json()["key"] == "A" * 22

    @override_settings(SECRET_KEY=b"bytes", SECRET_KEY_FALLBACKS=[])
    def test_a_secret_key_of_bytes_signs(self) -> None:
        assert cookie_of(self.client.get("/show/")) is not None

    @override_settings(FLAGMW=flagmw_setting(ANONYMOUS_COOKIE={"name": "ab", "max_age_s": 60, "path": "/shop"}))
    def test_the_cookie_is_as_the_setting_says(self) -> None:
        cookie = self.client.get("/show/").cookies["ab"]
        assert (cookie["max-age"], cookie["path"]) == (60, "/shop")

    def test_an_error_page_after_a_read_varies_by_cookie(self) -> None:
        self.client.raise_request_exception = False
        response = self.client.get("/failing/")
        assert (response.status_code, response["Vary"]) == (500, "Cookie")


class Overriding(LiveServerTestCase):
    def test_overrides_hold_in_the_threads_of_a_live_server(self) -> None:
        with override_flags(new_checkout=True), urllib.request.urlopen(f"{self.live_server_url}/below/") as answer:
            assert answer.read() == b'{"on": true}'


class BareWsgi(TestCase):
    def test_a_streamed_body_keeps_to_the_wsgi_specification(self) -> None:
        environ = EnvironBuilder("/streamed/").get_environ()
        body, status, _ = run_wsgi_app(validator(WSGIHandler()), environ, buffered=True)
        assert (status, b"".join(body)) == ("200 OK", b"oldold")
        assert current_flags.get() is None


class Settings(TestCase):
    @override_settings(FLAGMW={"FLAG_FIL": "flags.yaml", "TRUSTED_PROXIES": -1})
    def test_wrong_settings_stop_the_start_and_are_all_named(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"did you mean 'FLAG_FILE'.*TRUSTED_PROXIES"):
            WSGIHandler()

    @override_settings()
    def test_a_missing_setting_stops_the_start(self) -> None:
        del settings.FLAGMW
        setup.cache_clear()  # Django signals what is overridden, not what is deleted
        with pytest.raises(ImproperlyConfigured, match="FLAGMW: the setting is missing"):
            WSGIHandler()

    @override_settings(FLAGMW=flagmw_setting(USER="tests.contrib.django_app.users.awaiting"))
    def test_an_async_user_function_stops_the_start(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="USER must be a plain function"):
            WSGIHandler()

    def test_overriding_the_setting_reaches_a_client_that_has_answered_before(self) -> None:
        self.client.get("/show/")
        with override_settings(FLAGMW=flagmw_setting(PROVIDER="tests.contrib.django_app.provided.other_provider")):
            assert self.client.get("/show/").json()["on"] is True
        assert self.client.get("/show/").json()["on"] is False
