"""Log lines that are written once, however often their cause comes back. Needs nothing else of flagmw."""

from __future__ import annotations

import logging
from collections.abc import Hashable

MAX_REMEMBERED = 1_000
"""Causes beyond this are not logged: they would be a stream, which is what this prevents."""


class LogOnce:
    """Remembers what was logged. Any thread may call; two at the same moment may log twice."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._known: set[Hashable] = set()

    def __call__(self, level: int, cause: Hashable, message: str, *args: object) -> None:
        """Log a message unless this cause was logged before."""
        if cause in self._known or len(self._known) >= MAX_REMEMBERED:
            return
        self._known.add(cause)
        self._logger.log(level, message, *args)

    def forget(self, cause: Hashable) -> None:
        """Let this cause be logged again."""
        self._known.discard(cause)
