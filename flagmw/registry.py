"""Named clients that a whole process shares: `configure` makes them, `get_client` finds them."""

from __future__ import annotations

from flagmw.client import DEFAULT_NAME, Client, checked_provider
from flagmw.errors import ConfigError
from flagmw.lifecycle.imports import import_optional
from flagmw.runtime import Provider

_clients: dict[str, Client] = {}
_made_with: dict[str, tuple[Provider, bool]] = {}


def configure(provider: Provider | str | None = None, *, name: str | None = None, offline: bool = False) -> Client:
    """Make the client that `get_client(name)` gives; starts nothing.

    The same call twice gives the same client. Another provider under the same name makes a new client; whoever
    holds the earlier one keeps it.

    Args:
        provider: where flags come from, or its text form (see `flagmw.providers.provider_from_dsn`); None reads that
            from the environment variable FLAGMW_DSN.
        name: for applications with several clients; None is the default client.
        offline: see `Client`.

    Raises:
        ConfigError: `provider` is not one, or there is none.
    """
    name = name or DEFAULT_NAME
    provider = _provider_from_environment() if provider is None else checked_provider(provider)
    client = _clients.get(name)
    if client is not None and _made_with[name] == (provider, offline):
        return client
    client = Client(provider, offline=offline, name=name)
    _made_with[name] = (provider, offline)
    _clients[name] = client
    return client


def _provider_from_environment() -> Provider:
    import_optional("flagmw.providers.dsn")  # it brings all flag services, and a fork waits for it here
    from flagmw.providers.dsn import VARIABLE, provider_from_environment  # noqa: PLC0415  # as above

    provider = provider_from_environment()
    if provider is None:
        raise ConfigError(
            f"configure() without a provider reads {VARIABLE}, which is not set; set it, for example to "
            "file:flags.yaml, or pass FlagFile('flags.yaml')"
        )
    return provider


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
