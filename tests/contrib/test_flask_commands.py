"""`flask flags list` and `flask flags eval`."""

from __future__ import annotations

from pathlib import Path

import flask
import pytest
from click.testing import Result

from flagmw import Client
from flagmw.providers import FlagFile, Static
from flagmw.testing import MemorySink
from flagmw_flask import Flags
from tests.contrib.support import file_client, static_client


def run(client: Client, *arguments: str) -> Result:
    """Run `flask flags` for an app."""
    app = flask.Flask(__name__)
    Flags(app, client)
    return app.test_cli_runner().invoke(args=["flags", *arguments])


def test_list_shows_every_flag_with_value_and_reason() -> None:
    result = run(static_client(), "list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == ["banner", "beta", "theme"]
    assert '"old"' in result.output.splitlines()[0]
    assert "STATIC" in result.output.splitlines()[0]


def test_list_evaluates_for_the_user() -> None:
    assert "true" in run(static_client(), "list", "--user", '{"key": "ann"}').output


def test_list_of_no_flags_is_empty() -> None:
    result = run(Client(Static({})), "list")
    assert (result.exit_code, result.output) == (0, "")


def test_list_reads_the_flag_file(tmp_path: Path) -> None:
    assert "banner" in run(file_client(tmp_path / "flags.json"), "list").output


@pytest.mark.parametrize("command", [["list"], ["eval", "banner"]], ids=["list", "eval"])
def test_a_missing_flag_file_is_named(tmp_path: Path, command: list[str]) -> None:
    result = run(Client(FlagFile(tmp_path / "flags.yaml")), *command)
    assert result.exit_code == 1
    assert "flags.yaml" in result.output


def test_eval_shows_value_variation_and_reason() -> None:
    result = run(static_client(), "eval", "beta", "--user", '{"key": "ann"}')
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()] == [
        ["value:", "true"],
        ["variation:", "on"],
        ["reason:", "TARGETING_MATCH"],
    ]


def test_eval_of_a_missing_flag_says_so_and_fails() -> None:
    result = run(static_client(), "eval", "missing")
    assert result.exit_code == 1
    assert "FLAG_NOT_FOUND" in result.output


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("{key: ann}", "no JSON"),
        ("[1]", "mapping"),
        ('{"key": 1}', "key must be a str"),
        ('{"age": NaN}', "NaN"),
        ("[" * 100_000, "nested"),
    ],
    ids=["syntax", "list", "type", "nan", "deep"],
)
def test_a_bad_user_is_explained_and_fails(user: str, message: str) -> None:
    result = run(static_client(), "eval", "beta", "--user", user)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize("command", [["list"], ["eval", "banner"]], ids=["list", "eval"])
def test_looking_at_flags_records_no_exposure(command: list[str]) -> None:
    sink = MemorySink()
    result = run(Client(Static({"banner": "old"}, sink=sink)), *command)
    assert (result.exit_code, list(sink.exposures)) == (0, [])
