"""A port that never takes a connection, for clients that are closed while they connect."""

from __future__ import annotations

import select
import socket
from typing import Self

PATIENCE_S = 0.2
"""A loopback connection that is not there after this long is not coming."""


class BlackHole:
    """Listens with a full backlog, so that `connect()` neither succeeds nor fails; a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._fillers: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        while self._connects():
            assert len(self._fillers) < 64, "the backlog never fills up"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port; those who still connect are refused."""
        for filler in [*self._fillers, self._listener]:
            filler.close()

    def _connects(self) -> bool:
        filler = socket.socket()
        self._fillers.append(filler)
        filler.settimeout(0)
        filler.connect_ex(("127.0.0.1", self.port))
        return bool(select.select([], [filler], [], PATIENCE_S)[1])
