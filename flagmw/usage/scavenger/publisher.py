"""`CollectorPublisher`: carries the code base and what ran to a Scavenger collector.

It keeps what could not be sent, says once per episode why nothing arrives, and holds up nothing but its own thread.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from flagmw.errors import AuthError, TransportError
from flagmw.lifecycle.backoff import Backoff
from flagmw.lifecycle.chance import chance
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase
from flagmw.usage.scavenger import grpc, messages
from flagmw.usage.scavenger.carrying import Carrier
from flagmw.usage.scavenger.collector import Collector
from flagmw.usage.scavenger.packing import Sender
from flagmw.usage.scavenger.schedule import Habits, Intervals, Job
from flagmw.usage.scavenger.trouble import Trouble
from flagmw.usage.seams import ProcessIdentity, Turn

logger = logging.getLogger("flagmw")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """What the schedule's job does in one turn (its `Calls`)."""

    carrier: Carrier
    turn: Turn

    def poll(self) -> Intervals:
        return self.carrier.poll()

    def code_base(self) -> CodeBase:
        return self.turn.code_base()

    def count(self, code_base: CodeBase) -> int:
        return len(self.carrier.pack(code_base).functions)

    def refuse(self, count: int) -> None:
        self.carrier.refuse(count)

    def publish_code_base(self, code_base: CodeBase) -> None:
        self.carrier.publish_code_base(code_base, self.turn.wall_s)

    def publish_invocations(self) -> None:
        self.carrier.publish_invocations(self.turn)


class CollectorPublisher:
    """Publishes to a collector (a `Publisher`). Making one starts nothing, connects to nothing and loads nothing.

    Args:
        config: where the collector is, and who we are.
        process: the process that it publishes for.
        monotonic: the clock for deadlines of connections; what is due goes by the turn's.
        random: gives a number in [0, 1), so that processes do not all come at once.

    Attributes:
        name: for people.
        thread_name: of its thread.
        exit_timeout_s: how long leaving the process may be held up for it.
    """

    name = "collector"

    def __init__(
        self,
        config: UsageConfig,
        process: ProcessIdentity,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance,
    ) -> None:
        self.thread_name = "flagmw-collect"
        self.exit_timeout_s = config.exit_timeout_s
        self._config = config
        self._process = process
        self._random = random
        self._collector = Collector(config, monotonic)
        self._job = Job(Habits(max_functions=config.max_functions), config.force_interval_s)
        self._trouble = Trouble(config.api_key or "")
        tick_s = config.scheduler_interval_s
        self._backoff = Backoff(first_s=2 * tick_s, max_s=60 * tick_s, random=random)
        self._carrier: Carrier | None = None
        self._begin_s: float | None = None
        self._is_over = False

    @property
    def problem(self) -> str | None:
        """Why nothing arrives; None when all is well."""
        return self._trouble.text

    @property
    def published_at(self) -> float | None:
        """Wall time in seconds of the last success."""
        return self._carrier.published_at if self._carrier is not None else None

    def run(self, turn: Turn) -> float:
        """Do what is due; never raises. See `Publisher`."""
        now_s = turn.monotonic_s
        if self._begin_s is None:
            self._begin_s = now_s + self._config.scheduler_initial_delay_s * (1 + self._random() / 2)
        if now_s < self._begin_s:
            return self._begin_s - now_s
        carrier = self._ready()
        if carrier is None:
            return math.inf
        if not self._collector.begin():
            return 0.0
        try:
            if not self._job.has_polled and self._job.poll.is_due(now_s):
                # Before the first poll the collector has said no intervals, and a host may only just come up.
                carrier.reach()
            self._job.run(_Visit(carrier=carrier, turn=turn), now_s, turn.wall_s)
        except AuthError as error:
            self._stop(error)
            return math.inf
        except TransportError:
            return self._backoff.next_s()
        finally:
            self._collector.end()
        tick_s = self._config.scheduler_interval_s
        return max(self._job.next_s() - turn.monotonic_s, tick_s) + tick_s / 2 * self._random()

    def finish(self, turn: Turn, timeout_s: float) -> bool:
        """Send what is left; never raises. See `Publisher`."""
        carrier = self._ready()
        if carrier is None:
            return True
        self._collector.begin_last(timeout_s)
        visit = _Visit(carrier=carrier, turn=turn)
        try:
            if not self._job.is_published:
                code_base = visit.code_base()
                count = visit.count(code_base)
                if not 0 < count <= self._config.max_functions:
                    visit.refuse(count)
                    return True
                visit.publish_code_base(code_base)
                self._job.is_published = True
            carrier.publish_last(turn)
        except AuthError as error:
            self._stop(error)
        except TransportError:
            return False
        finally:
            self._collector.end()
        return True

    def wake(self) -> None:
        """End what `run` is waiting for, from any thread; does not wait."""
        self._collector.wake()

    def _ready(self) -> Carrier | None:
        """Load what is needed; None when the collector is not to be asked any more."""
        if self._is_over:
            return None
        if self._carrier is not None:
            return self._carrier
        if not grpc.is_available() or not messages.are_available():
            self._is_over = True
            self._trouble.final("that needs h2 and protobuf: pip install 'flagmw[scavenger]'")
            return None
        sender = Sender(self._config, self._process)
        if sender.cut:
            logger.warning("longer than a Scavenger collector keeps, so cut: %s", ", ".join(sender.cut))
        self._carrier = Carrier(self._config, sender, messages.Messages(), self._collector, self._trouble)
        return self._carrier

    def _stop(self, error: AuthError) -> None:
        """Never ask the collector again."""
        self._is_over = True
        self._carrier = None
        self._trouble.final(
            f"{error}; it does not know api_key, so this process sends it nothing more: copy the key of your workspace "
            "from its console"
        )
