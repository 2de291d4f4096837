"""`Ledger`: hands what a recorder has seen to several publishers, each of which takes it at its own times."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from flagmw.once import LogOnce
from flagmw.usage.functions import Seen
from flagmw.usage.known_code import KnownCode, Rest
from flagmw.usage.seams import Interval, ProcessIdentity, Recorder

logger = logging.getLogger("flagmw")

MAX_WAITING = 500_000
"""How much may wait for the first scan. More is no code of a code base, but generated."""


class Bequest:
    """What ran in a process that forks without ever reporting: uWSGI's master, which imports the app.

    All its children have it, and none knows of the others; so it goes by the name of the process that it is of.

    Args:
        process: that process.
        seen: what ran there.
        known: tells which functions that is.
    """

    def __init__(self, process: ProcessIdentity, seen: Iterable[Seen], known: KnownCode) -> None:
        self.process = process
        self._seen = frozenset(seen)
        self._known = known

    def interval(self) -> Interval:
        """Give what ran; to be called when the code base was read."""
        hashes = frozenset(found for one in self._seen if (found := self._known.find(one)) is not None)
        return Interval(hashes=hashes, started_at=self.process.started_at)


class Ledger:
    """What ran in one process. A take for one publisher is remembered for the others. Any thread may call.

    Args:
        recorder: sees what runs; None where there is none. Only the ledger takes from it.
        known: tells which functions that is.
        publishers: how many there are.
        started_at: when the process began to watch, in seconds of wall time.

    Attributes:
        ran: the hashes of all that ran so far.
    """

    def __init__(self, recorder: Recorder | None, known: KnownCode, publishers: int, started_at: float) -> None:
        self.ran: set[str] = set()
        self._recorder = recorder
        self._known = known
        self._lock = threading.Lock()
        self._taken_at = started_at
        self._waiting: set[Seen] = set()
        self._waiting_since = started_at
        self._pending: list[set[str]] = [set() for _ in range(publishers)]
        self._since = [started_at] * publishers
        self._bequests: dict[int, Bequest] = {}
        self._log_once = LogOnce(logger)

    def add(self, number: int, bequest: Bequest) -> None:
        """Give a publisher, with what it takes first, what another process left behind."""
        self._bequests[number] = bequest

    def take(self, number: int, rest: Rest) -> Interval:
        """Give what ran since one publisher took last.

        Args:
            number: the publisher's, from 0.
            rest: see `KnownCode`.
        """
        with self._lock:
            began_at = time.time()
            if not self._waiting:
                self._waiting_since = self._taken_at
            self._waiting.update(self._take_from_recorder())
            self._taken_at = began_at
            seen, since = self._waiting, self._waiting_since
            if self._known.code_base is None:
                seen = set()
                self._bound()
            else:
                self._waiting = set()
        hashes = self._resolve(seen, rest)
        with self._lock:
            self.ran |= hashes
            for other in range(len(self._pending)):
                self._pending[other] |= hashes
                self._since[other] = min(self._since[other], since)  # it may have taken its own meanwhile
            interval = Interval(hashes=frozenset(self._pending[number]), started_at=self._since[number])
            self._pending[number] = set()
            self._since[number] = began_at
        bequest = self._bequests.pop(number, None) if self._known.code_base is not None else None
        return merged(bequest.interval(), interval) if bequest is not None else interval

    def stop(self) -> None:
        """Have the recorder leave everything as it was; what it saw can still be taken once."""
        with self._lock:
            if self._recorder is not None:
                try:
                    self._recorder.stop()
                except Exception:  # a defect of ours must not harm whoever stops
                    logger.exception("ending to watch raised an error")

    def _take_from_recorder(self) -> set[Seen]:
        if self._recorder is None:
            return set()
        try:
            return set(self._recorder.take())
        except Exception as error:  # a defect of ours must not end the thread
            self._log_once(logging.ERROR, repr(error), "taking what ran raised an error: %r", error)
            return set()

    def _resolve(self, seen: set[Seen], rest: Rest) -> set[str]:
        strangers = {one for one in seen if self._known.find(one) is None}
        if strangers:
            self._known.look_again(strangers, rest)
        return {found for one in seen if (found := self._known.find(one)) is not None}

    def _bound(self) -> None:
        if len(self._waiting) > MAX_WAITING:
            self._log_once(
                logging.WARNING, "bound", "too much code ran before the code base was read; some is forgotten"
            )
            self._waiting = set(list(self._waiting)[:MAX_WAITING])


def merged(first: Interval, second: Interval) -> Interval:
    """Make one interval of two."""
    return Interval(hashes=first.hashes | second.hashes, started_at=min(first.started_at, second.started_at))
