"""FeatBit's events: how exposures, metrics and users are written.

Source: FeatBit reference, section 13.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.context import UserContext
from flagmw.core.records import Exposure, Identity, Metric
from flagmw.dialects.featbit.flags import Served
from flagmw.dialects.featbit.users import event_user
from flagmw.dialects.featbit.wire import headers_of

KIND = "track"


class FeatBitEvents:
    """How FeatBit wants its events, as `flagmw.events.EventWire` has it.

    Args:
        env_secret: the environment's server secret.
        event_url: scheme and host.
    """

    max_items = 50
    takes_gzip = False

    def __init__(self, env_secret: str, event_url: str) -> None:
        self._secret = env_secret
        self.url = event_url.rstrip("/") + "/api/public/insight/track"

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one post."""
        return headers_of(self._secret)

    def exposure(self, exposure: Exposure) -> Sequence[tuple[str, bytes]]:
        """Encode that a user was served a variation."""
        outcome, served = exposure.outcome, exposure.outcome.detail
        if not isinstance(served, Served):
            return ()
        variation = {
            "featureFlagKey": exposure.flag_key,
            "timestamp": int(exposure.at_s * 1000),
            "variation": {"id": served.id, "value": served.text, "reason": outcome.provider_reason},
        }
        return self._items(exposure.context, {"variations": [variation]})

    def metric(self, metric: Metric) -> Sequence[tuple[str, bytes]]:
        """Encode that a user did something."""
        told = {
            "eventName": metric.event,
            "numericValue": 1.0 if metric.value is None else metric.value,
            "route": "index/metric",
            "type": "CustomEvent",
            "appType": "pythonserverside",
            "timestamp": int(metric.at_s * 1000),
        }
        return self._items(metric.context, {"metrics": [told]})

    def identity(self, identity: Identity) -> Sequence[tuple[str, bytes]]:
        """Encode who a user is."""
        return self._items(identity.context, {})

    def refusal(self, metric: Metric) -> str | None:
        """Say why FeatBit would not take a metric: only for a user whom it would not know."""
        return None if metric.context.key else "a FeatBit user needs a key"

    def body(self, items: Sequence[tuple[str, bytes]]) -> bytes:
        """Put items together to one JSON array."""
        return b"[" + b", ".join(text for _, text in items) + b"]"

    def _items(self, context: UserContext, told: Mapping[str, Any]) -> Sequence[tuple[str, bytes]]:
        if not context.key:
            return ()
        return ((KIND, json.dumps({"user": event_user(context), **told}).encode()),)

    def __repr__(self) -> str:
        """Name it; its secret is nobody's business."""
        return "FeatBitEvents(...)"
