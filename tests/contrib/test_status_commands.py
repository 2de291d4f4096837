"""`manage.py flags status` and `flask flags status`: the processes of the app's own environment, and exit codes."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import flask
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from flagmw import Client
from flagmw.lifecycle import places
from flagmw.presence import Presence
from flagmw.providers.dsn import provider_from_dsn
from flagmw.status import Role, State, Status
from flagmw_django.conf import setup
from flagmw_flask import Flags
from tests.contrib.django_app.testing import django_database, first_flags
from tests.unit.presence_support import status
from tests.unit.support import until

__all__ = ["django_database", "first_flags"]  # fixtures

DSN = "hackle://an-sdk-key"

Run = Callable[..., tuple[int, list[str]]]


def django_command(*arguments: str) -> tuple[int, list[str]]:
    """Run `manage.py flags status`."""
    output = io.StringIO()
    code = 0
    try:
        call_command("flags", "status", *arguments, stdout=output)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, output.getvalue().splitlines()


def flask_command(*arguments: str, dsn: str = DSN) -> tuple[int, list[str]]:
    """Run `flask flags status`."""
    app = flask.Flask(__name__)
    Flags(app, Client(dsn))
    result = app.test_cli_runner().invoke(args=["flags", "status", *arguments])
    return result.exit_code, result.output.splitlines()


@pytest.fixture(params=["django", "flask"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the command of one of the frameworks, in an app whose flags come from a service."""
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "state"))
    if request.param == "flask":
        yield flask_command
    else:
        with override_settings(FLAGMW={"PROVIDER": DSN}):
            yield django_command


@contextmanager
def present(told: Status, dsn: str = DSN) -> Iterator[None]:
    """Show this process as one that uses a service."""
    place = provider_from_dsn(dsn).place()
    assert place is not None
    presence = Presence(place, lambda: told)
    presence.start()
    try:
        until(lambda: list(place.path().glob("process-*.json")))
        yield
    finally:
        presence.close()


def test_without_processes_the_code_is_3(run: Run) -> None:
    code, lines = run()
    assert (code, len(lines)) == (3, 1)
    assert "no process uses flags here" in lines[0]


def test_processes_that_are_well_are_shown_with_the_code_0(run: Run) -> None:
    with present(status(role=Role.LEADER)):
        code, lines = run()
    assert code == 0
    assert lines[0].startswith("hackle-")
    assert lines[0].endswith(": 1 process")
    assert lines[2].split()[2:4] == ["leader", "OK"]


def test_what_is_wrong_is_said_with_the_code_1(run: Run) -> None:
    with present(status(state=State.OFF, since=time.time(), error="the key is refused")):
        code, lines = run()
    assert code == 1
    assert lines[-1].endswith("the key is refused")


def test_processes_of_another_environment_are_not_shown(run: Run) -> None:
    with present(status(), dsn="hackle://another-sdk-key"):
        assert run()[0] == 3


def test_how_old_flags_may_be_can_be_said(run: Run) -> None:
    with present(status(revision_age_s=30.0)):
        assert run()[0] == 0
        assert run("--max-stale", "20")[0] == 1


def test_looking_starts_nothing(run: Run, tmp_path: Path) -> None:
    run()
    assert not (tmp_path / "state").exists()


def test_a_wrong_use_of_the_flask_command_gives_2() -> None:
    assert flask_command("--max-stale", "0")[0] == 2


@pytest.mark.parametrize("seconds", ["0", "x", "nan", "inf"])
def test_a_wrong_use_of_the_django_command_is_an_error(seconds: str) -> None:
    with pytest.raises(CommandError, match="must be a number of seconds above 0"):
        django_command("--max-stale", seconds)


def test_flask_flags_of_a_file_are_told_by_the_command_itself(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {}}')
    code, lines = flask_command(dsn=f"file:{path}")
    assert (code, lines[0].split()) == (0, ["state:", "OK"])


def test_a_flag_file_that_is_missing_gives_1(tmp_path: Path) -> None:
    code, lines = flask_command(dsn=f"file:{tmp_path / 'gone.json'}")
    assert code == 1
    assert "gone.json" in lines[-1]


def test_django_flags_that_each_process_has_for_itself_are_told_by_the_command_itself() -> None:
    code, lines = django_command()
    assert (code, lines[0].split(), lines[1].split()) == (
        0,
        ["state:", "OK"],
        ["revision:", setup().client.status.revision],
    )
