"""How Hackle is asked for its config document.

Source: Hackle reference, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import quote

from flagmw.core.snapshot import Snapshot

SDK_URL = "https://sdk.hackle.io"
EVENT_URL = "https://event.hackle.io"
"""Where Hackle is when nothing else is said."""

SDK_NAME = "python-sdk"
SDK_VERSION = "3.9.0"
"""As the official client says; whether the service takes others is not known."""


def check_sdk_key(sdk_key: object) -> str | None:
    """Say what is wrong with an SDK key, without showing it; None when nothing is."""
    if not isinstance(sdk_key, str):
        return f"sdk_key must be a str, got {type(sdk_key).__name__}"
    if not sdk_key:
        return "sdk_key is empty; it is in Hackle's dashboard under SDK settings, as server key"
    if not all("!" <= character <= "~" for character in sdk_key):
        return "sdk_key has blanks or characters other than ASCII; copy it again from Hackle's dashboard"
    return None


def request_headers(sdk_key: str, now_s: float, sdk_name: str, sdk_version: str) -> dict[str, str]:
    """Give the headers of every request.

    Args:
        sdk_key: names and opens the environment.
        now_s: Unix time.
        sdk_name: of the client, as the service knows it.
        sdk_version: of the client, as the service knows it.
    """
    return {
        "X-HACKLE-SDK-KEY": sdk_key,
        "X-HACKLE-SDK-NAME": sdk_name,
        "X-HACKLE-SDK-VERSION": sdk_version,
        "X-HACKLE-SDK-TIME": str(int(now_s * 1000)),
    }


class HackleConfig:
    """How the config document is asked for.

    Args:
        sdk_key: names and opens the environment.
        sdk_url: base of the address.
        wall_clock: gives Unix time in seconds.
        sdk_name: of the client, as the service knows it.
        sdk_version: of the client, as the service knows it.
    """

    name = "Hackle config"

    def __init__(
        self,
        sdk_key: str,
        sdk_url: str = SDK_URL,
        *,
        wall_clock: Callable[[], float],
        sdk_name: str = SDK_NAME,
        sdk_version: str = SDK_VERSION,
    ) -> None:
        self._url = f"{sdk_url.rstrip('/')}/api/v2/workspaces/{quote(sdk_key, safe='')}/config"
        self._headers = partial(request_headers, sdk_key, sdk_name=sdk_name, sdk_version=sdk_version)
        self._wall_clock = wall_clock

    def url(self, snapshot: Snapshot | None) -> str:
        """Give the address; the document is always asked for as a whole."""
        return self._url

    def headers(self) -> Mapping[str, str]:
        """Give the headers of a request that is made now."""
        return self._headers(self._wall_clock())
