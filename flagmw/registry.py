"""Named clients that a whole process shares: `configure` makes them, `get_client` finds them."""

from __future__ import annotations

from flagmw.client import Client
from flagmw.errors import ConfigError
from flagmw.runtime import Provider

DEFAULT_NAME = "default"

_clients: dict[str, Client] = {}
_made_with: dict[str, tuple[Provider, bool]] = {}


def configure(provider: Provider, *, name: str | None = None, offline: bool = False) -> Client:
    """Make the client that `get_client(name)` gives; starts nothing.

    The same call twice gives the same client. Another provider under the same name makes a new client; whoever
    holds the earlier one keeps it.

    Args:
        provider: where flags come from.
        name: for applications with several clients; None is the default client.
        offline: see `Client`.

    Raises:
        ConfigError: `provider` is not one.
    """
    name = name or DEFAULT_NAME
    client = _clients.get(name)
    if client is not None and _made_with[name] == (provider, offline):
        return client
    client = Client(provider, offline=offline)
    _made_with[name] = (provider, offline)
    _clients[name] = client
    return client


def get_client(name: str | None = None) -> Client:
    """Give the client that was configured under a name.

    Raises:
        ConfigError: there is none.
    """
    name = name or DEFAULT_NAME
    client = _clients.get(name)
    if client is None:
        raise ConfigError(
            f"no client is configured under the name {name!r}; call flagmw.configure(FlagFile('flags.yaml')) first"
        )
    return client


def forget_client(name: str | None = None) -> None:
    """Close a client and take its name away, if it is configured."""
    name = name or DEFAULT_NAME
    client = _clients.pop(name, None)
    _made_with.pop(name, None)
    if client is not None:
        client.close()
