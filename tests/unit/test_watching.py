"""Joining clients and the usage agent: one agent per configuration, each client counted once, and no harm done."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw import Client, ConfigError, UserContext, configure, watching
from flagmw.flag_counts import read_flag_counts
from flagmw.providers import Static
from flagmw.registry import forget_client
from flagmw.usage import Agent, UsageConfig
from flagmw.usage.seams import Companion
from flagmw.watching import VARIABLE, check_usage, watch
from tests.unit.fork_support import run

USER = UserContext("user-1")


@pytest.fixture(autouse=True)
def _nobody_watches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Begin and end without an agent, in a folder of the test's own."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    for agent in watching._agents.values():
        agent.shutdown()
    watching._agents.clear()
    watching._counted.clear()


def config(path: Path, **settings: Any) -> UsageConfig:
    return UsageConfig(**{"packages": ["no_such_package"], "store": str(path / "usage.db"), **settings})


def client(**flags: Any) -> Client:
    return Client(Static({"beta": True, **flags}))


def counts(path: Path) -> dict[tuple[str, str], int]:
    return {(one.client_name, one.flag_key): one.count for one in read_flag_counts(path / "usage.db").counts}


# --- whether --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", [None, False])
def test_nothing_is_watched_unless_somebody_asks(usage: Any) -> None:
    assert watch(client(), usage) is None


def test_the_environment_can_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.flagmw.usage]\npackages = ["of_the_environment"]\n')
    monkeypatch.setenv(VARIABLE, str(tmp_path / "pyproject.toml"))
    agent = watch(client())
    assert agent is not None
    assert agent.config.packages == ("of_the_environment",)


@pytest.mark.parametrize("value", ["1", "true", "ON", " yes "])
def test_the_environment_can_name_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.flagmw.usage]\npackages = ["found_here"]\n')
    monkeypatch.setenv(VARIABLE, value)
    agent = watch(client())
    assert agent is not None
    assert agent.config.packages == ("found_here",)


@pytest.mark.parametrize("value", ["0", "false", "Off", "no"])
def test_the_environment_turns_everything_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert watch(client(), config(tmp_path)) is None


def test_what_is_turned_off_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    assert watch(client(), "no such file.conf") is None


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert watch(client()) is None


def test_a_setting_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "no such file.conf")
    wanted = config(tmp_path)
    agent = watch(client(), wanted)
    assert agent is not None
    assert agent.config == wanted


WRONG: list[Any] = [5, "", "no such file.conf", {"pakages": ["shop"]}, {"packages": 5}, [], True, object()]


@pytest.mark.parametrize("usage", WRONG, ids=repr)
def test_a_wrong_setting_is_an_error_where_it_is_given(usage: Any) -> None:
    with pytest.raises(ConfigError):
        watch(client(), usage)


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="packages"):
        check_usage({"pakages": ["shop"]})


def test_an_error_names_the_variable_that_led_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "no such file.conf")
    with pytest.raises(ConfigError, match=rf"{VARIABLE}.*no such file\.conf"):
        watch(client())


# --- who ------------------------------------------------------------------------------------------------------


def test_equal_settings_give_one_agent(tmp_path: Path) -> None:
    settings = {"packages": ["no_such_package"], "store": str(tmp_path / "usage.db")}
    assert watch(client(), settings) is watch(client(), dict(settings)) is watch(None, config(tmp_path))


def test_other_settings_give_another_agent(tmp_path: Path) -> None:
    assert watch(client(), config(tmp_path)) is not watch(client(), config(tmp_path, environment="other"))


def test_an_agent_made_by_hand_is_taken_and_started(tmp_path: Path) -> None:
    agent = Agent(config(tmp_path))
    assert watch(client(), agent) is agent
    assert agent.status.running
    agent.shutdown()


def test_functions_can_be_watched_without_a_client(tmp_path: Path) -> None:
    agent = watch(None, config(tmp_path))
    assert agent is not None
    assert agent.status.running


def test_a_client_that_is_watched_twice_is_counted_once(tmp_path: Path) -> None:
    one = client()
    for _ in range(2):
        agent = watch(one, config(tmp_path))
    one.variation("beta", USER)
    assert agent is not None
    agent.shutdown()
    assert counts(tmp_path) == {("default", "beta"): 1}


def test_clients_are_told_apart_by_name(tmp_path: Path) -> None:
    clients = [client(), client(), configure(Static({"beta": True}), name="shop")]
    for one in clients:
        agent = watch(one, config(tmp_path))
        one.variation("beta", USER)
    assert agent is not None
    agent.shutdown()
    forget_client("shop")
    assert counts(tmp_path) == {("default", "beta"): 1, ("default-2", "beta"): 1, ("shop", "beta"): 1}


def test_two_agents_can_count_one_client(tmp_path: Path) -> None:
    one = client()
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    agents = [watch(one, config(folder)) for folder in folders]
    one.variation("beta", USER)
    for agent in agents:
        assert agent is not None
        agent.shutdown()
    assert [counts(folder) for folder in folders] == [{("default", "beta"): 1}] * 2


def test_an_agent_that_was_shut_down_goes_on_when_it_is_wanted_again(tmp_path: Path) -> None:
    one = client()
    for _ in range(2):
        agent = watch(one, config(tmp_path))
        assert agent is not None
        one.variation("beta", USER)
        agent.shutdown()
    assert counts(tmp_path) == {("default", "beta"): 2}


def test_without_a_store_nothing_is_counted(tmp_path: Path) -> None:
    one = client()
    watch(one, config(tmp_path, store=None, server_url="http://127.0.0.1:9", api_key="of nobody"))
    assert one.tallies is None


def test_a_client_that_is_dropped_is_not_kept(tmp_path: Path) -> None:
    one = client()
    watch(one, config(tmp_path))
    one.variation("beta", USER)
    reference = weakref.ref(one)
    del one
    gc.collect()
    assert reference() is None


def test_what_a_dropped_client_has_counted_is_written(tmp_path: Path) -> None:
    one = client()
    agent = watch(one, config(tmp_path))
    one.variation("beta", USER)
    del one
    gc.collect()
    assert agent is not None
    agent.shutdown()
    assert counts(tmp_path) == {("default", "beta"): 1}


# --- what goes wrong later ------------------------------------------------------------------------------------


class Broken(Agent):
    """An agent that takes nobody along."""

    def accompany(self, companion: Companion) -> None:
        raise RuntimeError("not today")


def test_what_goes_wrong_later_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agent = Broken(config(tmp_path))
    with caplog.at_level(logging.ERROR, logger="flagmw"):
        assert watch(client(), agent) is agent
    assert "usage is not watched" in caplog.text


def test_a_store_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    one = client()
    agent = watch(one, config(tmp_path / "no" / "such" / "folder"))
    assert one.variation("beta", USER) is True
    assert agent is not None
    assert not agent.shutdown()


# --- forks ----------------------------------------------------------------------------------------------------

FORK = """
    import os
    from flagmw.watching import watch

    FOLDER = os.path.dirname(PATH)
    USAGE = {"packages": ["shop"], "codebase": [FOLDER], "store": PATH + ".db", "exit_timeout_s": 20.0}
    client = Client(FlagFile(PATH))
    watch(client, USAGE)

    def evaluate(times):
        for _ in range(times):
            client.variation("f", USER)

    def child(times):
        pid = os.fork()
        if pid == 0:
            evaluate(times)
            sys.exit(0)
        os.waitpid(pid, 0)

    evaluate(3)
    child(10)
    child(100)
    evaluate(1000)
"""


def test_each_process_writes_its_own_counts_only(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "till.py").write_text("def pay(): ...\n")
    run(FORK + "    print(json.dumps(0))", tmp_path)
    (count,) = read_flag_counts(tmp_path / "flags.json.db").counts
    assert (count.flag_key, count.count) == ("f", 1113)
