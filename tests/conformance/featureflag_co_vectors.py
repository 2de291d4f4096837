"""Runs featureflag.co vectors through what a user calls: a client on the service's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flagmw import Client
from flagmw.dialects.featureflag_co import FeatureFlagCoDialect, FeatureFlagCoEvents, FeatureFlagCoStream
from flagmw.evaluation import Evaluation
from tests.conformance import streamed_vectors
from tests.conformance.streamed_vectors import Ran


class FeatureFlagCo:
    """What is featureflag.co's own."""

    def dialect(self, env_secret: str) -> FeatureFlagCoDialect:
        return FeatureFlagCoDialect(env_secret)

    def stream(self, env_secret: str) -> FeatureFlagCoStream:
        return FeatureFlagCoStream(env_secret, "wss://featureflag.test", lambda: 0.0, lambda: 0.0)

    def wire(self, env_secret: str) -> FeatureFlagCoEvents:
        return FeatureFlagCoEvents(env_secret, "https://featureflag.test")

    def variation_id(self, found: Evaluation) -> object:
        return -1 if found.variation is None else int(found.variation)

    def events_of(self, item: Any) -> list[dict[str, Any]]:
        return [
            {
                "key": told["featureFlagKeyName"],
                "id": told["variation"]["localId"],
                "value": told["variation"]["variationValue"],
                "reason": told["variation"]["reason"],
                "send_to_experiment": told["sendToExperiment"],
            }
            for told in item["userVariations"]
        ]

    def more(self, client: Client, case: Any, events: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "send_to_experiment": events[-1]["send_to_experiment"] if events else None,
            "is_enabled": client.is_enabled(case["key"], case["user"]),
        }


def run(vectors: Any, folder: Path) -> Ran:
    """Run one file's cases."""
    return streamed_vectors.run(FeatureFlagCo(), vectors)
