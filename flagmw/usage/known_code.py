"""`KnownCode`: the code base as this process knows it: read once, looked at again when it may have changed.

What runs was loaded at some time, and files change under a process that goes on. So code that ran once keeps its hash,
what an older scan knew is still found, and code that nobody knows is looked for in files that are newer than the scan.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flagmw.lifecycle.imports import import_optional
from flagmw.once import LogOnce
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, Seen

logger = logging.getLogger("flagmw")

RESCAN_S = 600.0
"""How old a code base may be; a scan of files that did not change costs looking at each."""

RETRY_S = 60.0
"""After a scan that failed altogether."""

CLOCK_SLACK_S = 2.0
"""File systems may round the times of files by this much."""

MAX_TRIED = 10_000
"""How many changes of files are remembered as looked at; more are a program's that writes code."""

LOOK_S = 0.05
SHOWN_PROBLEMS = 3

Rest = Callable[[float], None]
"""Called with the seconds that were just spent; lets others of this process have their turn. May raise ScanAbandoned."""

_NOTHING = CodeBase(functions=(), fingerprint="")


class ScanAbandoned(BaseException):
    """The process leaves before the code base was read; no error, and nobody but the agent may hold it up."""


class KnownCode:
    """The functions that exist, as far as known. Making one reads nothing; any thread may call.

    Attributes:
        code_base: as read last; None before the first time.
        scanned_at: when that was begun, in seconds of wall time.
        problem: why it cannot be read at all; None when all is well.
    """

    def __init__(self, config: UsageConfig) -> None:
        self.code_base: CodeBase | None = None
        self.scanned_at = 0.0
        self.problem: str | None = None
        self._config = config
        self._former: CodeBase | None = None
        self._scanner: Any = None
        self._scanned_s = 0.0
        self._hashes: dict[Seen, str] = {}
        self._tried: set[tuple[str, float]] = set()
        self._lock = threading.Lock()
        self._log_once = LogOnce(logger)

    def prepare(self) -> None:
        """Remember where the code base is, since a server may change its folder; reads nothing."""
        if self._scanner is None:
            module: Any = import_optional("flagmw.usage.codebase")
            self._scanner = module.Scanner(self._config)

    def forked(self) -> None:
        """Go on in a child, in which no other thread runs."""
        if self._lock.locked():  # a thread of the parent was reading
            self._scanner = None
        self._lock = threading.Lock()

    def current(self, rest: Rest) -> CodeBase:
        """Give the code base; reads it when that was never done, or not for a while. Empty when that fails.

        Raises:
            ScanAbandoned: `rest` says so, and it was never read.
        """
        age_s = time.monotonic() - self._scanned_s
        is_due = age_s > RESCAN_S if self.code_base is not None else self.problem is None or age_s > RETRY_S
        if is_due:
            with self._as_known():
                self._scan(rest, self.scanned_at + RESCAN_S / 2)
        return self.code_base or _NOTHING

    def find(self, seen: Seen) -> str | None:
        """Give the hash of the signature of what ran; None for what is not of the code base."""
        found = self._hashes.get(seen)
        if found is not None:
            return found
        for code_base in (self.code_base, self._former):
            function = code_base.find(seen) if code_base is not None else None
            if function is not None:
                self._hashes[seen] = function.signature_hash
                return self._hashes[seen]
        return None

    def look_again(self, strangers: Iterable[Seen], rest: Rest) -> bool:
        """Read the code base again if one of the files of code that nobody knows has changed since; once per change.

        Returns:
            Whether it was read.

        Raises:
            ScanAbandoned: `rest` says so, and nothing was ever read.
        """
        changed = {(path, at) for path in {seen.path for seen in strangers} if (at := _changed_at(path)) is not None}
        new = {one for one in changed if one[1] >= self.scanned_at - CLOCK_SLACK_S and one not in self._tried}
        if not new:
            return False
        self._tried = new if len(self._tried) > MAX_TRIED else self._tried | new
        with self._as_known():
            self._scan(rest, time.time())
        return True

    @contextlib.contextmanager
    def _as_known(self) -> Iterator[None]:
        """Be content with what is known when the process leaves before all is read again."""
        try:
            yield
        except ScanAbandoned:
            if self.code_base is None:
                raise

    def _scan(self, rest: Rest, needed_at: float) -> None:
        """Read the code base, unless another thread does that meanwhile.

        Args:
            rest: see `Rest`.
            needed_at: a scan that began after this will do.
        """
        while not self._lock.acquire(timeout=LOOK_S):
            rest(0.0)
        try:
            if self.code_base is not None and self.scanned_at > needed_at:
                return
            began_at = time.time()
            code_base = self._read(rest)
            if code_base is not None and (self.code_base is None or code_base != self.code_base):
                self._former, self.code_base = self.code_base, code_base
                self._tell(code_base)
            self.scanned_at, self._scanned_s = began_at, time.monotonic()
        finally:
            self._lock.release()

    def _read(self, rest: Rest) -> CodeBase | None:
        try:
            self.prepare()
            code_base: CodeBase = self._scanner.scan(pause=rest)
        except Exception as error:  # a defect of ours must end neither the thread nor what others publish
            self.problem = f"the code base cannot be read: {error!r}"
            self._log_once(logging.ERROR, repr(error), "reading the code base raised an error: %r", error)
            return None
        self.problem = None
        return code_base

    def _tell(self, code_base: CodeBase) -> None:
        config = self._config
        shown = "; ".join(map(str, code_base.problems[:SHOWN_PROBLEMS]))
        if len(code_base.problems) > SHOWN_PROBLEMS:
            shown += f" (and {len(code_base.problems) - SHOWN_PROBLEMS} more)"
        if not code_base.functions:
            self._log_once(
                logging.WARNING,
                "nothing",
                "the usage agent finds no function: packages %s under %s%s; %s",
                ", ".join(map(repr, config.packages)),
                ", ".join(map(repr, config.codebase)),
                f" without {', '.join(map(repr, config.exclude_packages))}" if config.exclude_packages else "",
                shown or "look at these settings",
            )
        elif shown:
            self._log_once(logging.WARNING, shown, "the usage agent leaves out what it cannot read: %s", shown)


def _changed_at(path: str) -> float | None:
    """Tell when a file, or the archive that it is in, was changed or put there."""
    while True:
        try:
            info = os.stat(path)
        except NotADirectoryError:
            path = os.path.dirname(path)
        except (OSError, ValueError):
            return None
        else:
            return max(info.st_mtime, info.st_ctime)
