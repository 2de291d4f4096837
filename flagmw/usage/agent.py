"""`Agent`: watches which functions run, and reports them from threads of its own; survives forks, ends by itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from flagmw.errors import ConfigError
from flagmw.usage.agent_status import AgentStatus
from flagmw.usage.config import UsageConfig
from flagmw.usage.seams import Companion
from flagmw.usage.watch import Watch, forget, remember, watch_for

logger = logging.getLogger("flagmw")


class Agent:
    """Watches the functions of the configured packages. Constructing starts nothing.

    Any thread may call. Nothing but the constructor raises: an application runs without its agent. Agents with equal
    configurations share what they watch. When the process ends, what ran is published a last time, without a call.

    Args:
        config: what to watch, and where to report.
        companions: write their own into the store with each publication.

    Raises:
        ConfigError: `config` is no UsageConfig.
    """

    def __init__(self, config: UsageConfig, companions: Sequence[Companion] = ()) -> None:
        if not isinstance(config, UsageConfig):
            raise ConfigError(f"an Agent takes a UsageConfig, got {type(config).__name__}; UsageConfig.of makes one")
        self._config = config
        self._companions = list(companions)
        self._watch: Watch | None = None

    @property
    def config(self) -> UsageConfig:
        """What is watched, and where it is reported to."""
        return self._config

    def start(self) -> None:
        """Begin to watch; does not wait for the code base to be read. May be called twice, and again after `shutdown`."""
        try:
            watch = self._watch or watch_for(self._config)
            self._watch = watch
            watch.join(self, self._companions)
            remember(self._config, watch)
        except Exception:  # the application starts without its agent
            logger.exception("starting the usage agent raised an error")

    def shutdown(self, timeout: float | None = None) -> bool:
        """Stop watching, after a last publication; may be called twice.

        Args:
            timeout: seconds for that; None is the setting `exit_timeout_s`.

        Returns:
            Whether all was carried away in time.
        """
        watch, self._watch = self._watch, None
        if watch is None:
            return True
        try:
            return watch.leave(self, self._config.exit_timeout_s if timeout is None else timeout)
        except Exception:  # the application goes on
            logger.exception("stopping the usage agent raised an error")
            return False
        finally:
            forget(self._config, watch)

    def touch(self) -> None:
        """Notice that this is another process than before, where a server forks without telling. Costs a getpid."""
        watch = self._watch
        if watch is not None and watch.settled_pid != os.getpid():
            try:
                watch.touch()
            except Exception:  # the request goes on
                logger.exception("going on with the usage agent raised an error")

    def accompany(self, companion: Companion) -> None:
        """Let somebody write his own into the store with each publication from now on."""
        if not any(one is companion for one in self._companions):
            self._companions.append(companion)
        if self._watch is not None:
            self._watch.accompany(companion)

    @property
    def status(self) -> AgentStatus:
        """How it is doing in this process; says why nothing arrives."""
        if self._watch is not None:
            self.touch()
            return self._watch.status()
        return AgentStatus(
            running=False,
            pid=os.getpid(),
            uuid="",
            packages=self._config.packages,
            functions=None,
            ran=0,
            publishers=(),
            problems=("the agent is not started",),
        )

    def __repr__(self) -> str:
        """Show what it watches, and no secret."""
        state = "running" if self._watch is not None else "not running"
        return f"Agent({', '.join(self._config.packages)}; {state})"
