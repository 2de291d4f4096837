"""`Poster`: brings one batch to the service, once, and says what the answer means. It tries nothing again itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flagmw.errors import TransportError
from flagmw.events import EventWire
from flagmw.events.batches import Batch, Verdict, asked_pause_s, verdict_of
from flagmw.lifecycle.backoff import Backoff
from flagmw.lifecycle.chance import chance
from flagmw.once import LogOnce

logger = logging.getLogger("flagmw")

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
"""Pauses between tries grow from the one to the other, see `Backoff`."""

REFUSED_PAUSE_S = 60.0
"""How long to wait while the service refuses our secret; it takes a person to change that."""

MAX_ANSWER_BYTES = 65_536
"""Nothing in an answer's body is looked at."""


class Answer(Protocol):
    """What a service answered to a request."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...


class Session(Protocol):
    """Makes requests, one at a time, all from one thread."""

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int) -> Answer:
        """Make a request and wait for its answer.

        Raises:
            TransportError: there is none; its text holds no secret.
        """
        ...

    def interrupt(self) -> None:
        """End the request under way, from any thread, and let none follow; never waits and never raises."""
        ...

    def close(self) -> None:
        """Close what is open; the thread that makes the requests calls this."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When things are done.

    Args:
        flush_interval_s: how long an event waits for others to travel with.
        exit_timeout_s: for how long the last events are shipped when the process leaves without closing.
        wall_clock: Unix time.
        monotonic: for all that is measured.
        random: spreads the pauses between tries; gives a number in [0, 1).
    """

    flush_interval_s: float = 1.0
    exit_timeout_s: float = 1.0
    wall_clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = chance


class Outage:
    """The tries of one way to the service that failed in a row.

    Args:
        random: spreads the pauses.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._failures = 0
        self._backoff = Backoff(first_s=FIRST_PAUSE_S, max_s=MAX_PAUSE_S, random=random)

    def note_failure(self, reason: str, *, is_told: bool) -> float:
        """Count a failure, tell of the first, and give how long to wait."""
        if not self._failures and is_told:
            logger.warning("events cannot be delivered, they wait and are tried again: %s", reason)
        self._failures += 1
        return self._backoff.next_s()

    def note_success(self) -> None:
        """Forget the failures, and tell that they are over."""
        if self._failures:
            logger.info("events are delivered again after %d tries that failed", self._failures)
            self._failures = 0
            self._backoff.reset()


class Poster:
    """Posts batches, from one thread.

    Args:
        wire: the service's format.
        connect: makes the session, before the first request.
        wall_clock: Unix time, for services that name a date.
    """

    def __init__(self, wire: EventWire, connect: Callable[[], Session], wall_clock: Callable[[], float]) -> None:
        self._wire = wire
        self._connect = connect
        self._wall_clock = wall_clock
        self._session: Session | None = None
        self._takes_gzip = wire.takes_gzip
        self._log_once = LogOnce(logger)

    def post(
        self, batch: Batch, outage: Outage, may_ask: Callable[[], bool], *, is_told: bool
    ) -> tuple[Verdict, float]:
        """Try once; give what that means, and for how long to wait before the next try.

        Args:
            batch: what is posted.
            outage: keeps count of the failures.
            may_ask: whether there is time for a request.
            is_told: whether the first failure is logged.
        """
        try:
            body, was_compressed = batch.body(self._wire, may_compress=self._takes_gzip)
        except Exception as error:  # a defect of ours in a format must not end the thread
            logger.error("a batch of %d events could not be put together: %s", batch.events, type(error).__name__)  # noqa: TRY400  # a trace could show what events hold
            return Verdict.REFUSED, 0.0
        try:
            session = self._session = self._session or self._connect()
            if not may_ask():  # whoever closes could not interrupt what was not there yet
                return Verdict.RETRY, 0.0
            headers = dict(self._wire.headers())
            if was_compressed:
                headers["Content-Encoding"] = "gzip"
            answer = session.request("POST", self._wire.url, headers, body, MAX_ANSWER_BYTES)
        except TransportError as error:
            return Verdict.RETRY, outage.note_failure(str(error), is_told=is_told)
        except Exception as error:  # whatever a session raises, events wait for a better time
            reason = f"the request raised {type(error).__name__}"
            return Verdict.RETRY, outage.note_failure(reason, is_told=is_told)
        verdict = verdict_of(answer.status, was_compressed=was_compressed)
        if verdict is Verdict.SENT:
            self._log_once.forget("refused")
            outage.note_success()
        elif verdict is Verdict.RETRY:
            reason = f"the service answered with status {answer.status}"
            pause_s = outage.note_failure(reason, is_told=is_told)
            return verdict, asked_pause_s(answer.headers, self._wall_clock()) or pause_s
        elif verdict is Verdict.RETRY_SLOWLY:
            self._tell_refused(answer.status)
            return verdict, REFUSED_PAUSE_S
        elif verdict is Verdict.PLAIN:
            self._takes_gzip = False
            logger.info("the service takes no compressed events (status %d); they go uncompressed now", answer.status)
        elif verdict is Verdict.REFUSED or batch.events < 2:
            logger.error("the service does not take %d events (status %d); they are lost", batch.events, answer.status)
        return verdict, 0.0

    def _tell_refused(self, status: int) -> None:
        self._log_once(
            logging.ERROR,
            "refused",
            "the service refuses our events (status %d); they wait, and are dropped when there is no more room",
            status,
        )

    def interrupt(self) -> None:
        """End a request under way, from any thread; none follows."""
        session = self._session
        if session is not None:
            session.interrupt()

    def close(self) -> None:
        """Close the session; the thread that posts calls this."""
        if self._session is not None:
            self._session.close()
