"""Feature flags on every request of a Python web app: evaluated locally, reloaded live.

Importing starts nothing: no thread, no file, no socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import (
    AuthError,
    ConfigError,
    ContextError,
    DocumentError,
    FlagmwError,
    ProtocolError,
    TransportError,
)
from flagmw.evaluation import ErrorCode, Evaluation, Reason
from flagmw.registry import configure, get_client
from flagmw.status import State, Status

if TYPE_CHECKING:
    from flagmw.current import flags
    from flagmw.health import health_app

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "Client",
    "ConfigError",
    "ContextError",
    "DocumentError",
    "ErrorCode",
    "Evaluation",
    "FlagmwError",
    "ProtocolError",
    "Reason",
    "State",
    "Status",
    "TransportError",
    "UserContext",
    "configure",
    "flags",
    "get_client",
    "health_app",
]


def __getattr__(name: str) -> Any:
    """Import the request's accessor when it is asked for: its library is heavier than all of flagmw; few need the other."""
    if name == "flags":
        from flagmw.current import flags  # noqa: PLC0415  # see the docstring

        return flags
    if name == "health_app":
        from flagmw.health import health_app  # noqa: PLC0415  # see the docstring

        return health_app
    raise AttributeError(f"module 'flagmw' has no attribute {name!r}")
