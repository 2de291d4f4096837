"""Looks for secrets in everything that is logged while tests run, at DEBUG, by flagmw and by the libraries under it."""

from __future__ import annotations

import logging

LOGGERS = ("flagmw", "urllib3", "requests", "websocket")

PIECE_CHARS = 12
"""A connection token holds its secret in two halves, so pieces are looked for."""

_secrets: set[str] = set()


def remember(secret: str) -> str:
    """Look out for a secret from here on, and give it back."""
    _secrets.add(secret)
    return secret


def found_in(text: str) -> bool:
    """Tell whether a text holds a secret that was remembered, or a good part of one."""
    return any(piece in text for secret in tuple(_secrets) for piece in pieces(secret))


def pieces(secret: str) -> set[str]:
    """Give the start, the middle and the end of a secret; a short one as a whole."""
    if len(secret) <= PIECE_CHARS:
        return {secret}
    middle = (len(secret) - PIECE_CHARS) // 2
    return {secret[start : start + PIECE_CHARS] for start in (0, middle, len(secret) - PIECE_CHARS)}


class Watch(logging.Handler):
    """Formats every record as a log file would, exceptions included, and keeps what holds a secret."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(threadName)s %(message)s"))
        self.leaks: list[str] = []
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        text = self.format(record)
        if found_in(text):
            self.leaks.append(text)

    def attach(self) -> None:
        """Read along from here on, at DEBUG."""
        for name in LOGGERS:
            logger = logging.getLogger(name)
            logger.setLevel(logging.DEBUG)
            logger.addHandler(self)

    def take(self) -> list[str]:
        """Give what was found since the last time."""
        leaks, self.leaks = self.leaks, []
        return leaks
