"""A server that takes events as the tests of delivery write them: a JSON list of names, possibly compressed."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Sequence

from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.services.faults import Endpoint
from tests.services.serving import Request, ServiceServer
from tests.unit.event_support import NamingWire


class EventServer(ServiceServer):
    """Takes events and remembers their names; misbehaves on command like the servers of the flag services.

    Attributes:
        delay_s: how long each answer takes.
        takes_gzip: false answers compressed bodies with 415.
    """

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.delay_s = 0.0
        self.takes_gzip = True
        self._names: list[str] = []

    @property
    def names(self) -> list[str]:
        """The names of all events that were accepted, in the order of arrival."""
        with self._changed:
            return list(self._names)

    def wire(self, *, max_items: int = 50, padding: int = 0, takes_gzip: bool = True) -> NamingWire:
        """Give the format in which this server takes events."""
        return NamingWire(url=f"{self.url}/events", max_items=max_items, takes_gzip=takes_gzip, padding=padding)

    def _routes(self) -> Sequence[BaseRoute]:
        return [Route("/events", self._take, methods=["POST"])]

    def _endpoint_of(self, method: str, path: str) -> Endpoint:
        return Endpoint.EVENTS if path == "/events" else Endpoint.OTHER

    async def _take(self, received: StarletteRequest) -> Response:
        headers = dict(received.headers)
        body = await received.body()
        self._record(
            Request(method="POST", path="/events", query={}, headers=headers, body=body, at_s=time.monotonic())
        )
        await asyncio.sleep(self.delay_s)
        if headers.get("content-encoding") == "gzip":
            if not self.takes_gzip:
                return Response(status_code=415)
            body = gzip.decompress(body)
        names = [name.rstrip() for name in json.loads(body)]
        with self._changed:
            self._names += names
            self._changed.notify_all()
        return Response(status_code=202)
