"""The agent in one process: it starts and stops at any time, reports what ran, and says why nothing arrives."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flagmw.errors import ConfigError
from flagmw.lifecycle import hooks
from flagmw.usage import Agent, UsageConfig
from flagmw.usage.seams import ProcessIdentity
from flagmw.usage.store import read_usage
from tests.unit.usage_agent_support import rows, until

SOURCE = """
def a():
    return 1

def b():
    return 2

class K:
    def m(self):
        return 3
"""

_numbers = itertools.count()


class Shop:
    """A package of its own name, with a store."""

    def __init__(self, folder: Path) -> None:
        self.name = f"usage_shop{next(_numbers)}"
        self.folder = folder
        self.store = folder / "usage.db"
        (folder / self.name).mkdir()
        (folder / self.name / "__init__.py").touch()
        (folder / self.name / "views.py").write_text(SOURCE)
        self.config = UsageConfig(
            packages=(self.name,),
            codebase=(str(folder),),
            app_name="shop",
            store=str(self.store),
            store_interval_s=60.0,
            exit_timeout_s=10.0,
        )

    def views(self) -> ModuleType:
        """Import it."""
        return importlib.import_module(f"{self.name}.views")

    def ran(self) -> Counter[str]:
        if not self.store.exists():
            return Counter()
        return Counter({one.function.name: one.intervals for one in read_usage(self.store).functions if one.intervals})


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(str(tmp_path))
    shop = Shop(tmp_path)
    yield shop
    for name in [name for name in sys.modules if name.startswith(shop.name)]:
        del sys.modules[name]


@pytest.fixture
def agent(shop: Shop) -> Iterator[Agent]:
    agent = Agent(shop.config)
    yield agent
    agent.shutdown()


def threads() -> list[str]:
    return sorted(one.name for one in threading.enumerate() if one.name.startswith("flagmw-"))


def has_published(agent: Agent) -> bool:
    return any(one.published_at is not None for one in agent.status.publishers)


# --- starting and stopping ------------------------------------------------------------------------------------


def test_constructing_starts_nothing_and_touches_no_file(shop: Shop) -> None:
    before = (threads(), list(sys.meta_path), sorted(shop.folder.iterdir()))
    Agent(shop.config)
    assert (threads(), list(sys.meta_path), sorted(shop.folder.iterdir())) == before


def test_something_else_than_a_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"an Agent takes a UsageConfig, got dict; UsageConfig.of makes one"):
        Agent({"packages": ["shop"]})  # type: ignore[arg-type]  # what is refused


def test_what_ran_is_stored_at_the_end(shop: Shop, agent: Agent) -> None:
    agent.start()
    views = shop.views()
    views.a()
    views.K().m()
    assert agent.shutdown()
    assert shop.ran() == {"a": 1, "m": 1}


def test_an_agent_that_starts_after_the_imports_sees_the_same(shop: Shop, agent: Agent) -> None:
    views = shop.views()
    stored = [views.a]  # as a framework keeps what a decorator gives it
    agent.start()
    stored[0]()
    agent.shutdown()
    assert shop.ran() == {"a": 1}


def test_the_first_publication_comes_soon(shop: Shop, agent: Agent) -> None:
    agent.start()
    until(lambda: has_published(agent))
    assert len(read_usage(shop.store).functions) == 3


def test_starting_twice_starts_one_thread(agent: Agent) -> None:
    agent.start()
    agent.start()
    assert threads() == ["flagmw-usage"]


def test_many_threads_that_start_it_at_once_start_it_once(agent: Agent) -> None:
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait(10)
        agent.start()

    starters = [threading.Thread(target=start) for _ in range(8)]
    for one in starters:
        one.start()
    for one in starters:
        one.join(10)
    assert threads() == ["flagmw-usage"]


def test_stopping_twice_is_harmless_and_leaves_no_thread(agent: Agent) -> None:
    agent.start()
    assert (agent.shutdown(), agent.shutdown(), threads()) == (True, True, [])


def test_stopping_what_never_started_is_harmless(agent: Agent) -> None:
    assert agent.shutdown()


def test_it_can_be_started_again(shop: Shop, agent: Agent) -> None:
    views = shop.views()
    for _ in range(3):
        agent.start()
        views.a()
        agent.shutdown()
        views.b()  # nobody watches
    assert shop.ran() == {"a": 3}


def test_after_the_end_nothing_is_left_in_the_interpreter(shop: Shop, agent: Agent) -> None:
    finders = list(sys.meta_path)
    agent.start()
    shop.views().a()
    agent.shutdown()
    assert sys.meta_path == finders


def test_a_start_that_goes_wrong_is_logged_and_not_raised(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(shop.config)
    monkeypatch.setitem(sys.modules, "flagmw.usage.recording", None)  # as when it cannot be imported
    agent.start()
    assert "the usage agent is incomplete: watching what runs" in caplog.text
    assert any("watching what runs" in one for one in agent.status.problems)
    agent.shutdown()


# --- the end of the process -----------------------------------------------------------------------------------


def test_a_process_that_leaves_makes_the_last_publication(shop: Shop, agent: Agent) -> None:
    agent.start()
    shop.views().a()
    hooks.leave(10.0)
    assert (shop.ran(), threads()) == ({"a": 1}, [])


def test_what_runs_after_the_threads_have_ended_is_stored_when_the_process_leaves_again(
    shop: Shop, agent: Agent
) -> None:
    agent.start()
    views = shop.views()
    hooks.leave(10.0)
    views.a()
    hooks.leave(10.0)
    assert shop.ran() == {"a": 1}


def test_starting_after_the_process_seemed_to_leave_goes_on(shop: Shop, agent: Agent) -> None:
    agent.start()
    views = shop.views()
    views.a()
    hooks.leave(10.0)
    agent.start()
    views.a()
    assert threads() == ["flagmw-usage"]
    agent.shutdown()
    assert shop.ran() == {"a": 2}
    assert read_usage(shop.store).processes == 1


# --- several agents -------------------------------------------------------------------------------------------


def test_agents_with_equal_configurations_share_what_they_do(shop: Shop, agent: Agent) -> None:
    other = Agent(replace(shop.config))
    agent.start()
    other.start()
    assert threads() == ["flagmw-usage"]
    shop.views().a()
    agent.shutdown()
    assert (threads(), agent.status.running, other.status.running) == (["flagmw-usage"], False, True)
    other.shutdown()
    assert shop.ran() == {"a": 1}


def test_agents_with_different_configurations_do_not_disturb_each_other(shop: Shop, agent: Agent) -> None:
    other = Agent(replace(shop.config, app_name="other", store=str(shop.folder / "other.db")))
    agent.start()
    other.start()
    views = shop.views()
    views.a()
    other.shutdown()
    views.b()
    agent.shutdown()
    assert shop.ran() == {"a": 1, "b": 1}
    assert [one.function.name for one in read_usage(shop.folder / "other.db").functions if one.intervals] == ["a"]


class Noting:
    schema = "CREATE TABLE IF NOT EXISTS noted (at REAL);"

    def __init__(self) -> None:
        self.forks = 0

    def write(self, connection: sqlite3.Connection, process: ProcessIdentity, at: float) -> None:
        connection.execute("INSERT INTO noted VALUES (?)", (at,))

    def written(self) -> None:
        pass

    def forked(self) -> None:
        self.forks += 1


@pytest.mark.parametrize("when", ["at construction", "before the start", "after the start"])
def test_a_companion_writes_whenever_it_comes(shop: Shop, when: str) -> None:
    companion = Noting()
    agent = Agent(shop.config, [companion] if when == "at construction" else [])
    if when == "before the start":
        agent.accompany(companion)
    agent.start()
    if when == "after the start":
        agent.accompany(companion)
        agent.accompany(companion)
    agent.shutdown()
    ((count,),) = rows(shop.store, "SELECT count(*) FROM noted")
    assert count == len(rows(shop.store, "SELECT DISTINCT at FROM noted")) >= 1


# --- telling --------------------------------------------------------------------------------------------------


def test_the_status_tells_how_things_are(shop: Shop, agent: Agent) -> None:
    agent.start()
    shop.views().a()
    agent.start()
    until(lambda: has_published(agent))
    hooks.leave(10.0)
    status = agent.status
    (store,) = status.publishers
    assert (status.running, status.pid, status.packages, status.functions) == (True, os.getpid(), (shop.name,), 3)
    assert (status.ran, status.problems, store.name, store.problem) == (1, (), "store", None)


def test_the_status_says_that_it_is_not_started(agent: Agent) -> None:
    assert (agent.status.running, agent.status.problems) == (False, ("the agent is not started",))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"packages": ("nowhere",)}, "no function was found: look at the settings packages and codebase"),
        ({"store": "/nowhere/usage.db"}, "store: the usage store /nowhere/usage.db cannot be written"),
    ],
)
def test_the_status_says_why_nothing_arrives(shop: Shop, settings: dict[str, Any], problem: str) -> None:
    agent = Agent(replace(shop.config, **settings))
    agent.start()
    until(lambda: any(one.startswith(problem) for one in agent.status.problems))
    agent.shutdown()


def test_nothing_shows_the_api_key(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    agent = Agent(
        replace(shop.config, server_url="http://127.0.0.1:9", api_key="a-key-to-hide", http_connect_timeout_s=1.0)
    )
    agent.start()
    shown = f"{agent!r} {agent.status!r}"
    agent.shutdown(5.0)
    assert "a-key-to-hide" not in shown + caplog.text


def test_touching_an_agent_that_is_well_changes_nothing(agent: Agent) -> None:
    agent.touch()
    agent.start()
    uuid = agent.status.uuid
    agent.touch()
    assert (agent.status.uuid, threads()) == (uuid, ["flagmw-usage"])


def test_the_folder_of_the_store_is_the_one_of_the_start(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(shop.folder)
    agent = Agent(replace(shop.config, store="relative.db", codebase=(".",)))
    agent.start()
    shop.views().a()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    agent.shutdown()
    assert len(read_usage(shop.folder / "relative.db").functions) == 3
