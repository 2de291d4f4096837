"""A featureflag.co server: the streaming, download and event endpoints that a server-side client uses.

    with FeatureFlagCoServer() as server:
        server.put_flag({"ff": {"keyName": "checkout-v2", ...}, ...})    # flags: tests.services.environments
        client = FeatureFlagCo(server.secret, streaming_url=server.ws_url, event_url=server.url)

Where the known implementation and good sense differ, this follows the known implementation: archived flags are pushed but
left out of answers, tokens from the future are taken, the download has flags and no segments.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from tests.services.faults import Endpoint
from tests.services.serving import Request, json_response
from tests.services.streaming import StreamingServer
from tests.services.tokens import (
    FeatureFlagCoEnvironment,
    RefusedError,
    featureflag_co_environment,
    featureflag_co_secret,
)

Item = dict[str, Any]


class FeatureFlagCoServer(StreamingServer):
    """One environment; a well-formed secret of another one finds no flags here.

    Args:
        secret: of the environment.
        port: where to listen; 0 means any free port.

    Attributes:
        secret: what clients must come with.
    """

    PONG = {"messageType": "pong", "data": None}  # noqa: RUF012  # a constant, typed by the base class

    def __init__(self, secret: str | None = None, *, port: int = 0) -> None:
        super().__init__(secret or featureflag_co_secret(), port=port)
        self.environment = featureflag_co_environment(self.secret)
        self._flags: dict[str, Item] = {}
        self._segments: dict[str, Item] = {}
        self._version = 0

    # --- the environment --------------------------------------------------------------------------------------

    def put_flag(self, flag: Mapping[str, Any], *, push: bool = True) -> Item:
        """Create or replace a flag.

        Args:
            flag: as on the wire; the ids are made from `ff.keyName` if left out, `timestamp` is replaced.
            push: false leaves the change to those who ask for it later, as if it happened during an outage.

        Returns:
            The flag as it was stored, with its new `timestamp`.
        """
        with self._changed:
            stored = self._stamp(copy.deepcopy(dict(flag)))
            flag_id = stored.setdefault("id", self.environment.flag_id(stored["ff"]["keyName"]))
            stored.setdefault("_id", flag_id)
            stored["ff"].setdefault("id", flag_id)
            self._flags[flag_id] = stored
            if push:
                self._push_patch(_data("patch", [stored], []))
            return copy.deepcopy(stored)

    def put_flags(self, flags: Iterable[Mapping[str, Any]]) -> None:
        """Create or replace flags, one push each."""
        for flag in flags:
            self.put_flag(flag)

    def put_segment(self, segment: Mapping[str, Any], *, push: bool = True) -> Item:
        """Create or replace a segment; `timestamp` is replaced."""
        with self._changed:
            stored = self._stamp(copy.deepcopy(dict(segment)))
            self._segments[stored["id"]] = stored
            if push:
                self._push_patch(_data("patch", [], [stored]))
            return copy.deepcopy(stored)

    def archive_flag(self, key: str, *, push: bool = True) -> None:
        """Archive a flag, which is pushed; those who are not connected do not learn it later."""
        self.put_flag({**self._flags[self.environment.flag_id(key)], "isArchived": True}, push=push)

    def archive_segment(self, segment_id: str, *, push: bool = True) -> None:
        """Archive a segment, which is pushed."""
        self.put_segment({**self._segments[segment_id], "isArchived": True}, push=push)

    def load(self, envelope: Mapping[str, Any]) -> None:
        """Replace everything by an envelope, its timestamps included; streams that are open learn nothing of it.

        Args:
            envelope: `{"messageType": …, "data": {…}}`, or the data alone. Items without `timestamp` are stamped.
        """
        data = copy.deepcopy(dict(envelope.get("data", envelope)))
        with self._changed:
            for item in [*data["featureFlags"], *(data.get("segments") or [])]:
                if "timestamp" in item:
                    self._version = max(self._version, item["timestamp"])
                else:
                    self._stamp(item)
            self._flags = {flag["id"]: flag for flag in data["featureFlags"]}
            self._segments = {segment["id"]: segment for segment in data.get("segments") or []}
            self._revision += 1
            self._changed.notify_all()

    def envelope(self, since_ms: int = 0) -> Item:
        """Give what the service answers to a client that has all changes up to a version."""
        with self._changed:
            return {"messageType": "data-sync", "data": copy.deepcopy(self._data_since(since_ms))}

    @property
    def version_ms(self) -> int:
        """The highest version that was given to an item."""
        with self._changed:
            return self._version

    def _stamp(self, item: Item) -> Item:
        """Set `timestamp` to now, later than any before."""
        self._version = max(self._version + 1, int(time.time() * 1000))
        item["timestamp"] = self._version
        item.setdefault("isArchived", False)
        return item

    def _data_since(self, since_ms: int) -> Item:
        flags, segments = (
            sorted(
                (item for item in items if item["timestamp"] > since_ms and not item.get("isArchived")),
                key=lambda item: -int(item["timestamp"]),
            )
            for items in (self._flags.values(), self._segments.values())
        )
        return _data("patch" if since_ms else "full", flags, segments)

    # --- the protocol -----------------------------------------------------------------------------------------

    def _check_handshake(self, query: Mapping[str, str]) -> None:
        if query.get("type", "") not in {"server", "client"}:
            raise RefusedError(f"there is no type {query.get('type', '')!r}")
        featureflag_co_environment(self._decode_token(query, may_be_from_future=True))

    def _answer_sync(self, data: Any) -> Item | None:
        timestamp = data.get("timestamp") if isinstance(data, dict) else None
        if isinstance(timestamp, bool) or not isinstance(timestamp, int) or timestamp < 0:
            return None
        return self._data_since(timestamp)

    def _routes(self) -> Sequence[BaseRoute]:
        return [
            *super()._routes(),
            self._http("POST", "/api/public/track", self._track),
            self._http("GET", "/api/public/sdk/latest-feature-flag", self._latest),
        ]

    def _endpoint_of(self, method: str, path: str) -> Endpoint:
        return {
            "/streaming": Endpoint.STREAM,
            "/api/public/sdk/latest-feature-flag": Endpoint.CONFIG,
            "/api/public/track": Endpoint.EVENTS,
        }.get(path, Endpoint.OTHER)

    def _latest(self, request: Request) -> Response:
        environment = _environment_of(request)
        if environment is None:
            return Response(status_code=401)
        with self._changed:
            flags = self._data_since(0)["featureFlags"] if environment == self.environment else []
            return json_response({"featureFlags": flags})

    def _track(self, request: Request) -> Response:
        if _environment_of(request) is None:
            return Response(status_code=401)
        try:
            items = request.json()
        except ValueError:
            items = None
        if not isinstance(items, list):
            self._complain("an event post is not a JSON array")
            return Response(status_code=400)
        with self._changed:
            for item in items:
                is_known = isinstance(item, dict) and (item.get("user") or {}).get("keyId")
                if is_known and (item.get("userVariations") or item.get("metrics")):
                    self._events.append(item)
                else:
                    self._complain("an event has no user with a keyId, or nothing to say of him")
        return json_response({"code": "OK", "message": "OK"})


def _environment_of(request: Request) -> FeatureFlagCoEnvironment | None:
    """Find the secret in the query, a header or a cookie, in that order; None without a good one."""
    cookie = SimpleCookie(request.headers.get("cookie", "")).get("envSecret")
    secret = request.query.get("envSecret") or request.headers.get("envsecret") or (cookie.value if cookie else "")
    try:
        return featureflag_co_environment(secret)
    except RefusedError:
        return None


def _data(kind: str, flags: list[Item], segments: list[Item]) -> Item:
    return {"eventType": kind, "featureFlags": flags, "segments": segments, "userTags": []}
