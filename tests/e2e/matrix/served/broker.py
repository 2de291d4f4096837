"""How tasks and their results travel: as files in a folder, so that no other server is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery

TASK = "matrix.answer"


def celery_app(folder: Path) -> Any:
    """Make a Celery app for a folder; those who ask and those who answer need the same."""
    for name in ("queue", "control", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    app = Celery("matrix", broker="filesystem://", backend=f"file://{folder / 'results'}")
    queue = str(folder / "queue")
    app.conf.update(
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
