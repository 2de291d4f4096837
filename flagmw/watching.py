"""`watch`: has the usage agent look at the process in which a client evaluates flags, and keep what it evaluates.

What adapters and middleware call, once per client. Whoever does not want it pays nothing: the agent, SQLite and the rest
are imported by the first who does.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flagmw.client import Client
from flagmw.core.snapshot import Snapshot
from flagmw.errors import ConfigError
from flagmw.lifecycle.imports import import_optional

if TYPE_CHECKING:
    from flagmw.usage import Agent, UsageConfig

logger = logging.getLogger("flagmw")

VARIABLE = "FLAGMW_USAGE"
"""The environment variable that says what no setting says, and turns everything off with 0."""

OFF = frozenset({"0", "false", "off", "no"})
ON = frozenset({"1", "true", "on", "yes"})

_agents: dict[UsageConfig, Agent] = {}
_counted: weakref.WeakKeyDictionary[Client, tuple[str, list[Agent]]] = weakref.WeakKeyDictionary()
"""What each client is called in the store, and who keeps its counts."""

_locks: dict[int, threading.Lock] = {}
"""By process id; made at the first use: at import gevent may not have put its own in place yet."""


def watch(client: Client | None, usage: Any = None) -> Agent | None:
    """Start the process's agent for these settings, and have it keep what a client evaluates.

    The same settings give the same agent, and the same client is counted once, however often this is called.

    Args:
        client: whose evaluations are counted; None has functions watched only.
        usage: a `flagmw.usage.UsageConfig`, a mapping of its settings, the path of a `scavenger.conf` or
            `pyproject.toml`, True for the one in the working directory, or an `Agent`. None leaves it to the
            environment variable FLAGMW_USAGE: a path, or 1, which stands for True. False watches nothing, and
            neither does anything while that variable is 0.

    Returns:
        The agent; None when nothing is to be watched.

    Raises:
        ConfigError: `usage`, or what it leads to, is wrong. Whatever goes wrong later is a line in the log.
    """
    found = _of_environment() if usage is None else check_usage(usage)
    if found is None:
        return None
    agent = _agent_of(found)
    try:
        if client is not None and agent.config.store is not None:
            _count(client, agent)
        agent.start()
    except Exception:  # the application starts, whatever becomes of its usage
        logger.exception("usage is not watched: starting the agent raised an error")
    return agent


def check_usage(usage: Any) -> UsageConfig | Agent | None:
    """Give what a setting says; None when nothing is to be watched, or it does not say. Starts nothing.

    Raises:
        ConfigError: it is wrong.
    """
    if usage is None or usage is False or _variable().lower() in OFF:
        return None
    if import_optional("flagmw.flag_counts") is None:
        raise ConfigError("watching usage needs sqlite3, which this Python was built without; leave usage out")
    from flagmw.usage import Agent, UsageConfig  # noqa: PLC0415  # imported just now, so that a fork waits for it

    return usage if isinstance(usage, Agent) else UsageConfig.of(usage)


def _of_environment() -> UsageConfig | Agent | None:
    value = _variable()
    try:
        return check_usage((value.lower() in ON or value) if value else None)
    except ConfigError as error:
        raise ConfigError(f"{VARIABLE}: {error}") from None


def _variable() -> str:
    return os.environ.get(VARIABLE, "").strip()


def _agent_of(found: UsageConfig | Agent) -> Agent:
    """Give the one agent of this process for these settings."""
    from flagmw.usage import Agent  # noqa: PLC0415  # was imported before, with the settings

    if isinstance(found, Agent):
        return found
    agent = _agents.get(found)
    return agent if agent is not None else _agents.setdefault(found, Agent(found))


def _count(client: Client, agent: Agent) -> None:
    """Have an agent keep what a client evaluates, once."""
    from flagmw.flag_counts import FlagCounts  # noqa: PLC0415  # as above

    with _locks.setdefault(os.getpid(), threading.Lock()):
        name, agents = _counted.get(client) or (_name_of(client), [])
        if agent in agents:
            return
        _counted[client] = name, [*agents, agent]
    config = agent.config
    agent.accompany(
        FlagCounts(
            client.tally(agent.touch),
            app_name=config.app_name,
            environment=config.environment,
            client_name=name,
            snapshot=_reader_of(client),
        )
    )


def _name_of(client: Client) -> str:
    """Give a name that no other client of this process has in the store; clients without a name are often several."""
    taken = {name for name, _ in _counted.values()}
    if client.name not in taken:
        return client.name
    return next(name for number in itertools.count(2) if (name := f"{client.name}-{number}") not in taken)


def _reader_of(client: Client) -> Callable[[], Snapshot | None]:
    """Make what gives a client's flags. It must not keep the client: a dropped client ends its thread."""
    reference = weakref.ref(client)

    def snapshot() -> Snapshot | None:
        owner = reference()
        return owner.snapshot_if_used() if owner is not None else None

    return snapshot
