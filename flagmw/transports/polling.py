"""Documents of a flag service, asked for at intervals over HTTP.

What is asked comes from the dialect's `PollWire`. An answer's validators (`ETag`, `Last-Modified`) go back with the
next request only if its document was put in force: a document that was refused is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from traceback import format_tb

from flagmw.core.documents import Document
from flagmw.errors import AuthError, ProtocolError, TransportError
from flagmw.lifecycle.backoff import Backoff
from flagmw.lifecycle.chance import chance
from flagmw.line import Interrupted, retry_after_s
from flagmw.network import Network
from flagmw.session import Answer, HttpSession
from flagmw.status import Role
from flagmw.transports import Delivery, PollWire, Receiver
from flagmw.transports.pulse import Pulse

logger = logging.getLogger("flagmw")

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024

JITTER_RATIO = 0.05
"""How far a request may be off its time, in intervals, so that the processes of a fleet do not ask together."""


MIN_FETCH_S = 0.01
"""A single request may always take this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validators:
    """What makes the next request conditional, and a hash of the address for which it holds."""

    place: str = ""
    etag: str | None = None
    last_modified: str | None = None

    def headers(self, url: str) -> dict[str, str]:
        if _place_of(url) != self.place:
            return {}
        pairs = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in pairs.items() if value}


class PollingSource:
    """Brings the document of one service.

    Args:
        wire: what the service is asked.
        network: timeouts, proxy and certificates.
        interval_s: how often it is asked, on average; never more often, as long as it fails.
        first_retry_delay_s: the bound of the first wait after a failure; it doubles with each.
        max_retry_delay_s: the largest such bound.
        max_document_bytes: a larger answer is refused.
        monotonic: the clock for all that is measured.
        random: spreads the requests; gives a number in [0, 1).
    """

    background = True
    local = False
    awaited = True
    role = Role.ALONE
    agreed_s: float | None = None

    def __init__(
        self,
        wire: PollWire,
        network: Network,
        *,
        interval_s: float,
        first_retry_delay_s: float = 1.0,
        max_retry_delay_s: float = 60.0,
        max_document_bytes: int = MAX_DOCUMENT_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance,
    ) -> None:
        self._wire = wire
        self._network = network
        self._interval_s = interval_s
        self._max_document_bytes = max_document_bytes
        self._monotonic = monotonic
        self._random = random
        self._backoff = Backoff(first_s=first_retry_delay_s, max_s=max_retry_delay_s, random=random)
        self._session = HttpSession(network, monotonic=monotonic)
        self._receiver: Receiver | None = None
        self._validators = _Validators()
        self._outlook = "; trying again"
        self._pulse = Pulse(monotonic)
        self._patience_s = network.connect_timeout_s + network.read_timeout_s

    @property
    def heartbeat_s(self) -> float | None:
        """When the thread in `run` gave its last sign of life, see `Pulse`; None before the first."""
        return self._pulse.last_s

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Ask once, in this thread and within that time, and deliver the answer or why there is none.

        Looking up the host's name is not bounded.
        """
        share_s = max(timeout_s, MIN_FETCH_S) / 2
        network = self._network
        connect_s = min(network.connect_timeout_s, share_s)
        read_s = min(network.read_timeout_s, 2 * share_s - connect_s)
        network = replace(network, connect_timeout_s=connect_s, read_timeout_s=read_s)
        self._session = HttpSession(network, monotonic=self._monotonic)
        self._outlook = ""
        try:
            self._poll(receiver)
        except Interrupted:
            return
        except AuthError as error:
            receiver.deliver(Delivery(error=AuthError(f"{self._wire.name}: {error}")))
        finally:
            self._session.close()

    @property
    def resume_token(self) -> bytes | None:
        """The validators, with a hash of the address for which they hold."""
        validators = self._validators
        if not validators.place:
            return None
        pairs = {"place": validators.place, "etag": validators.etag, "last_modified": validators.last_modified}
        return json.dumps(pairs).encode()

    def resume(self, token: bytes) -> None:
        """Go on with another process's validators."""
        try:
            self._validators = _Validators(**json.loads(token))
        except (ValueError, TypeError):
            logger.debug("%s: another process's validators cannot be read", self._wire.name)

    def open(self, receiver: Receiver) -> None:
        """Take note of who receives; everything comes from the network."""
        self._receiver = receiver

    def wake(self) -> None:
        """End whatever `run` is waiting for. Any thread may call; never waits or raises."""
        self._session.interrupt()

    def run(self, stopping: threading.Event) -> None:
        """Ask at once and then at intervals, until the event is set or the service refuses us."""
        receiver = self._receiver
        if receiver is None:
            return
        due_s = self._monotonic()
        try:
            while not stopping.is_set():
                try:
                    self._pulse.rest(self._patience_s)
                    pause_s = self._poll(receiver)
                except Interrupted:
                    return
                except AuthError as error:
                    receiver.deliver(Delivery(error=AuthError(f"{self._wire.name}: {error}; not trying again")))
                    return
                now = self._monotonic()
                if pause_s is None:
                    due_s += self._interval_s * max(1.0, (now - due_s) // self._interval_s + 1.0)
                    spread_s = (2 * self._random() - 1) * JITTER_RATIO * self._interval_s
                    pause_s = max(due_s + spread_s - now, 0.0)
                else:
                    pause_s = max(pause_s, self._interval_s * (1 + JITTER_RATIO * self._random()))
                    due_s = now + pause_s
                self._pulse.rest(pause_s)
                stopping.wait(pause_s)
        finally:
            self._pulse.rest()
            self._session.close()

    def _poll(self, receiver: Receiver) -> float | None:
        """Ask once.

        Returns:
            How long to wait at least after a failure; None when all went well.

        Raises:
            AuthError: the service refuses our secret.
            Interrupted: we are to stop.
        """
        pause_s, asked_s = 0.0, self._monotonic()
        try:
            url = self._wire.url(receiver.snapshot)
            headers = {**self._wire.headers(), **self._validators.headers(url)}
            answer = self._session.request("GET", url, headers, None, self._max_document_bytes)
            pause_s = retry_after_s(answer.headers)
            delivery = self._delivery(answer)
        except (AuthError, Interrupted):
            raise
        except TransportError as error:
            kind = ProtocolError if isinstance(error, ProtocolError) else TransportError
            failure = kind(f"{self._wire.name}: {error}{self._outlook}")
        except Exception as error:  # a defect of ours, or of the library: the next request may go well
            # Its text may hold what we said to the service.
            logger.debug("%s failed by an error at\n%s", self._wire.name, "".join(format_tb(error.__traceback__)))
            failure = TransportError(f"{self._wire.name}: unexpected {type(error).__name__}{self._outlook}")
        else:
            self._backoff.reset()
            self._pulse.rest()
            is_taken = receiver.deliver(replace(delivery, asked_s=asked_s))
            if delivery.documents:
                self._validators = _validators(url, answer.headers) if is_taken else _Validators()
            return None
        receiver.deliver(Delivery(error=failure))
        return max(self._backoff.next_s(), pause_s)

    def _delivery(self, answer: Answer) -> Delivery:
        """Read an answer; without documents and error, it says that what is in force is the newest."""
        if answer.status in (401, 403):
            raise AuthError(f"{answer.peer} refuses our secret (HTTP {answer.status})")
        if answer.status == 304:
            return Delivery()
        if not 200 <= answer.status < 300:
            raise TransportError(f"{answer.peer} answered HTTP {answer.status}")
        if not answer.body.strip():
            return Delivery()
        logger.debug("%s: a document of %d bytes", self._wire.name, len(answer.body))
        return Delivery(documents=(Document(name=self._wire.name, content=answer.body),))


def _validators(url: str, headers: Mapping[str, str]) -> _Validators:
    etag, last_modified = headers.get("etag"), headers.get("last-modified")
    return _Validators(place=_place_of(url), etag=etag, last_modified=last_modified)


def _place_of(url: str) -> str:
    return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
