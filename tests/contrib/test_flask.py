"""`flagmw_flask.Flags`: what every host must do, and where Flask apps read flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

import flagmw
from flagmw import Client
from flagmw.accessor import Flags as Accessor
from flagmw.testing import override_flags
from flagmw_flask import Flags
from tests.contrib.contract import ANN, HttpContract, TaskContract
from tests.contrib.flask_host import AsyncFlaskHost, FlaskHost, accessor, app_with, visit_of
from tests.contrib.support import (
    COOKIE,
    Host,
    file_client,
    in_threads,
    replace_flags,
    static_client,
)


class TestFlask(HttpContract):
    @pytest.fixture(params=[False, True], ids=["plain", "validated"])
    def host(self, request: pytest.FixtureRequest) -> Host:
        return FlaskHost(validated=request.param)


class TestFlaskWithAsyncViews(HttpContract, TaskContract):
    @pytest.fixture(params=[False, True], ids=["plain", "validated"])
    def host(self, request: pytest.FixtureRequest) -> Host:
        return AsyncFlaskHost(validated=request.param)


# --- where the accessor is --------------------------------------------------------------------------------------


def test_the_accessor_of_a_request_is_one_object() -> None:
    visit = visit_of(app_with(lambda flags: accessor() is flags))
    assert visit().json is True


def test_the_accessor_works_in_a_request_context_of_a_test() -> None:
    app = app_with(lambda flags: None)
    with app.test_request_context():
        assert accessor().string("banner") == "old"


def test_the_accessor_of_a_request_context_of_a_test_is_one_object() -> None:
    app = app_with(lambda flags: None)
    with app.test_request_context():
        assert accessor() is accessor()


def test_the_proxy_works_in_a_request_context_of_a_test() -> None:
    app = app_with(lambda flags: None)
    with app.test_request_context():
        assert flagmw.flags == accessor()


def test_the_user_builder_works_in_a_request_context_of_a_test() -> None:
    app = app_with(lambda flags: None, user=lambda request: {"key": request.args["user"]})
    with app.test_request_context("/?user=ann"):
        assert accessor().is_enabled("beta")


def test_the_accessor_stays_usable_while_a_test_client_keeps_the_context() -> None:
    app = app_with(lambda flags: flags.string("banner"))
    with app.test_client() as client:
        client.get("/", buffered=True)
        assert list(accessor().read()) == ["banner"]


def test_the_proxy_is_of_no_use_after_a_response_that_nobody_has_closed() -> None:
    app_with(lambda flags: flags.string("banner")).test_client().get("/")
    with pytest.raises(RuntimeError, match="outside a request"):
        flagmw.flags.all()


def test_a_request_class_of_the_app_is_kept() -> None:
    class OurRequest(flask.Request):
        tenant = "acme"

    app = flask.Flask(__name__)
    app.request_class = OurRequest
    Flags(app, static_client())
    with app.test_request_context():
        assert (flask.request.tenant, accessor().string("banner")) == ("acme", "old")  # type: ignore[attr-defined]  # the app's own


def test_what_a_request_class_of_the_app_calls_flags_is_kept() -> None:
    class OurRequest(flask.Request):
        flags = "of the app"

    app = flask.Flask(__name__)
    app.request_class = OurRequest
    Flags(app, static_client())
    with app.test_request_context():
        assert repr(accessor()) == "'of the app'"


def test_the_proxy_works_in_a_function_below_the_view() -> None:
    def deep() -> str:
        return flagmw.flags.string("banner")

    assert visit_of(app_with(lambda flags: deep()))().json == "old"


def test_threads_without_the_context_of_flask_can_use_the_accessor() -> None:
    user_calls: list[str] = []

    def user(request: flask.Request) -> dict[str, str]:
        user_calls.append(flask.request.path)
        return {"key": "ann"}

    app = app_with(lambda flags: in_threads(lambda: flags.is_enabled("beta")), user=user)
    assert (visit_of(app)("/page").json, user_calls) == ([True] * 8, ["/page"])


# --- streaming --------------------------------------------------------------------------------------------------


def streaming_app(client: Client, body: Callable[[], Iterator[str]], **arguments: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    Flags(app, client, **({"anonymous": COOKIE} | arguments))

    @app.get("/")
    def page() -> flask.Response:
        flagmw.flags.string("banner")
        return flask.Response(body())

    @app.get("/with-context")
    def page_with_context() -> flask.Response:
        flagmw.flags.string("banner")
        return flask.Response(flask.stream_with_context(body()))

    @app.get("/unread")
    def page_that_reads_nothing() -> flask.Response:
        return flask.Response(body())

    return app


@pytest.mark.parametrize("path", ["/", "/with-context"])
def test_a_streamed_body_keeps_the_values_of_the_request(tmp_path: Path, path: str) -> None:
    file = tmp_path / "flags.json"
    client = file_client(file)

    def body() -> Iterator[str]:
        replace_flags(client, file, "new")
        yield flagmw.flags.string("banner")

    assert visit_of(streaming_app(client, body))(path).body == b"old"


def test_a_streamed_body_may_be_the_first_to_read() -> None:
    def body() -> Iterator[str]:
        yield str(flagmw.flags.is_enabled("beta"))

    app = streaming_app(static_client(), body, user=lambda request: {"key": "ann"})
    assert visit_of(app)("/unread").body == b"True"


def test_a_function_that_is_called_when_the_response_closes_reads_flags() -> None:
    seen: list[str] = []

    def view(flags: Accessor) -> None:
        @flask.after_this_request
        def add(response: flask.Response) -> flask.Response:
            response.call_on_close(lambda: seen.append(flagmw.flags.string("banner")))
            return response

    visit_of(app_with(view))()
    assert seen == ["old"]


def test_teardown_functions_read_flags() -> None:
    seen: list[str] = []
    app = app_with(lambda flags: None)
    app.teardown_request(lambda error: seen.append(flagmw.flags.string("banner")))
    visit_of(app)()
    assert seen == ["old"]


def test_an_error_page_can_read_flags() -> None:
    app = app_with(lambda flags: flask.abort(418))
    app.register_error_handler(418, lambda error: (flagmw.flags.string("banner"), 418))
    reply = visit_of(app)()
    assert (reply.status, reply.body, reply.vary) == (418, b"old", ["cookie"])


# --- templates --------------------------------------------------------------------------------------------------


TEMPLATES = {
    "page": "{% if flags.is_enabled('beta') %}beta{% endif %} {{ flags.string('banner') }}",
    "macros": "{% macro banner() %}{{ flags.string('banner') }}{% endmacro %}",
    "importing": "{% import 'macros' as macros %}{{ macros.banner() }}",
    "including": "{% include 'page' without context %}",
}


def app_with_templates() -> flask.Flask:
    import jinja2

    app = flask.Flask(__name__)
    Flags(app, static_client(), user=lambda request: ANN)
    app.jinja_loader = jinja2.DictLoader(TEMPLATES)

    @app.get("/<name>")
    def page(name: str) -> str:
        return flask.render_template(name)

    @app.get("/stream/<name>")
    def stream(name: str) -> flask.Response:
        return flask.Response(flask.stream_template(name))

    return app


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/page", b"beta old"),
        ("/importing", b"old"),
        ("/including", b"beta old"),
        ("/stream/page", b"beta old"),
    ],
)
def test_templates_read_flags(path: str, text: bytes) -> None:
    app = app_with_templates()
    assert visit_of(app)(path).body == text


def test_a_macro_that_is_imported_once_is_rendered_for_each_request() -> None:
    app = app_with_templates()
    visit = visit_of(app)
    visit("/importing")
    with override_flags(banner="test"):
        assert visit("/importing").body == b"test"


def test_templates_read_flags_in_a_request_context_of_a_test() -> None:
    with app_with_templates().test_request_context():
        assert flask.render_template("page") == "beta old"


def test_a_global_of_the_app_that_is_called_flags_is_kept() -> None:
    app = flask.Flask(__name__)
    app.jinja_env.globals["flags"] = "of the app"
    Flags(app, static_client())
    with app.test_request_context():
        assert flask.render_template_string("{{ flags }}") == "of the app"
