"""`flagmw_flask.Flags`: installing it into apps, and its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client as Browser

import flagmw
from flagmw import Client, ConfigError, State
from flagmw.http import AnonymousCookie
from flagmw.providers import Static
from flagmw.testing import override_flags
from flagmw_flask import Flags
from tests.contrib.contract import ANN
from tests.contrib.flask_host import accessor, app_with, visit_of
from tests.contrib.support import (
    SECRET,
    Visit,
    document,
    file_client,
    in_threads,
    static_client,
)

# --- installing -------------------------------------------------------------------------------------------------


def test_init_app_installs_later() -> None:
    extension = Flags(client=static_client())
    app = flask.Flask(__name__)
    extension.init_app(app)
    with app.test_request_context():
        assert accessor().string("banner") == "old"


def test_installing_a_second_time_changes_nothing() -> None:
    app = flask.Flask(__name__)
    extension = Flags(app, static_client())
    before = app.wsgi_app, app.request_class
    extension.init_app(app)
    assert (app.wsgi_app, app.request_class) == before


def test_another_extension_with_the_same_client_changes_nothing() -> None:
    app = flask.Flask(__name__)
    client = static_client()
    Flags(app, client)
    before = app.wsgi_app
    Flags(app, client)
    assert app.wsgi_app is before


def test_another_client_for_the_same_app_is_refused() -> None:
    app = flask.Flask(__name__)
    Flags(app, static_client())
    with pytest.raises(ConfigError, match="another client"):
        Flags(app, static_client())


def test_one_extension_serves_two_apps_with_their_own_settings() -> None:
    extension = Flags(user=lambda request: ANN)
    answers = []
    for name in ("one", "two"):
        app = flask.Flask(name)
        app.config["FLAGMW"] = {"PROVIDER": Static({"banner": name}), "NAME": name}
        extension.init_app(app)
        with app.test_request_context():
            answers.append(accessor().string("banner"))
    assert answers == ["one", "two"]


def test_two_apps_under_one_server_each_read_their_own_flags() -> None:
    def app_for(name: str) -> flask.Flask:
        return app_with(lambda flags: flagmw.flags.string("banner"), Client(Static({"banner": name})))

    browser = Browser(DispatcherMiddleware(app_for("outer"), {"/inner": app_for("inner")}))
    assert [browser.get(path, buffered=True).text.strip() for path in ("/", "/inner/", "/")] == [
        '"outer"',
        '"inner"',
        '"outer"',
    ]


def test_the_extension_is_found_by_its_name() -> None:
    client = static_client()
    assert app_with(lambda flags: None, client).extensions["flagmw"].client is client


def test_installing_starts_nothing(tmp_path: Path) -> None:
    client = file_client(tmp_path / "flags.json")
    app_with(lambda flags: None, client)
    assert client.status.state is State.INITIALIZING


def test_a_wrong_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="client"):
        Flags(client="flags.yaml")  # type: ignore[arg-type]  # that is the mistake


def test_a_coroutine_function_is_refused_as_user_builder() -> None:
    async def user(request: flask.Request) -> None:
        return None

    with pytest.raises(ConfigError, match="plain function"):
        app_with(lambda flags: None, user=user)


def test_the_override_outlives_no_test_client_request() -> None:
    app = app_with(lambda flags: in_threads(lambda: flags.string("banner"), 2))
    with override_flags(banner="test"):
        during = visit_of(app)().json
    assert (during, visit_of(app)().json) == (["test", "test"], ["old", "old"])


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.fixture
def flag_file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(document()))
    return path


def configured(**config: Any) -> flask.Flask:
    """Make an app with a configuration and the extension."""
    app = flask.Flask(__name__)
    app.config.update(config)
    Flags(app)
    return app


def reading(app: flask.Flask) -> Visit:
    app.add_url_rule("/", "key", lambda: flask.jsonify(flagmw.flags.user.key))
    return visit_of(app)


def test_the_settings_are_a_mapping_of_the_app(flag_file: Path) -> None:
    app = configured(FLAGMW={"FLAG_FILE": flag_file})
    with app.test_request_context():
        assert accessor().string("banner") == "old"


def test_the_settings_may_be_single_keys_of_the_app(flag_file: Path) -> None:
    app = configured(FLAGMW_FLAG_FILE=str(flag_file), FLAGMW_ANONYMOUS_COOKIE=False)
    assert reading(app)().json is None


def test_the_mapping_wins_over_single_keys(flag_file: Path) -> None:
    app = configured(FLAGMW_FLAG_FILE="missing.yaml", FLAGMW={"FLAG_FILE": flag_file})
    with app.test_request_context():
        assert accessor().string("banner") == "old"


def test_the_settings_may_name_the_user_builder(flag_file: Path) -> None:
    app = configured(FLAGMW={"FLAG_FILE": flag_file, "USER": "tests.contrib.test_flask_setup.user_of_the_query"})
    with app.test_request_context("/?user=ann"):
        assert accessor().is_enabled("beta")


def user_of_the_query(request: flask.Request) -> dict[str, str]:
    return {"key": request.args["user"]}


def test_an_argument_wins_over_the_settings(flag_file: Path) -> None:
    app = flask.Flask(__name__)
    app.config["FLAGMW"] = {"FLAG_FILE": flag_file, "USER": user_of_the_query}
    Flags(app, user=lambda request: ANN)
    with app.test_request_context("/?user=bob"):
        assert accessor().user.key == "ann"


def test_a_client_passed_by_hand_wins_over_the_settings() -> None:
    app = flask.Flask(__name__)
    app.config["FLAGMW"] = {"FLAG_FILE": "missing.yaml", "ANONYMOUS_COOKIE": False}
    Flags(app, static_client())
    with app.test_request_context():
        assert (accessor().string("banner"), accessor().user.key) == ("old", None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"FLAG_FILES": "flags.yaml"}, "did you mean 'FLAG_FILE'"),
        ({}, "FLAG_FILE is missing"),
        ("flags.yaml", "must be a mapping"),
        ({"FLAG_FILE": "flags.txt"}, "flags.txt"),
        ({"FLAG_FILE": "flags.yaml", "USER": "no.such.module"}, "USER"),
        ({"FLAG_FILE": "flags.yaml", "TRUSTED_PROXIES": "1"}, "TRUSTED_PROXIES"),
        ({"FLAG_FILE": "flags.yaml", "ANONYMOUS_COOKIE": {"MAX_AGE": 1}}, "MAX_AGE"),
    ],
    ids=["misspelt", "empty", "text", "ending", "import", "type", "cookie"],
)
def test_a_wrong_setting_is_refused_by_name(settings: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(FLAGMW=settings)


def test_a_missing_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="FLAG_FILE is missing"):
        configured()


def test_the_secret_key_of_the_app_signs_the_cookie(flag_file: Path) -> None:
    visit = reading(configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY=SECRET))
    by_hand = reading(app_of_secret(SECRET))
    first = visit()
    assert by_hand(headers={"Cookie": first.cookie_header}).json == first.json


def app_of_secret(secret: str) -> flask.Flask:
    app = flask.Flask(__name__)
    Flags(app, static_client(), anonymous=AnonymousCookie(secret=secret))
    return app


def test_a_cookie_that_another_secret_key_has_signed_is_not_believed(flag_file: Path) -> None:
    first = reading(configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY="one"))()
    second = reading(configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY="two"))(
        headers={"Cookie": first.cookie_header}
    )
    assert second.json != first.json


def test_a_cookie_that_an_earlier_secret_key_has_signed_is_believed(flag_file: Path) -> None:
    first = reading(configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY="one"))()
    rotated = configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY="two", SECRET_KEY_FALLBACKS=["one"])
    assert reading(rotated)(headers={"Cookie": first.cookie_header}).json == first.json


def test_a_new_cookie_is_signed_with_the_newest_secret_key(flag_file: Path) -> None:
    rotated = configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY="two", SECRET_KEY_FALLBACKS=["one"])
    first = reading(rotated)()
    assert reading(app_of_secret("two"))(headers={"Cookie": first.cookie_header}).json == first.json


def test_a_secret_key_may_be_bytes(flag_file: Path) -> None:
    visit = reading(configured(FLAGMW={"FLAG_FILE": flag_file}, SECRET_KEY=b"\xff\x00"))
    first = visit()
    assert visit(headers={"Cookie": first.cookie_header}).json == first.json
