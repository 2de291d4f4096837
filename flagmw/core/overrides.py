"""Outcomes that tests put in front of every flag of this process.

Readers look at `current` and compare its identity, so that a change is seen at once and costs nothing when
there is none. Only `flagmw.testing` changes it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from flagmw.core.snapshot import Outcome

current: Mapping[str, Outcome] = {}
"""By flag key. Replaced, never changed."""

_layers: list[tuple[object, Mapping[str, Outcome]]] = []
_locks: dict[str, threading.Lock] = {}
"""Made at the first use: at import gevent may not have put its own in place yet."""


def push(token: object, outcomes: Mapping[str, Outcome]) -> None:
    """Put outcomes in front of all others until `token` is removed."""
    with _locks.setdefault("", threading.Lock()):
        _layers.append((token, outcomes))
        _rebuild()


def remove(token: object) -> None:
    """Take away what was pushed with `token`, whatever was pushed since."""
    with _locks.setdefault("", threading.Lock()):
        _layers[:] = [layer for layer in _layers if layer[0] is not token]
        _rebuild()


def _rebuild() -> None:
    global current  # noqa: PLW0603  # the one swap that readers see
    merged: dict[str, Outcome] = {}
    for _, outcomes in _layers:
        merged.update(outcomes)
    current = merged
