"""What FeatBit says and hears on a stream and when it is polled, and what its secrets look like.

Source: FeatBit reference, sections 1 to 5; vectors `token.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flagmw.core.snapshot import Snapshot
from flagmw.core.sync_wire import PING, REFUSAL_CODES, USER_AGENT, greeting, stream_url, version_of


def check_env_secret(env_secret: object) -> str | None:
    """Say what is wrong with an environment's secret, without showing it; None when it can be used."""
    if not isinstance(env_secret, str):
        return f"must be a str, got {type(env_secret).__name__}"
    if not env_secret:
        return "must not be empty; copy it from the environment's settings in FeatBit"
    if not env_secret.isascii() or not env_secret.isprintable() or " " in env_secret:
        return "has characters that no FeatBit secret has; copy it again from the environment's settings"
    return None


def headers_of(env_secret: str) -> dict[str, str]:
    """Give the headers of every request."""
    return {"Authorization": env_secret, "User-Agent": USER_AGENT, "Content-Type": "application/json"}


class FeatBitStream:
    """FeatBit's stream, as `flagmw.transports.StreamWire` has it.

    Args:
        env_secret: the environment's server secret.
        streaming_url: scheme and host, ws or wss.
        wall_clock: Unix time in seconds.
        random: a number from 0 to 1.
    """

    name = "FeatBit stream"
    ping: str | None = PING
    refusal_codes = REFUSAL_CODES

    def __init__(
        self, env_secret: str, streaming_url: str, wall_clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._secret = env_secret
        self._url = websocket_url(streaming_url)
        self._wall_clock = wall_clock
        self._random = random

    def url(self) -> str:
        """Give the address of one attempt, with a token of this moment."""
        return stream_url(self._url, self._secret, self._wall_clock(), self._random())

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one attempt."""
        return headers_of(self._secret)

    def greeting(self, snapshot: Snapshot | None) -> str | None:
        """Ask for everything that is newer than the flags in force."""
        return greeting(snapshot)

    def __repr__(self) -> str:
        """Name it; its secret is nobody's business."""
        return "FeatBitStream(...)"


class FeatBitPoll:
    """FeatBit's polling, as `flagmw.transports.PollWire` has it.

    Args:
        env_secret: the environment's server secret.
        event_url: scheme and host.
    """

    name = "FeatBit flags"

    def __init__(self, env_secret: str, event_url: str) -> None:
        self._secret = env_secret
        self._url = event_url.rstrip("/")

    def url(self, snapshot: Snapshot | None) -> str:
        """Give the address that answers with what is newer than the flags in force."""
        return f"{self._url}/api/public/sdk/server/latest-all?timestamp={version_of(snapshot)}"

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one request."""
        return headers_of(self._secret)

    def __repr__(self) -> str:
        """Name it; its secret is nobody's business."""
        return "FeatBitPoll(...)"


def websocket_url(url: str) -> str:
    """Give an address with a WebSocket's scheme; FeatBit's client takes http and https, too."""
    scheme, separator, rest = url.rstrip("/").partition("://")
    return {"http": "ws", "https": "wss"}.get(scheme.lower(), scheme) + separator + rest
