"""Holding requests back in a process that has no flags at all yet: bounded, and over with the first flags."""

from __future__ import annotations

from flagmw.client import Client
from flagmw.errors import ConfigError
from flagmw.lifecycle.imports import import_optional

DEFAULT_START_WAIT_S = 1.0
"""Long enough for a flag service to answer, too short for people and health checks to give up."""

LOOK_S = 0.005


def check_start_wait(start_wait: object) -> float:
    """Give the seconds for which requests may be held back.

    Raises:
        ConfigError: it is no number from 0 up.
    """
    is_number = isinstance(start_wait, (int, float)) and not isinstance(start_wait, bool)
    if not is_number or not 0 <= start_wait < float("inf"):  # type: ignore[operator]  # a number, as was just seen
        raise ConfigError(f"start_wait must be a number of seconds from 0 up, got {start_wait!r}")
    return float(start_wait)  # type: ignore[arg-type]  # as above


async def hold(client: Client, start_wait_s: float) -> None:
    """Wait for the first flags without holding up the event loop; does nothing as soon as there are any."""
    if client.hold(start_wait_s) <= 0:
        return
    anyio = import_optional("anyio")  # Starlette's, which speaks for asyncio and trio
    while anyio is not None and client.hold(start_wait_s) > 0:
        await anyio.sleep(LOOK_S)
