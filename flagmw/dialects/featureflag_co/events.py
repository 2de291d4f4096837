"""featureflag.co's events: how exposures and metrics are written.

Source: featureflag.co reference, sections 14.6 and 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flagmw.core.records import Exposure, Identity, Metric
from flagmw.core.sync_events import Item, SyncEvents, Told, body_of
from flagmw.dialects.featureflag_co.prerequisites import Served
from flagmw.dialects.featureflag_co.users import event_user
from flagmw.dialects.featureflag_co.wire import headers_of


class FeatureFlagCoEvents:
    """How featureflag.co wants its events, as `flagmw.events.EventWire` has it.

    Args:
        env_secret: the environment's secret.
        base_uri: scheme and host.
    """

    max_items = 50
    takes_gzip = False

    def __init__(self, env_secret: str, base_uri: str) -> None:
        self._secret = env_secret
        self._events = SyncEvents(event_user, "userVariations", _told)
        self.url = base_uri.rstrip("/") + "/api/public/track"

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one post."""
        return headers_of(self._secret)

    def exposure(self, exposure: Exposure) -> Sequence[Item]:
        """Encode that a user was served a variation, with those of the flag's prerequisites in front."""
        return self._events.exposure(exposure)

    def metric(self, metric: Metric) -> Sequence[Item]:
        """Encode that a user did something; nothing where the service would not take it."""
        if self.refusal(metric) is not None:
            return ()
        told = {
            "eventName": metric.event,
            "numericValue": 1.0 if metric.value is None else metric.value,
            "route": "index/metric",
            "type": "CustomEvent",
            "appType": "pythonserverside",
        }
        return self._events.about(metric.context, {"metrics": [told]})

    def identity(self, identity: Identity) -> Sequence[Item]:
        """Encode nothing: the service learns of users from what they do."""
        return ()

    def refusal(self, metric: Metric) -> str | None:
        """Say why the service would not take a metric."""
        if not metric.context.key:
            return "a featureflag.co user needs a key"
        if metric.value is not None and not metric.value > 0:
            return "featureflag.co takes only values above 0"
        return None

    def body(self, items: Sequence[Item]) -> bytes:
        """Put items together to one JSON array."""
        return body_of(items)

    def __repr__(self) -> str:
        """Name it; its secret is nobody's business."""
        return "FeatureFlagCoEvents(...)"


def _told(exposure: Exposure) -> Sequence[Told]:
    detail = exposure.outcome.detail
    if not isinstance(detail, tuple) or not all(isinstance(served, Served) for served in detail):
        return ()
    return [_told_of(served) for served in detail]


def _told_of(served: Served) -> Told:
    variation = {"localId": served.local_id, "variationValue": served.value, "reason": served.provider_reason}
    return {"featureFlagKeyName": served.key_name, "sendToExperiment": served.is_told}, {"variation": variation}
