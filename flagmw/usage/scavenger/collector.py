"""`Collector`: a Scavenger collector as one process reaches it: found, connected to, called. Remembers no usage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flagmw.connecting import Connector, Target
from flagmw.errors import AuthError, TransportError
from flagmw.lifecycle.waker import Waker
from flagmw.line import Interrupted, Overdue
from flagmw.network import Network
from flagmw.session import HttpSession
from flagmw.usage.config import UsageConfig
from flagmw.usage.scavenger.bootstrap import find_collector
from flagmw.usage.scavenger.grpc import ALPN, Channel, Gone, Refused

SERVICE = "/GrpcAgentService/"

LEAST_BYTES_PER_S = 64 * 1024
"""A call with a large message may take longer; this slow at worst."""


class Collector:
    """Reaches a collector for one visit after another. Belongs to one thread, besides `wake`.

    Args:
        config: where the collector is, its key, and how long it may take.
        monotonic: the clock for deadlines.
    """

    def __init__(self, config: UsageConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic = monotonic
        self._waker = Waker()
        self._connector: Connector | None = None
        self._session: HttpSession | None = None
        self._channel: Channel | None = None
        self._target: Target | None = None
        self._deadline_s = math.inf
        self._is_last = False
        self._was_woken = False

    # --- visits -----------------------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Begin a visit.

        Returns:
            Whether it may be made: not when `wake` was called since the last one.
        """
        self._is_last = False
        self._deadline_s = math.inf
        if self._waker.woken:
            self._renew()
        was_woken, self._was_woken = self._was_woken, False
        return not was_woken

    def begin_last(self, timeout_s: float) -> None:
        """Begin a visit of a process that leaves: it is over in time, and not ended by `wake`."""
        self._is_last = True
        self._was_woken = False
        self._deadline_s = self._monotonic() + timeout_s
        self._renew()

    def end(self) -> None:
        """End a visit: close the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._waker.close()

    def wake(self) -> None:
        """End the visit under way, or the next one, unless it is the last. Any thread may call; never waits."""
        waker, session = self._waker, self._session
        if self._is_last:
            return
        self._was_woken = True
        waker.wake()
        if session is not None:
            session.interrupt()

    def _renew(self) -> None:
        self._waker = Waker()
        self._connector = None

    # --- calls ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find the collector, and connect to it.

        Raises:
            TransportError: it cannot be reached.
        """
        if self._channel is not None:
            return
        try:
            if self._target is None:
                self._target = self._find()
            if self._connector is None:
                self._connector = Connector(self._network(), self._waker, self._monotonic, alpn=ALPN)
            timeout_s = self._left(self._config.http_read_timeout_s)
            self._channel = Channel(self._connector, self._target, self._monotonic, timeout_s)
        except Interrupted:
            raise
        except TransportError:
            self._target = None  # it may have moved: it is asked again where it is
            raise

    def call(self, method: str, message: bytes) -> bytes:
        """Make a call.

        Raises:
            AuthError: our key is not known.
            TooLarge: the message is too large.
            TransportError: another failure.
        """
        try:
            return self._call(method, message)
        except Gone:  # a server that restarts, or thinks that the connection is old enough
            self._drop()
            return self._call(method, message)

    def _call(self, method: str, message: bytes) -> bytes:
        self.open()
        if self._channel is None:
            raise TransportError("there is no connection")
        timeout_s = self._left(self._config.http_read_timeout_s + len(message) / LEAST_BYTES_PER_S)
        try:
            return self._channel.call(SERVICE + method, message, timeout_s)
        except (AuthError, Refused):
            raise
        except TransportError:
            self._drop()
            raise

    def _find(self) -> Target:
        server_url, api_key = self._config.server_url or "", self._config.api_key or ""
        session = self._session = HttpSession(self._network(), monotonic=self._monotonic)
        try:
            if self._waker.woken:
                raise Interrupted("asked to stop")
            return find_collector(session, server_url, api_key)
        finally:
            self._session = None
            session.close()

    def _network(self) -> Network:
        return Network(
            connect_timeout_s=self._left(self._config.http_connect_timeout_s),
            read_timeout_s=self._left(self._config.http_read_timeout_s),
            proxy=self._config.proxy,
            ca_file=self._config.ca_file,
        )

    def _left(self, timeout_s: float) -> float:
        """Bound a timeout by the visit's deadline.

        Raises:
            Overdue: nothing is left.
        """
        left_s = min(timeout_s, self._deadline_s - self._monotonic())
        if left_s <= 0:
            raise Overdue("the process leaves before the collector has answered")
        return left_s

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
