"""The usage agent: which functions of an application still run. Knows nothing of flags.

`UsageConfig` says what to watch, `Agent` watches it. `functions` is the common language, `seams` says how a scan, a
recorder and publishers meet. Importing starts nothing.
"""

from __future__ import annotations

from flagmw.usage.agent import Agent
from flagmw.usage.config import UsageConfig

__all__ = ["Agent", "UsageConfig"]
