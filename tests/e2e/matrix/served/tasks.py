"""The tasks of a Celery worker; see `broker` for how they come and go."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.e2e.matrix.served.broker import TASK, celery_app
from tests.e2e.matrix.served.reading import Asked, OfClient, official_reader, our_client

app = celery_app(Path(os.environ["MATRIX_BROKER"]))
FIRST_FLAGS_S = 5.0
client = our_client()
official = official_reader() if client is None else None


@app.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery has no types
def answer(query: str) -> dict[str, Any]:
    """Answer one request; here it is a task, and its result the answer."""
    asked = Asked.of(query)
    if client is not None:
        client.wait_until_ready(FIRST_FLAGS_S)  # a task has no middleware that holds it back
    reads = OfClient(client, asked.user) if client is not None else official_reader_of(asked.user)
    value = asked.begin(reads)
    if asked.kind == "streamed":
        asked.go_on(reads)
    if asked.hold_s:
        time.sleep(asked.hold_s)
    told: dict[str, Any] = json.loads(asked.answer(value))
    return told


def official_reader_of(user: str) -> Any:
    """Give what reads flags with the official client."""
    assert official is not None
    return official.reads(user)
