"""`Agent`: watches which functions run, and reports them from a thread of its own; survives forks, ends by itself."""

from __future__ import annotations

from collections.abc import Sequence

from flagmw.usage.config import UsageConfig
from flagmw.usage.seams import Companion


class Agent:
    """Watches the functions of the configured packages. Constructing starts nothing.

    Args:
        config: what to watch, and where to report.
        companions: write their own into the store with each publication.
    """

    def __init__(self, config: UsageConfig, companions: Sequence[Companion] = ()) -> None:
        self._config = config
        self._companions = list(companions)
