"""Batches: events that travel in one request, and what the service's answer to it means. Pure; needs no network."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from enum import Enum

from flagmw.core.records import Exposure, Metric
from flagmw.events import EventWire, Item, Record
from flagmw.events.buffer import Entry
from flagmw.once import LogOnce

MAX_BODY_BYTES = 1_000_000
"""A batch is closed before its items are larger than this together, uncompressed."""

MIN_GZIP_BYTES = 1_024
"""Smaller bodies fit in one packet as they are."""

MAX_ASKED_PAUSE_S = 300.0
"""A service may ask for a longer pause, but is not trusted with more of the queue than this."""


class Encoder:
    """Makes of an event what its service takes; one that cannot be encoded takes no other with it.

    Args:
        wire: the service's format.
        log_once: tells of what cannot be encoded, by the type of the error, which holds nothing of the user.
    """

    def __init__(self, wire: EventWire, log_once: LogOnce) -> None:
        self._wire = wire
        self._log_once = log_once

    def __call__(self, record: Record) -> Entry:
        """Encode an event; never raises."""
        try:
            if isinstance(record, Exposure):
                return self._wire.exposure(record)
            if isinstance(record, Metric):
                return self._wire.metric(record)
            return self._wire.identity(record)
        except Exception as error:  # properties are the caller's, and may do anything while they are read
            kind = type(record).__name__.lower()
            self._log_once(
                logging.ERROR,
                ("encode", kind, type(error)),
                "an event of the kind %r could not be encoded (%s) and is dropped; others like it are dropped silently",
                kind,
                type(error).__name__,
            )
            return None


class Batch:
    """Events on their way, oldest first.

    Attributes:
        entries: the events; a batch that is too large is split between them, never within one.
        items: what they are as the service takes them.
        size_bytes: of the items.
        was_retried: whether it went out more than once.
    """

    __slots__ = ("_body", "_packed", "entries", "items", "size_bytes", "was_retried")

    def __init__(self, entries: Sequence[Entry] = (), *, was_retried: bool = False) -> None:
        self.entries: list[Entry] = []
        self.items: list[Item] = []
        self.size_bytes = 0
        self.was_retried = was_retried
        self._body: bytes | None = None
        self._packed: bytes | None = None
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take an event along."""
        self.entries.append(entry)
        for item in entry or ():
            self.items.append(item)
            self.size_bytes += len(item[1])

    def has_room_for(self, entry: Entry, max_items: int) -> bool:
        """Tell whether an event fits; an empty batch has room for any, since it must travel somehow."""
        if not entry or not self.items:
            return True
        size_bytes = sum(len(item[1]) for item in entry)
        return len(self.items) + len(entry) <= max_items and self.size_bytes + size_bytes <= MAX_BODY_BYTES

    @property
    def events(self) -> int:
        """How many events the service is to get."""
        return sum(1 for entry in self.entries if entry)

    @property
    def broken(self) -> int:
        """How many events could not be encoded."""
        return sum(1 for entry in self.entries if entry is None)

    def halves(self) -> tuple[Batch, Batch] | None:
        """Split it into two with about as many events, in order; None when it has only one."""
        if self.events < 2:
            return None
        places = [place for place, entry in enumerate(self.entries) if entry]
        middle = places[len(places) // 2]
        return (
            Batch(self.entries[:middle], was_retried=self.was_retried),
            Batch(self.entries[middle:], was_retried=self.was_retried),
        )

    def body(self, wire: EventWire, *, may_compress: bool) -> tuple[bytes, bool]:
        """Give the request's body and whether it is compressed; the same bytes each time."""
        if self._body is None:
            self._body = wire.body(self.items)
        if not may_compress or len(self._body) <= MIN_GZIP_BYTES:
            return self._body, False
        if self._packed is None:
            self._packed = gzip.compress(self._body, compresslevel=6)
        return self._packed, True


class Verdict(Enum):
    """What an answer means for the batch."""

    SENT = "sent"
    RETRY = "retry"
    """The service or the way there has a weakness that passes."""
    RETRY_SLOWLY = "retry slowly"
    """We are refused, whatever we send: somebody has to mend the secret first."""
    PLAIN = "plain"
    """Perhaps it is only that the body was compressed."""
    SPLIT = "split"
    REFUSED = "refused"
    """The service will never take this batch."""


def verdict_of(status: int, *, was_compressed: bool) -> Verdict:
    """Judge an answer by its status. What is no 2xx and no 4xx is taken for something that passes."""
    if 200 <= status < 300:
        return Verdict.SENT
    if was_compressed and status in {400, 415}:
        return Verdict.PLAIN
    if status in {401, 403, 407}:
        return Verdict.RETRY_SLOWLY
    if status in {408, 425, 429} or not 400 <= status < 500:
        return Verdict.RETRY
    return Verdict.SPLIT if status == 413 else Verdict.REFUSED


def asked_pause_s(headers: Mapping[str, str], now_s: float) -> float:
    """Give how long the service asks us to wait (Retry-After), in seconds; 0.0 when it does not.

    Args:
        headers: of the answer; names in any case.
        now_s: Unix time, for services that name a date.
    """
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    try:
        pause_s = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError, OSError):
        return 0.0
    return min(max(pause_s, 0.0), MAX_ASKED_PAUSE_S)
