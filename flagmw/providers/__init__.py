"""Providers: where flags come from. Each pairs a dialect, a source and a sink; making one starts nothing.

`FlagFile` reads flagd files, `Static` holds flags in memory, `FeatureFlagCo`, `FeatBit` and `Hackle` keep in sync with a
flag service. `provider_from_dsn` makes one of a line of text.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flagmw.lifecycle.imports import import_optional
from flagmw.network import Network
from flagmw.providers.dsn import provider_from_dsn
from flagmw.providers.files import FlagFile
from flagmw.providers.options import EventOptions, StreamOptions
from flagmw.providers.static import Static

if TYPE_CHECKING:
    from flagmw.providers.featbit import FeatBit
    from flagmw.providers.featureflag_co import FeatureFlagCo
    from flagmw.providers.hackle import Hackle

__all__ = [
    "EventOptions",
    "FeatBit",
    "FeatureFlagCo",
    "FlagFile",
    "Hackle",
    "Network",
    "Static",
    "StreamOptions",
    "provider_from_dsn",
]

_SERVICES = {"FeatBit": "featbit", "FeatureFlagCo": "featureflag_co", "Hackle": "hackle"}


def __getattr__(name: str) -> Any:
    """Import the provider of a flag service when it is asked for: nobody needs all of them."""
    if name in _SERVICES:
        module = f"{__name__}.{_SERVICES[name]}"
        import_optional(module)  # a fork waits for it here
        return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
