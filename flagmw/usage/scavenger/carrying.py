"""`Carrier`: what one process tells a collector, message by message, and what of it is still in hand.

When which message is due is the schedule's business, how it travels the `Collector`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flagmw.errors import AuthError, TransportError
from flagmw.line import Interrupted
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase
from flagmw.usage.scavenger.collector import Collector
from flagmw.usage.scavenger.grpc import LEAST_LARGE_BYTES, TooLarge
from flagmw.usage.scavenger.messages import Messages, written
from flagmw.usage.scavenger.packing import (
    HASH_BYTES,
    MAX_MESSAGE_BYTES,
    Packed,
    Parts,
    Sender,
    entry_bytes,
    entry_of,
    pack,
    part_fingerprint,
)
from flagmw.usage.scavenger.schedule import DEFAULT_INTERVAL_S, Intervals, Pair
from flagmw.usage.scavenger.trouble import Trouble
from flagmw.usage.seams import Interval, Turn

logger = logging.getLogger("flagmw")

POLL, CODE_BASE, INVOCATIONS = "PollConfig", "SendCodeBasePublication", "SendInvocationDataPublication"
FUNCTIONS = "functions"

MAX_INTERVAL_S = 24 * 3600.0
"""A collector that wants to be left alone for longer is asked all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CodeBaseInHand:
    """A code base on its way; all its parts say that they were published at the same time."""

    packed: Packed
    fingerprint: str
    published_at: float
    parts: Parts
    is_lean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _InvocationsInHand:
    """What ran, on its way; sent again as it was when that fails."""

    hashes: tuple[str, ...]
    started_at: float
    published_at: float
    fingerprint: str
    parts: Parts


class Carrier:
    """Tells a collector what there is to tell. Belongs to one thread.

    Args:
        config: what is watched.
        sender: who we are.
        messages: makes messages.
        collector: takes them.
        trouble: is told what goes wrong.

    Attributes:
        published_at: wall time in seconds of the last success.
    """

    def __init__(
        self, config: UsageConfig, sender: Sender, messages: Messages, collector: Collector, trouble: Trouble
    ) -> None:
        self.published_at: float | None = None
        self._config = config
        self._sender = sender
        self._messages = messages
        self._collector = collector
        self._trouble = trouble
        self._max_bytes = MAX_MESSAGE_BYTES
        self._packed: tuple[CodeBase, Packed] | None = None
        self._said_of_packing = (0, 0)
        self._code_base: _CodeBaseInHand | None = None
        self._invocations: _InvocationsInHand | None = None
        self._fingerprint = ""

    @contextmanager
    def _noting(self, kind: str) -> Iterator[None]:
        """Say what goes wrong, and what goes well again."""
        try:
            yield
        except (AuthError, Interrupted):
            raise
        except TransportError as error:
            self._trouble.failed(kind, error)
            raise
        self._trouble.healed(kind)

    # --- polls ------------------------------------------------------------------------------------------------

    def reach(self) -> None:
        """Find the collector, and connect to it.

        Raises:
            TransportError: that failed.
        """
        try:
            self._collector.open()
        except Interrupted:
            raise
        except TransportError as error:
            self._trouble.failed(POLL, error)
            raise

    def poll(self) -> Intervals:
        """Ask for the intervals.

        Raises:
            TransportError: that failed.
        """
        with self._noting(POLL):
            data = self._collector.call(POLL, written(self._messages.new("GetConfigRequest", **self._sender.poll())))
            given = self._messages.read("GetConfigResponse", data)
        return Intervals(
            poll=_pair(given.config_poll_interval_seconds, given.config_poll_retry_interval_seconds),
            code_base=_pair(
                given.code_base_publisher_check_interval_seconds, given.code_base_publisher_retry_interval_seconds
            ),
            invocations=_pair(
                given.invocation_data_publisher_interval_seconds,
                given.invocation_data_publisher_retry_interval_seconds,
            ),
        )

    # --- the code base ----------------------------------------------------------------------------------------

    def pack(self, code_base: CodeBase) -> Packed:
        """Choose what is sent of a code base, and say what is not."""
        if self._packed is not None and self._packed[0] is code_base:
            return self._packed[1]
        packed = pack(code_base)
        self._packed = code_base, packed
        if self._said_of_packing != (packed.left_out, packed.cut):
            self._said_of_packing = packed.left_out, packed.cut
            logger.warning(
                "a Scavenger collector cannot keep the names of all functions: %d are not sent, of %d the class is cut",
                packed.left_out,
                packed.cut,
            )
        return packed

    def refuse(self, count: int) -> None:
        """Say that a code base has no functions, or too many."""
        config = self._config
        if count:
            text = (
                f"there are {count} functions, more than max_functions={config.max_functions}, which is the limit of "
                "the official agents; narrow packages, or raise max_functions if your collector takes more"
            )
        else:
            text = (
                f"no function of packages={list(config.packages)} was found below codebase={list(config.codebase)}; "
                "name the folders that hold the packages"
            )
        self._trouble.refused(FUNCTIONS, text)

    def publish_code_base(self, code_base: CodeBase, now_wall_s: float) -> None:
        """Publish a code base; one that was broken off is gone on with, unless it has changed.

        Raises:
            TransportError: that failed.
        """
        in_hand = self._code_base
        if in_hand is None or in_hand.fingerprint != code_base.fingerprint:
            in_hand = self._code_base = self._take_in_hand(code_base, now_wall_s)
        with self._noting(CODE_BASE):
            self._send(CODE_BASE, in_hand.parts, lambda first, last: self._code_base_message(in_hand, first, last))
        self._code_base = None
        self.published_at = now_wall_s
        self._trouble.healed(FUNCTIONS)

    def _take_in_hand(self, code_base: CodeBase, now_wall_s: float) -> _CodeBaseInHand:
        packed = self.pack(code_base)
        sizes = [entry_bytes(function, is_lean=False) for function in packed.functions]
        is_lean = sum(sizes) > self._max_bytes
        if is_lean:
            sizes = [entry_bytes(function, is_lean=True) for function in packed.functions]
        return _CodeBaseInHand(
            packed=packed,
            fingerprint=code_base.fingerprint,
            published_at=now_wall_s,
            parts=Parts(sizes),
            is_lean=is_lean,
        )

    def _code_base_message(self, in_hand: _CodeBaseInHand, first: int, last: int) -> bytes:
        is_whole = in_hand.parts.is_whole(first, last)
        # What ran is said to belong to the part that was sent last.
        self._fingerprint = in_hand.fingerprint if is_whole else part_fingerprint(in_hand.fingerprint, first, last)
        common = self._sender.common(self._fingerprint, in_hand.published_at)
        message = self._messages.new("CodeBasePublication", common_data=common)
        # One by one: the library would make 45,000 of them at once, and no other thread would run for 90 ms.
        for function in in_hand.packed.functions[first:last]:
            message.entry.add(**entry_of(function, is_lean=in_hand.is_lean))
        return written(message)

    # --- what ran ---------------------------------------------------------------------------------------------

    def publish_invocations(self, turn: Turn) -> None:
        """Publish what ran; what is in hand goes first, and alone.

        Raises:
            TransportError: that failed; it is kept.
        """
        in_hand = self._invocations
        if in_hand is None:
            in_hand = self._invocations = self._interval_in_hand(turn.take(), turn.wall_s)
        with self._noting(INVOCATIONS):
            self._send(INVOCATIONS, in_hand.parts, lambda first, last: self._invocations_message(in_hand, first, last))
        self._invocations = None
        self.published_at = turn.wall_s

    def publish_last(self, turn: Turn) -> None:
        """Publish what is in hand, and what ran since.

        Raises:
            TransportError: that failed; it is kept.
        """
        if self._invocations is not None:
            self.publish_invocations(turn)
        interval = turn.take()
        if interval.hashes:
            self._invocations = self._interval_in_hand(interval, turn.wall_s)
            self.publish_invocations(turn)

    def _interval_in_hand(self, interval: Interval, now_wall_s: float) -> _InvocationsInHand:
        hashes = tuple(sorted(interval.hashes))
        return _InvocationsInHand(
            hashes=hashes,
            started_at=interval.started_at,
            published_at=now_wall_s,
            fingerprint=self._fingerprint,
            parts=Parts([HASH_BYTES] * len(hashes)),
        )

    def _invocations_message(self, in_hand: _InvocationsInHand, first: int, last: int) -> bytes:
        message = self._messages.new(
            "InvocationDataPublication",
            common_data=self._sender.common(in_hand.fingerprint, in_hand.published_at),
            recording_interval_started_at_millis=int(in_hand.started_at * 1000),
        )
        for text in in_hand.hashes[first:last]:
            message.entry.add(hash=text)
        return written(message)

    # --- sending ----------------------------------------------------------------------------------------------

    def _send(self, method: str, parts: Parts, build: Callable[[int, int], bytes]) -> None:
        """Send entries in as many messages as it takes; those that are too large are halved."""
        while not parts.is_over:
            first, last = parts.next(self._max_bytes)
            message = build(first, last)
            try:
                answer = self._collector.call(method, message)
            except TooLarge as error:
                if last - first <= 1 or len(message) // 2 < LEAST_LARGE_BYTES:
                    self._max_bytes = MAX_MESSAGE_BYTES  # it was not for the size
                    raise
                self._max_bytes = len(message) // 2
                logger.info("%s to a message of %d bytes; smaller ones are sent", error, len(message))
                continue
            self._messages.read("PublicationResponse", answer)
            parts.sent(last)


def _pair(interval: Any, retry: Any) -> Pair:
    return Pair(interval_s=_seconds(interval), retry_s=_seconds(retry))


def _seconds(value: int) -> float:
    return min(float(value), MAX_INTERVAL_S) if value > 0 else DEFAULT_INTERVAL_S
