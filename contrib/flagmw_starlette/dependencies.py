"""Dependencies for FastAPI, which this file needs: `FlagsDep` and `require_flag`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

try:
    from fastapi import Depends, HTTPException
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "FlagsDep and require_flag are for FastAPI, which is not installed: pip install 'flagmw[fastapi]'; "
        "in Starlette use request.state.flags",
        name=error.name,
    ) from error
from starlette.requests import HTTPConnection

from flagmw.accessor import Flags
from flagmw.errors import ConfigError
from flagmw_starlette.middleware import get_flags


async def _flags(connection: HTTPConnection) -> Flags:
    """Give a connection's flags; async, as FastAPI would send a plain function to another thread."""
    return get_flags(connection)


FlagsDep = Annotated[Flags, Depends(_flags)]
"""The flags of a request or websocket, as an endpoint's parameter: `async def page(flags: FlagsDep)`."""


def require_flag(key: str, default: bool = False) -> Callable[[HTTPConnection], Awaitable[None]]:
    """Make a dependency that answers 404 Not Found unless a boolean flag is on.

    For an endpoint, a router or an app: `dependencies=[Depends(require_flag("new-checkout"))]`.

    Args:
        key: the flag.
        default: whether the endpoint is served when the flag has no value.

    Raises:
        ConfigError: `key` is no text.
    """
    if not isinstance(key, str):
        raise ConfigError(f'require_flag takes a flag key: require_flag("new-checkout"), got {type(key).__name__}')

    async def gate(connection: HTTPConnection) -> None:
        if not get_flags(connection).is_enabled(key, default):
            raise HTTPException(status_code=404)

    return gate
