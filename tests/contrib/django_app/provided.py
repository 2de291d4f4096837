"""The flags of the test project, held in memory so that a view can change them in mid-request."""

from __future__ import annotations

from typing import Any

from flagmw.events.memory import MemorySink
from flagmw.providers import Static

FLAGS: dict[str, Any] = {
    "flags": {
        "new-checkout": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"==": [{"var": "name"}, "ada"]}, "on", "off"]},
        },
        "banner": {"state": "ENABLED", "variants": {"old": "old", "new": "new"}, "defaultVariant": "old"},
        "theme": {"state": "ENABLED", "variants": {"dark": {"colour": "#111"}}, "defaultVariant": "dark"},
        "resting": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
    }
}

CHANGED_FLAGS: dict[str, Any] = {
    "flags": {
        **FLAGS["flags"],
        "banner": {**FLAGS["flags"]["banner"], "defaultVariant": "new"},
    }
}

sink = MemorySink()
provider = Static(FLAGS, sink=sink)


def other_provider() -> Static:
    """Make a provider in which everything is on, as a path to a function in a setting does."""
    return Static({"new-checkout": True})
