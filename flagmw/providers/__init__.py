"""Providers: where flags come from. Each pairs a dialect, a source and a sink; making one starts nothing.

`FlagFile` reads flagd files, `Static` holds flags in memory.
"""

from __future__ import annotations

from flagmw.providers.files import FlagFile
from flagmw.providers.static import Static

__all__ = ["FlagFile", "Static"]
