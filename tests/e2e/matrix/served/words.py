"""What both sides know: the apps, and those who ask them."""

from __future__ import annotations

DEFAULT = "the caller's"
"""What an app gets for a flag while there are none."""

METRIC = "purchase"
"""What an app tracks."""
