"""A Hackle server: workspace download, events and metrics.

    with HackleServer() as server:
        server.load(workspace)                             # a whole document: tests.services.environments
        server.put("featureFlags", {"id": 62, "key": 9, ...})
        client = Hackle(server.sdk_key, sdk_url=server.url, event_url=server.url, monitoring_url=server.url)
        server.wait_for(lambda s: s.fetches >= 2)

Each change makes `Last-Modified` a second younger, at least, since that header cannot tell finer.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, Never

from starlette.responses import Response
from starlette.routing import BaseRoute

from tests.leaks import remember
from tests.services.faults import Endpoint
from tests.services.serving import Request, ServiceServer, json_response

Item = dict[str, Any]

KINDS = {"exposureEvents": "exposure", "trackEvents": "track", "remoteConfigEvents": "remote_config"}
SECTIONS = (
    "buckets",
    "experiments",
    "featureFlags",
    "segments",
    "containers",
    "parameterConfigurations",
    "remoteConfigParameters",
    "events",
)


class HackleServer(ServiceServer):
    """One workspace; another SDK key is answered 403.

    Args:
        sdk_key: of the workspace.
        port: where to listen; 0 means any free port.
        is_secret: false when the key may be logged, as the official client does in this process.

    Attributes:
        sends_last_modified: whether `Last-Modified` is sent and `If-Modified-Since` looked at.
        sends_etag: whether `ETag` is sent and `If-None-Match` looked at (it precedes the other).
    """

    def __init__(self, sdk_key: str = "hackle-sdk-key-of-the-tests", *, port: int = 0, is_secret: bool = True) -> None:
        super().__init__(port=port)
        self.sdk_key = remember(sdk_key) if is_secret else sdk_key
        self.sends_last_modified = True
        self.sends_etag = True
        self._workspace: Item = {section: [] for section in SECTIONS}
        self._text = json.dumps(self._workspace)
        self._modified_s = int(time.time())
        self._events: list[Item] = []
        self._batches: list[Item] = []
        self._metrics: list[Item] = []
        self._fetches = 0
        self._not_modified = 0

    # --- the workspace ----------------------------------------------------------------------------------------

    def load(self, workspace: Mapping[str, Any]) -> None:
        """Replace the whole document."""
        with self._changed:
            self._workspace = copy.deepcopy(dict(workspace))
            self._store(json.dumps(self._workspace))

    def load_text(self, text: str) -> None:
        """Serve a text as it is, JSON or not."""
        with self._changed:
            self._store(text)

    def put(self, section: str, item: Mapping[str, Any]) -> None:
        """Add an item to a section, or replace the one with its id."""
        with self._changed:
            items = self._workspace.setdefault(section, [])
            items[:] = [other for other in items if other["id"] != item["id"]] + [copy.deepcopy(dict(item))]
            self._store(json.dumps(self._workspace))

    def remove(self, section: str, item_id: int) -> None:
        """Remove an item from a section."""
        with self._changed:
            self._workspace[section] = [item for item in self._workspace[section] if item["id"] != item_id]
            self._store(json.dumps(self._workspace))

    @property
    def workspace(self) -> Item:
        """The document as it is served."""
        with self._changed:
            return copy.deepcopy(self._workspace)

    def _store(self, text: str) -> None:
        self._text = text
        self._modified_s = max(self._modified_s + 1, int(time.time()))
        self._changed.notify_all()

    # --- what came --------------------------------------------------------------------------------------------

    @property
    def events(self) -> list[Item]:
        """All events that were accepted, each with its `kind`: exposure, track or remote_config."""
        with self._changed:
            return list(self._events)

    @property
    def batches(self) -> list[Item]:
        """The decoded bodies of all event posts that were accepted."""
        with self._changed:
            return list(self._batches)

    @property
    def metrics(self) -> list[Item]:
        """All metrics that were pushed."""
        with self._changed:
            return list(self._metrics)

    @property
    def fetches(self) -> int:
        """How many downloads were answered, those with 304 included."""
        with self._changed:
            return self._fetches

    @property
    def not_modified(self) -> int:
        """How many downloads were answered with 304."""
        with self._changed:
            return self._not_modified

    def _forget(self) -> None:
        super()._forget()
        self._events.clear()
        self._batches.clear()
        self._metrics.clear()
        self._fetches = self._not_modified = 0

    def _summary(self) -> str:
        return f"{super()._summary()}, {self.fetches} fetches, {len(self.events)} events"

    # --- the protocol -----------------------------------------------------------------------------------------

    def _routes(self) -> Sequence[BaseRoute]:
        return [
            self._http("GET", "/api/v2/workspaces/{sdk_key}/config", self._config),
            self._http("POST", "/api/v2/events", self._receive_events),
            self._http("POST", "/metrics", self._receive_metrics),
        ]

    def _endpoint_of(self, method: str, path: str) -> Endpoint:
        if path.startswith("/api/v2/workspaces/"):
            return Endpoint.CONFIG
        return {"/api/v2/events": Endpoint.EVENTS, "/metrics": Endpoint.METRICS}.get(path, Endpoint.OTHER)

    def _config(self, request: Request) -> Response:
        if request.path != f"/api/v2/workspaces/{self.sdk_key}/config" or not self._has_key(request):
            return Response(status_code=403)
        with self._changed:
            self._fetches += 1
            headers: dict[str, str] = {}
            if self.sends_last_modified:
                headers["Last-Modified"] = formatdate(self._modified_s, usegmt=True)
            if self.sends_etag:
                headers["ETag"] = f'"{hashlib.sha256(self._text.encode()).hexdigest()[:16]}-{self._modified_s}"'
            if self._is_known(request, headers):
                self._not_modified += 1
                return Response(status_code=304, headers=headers)
            return Response(self._text, headers=headers, media_type="application/json")

    def _is_known(self, request: Request, headers: Mapping[str, str]) -> bool:
        etags = request.headers.get("if-none-match")
        if self.sends_etag and etags is not None:
            return etags == "*" or headers["ETag"] in [tag.strip().removeprefix("W/") for tag in etags.split(",")]
        since = request.headers.get("if-modified-since")
        if not self.sends_last_modified or since is None:
            return False
        try:
            return parsedate_to_datetime(since).timestamp() >= self._modified_s
        except ValueError:
            return False

    def _has_key(self, request: Request) -> bool:
        return request.headers.get("x-hackle-sdk-key") == self.sdk_key

    def _receive_events(self, request: Request) -> Response:
        if not self._has_key(request):
            return Response(status_code=403)
        batch = self._object_of(request)
        if batch is None or not all(isinstance(batch.get(name), list) for name in KINDS):
            self._complain("an event post does not have the three lists")
            return Response(status_code=400)
        with self._changed:
            self._batches.append(batch)
            for name, kind in KINDS.items():
                self._events += [{"kind": kind, **event} for event in batch[name]]
        return Response(status_code=202)

    def _receive_metrics(self, request: Request) -> Response:
        if not self._has_key(request):
            return Response(status_code=403)
        pushed = self._object_of(request)
        if pushed is None or not isinstance(pushed.get("metrics"), list):
            self._complain("a metrics post has no list of metrics")
            return Response(status_code=400)
        with self._changed:
            self._metrics += pushed["metrics"]
        return json_response({}, status=202)

    def _object_of(self, request: Request) -> Item | None:
        """Read a JSON object without the NaN and Infinity that only Python takes for JSON."""
        try:
            content = json.loads(request.body, parse_constant=_refuse_constant)
        except ValueError:
            return None
        return content if isinstance(content, dict) else None


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")
