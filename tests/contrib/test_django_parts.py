"""What the Django app brings besides the middleware: checks, template tags, gated views, `manage.py flags`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template, TemplateSyntaxError
from django.test import AsyncClient, Client, RequestFactory, TestCase, override_settings
from django.views import View

import flagmw
from flagmw.testing import override_flags
from flagmw_django import RequireFlagMixin, context_of, require_flag
from flagmw_django.conf import setup
from tests.contrib.django_app.provided import sink
from tests.contrib.django_app.testing import User, django_database, first_flags, flagmw_setting

__all__ = ["django_database", "first_flags"]  # fixtures


# --- checks -------------------------------------------------------------------------------------------------


def found_by_checks() -> list[str]:
    return [f"{message.id} {message.msg}" for message in run_checks(tags=["flagmw"])]


def test_checks_find_nothing_when_all_is_well() -> None:
    assert found_by_checks() == []


@override_settings(FLAGMW={"FLAG_FILE": "flags.toml", "TRUSTED_PROXIES": "1", "ANONYMOUS_COOKY": False})
def test_checks_name_every_mistake_with_the_right_name() -> None:
    assert found_by_checks() == [
        "flagmw.E002 FLAGMW: 'ANONYMOUS_COOKY' is no setting; did you mean 'ANONYMOUS_COOKIE'?",
        "flagmw.E002 FLAGMW: flags.toml: a flag file ends in .json, .yaml, .yml, got '.toml'",
        "flagmw.E002 FLAGMW: TRUSTED_PROXIES must be an int from 0 up, got '1'",
    ]


@override_settings(FLAGMW={})
def test_a_mistakes_hint_says_where_to_correct_it() -> None:
    hints = [message.hint for message in run_checks(tags=["flagmw"])]
    assert hints == ["Correct FLAGMW in tests.contrib.django_app.settings."]


@override_settings()
def test_checks_say_that_the_setting_is_missing() -> None:
    del settings.FLAGMW
    setup.cache_clear()  # Django signals what is overridden, not what is deleted
    assert found_by_checks()[0].startswith("flagmw.E001 FLAGMW: the setting is missing; add FLAGMW =")


@override_settings(SECRET_KEY="")
def test_checks_say_that_nothing_signs_the_cookie() -> None:
    assert found_by_checks() == ["flagmw.E002 FLAGMW: The SECRET_KEY setting must not be empty."]


@override_settings(FLAGMW=flagmw_setting(USER="tests.contrib.django_app.users.awaiting"))
def test_checks_say_that_a_user_function_cannot_be_async() -> None:
    assert "USER must be a plain function" in found_by_checks()[0]


@override_settings(MIDDLEWARE=["django.middleware.common.CommonMiddleware", "no.such.Middleware"])
def test_checks_warn_about_an_app_without_its_middleware() -> None:
    assert found_by_checks() == ["flagmw.W001 'flagmw_django' is in INSTALLED_APPS, but no request gets flags."]


@override_settings(MIDDLEWARE=["flagmw_django.middleware.FlagMiddleware"])
def test_checks_know_the_middleware_by_its_longer_name() -> None:
    assert found_by_checks() == []


@override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware", "django.middleware.cache.UpdateCacheMiddleware"])
def test_checks_warn_when_pages_would_be_cached_without_their_vary() -> None:
    assert found_by_checks()[0].startswith("flagmw.W002 'flagmw_django.FlagMiddleware' is listed before")


@override_settings(MIDDLEWARE=["django.middleware.cache.UpdateCacheMiddleware", "flagmw_django.FlagMiddleware"])
def test_checks_like_the_middleware_after_the_cache() -> None:
    assert found_by_checks() == []


# --- the app ------------------------------------------------------------------------------------------------


def test_the_shared_client_is_the_one_that_requests_use() -> None:
    setup.cache_clear()
    assert setup().client is flagmw.get_client()


@override_settings(FLAGMW=flagmw_setting(NAME="shop"))
def test_the_client_is_shared_under_the_name_of_the_setting() -> None:
    assert setup().client is flagmw.get_client("shop")


def test_a_context_is_made_of_anything_that_looks_like_a_user() -> None:
    class TokenUser:
        is_authenticated = True
        pk = 7
        email = ""

    context = context_of(TokenUser())
    assert context is not None
    assert (context.key, context.name, context.email, dict(context.attributes)) == ("7", None, None, {})


def test_a_user_without_primary_key_is_known_by_name() -> None:
    context = context_of(User(username="ada"))
    assert context is not None
    assert context.key == "ada"


# --- template tags ------------------------------------------------------------------------------------------


def rendered(text: str, **values: Any) -> str:
    return Template("{% load flags %}" + text).render(Context(values))


class TemplateTags(TestCase):
    def request(self) -> HttpRequest:
        response: Any = self.client.get("/show/")
        request: HttpRequest = response.wsgi_request
        return request

    def rendered(self, text: str, **values: Any) -> str:
        return rendered(text, request=self.request(), **values)

    def test_a_page_shows_the_flags_of_its_request(self) -> None:
        assert self.client.get("/page/").content.strip() == b"<h1>old</h1><p>old</p>"

    @override_flags(new_checkout=True, banner="<b>")
    def test_a_page_shows_overrides_and_escapes_values(self) -> None:
        assert self.client.get("/page/").content.strip() == b"<h1>&lt;b&gt;</h1><p>new</p>"

    def test_flag_prints_the_value(self) -> None:
        assert self.rendered('{% flag "banner" %}') == "old"

    def test_flag_gives_parts_of_a_json_value(self) -> None:
        assert self.rendered('{% flag "theme" as theme %}{{ theme.colour }}') == "#111"

    def test_flag_prints_its_default_when_there_is_no_value(self) -> None:
        assert self.rendered('{% flag "absent" default="none" %}') == "none"

    def test_flag_prints_nothing_without_value_and_default(self) -> None:
        assert self.rendered('[{% flag "absent" %}]') == "[]"

    def test_flag_takes_its_key_from_a_variable(self) -> None:
        assert self.rendered("{% flag key %}", key="banner") == "old"

    def test_ifflag_shows_its_default_when_there_is_no_value(self) -> None:
        assert self.rendered('{% ifflag "absent" default=True %}on{% else %}off{% endifflag %}') == "on"

    def test_ifflag_without_else_shows_nothing_when_off(self) -> None:
        assert self.rendered('[{% ifflag "new-checkout" %}on{% endifflag %}]') == "[]"

    def test_ifflag_takes_its_key_from_a_variable(self) -> None:
        with override_flags(new_checkout=True):
            assert self.rendered("{% ifflag key %}on{% endifflag %}", key="new-checkout") == "on"

    def test_blocks_inside_ifflag_are_found_by_inheritance(self) -> None:
        text = '{% ifflag "new-checkout" %}{% else %}{% block inner %}inner{% endblock %}{% endifflag %}'
        assert self.rendered(text) == "inner"


@pytest.mark.parametrize(
    "text",
    [
        "{% ifflag %}{% endifflag %}",
        '{% ifflag "a" "b" %}{% endifflag %}',
        '{% ifflag "a" fallback=True %}{% endifflag %}',
        "{% ifflag default=True %}{% endifflag %}",
        '{% ifflag "a" default=True "b" %}{% endifflag %}',
    ],
)
def test_ifflag_used_wrongly_is_a_syntax_error_that_shows_the_right_use(text: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=r"takes a flag key and perhaps a default, for example \{% ifflag"):
        rendered(text)


def test_ifflag_without_its_end_is_a_syntax_error() -> None:
    with pytest.raises(TemplateSyntaxError, match="endifflag"):
        rendered('{% ifflag "a" %}')


def test_flag_used_wrongly_is_a_syntax_error() -> None:
    with pytest.raises(TemplateSyntaxError, match=r"'flag' (did not receive|received)"):
        rendered("{% flag %}")


def test_a_template_without_a_request_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match=r"flagmw\.flags is used outside a request"):
        rendered('{% flag "banner" %}')


# --- gated views --------------------------------------------------------------------------------------------


class Gating(TestCase):
    def test_a_view_is_not_found_while_its_flag_is_off(self) -> None:
        assert self.client.get("/gated/").status_code == 404

    @override_flags(new_checkout=True)
    def test_a_view_answers_while_its_flag_is_on(self) -> None:
        assert self.client.get("/gated/5/").content == b"in 5"

    def test_the_default_counts_when_there_is_no_flag(self) -> None:
        assert self.client.get("/gated-by-default/").content == b"in"

    async def test_an_async_view_redirects_while_its_flag_is_off(self) -> None:
        response = await self.async_client.get("/gated-async/")
        assert (response.status_code, response["Location"]) == (302, "/hello/")

    @override_flags(new_checkout=True)
    async def test_an_async_view_answers_while_its_flag_is_on(self) -> None:
        assert (await self.async_client.get("/gated-async/")).content == b"in"

    def test_a_refusal_varies_by_cookie(self) -> None:
        with override_settings(MIDDLEWARE=["flagmw_django.FlagMiddleware"]):
            assert Client().get("/gated/")["Vary"] == "Cookie"

    def test_a_class_based_view_is_not_found_while_its_flag_is_off(self) -> None:
        assert self.client.get("/gated-class/").status_code == 404

    @override_flags(new_checkout=True)
    def test_a_class_based_view_answers_while_its_flag_is_on(self) -> None:
        assert self.client.get("/gated-class/").content == b"in"

    async def test_an_async_class_based_view_redirects_while_its_flag_is_off(self) -> None:
        response = await self.async_client.get("/gated-class-async/")
        assert (response.status_code, response["Location"]) == (302, "/hello/")

    def test_an_async_class_based_view_redirects_below_wsgi(self) -> None:
        assert self.client.get("/gated-class-async/").status_code == 302

    @override_flags(new_checkout=True)
    async def test_an_async_class_based_view_answers_while_its_flag_is_on(self) -> None:
        assert (await self.async_client.get("/gated-class-async/")).content == b"in"

    async def test_a_sync_class_based_view_below_asgi_is_not_found_while_its_flag_is_off(self) -> None:
        assert (await AsyncClient().get("/gated-class/")).status_code == 404

    def test_a_class_based_view_without_flag_key_says_so(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="GatedByNothing needs flag_key"):
            self.client.get("/gated-by-nothing/")


def test_a_mixin_that_would_never_be_asked_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="Late must list RequireFlagMixin before"):

        class Late(View, RequireFlagMixin):
            pass


def test_a_gated_view_keeps_its_name() -> None:
    @require_flag("new-checkout")
    def checkout(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert checkout.__name__ == "checkout"


def test_a_gated_view_without_the_middleware_says_what_is_missing() -> None:
    @require_flag("new-checkout")
    def checkout(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    with pytest.raises(ImproperlyConfigured, match=r"add 'flagmw_django\.FlagMiddleware' to MIDDLEWARE"):
        checkout(RequestFactory().get("/"))


# --- manage.py flags ----------------------------------------------------------------------------------------


def flags_command(*arguments: str) -> list[str]:
    output = io.StringIO()
    call_command("flags", *arguments, stdout=output)
    return output.getvalue().splitlines()


def test_list_shows_every_flag_and_the_state_they_are_in() -> None:
    lines = flags_command("list")
    assert lines == [
        'banner        "old"               STATIC',
        "new-checkout  false               TARGETING_MATCH",
        "resting       null                DISABLED",
        'theme         {"colour": "#111"}  STATIC',
        f"4 flags, revision {setup().client.status.revision}, state OK",
    ]


def test_list_shows_what_a_user_gets() -> None:
    assert flags_command("list", "--user", '{"name": "ada"}')[1].split() == ["new-checkout", "true", "TARGETING_MATCH"]


def test_eval_shows_what_a_user_gets_and_why() -> None:
    lines = flags_command("eval", "new-checkout", "--user", '{"key": "7", "name": "ada"}')
    assert lines == ["value:     true", "variation: on", "reason:    TARGETING_MATCH"]


def test_commands_record_no_exposure() -> None:
    flags_command("list")
    flags_command("eval", "banner")
    assert not sink.exposures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "banner", "--user", "{"], "--user is no JSON: Expecting property name"),
        (["list", "--user", "[" * 100_000], "--user is nested too deeply"),
        (["eval", "banner", "--user", "[]"], "--user: a user is a UserContext or a mapping, got list"),
        (["eval", "banner", "--user", '{"age": NaN}'], "--user: attribute 'age' is NaN"),
        (["eval", "absent"], "absent: ERROR FLAG_NOT_FOUND: no such flag"),
    ],
)
def test_eval_refuses_what_it_cannot_answer(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        flags_command(*arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("arguments", [[], ["show"], ["eval"]])
def test_a_wrong_use_of_the_command_is_an_error(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        flags_command(*arguments)


@override_settings(FLAGMW={"FLAG_FIL": "flags.yaml"})
def test_the_command_names_what_is_wrong_with_the_setting() -> None:
    with pytest.raises(CommandError, match="did you mean 'FLAG_FILE'"):
        flags_command("list")


def test_the_command_reads_a_flag_file(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {"a": {"state": "ENABLED", "variants": {"x": 1}, "defaultVariant": "x"}}}))
    with override_settings(FLAGMW={"FLAG_FILE": path}):
        assert flags_command("eval", "a")[0] == "value:     1"


@override_settings(FLAGMW={"FLAG_FILE": "no-such-file.yaml"})
def test_the_command_says_why_there_are_no_flags() -> None:
    with pytest.raises(CommandError, match=r"no flags have arrived: .*no-such-file\.yaml"):
        flags_command("list")
