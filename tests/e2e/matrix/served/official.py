"""The official clients, constructed when the app is imported as their own documentation has it, with all their defaults.

What they are told besides: the addresses of the test server.
"""

from __future__ import annotations

import importlib
import os
from typing import Any


class OfHackle:
    """`hackle.Client`, as in Hackle's "Python SDK" guide."""

    def __init__(self) -> None:
        config = importlib.import_module("hackle.config").HackleConfig.builder()
        url = os.environ["MATRIX_URL"]
        config.sdk_url(url).event_url(url).monitoring_url(url)
        self._client: Any = importlib.import_module("hackle.hackle").Client(
            os.environ["MATRIX_SECRET"], config=config.build()
        )
        self._models: Any = importlib.import_module("hackle.model")

    def reads(self, user: str) -> _HackleReads:
        return _HackleReads(self._client, self._models, self._models.HackleUser.builder().id(user).build())


class _HackleReads:
    def __init__(self, client: Any, models: Any, user: Any) -> None:
        self._client = client
        self._models = models
        self._user = user

    def variation(self, key: Any, default: Any = None) -> Any:
        return self._client.variation(key, self._user, default)

    def is_enabled(self, key: Any, default: bool = False) -> bool:
        return bool(self._client.is_feature_on(key, self._user))

    def config(self, key: Any, default: Any = None) -> Any:
        return self._client.remote_config(self._user).get(key, default)

    def track(self, event: str, value: float | None = None) -> None:
        self._client.track(self._models.HackleEvent.builder(event).value(value).build(), self._user)


class OfFeatBit:
    """`fbclient.get()` after `set_config`, as in the "Quick Start" of its README."""

    def __init__(self) -> None:
        fbclient = importlib.import_module("fbclient")
        config = importlib.import_module("fbclient.config").Config
        fbclient.set_config(
            config(os.environ["MATRIX_SECRET"], os.environ["MATRIX_URL"], os.environ["MATRIX_STREAMING_URL"])
        )
        self._client: Any = fbclient.get()

    def reads(self, user: str) -> _FeatBitReads:
        return _FeatBitReads(self._client, {"key": user, "name": user})


class _FeatBitReads:
    def __init__(self, client: Any, user: dict[str, str]) -> None:
        self._client = client
        self._user = user

    def variation(self, key: Any, default: Any = None) -> Any:
        return self._client.variation(key, self._user, default)

    def is_enabled(self, key: Any, default: bool = False) -> bool:
        return bool(self._client.variation(key, self._user, default))

    def config(self, key: Any, default: Any = None) -> Any:
        return self._client.variation(key, self._user, default)

    def track(self, event: str, value: float | None = None) -> None:
        self._client.track_metric(self._user, event, value)
