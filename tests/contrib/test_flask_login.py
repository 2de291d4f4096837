"""`flagmw_flask`: who the user is when the app says nothing about it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import flask
import flask_login
import pytest

import flagmw
from flagmw.accessor import Flags as Accessor
from tests.contrib.flask_host import app_with, visit_of
from tests.contrib.support import DEADLINE_S, in_threads


class User(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, name: str) -> None:
        self.id = name


class Loader:
    """Flask-Login's user loader, which counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, name: str) -> User:
        self.calls += 1
        return User(name)


def app_with_logins(view: Any) -> tuple[flask.Flask, Loader]:
    """Make an app in which `/login/NAME` logs a user in, and all else gives a view's value."""
    app = app_with(view)
    app.secret_key = "a secret of the tests"
    loader = Loader()
    manager = flask_login.LoginManager(app)
    manager.user_loader(loader)

    @app.get("/login/<name>")
    def log_in(name: str) -> str:
        flask_login.login_user(User(name))
        return str(flagmw.flags.user.key)

    return app, loader


def get_as(app: flask.Flask, name: str, path: str = "/") -> Any:
    """Log in, then get a page."""
    client = app.test_client()
    client.get(f"/login/{name}", buffered=True)
    return client.get(path, buffered=True).json


def key_of(flags: Accessor) -> str | None:
    return flags.user.key


def test_the_user_is_the_one_who_is_logged_in() -> None:
    app, _ = app_with_logins(key_of)
    assert get_as(app, "ann") == "ann"


def test_the_user_is_found_right_after_the_login() -> None:
    app, _ = app_with_logins(key_of)
    assert app.test_client().get("/login/ann", buffered=True).text == "ann"


def test_nobody_logged_in_is_anonymous() -> None:
    app, _ = app_with_logins(key_of)
    assert len(visit_of(app)().json) == 22


def test_a_request_that_reads_no_flag_loads_no_user() -> None:
    app, loader = app_with_logins(lambda flags: None)
    get_as(app, "ann")
    assert loader.calls == 0


def test_a_request_that_reads_flags_loads_its_user_once() -> None:
    app, loader = app_with_logins(lambda flags: [flags.is_enabled("beta"), flags.string("banner")])
    get_as(app, "ann")
    assert loader.calls == 1


def test_a_thread_without_the_context_of_flask_finds_the_user() -> None:
    app, _ = app_with_logins(lambda flags: in_threads(lambda: flags.user.key, 2))
    assert get_as(app, "ann") == ["ann", "ann"]


def test_a_thread_that_reads_first_leaves_the_request_as_it_was() -> None:
    def view(flags: Accessor) -> list[Any]:
        thread = threading.Thread(target=lambda: flags.user)
        thread.start()
        thread.join(DEADLINE_S)
        return [flask.request.environ["werkzeug.request"] is not None, flask.request.path]

    app, _ = app_with_logins(view)
    assert get_as(app, "ann") == [True, "/"]


def test_a_body_that_is_sent_after_the_request_finds_the_user() -> None:
    app, _ = app_with_logins(lambda flags: None)

    @app.get("/stream")
    def stream() -> flask.Response:
        def body() -> Iterator[str]:
            yield f'"{flagmw.flags.user.key}"'

        return flask.Response(body(), mimetype="application/json")

    assert get_as(app, "ann", "/stream") == "ann"


def test_without_flask_login_the_user_is_the_one_that_the_server_has_authenticated() -> None:
    client = app_with(key_of).test_client()
    assert client.get("/", environ_overrides={"REMOTE_USER": "ann"}, buffered=True).json == "ann"


def test_with_flask_login_the_user_of_the_server_does_not_count() -> None:
    app, _ = app_with_logins(key_of)
    assert app.test_client().get("/", environ_overrides={"REMOTE_USER": "ann"}, buffered=True).json != "ann"


def test_a_user_builder_of_the_app_may_use_the_session() -> None:
    app = app_with(key_of, user=lambda request: {"key": flask.session["name"]})
    app.secret_key = "a secret of the tests"
    client = app.test_client()
    with client.session_transaction() as session:
        session["name"] = "ann"
    assert client.get("/", buffered=True).json == "ann"


def test_a_user_builder_of_the_app_may_use_the_session_from_a_thread() -> None:
    app = app_with(
        lambda flags: in_threads(lambda: flags.user.key, 2), user=lambda request: {"key": flask.session["name"]}
    )
    app.secret_key = "a secret of the tests"
    client = app.test_client()
    with client.session_transaction() as session:
        session["name"] = "ann"
    assert client.get("/", buffered=True).json == ["ann", "ann"]


@pytest.mark.parametrize("path", ["/", "/à"])
def test_a_user_builder_gets_the_request(path: str) -> None:
    app = app_with(key_of, user=lambda request: {"key": request.path})
    assert visit_of(app)(path).json == path
