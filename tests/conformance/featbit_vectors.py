"""Runs FeatBit vectors through what a user calls: a client on FeatBit's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flagmw import Client
from flagmw.dialects.featbit import FeatBitDialect, FeatBitEvents, FeatBitStream
from flagmw.evaluation import Evaluation
from tests.conformance import streamed_vectors
from tests.conformance.streamed_vectors import Ran


class FeatBit:
    """What is FeatBit's own."""

    def dialect(self, env_secret: str) -> FeatBitDialect:
        return FeatBitDialect()

    def stream(self, env_secret: str) -> FeatBitStream:
        return FeatBitStream(env_secret, "wss://featbit.test", lambda: 0.0, lambda: 0.0)

    def wire(self, env_secret: str) -> FeatBitEvents:
        return FeatBitEvents(env_secret, "https://featbit.test")

    def variation_id(self, found: Evaluation) -> object:
        return found.variation

    def events_of(self, item: Any) -> list[dict[str, Any]]:
        return [{"key": told["featureFlagKey"], **told["variation"]} for told in item["variations"]]

    def more(self, client: Client, case: Any, events: list[dict[str, Any]]) -> dict[str, Any]:
        return {}


def run(vectors: Any, folder: Path) -> Ran:
    """Run one file's cases."""
    return streamed_vectors.run(FeatBit(), vectors)
