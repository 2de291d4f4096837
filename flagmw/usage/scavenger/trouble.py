"""Saying why nothing arrives: once per episode, with a count when it heals, and never with the key in it."""

from __future__ import annotations

import logging

logger = logging.getLogger("flagmw")

MAX_SAID = 3
"""How many different failures of one episode are said; the others would be a flood."""


class Trouble:
    """What keeps a collector from being reached, or from taking what it is sent.

    Failures are of one kind or another, such as polls: an episode ends when each kind has succeeded again.

    Args:
        secret: is blotted out of all texts; a collector may well repeat it.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._failures = 0
        self._said: set[str] = set()
        self._present: dict[str, str] = {}

    @property
    def text(self) -> str | None:
        """What is wrong at present; None when nothing is."""
        return next(iter(list(self._present.values())), None)

    def failed(self, kind: str, error: Exception) -> None:
        """Take note of a failure that is tried again."""
        self._failures += 1
        text = self._present[kind] = self._clean(str(error))
        if self._is_new(text):
            logger.warning(
                "nothing arrives at the Scavenger collector: %s; what ran is kept, and it is tried again", text
            )

    def refused(self, kind: str, text: str) -> None:
        """Take note that nothing is sent, for a reason of our own."""
        self._failures += 1
        self._present[kind] = text
        if self._is_new(text):
            logger.warning("nothing is sent to the Scavenger collector: %s", text)

    def final(self, text: str) -> None:
        """Take note that nothing is sent ever again."""
        text = self._clean(text)
        self._present = {"": text}
        logger.error("nothing is sent to the Scavenger collector: %s", text)

    def healed(self, kind: str) -> None:
        """Take note of a success."""
        if self._present.pop(kind, None) is not None and not self._present:
            logger.info("the Scavenger collector takes usage again, after %d failures", self._failures)
            self._failures = 0
            self._said.clear()

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._said and len(self._said) < MAX_SAID
        if is_new:
            self._said.add(text)
        else:
            logger.debug("the Scavenger collector again: %s", text)
        return is_new

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text
