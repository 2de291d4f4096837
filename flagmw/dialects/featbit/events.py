"""FeatBit's events: how exposures, metrics and users are written.

Source: FeatBit reference, section 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flagmw.core.records import Exposure, Identity, Metric
from flagmw.core.sync_events import Item, SyncEvents, Told, body_of
from flagmw.dialects.featbit.flags import Served
from flagmw.dialects.featbit.users import event_user
from flagmw.dialects.featbit.wire import headers_of


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
        self._events = SyncEvents(event_user, "variations", _told)
        self.url = event_url.rstrip("/") + "/api/public/insight/track"

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one post."""
        return headers_of(self._secret)

    def exposure(self, exposure: Exposure) -> Sequence[Item]:
        """Encode that a user was served a variation."""
        return self._events.exposure(exposure)

    def metric(self, metric: Metric) -> Sequence[Item]:
        """Encode that a user did something."""
        told = {
            "eventName": metric.event,
            "numericValue": 1.0 if metric.value is None else metric.value,
            "route": "index/metric",
            "type": "CustomEvent",
            "appType": "pythonserverside",
            "timestamp": int(metric.at_s * 1000),
        }
        return self._events.about(metric.context, {"metrics": [told]})

    def identity(self, identity: Identity) -> Sequence[Item]:
        """Encode who a user is."""
        return self._events.about(identity.context, {})

    def refusal(self, metric: Metric) -> str | None:
        """Say why FeatBit would not take a metric: only for a user whom it would not know."""
        return None if metric.context.key else "a FeatBit user needs a key"

    def body(self, items: Sequence[Item]) -> bytes:
        """Put items together to one JSON array."""
        return body_of(items)

    def __repr__(self) -> str:
        """Name it; its secret is nobody's business."""
        return "FeatBitEvents(...)"


def _told(exposure: Exposure) -> Sequence[Told]:
    served = exposure.outcome.detail
    if not isinstance(served, Served):
        return ()
    variation = {"id": served.id, "value": served.text, "reason": exposure.outcome.provider_reason}
    return (({"featureFlagKey": exposure.flag_key}, {"variation": variation}),)
