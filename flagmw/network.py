"""How the network is reached: what polling, streaming and the delivery of events have in common. Needs only `errors`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flagmw.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Settings of connections.

    Args:
        connect_timeout_s: how long connecting may take, TLS included.
        read_timeout_s: how long an answer may take from the end of the request, all of it.
        proxy: URL of an HTTP proxy, `http://[user:password@]host:port`; None takes the environment's (HTTPS_PROXY,
            HTTP_PROXY, NO_PROXY), "" none at all.
        ca_file: certificates to trust instead of the system's, a PEM file.
        verify: False accepts any certificate; only for tests.

    Raises:
        ConfigError: a setting is out of its range; the message holds no password.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        """Check the settings; no file is read and nothing is resolved."""
        for name in ("connect_timeout_s", "read_timeout_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise ConfigError(f"{name} must be a number of seconds above 0, got {value!r}")
        if self.proxy:
            try:
                parts = urlsplit(self.proxy) if isinstance(self.proxy, str) else None
                is_usable = parts is not None and parts.scheme == "http" and parts.hostname and (parts.port or 80)
            except ValueError:
                is_usable = False
            if not is_usable:
                raise ConfigError("proxy must be the URL of an HTTP proxy, such as http://proxy.example:3128")
        if self.ca_file is not None and not isinstance(self.ca_file, (str, os.PathLike)):
            raise ConfigError(f"ca_file must be the path of a PEM file, got {type(self.ca_file).__name__}")
        if not isinstance(self.verify, bool):
            raise ConfigError(f"verify must be a bool, got {type(self.verify).__name__}")
