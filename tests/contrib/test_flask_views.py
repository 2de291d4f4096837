"""`flagmw_flask.require_flag`: views that exist only while a flag is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import flask.views
import pytest

from flagmw import ConfigError
from flagmw.testing import override_flags
from flagmw_flask import Flags, require_flag
from tests.contrib.flask_host import visit_of
from tests.contrib.support import COOKIE, Visit, static_client


def gated(decorator: Callable[[Any], Any]) -> Visit:
    """Serve a plain view and an async one behind a decorator, with a login page."""
    app = flask.Flask(__name__)
    Flags(app, static_client(), anonymous=COOKIE)

    @app.get("/<name>")
    @decorator
    def page(name: str) -> str:
        return f"hello {name}"

    @app.get("/async/<name>")
    @decorator
    async def async_page(name: str) -> str:
        return f"hello {name}"

    @app.get("/login")
    def login() -> str:
        return "who are you?"

    return visit_of(app)


paths = pytest.mark.parametrize("path", ["/ann", "/async/ann"])


@paths
def test_a_view_is_served_while_its_flag_is_on(path: str) -> None:
    visit = gated(require_flag("beta"))
    with override_flags(beta=True):
        assert visit(path).body == b"hello ann"


@paths
def test_a_view_is_not_found_while_its_flag_is_off(path: str) -> None:
    assert gated(require_flag("beta"))(path).status == 404


@paths
def test_a_view_whose_flag_is_missing_is_not_found(path: str) -> None:
    assert gated(require_flag("missing"))(path).status == 404


@paths
def test_a_view_whose_flag_is_missing_is_served_by_default_if_it_says_so(path: str) -> None:
    assert gated(require_flag("missing", default=True))(path).status == 200


@pytest.mark.parametrize(
    ("target", "location"),
    [("login", "/login"), ("/elsewhere", "/elsewhere"), ("https://shop.example/", "https://shop.example/")],
    ids=["endpoint", "path", "url"],
)
@paths
def test_a_view_can_redirect_while_its_flag_is_off(path: str, target: str, location: str) -> None:
    reply = gated(require_flag("beta", redirect_to=target))(path)
    assert (reply.status, reply.values("Location")) == (302, [location])


@pytest.mark.parametrize("redirect_to", [None, "login"])
def test_an_answer_without_the_view_varies_by_cookie(redirect_to: str | None) -> None:
    assert gated(require_flag("beta", redirect_to=redirect_to))("/ann").vary == ["cookie"]


def test_a_class_based_view_can_be_gated() -> None:
    class Page(flask.views.MethodView):
        decorators = [require_flag("beta")]  # noqa: RUF012  # the type that Flask gives it

        def get(self) -> str:
            return "hello"

    app = flask.Flask(__name__)
    Flags(app, static_client(), anonymous=COOKIE)
    app.add_url_rule("/", view_func=Page.as_view("page"))
    assert visit_of(app)().status == 404


def test_the_view_keeps_its_name() -> None:
    @require_flag("beta")
    def page() -> str:
        return "hello"

    assert page.__name__ == "page"


def test_an_app_without_the_extension_is_told_what_to_do() -> None:
    app = flask.Flask(__name__)

    @require_flag("beta")
    def page() -> str:
        return "hello"

    with app.test_request_context(), pytest.raises(RuntimeError, match=r"flagmw_flask\.Flags\(app\)"):
        page()


def test_forgotten_parentheses_are_refused_where_they_are_missing() -> None:
    with pytest.raises(ConfigError, match="flag key"):

        @require_flag  # type: ignore[arg-type]  # that is the mistake
        def page() -> str:
            return "hello"
