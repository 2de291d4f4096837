"""How tasks and their results travel: as files in a folder, so that no other server is needed."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.transport import filesystem

TASK = "matrix.answer"

_numbers = itertools.count()


class WholeMessages(filesystem.Channel):
    """Puts a message into the folder when it is complete; kombu's own way has its reader find half of one at times."""

    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]  # kombu's own do not agree
        name = f"{time.monotonic_ns()}_{os.getpid()}-{next(_numbers)}.{queue}.msg"
        draft = Path(self.data_folder_out, f"draft-{name}.part")
        draft.write_text(json.dumps(payload))
        draft.rename(draft.with_name(name))


class Transport(filesystem.Transport):
    Channel = WholeMessages


def celery_app(folder: Path) -> Any:
    """Make a Celery app for a folder; those who ask and those who answer need the same."""
    for name in ("queue", "control", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    app = Celery("matrix", backend=f"file://{folder / 'results'}")
    queue = str(folder / "queue")
    app.conf.update(
        broker_url="filesystem://",
        broker_transport=f"{__name__}:Transport",
        broker_transport_options={
            "data_folder_in": queue,
            "data_folder_out": queue,
            "control_folder": str(folder / "control"),
            "polling_interval": 0.02,
        },
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )
    return app
