"""Feature flags in Starlette and FastAPI: `app.add_middleware(FlagMiddleware, client=...)`, then `request.state.flags`.

For FastAPI there are a typed dependency, `FlagsDep`, and a gate, `require_flag`; only these need FastAPI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flagmw_starlette.middleware import FlagMiddleware, get_flags

if TYPE_CHECKING:
    from flagmw_starlette.dependencies import FlagsDep, require_flag

__all__ = ["FlagMiddleware", "FlagsDep", "get_flags", "require_flag"]


def __getattr__(name: str) -> Any:
    """Import what needs FastAPI when it is asked for."""
    if name in ("FlagsDep", "require_flag"):
        from flagmw_starlette import dependencies  # noqa: PLC0415  # see the docstring

        return getattr(dependencies, name)
    raise AttributeError(f"module 'flagmw_starlette' has no attribute {name!r}")
