"""A FeatBit server: the streaming, polling and event endpoints that a server-side client uses.

with FeatBitServer() as server:
    server.put_flag({"key": "checkout-v2", ...})      # see tests.services.environments for flags
    client = FeatBit(server.secret, streaming_url=server.ws_url, event_url=server.url)
    server.wait_for(lambda s: s.synced == 1)
    server.put_flag({...})                            # is pushed
    server.wait_for(lambda s: s.events)
    server.misbehave(Status(code=503), on=Endpoint.EVENTS, times=2)
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from tests.services.faults import Endpoint
from tests.services.serving import Request, json_response
from tests.services.streaming import StreamingServer
from tests.services.tokens import RefusedError, featbit_environment, featbit_secret

Item = dict[str, Any]


class FeatBitServer(StreamingServer):
    """One environment with one server secret.

    Args:
        secret: of the environment; one is issued if it is left out.
        port: where to listen; 0 means any free port.

    Attributes:
        secret: what clients must come with.
    """

    PONG = {"messageType": "pong", "data": {}}  # noqa: RUF012  # a constant, typed by the base class

    def __init__(self, secret: str | None = None, *, port: int = 0) -> None:
        super().__init__(secret or featbit_secret(), port=port)
        self.environment = featbit_environment(self.secret)
        self._flags: dict[str, Item] = {}
        self._segments: dict[str, Item] = {}
        self._version = 0

    # --- the environment --------------------------------------------------------------------------------------

    def put_flag(self, flag: Mapping[str, Any], *, push: bool = True) -> Item:
        """Create or replace a flag.

        Args:
            flag: as on the wire, or in parts: what the service would fill in may be left out. `updatedAt` is replaced.
            push: false leaves the change to those who ask for it later, as if it happened during an outage.

        Returns:
            The flag as it was stored, with its new `updatedAt`.
        """
        with self._changed:
            stored = self._stamp({"id": str(uuid.uuid4()), "envId": str(self.environment), **copy.deepcopy(dict(flag))})
            stored.setdefault("isArchived", False)
            self._flags[stored["key"]] = stored
            if push:
                self._push_patch(_envelope("patch", [stored], []))
            return copy.deepcopy(stored)

    def put_flags(self, flags: Iterable[Mapping[str, Any]]) -> None:
        """Create or replace flags, one push each."""
        for flag in flags:
            self.put_flag(flag)

    def put_segment(self, segment: Mapping[str, Any], *, push: bool = True, touch_flags: bool = True) -> Item:
        """Create or replace a segment.

        Args:
            segment: as on the wire; `updatedAt` is replaced.
            push: as for a flag.
            touch_flags: give the flags that name it a new `updatedAt` and push them, too, as the service does.
        """
        with self._changed:
            stored = self._stamp(
                {"id": str(uuid.uuid4()), "envId": str(self.environment), **copy.deepcopy(dict(segment))}
            )
            stored.setdefault("isArchived", False)
            self._segments[stored["id"]] = stored
            if push:
                self._push_patch(_envelope("patch", [], [stored]))
            if touch_flags:
                for flag in [item for item in self._flags.values() if stored["id"] in json.dumps(item.get("rules"))]:
                    self.put_flag(flag, push=push)
            return copy.deepcopy(stored)

    def archive_flag(self, key: str, *, push: bool = True) -> None:
        """Archive a flag, which is pushed like a change."""
        self.put_flag({**self._flags[key], "isArchived": True}, push=push)

    def archive_segment(self, segment_id: str, *, push: bool = True) -> None:
        """Archive a segment, which is pushed like a change."""
        self.put_segment({**self._segments[segment_id], "isArchived": True}, push=push)

    def delete_flag(self, key: str) -> None:
        """Delete a flag, which is not announced."""
        with self._changed:
            del self._flags[key]

    def load(self, envelope: Mapping[str, Any]) -> None:
        """Replace everything by an envelope, its `updatedAt`s included; streams that are open learn nothing of it.

        Args:
            envelope: `{"messageType": …, "data": {…}}`, or the data alone. Items without `updatedAt` are stamped.
        """
        data = copy.deepcopy(dict(envelope.get("data", envelope)))
        with self._changed:
            for item in [*data["featureFlags"], *data["segments"]]:
                if "updatedAt" in item:
                    self._version = max(self._version, millis_of(item["updatedAt"]))
                else:
                    self._stamp(item)
            self._flags = {flag["key"]: flag for flag in data["featureFlags"]}
            self._segments = {segment["id"]: segment for segment in data["segments"]}
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
        """Set `updatedAt` to now, later than any before."""
        self._version = max(self._version + 1, int(datetime.now(UTC).timestamp() * 1000))
        item["updatedAt"] = iso_of(self._version)
        return item

    def _data_since(self, since_ms: int) -> Item:
        if since_ms == 0:
            return _envelope("full", [*self._flags.values()], [*self._segments.values()])
        flags = [flag for flag in self._flags.values() if millis_of(flag["updatedAt"]) > since_ms]
        segments = [item for item in self._segments.values() if millis_of(item["updatedAt"]) > since_ms]
        return _envelope("patch", flags, segments)

    # --- the protocol -----------------------------------------------------------------------------------------

    def _check_handshake(self, query: Mapping[str, str]) -> None:
        kind = query.get("type", "")
        if kind not in {"server", "client", "relay-proxy"}:
            raise RefusedError(f"there is no type {kind!r}")
        if query.get("version", "") not in {"", "1", "2"}:
            raise RefusedError(f"there is no version {query['version']!r}")
        secret = self._decode_token(query, may_be_from_future=False)
        featbit_environment(secret)
        if secret != self.secret:
            raise RefusedError("nobody has this secret")
        if kind != "server":
            raise RefusedError(f"the secret is not of type {kind!r}")

    def _answer_sync(self, data: Any) -> Item | None:
        timestamp = data.get("timestamp", 0) if isinstance(data, dict) else 0
        if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
            return None
        return self._data_since(timestamp if isinstance(timestamp, int) else 0)

    def _routes(self) -> Sequence[BaseRoute]:
        return [
            *super()._routes(),
            self._http("POST", "/api/public/insight/track", self._track),
            self._http("GET", "/api/public/sdk/server/latest-all", self._latest_all),
            self._http("GET", "/health/liveness", lambda _: Response()),
            self._http("GET", "/health/readiness", lambda _: Response()),
        ]

    def _endpoint_of(self, method: str, path: str) -> Endpoint:
        return {
            "/streaming": Endpoint.STREAM,
            "/api/public/sdk/server/latest-all": Endpoint.CONFIG,
            "/api/public/insight/track": Endpoint.EVENTS,
        }.get(path, Endpoint.OTHER)

    def _is_mine(self, request: Request) -> bool | None:
        """Tell whether a secret is of this environment; None if it is none. HTTP does not look the secret up."""
        try:
            return featbit_environment(request.headers.get("authorization", "")) == self.environment
        except RefusedError:
            return None

    def _latest_all(self, request: Request) -> Response:
        mine = self._is_mine(request)
        if mine is None:
            return Response(status_code=401)
        since_ms = int(request.query.get("timestamp", "0") or "0")
        with self._changed:
            data = self._data_since(since_ms) if mine else _envelope("patch" if since_ms else "full", [], [])
            if since_ms > 0 and not data["featureFlags"] and not data["segments"]:
                return Response()
            return json_response({"messageType": "data-sync", "data": data})

    def _track(self, request: Request) -> Response:
        if self._is_mine(request) is None:
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
                if isinstance(item, dict) and (item.get("user") or {}).get("keyId"):
                    self._events.append(item)
                else:
                    self._complain("an event has no user with a keyId")
        return Response()


def _envelope(kind: str, flags: list[Item], segments: list[Item]) -> Item:
    return {"eventType": kind, "featureFlags": flags, "segments": segments}


def iso_of(time_ms: int) -> str:
    """Write Unix milliseconds as the service does."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def millis_of(text: Any) -> int:
    """Read a time as the service does: truncated to Unix milliseconds, 0 if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
