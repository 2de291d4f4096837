"""`flagmw_celery.Flags(app, ...)`: its arguments, several apps in one process, and what it does not disturb."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import subprocess
import sys
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app
from kombu.entity import Queue

import flagmw
from flagmw import ConfigError, registry
from flagmw_celery import HEADER, Flags
from tests.contrib.celery_host import Broker, Visit
from tests.contrib.support import document, static_client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def default_client() -> Iterator[None]:
    yield
    registry.forget_client()


# --- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"client": "client"}, "client"),
        ({"carry": "all"}, "carry"),
        ({"carry": None}, "carry"),
        ({"flush": -1}, "flush"),
        ({"flush": float("inf")}, "flush"),
        ({"flush": "1"}, "flush"),
        ({"flush": True}, "flush"),
        ({"start_wait": -1}, "start_wait"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_name(arguments: dict[str, Any], setting: str) -> None:
    app = Celery(set_as_current=False)
    with pytest.raises(ConfigError, match=f"^{setting} must be"):
        Flags(app, **({"client": static_client()} | arguments))


def test_a_coroutine_function_cannot_say_what_travels() -> None:
    async def carry(user: flagmw.UserContext) -> None:
        """Give nothing."""

    with pytest.raises(ConfigError, match="carry must be"):
        Flags(Celery(set_as_current=False), static_client(), carry=carry)  # type: ignore[arg-type]  # the point


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(ConfigError, match="app must be"):
        Flags("app", static_client())


def test_installing_twice_does_nothing() -> None:
    client = static_client()
    broker = Broker(client)
    Flags(broker.app, client)
    broker.task().delay()
    assert broker.run_all() == [(None, False)]


def test_another_client_for_the_same_app_is_refused() -> None:
    broker = Broker()
    with pytest.raises(ConfigError, match="once per app"):
        Flags(broker.app, static_client())


def test_another_rule_for_the_same_app_is_refused() -> None:
    client = static_client()
    broker = Broker(client)
    with pytest.raises(ConfigError, match="once per app"):
        Flags(broker.app, client, carry=False)


def test_celerys_current_app_is_the_app_itself() -> None:
    broker = Broker(installed=False)
    broker.app.set_current()
    Flags(current_app, static_client())
    Celery(set_as_current=False).set_current()  # lets go of the app
    broker.task().delay()
    assert broker.run_all() == [(None, False)]


# --- the default client -----------------------------------------------------------------------------------------


def installed_without_a_client() -> Broker:
    broker = Broker(installed=False)
    Flags(broker.app)
    return broker


def test_the_default_client_may_be_configured_later(default_client: None) -> None:
    broker = installed_without_a_client()
    flagmw.configure(static_client().provider)
    broker.task(lambda: flagmw.flags.string("banner")).delay()
    assert broker.run_all() == ["old"]


def test_the_environment_names_the_default_client_where_nobody_else_does(
    default_client: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flags.json").write_text(json.dumps(document("new")))
    monkeypatch.setenv("FLAGMW_DSN", f"file:{tmp_path / 'flags.json'}")
    broker = installed_without_a_client()
    broker.task(lambda: flagmw.flags.string("banner")).delay()
    assert broker.run_all() == ["new"]


def test_a_task_without_any_client_runs_and_has_no_flags(caplog: pytest.LogCaptureFixture) -> None:
    broker = installed_without_a_client()
    broker.task(has_no_flags).delay()
    with caplog.at_level(logging.WARNING, "flagmw"):
        assert broker.run_all() == [True]
    assert "a task has no flags: configure() without a provider reads FLAGMW_DSN, which is not set" in caplog.text


def test_a_user_travels_from_a_process_without_any_client() -> None:
    broker = installed_without_a_client()
    with Visit({"key": "ann"}):
        broker.task().delay()
    assert HEADER in broker.headers()


def has_no_flags() -> bool:
    with pytest.raises(RuntimeError, match="outside a request"):
        flagmw.flags.string("banner")
    return True


# --- several apps -------------------------------------------------------------------------------------------------


def test_tasks_of_an_app_without_flags_have_none() -> None:
    Broker()
    other = Broker(installed=False)
    other.task(has_no_flags).delay()
    assert other.run_all() == [True]


def test_each_app_has_a_rule_of_its_own() -> None:
    apps = [Broker(), Broker(carry=False), Broker(carry=lambda user: {"key": "cut"})]
    with Visit({"key": "ann"}):
        for broker in apps:
            broker.task().delay()
    assert [broker.headers().get(HEADER) for broker in apps] == ['{"key":"ann"}', None, '{"key":"cut"}']


def test_apps_with_queues_of_one_name_have_rules_of_their_own() -> None:
    broker, other = Broker(), Broker(carry=False)
    other.app.conf.task_default_queue = broker.app.conf.task_default_queue
    with Visit({"key": "ann"}):
        other.task().delay()
    assert HEADER not in other.headers()


def test_each_app_has_a_client_of_its_own() -> None:
    first = Broker(flagmw.Client(flagmw_static("first")))
    second = Broker(flagmw.Client(flagmw_static("second")))
    for broker in (first, second):
        broker.task(lambda: flagmw.flags.string("banner")).delay()
    assert (first.run_all(), second.run_all()) == (["first"], ["second"])


def flagmw_static(banner: str) -> Any:
    from flagmw.testing import Static

    return Static({"banner": banner})


def own_queue(broker: Broker) -> Any:
    """Give a queue that the app has not heard of, of the same name as its own."""
    return Queue(broker.app.conf.task_default_queue)  # type: ignore[no-untyped-call]  # kombu has no types


def test_nothing_travels_where_celery_does_not_say_whose_message_it_is() -> None:
    broker, _other = Broker(), Broker()
    with Visit({"key": "ann"}):
        broker.task().apply_async(queue=own_queue(broker))
    assert HEADER not in broker.headers()


ONLY_APP = """
from tests.contrib.celery_host import Broker, Visit
from tests.contrib.test_celery_setup import own_queue
broker = Broker()
with Visit({"key": "ann"}):
    broker.task().apply_async(queue=own_queue(broker))
assert "flagmw" in broker.headers()
"""


def test_an_only_app_need_not_be_known_by_its_queues() -> None:
    done = subprocess.run([sys.executable, "-c", ONLY_APP], check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0


def copy_of(broker: Broker) -> Broker:
    """Give a broker with a copy of an app, as a spawned pool process has it."""
    copied = Broker(installed=False)
    copied.app = pickle.loads(pickle.dumps(broker.app))
    copied.app.conf.update(task_default_queue=uuid.uuid4().hex, broker_url="memory://")
    return copied


def test_the_copy_of_an_app_in_a_spawned_process_has_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKED_BY_MULTIPROCESSING", "1")
    original = Broker()
    copied = copy_of(original)
    copied.task(lambda: flagmw.flags.string("banner")).delay()
    assert copied.run_all() == ["old"]


def test_the_copy_of_an_app_has_no_flags_elsewhere() -> None:
    original = Broker()
    copied = copy_of(original)
    copied.task(has_no_flags).delay()
    assert copied.run_all() == [True]


def test_another_app_in_a_spawned_process_has_no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKED_BY_MULTIPROCESSING", "1")
    _original, other = Broker(), Broker(installed=False)
    other.task(has_no_flags).delay()
    assert other.run_all() == [True]


def test_an_app_is_not_kept_alive() -> None:
    broker = Broker()
    app = weakref.ref(broker.app)
    broker.app.close()
    del broker
    gc.collect()
    assert app() is None


# --- light ------------------------------------------------------------------------------------------------------


def test_importing_flagmw_does_not_import_celery() -> None:
    code = "import sys, flagmw, flagmw.wsgi, flagmw.asgi; sys.exit('celery' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_installing_starts_nothing() -> None:
    client = static_client()
    Broker(client)
    assert client.status.state == "INITIALIZING"
