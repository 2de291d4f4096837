"""What featureflag.co says and hears on a stream.

Source: featureflag.co reference, sections 3 to 6; vectors `token.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flagmw.core.snapshot import Snapshot
from flagmw.core.sync_wire import PING, REFUSAL_CODES, USER_AGENT, greeting, stream_url


def headers_of(env_secret: str) -> dict[str, str]:
    """Give the headers of every request."""
    return {"envSecret": env_secret, "User-Agent": USER_AGENT, "Content-Type": "application/json"}


class FeatureFlagCoStream:
    """featureflag.co's stream, as `flagmw.transports.StreamWire` has it.

    Args:
        env_secret: the environment's secret.
        streaming_uri: scheme and host, ws or wss.
        wall_clock: Unix time in seconds.
        random: a number from 0 to 1.
    """

    name = "featureflag.co stream"
    ping: str | None = PING
    refusal_codes = REFUSAL_CODES

    def __init__(
        self, env_secret: str, streaming_uri: str, wall_clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._secret = env_secret
        self._uri = streaming_uri.rstrip("/")
        self._wall_clock = wall_clock
        self._random = random

    def url(self) -> str:
        """Give the address of one attempt, with a token of this moment."""
        return stream_url(self._uri, self._secret, self._wall_clock(), self._random())

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one attempt."""
        return headers_of(self._secret)

    def greeting(self, snapshot: Snapshot | None) -> str | None:
        """Ask for everything that is newer than the flags in force."""
        return greeting(snapshot)

    def __repr__(self) -> str:
        """Name it; its secret is nobody's business."""
        return "FeatureFlagCoStream(...)"
