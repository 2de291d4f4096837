"""A Celery app whose tasks read flags, tell what they saw, and leave a mark once they were served something.

    celery -A tests.e2e.celery_shop worker

SHOP_FOLDER is where messages, results and marks are, FLAGMW_DSN says where flags come from, SHOP_FLAG is the flag that is
read, and SHOP_OPTIONS are arguments for `flagmw_celery.Flags`. With SHOP_EARLY the main process uses the client before it forks;
SHOP_START_METHOD says how it makes its children.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from flagmw import Client, flags
from flagmw_celery import Flags
from tests.e2e.matrix.served.broker import celery_app

LOOK = "shop.look"
RELAY = "shop.relay"
IDLE = "shop.idle"
METRIC = "purchase"

FOLDER = Path(os.environ["SHOP_FOLDER"])
FLAG = json.loads(os.environ["SHOP_FLAG"])
app = celery_app(FOLDER)
client = Client(os.environ["FLAGMW_DSN"])
Flags(app, client, **json.loads(os.environ.get("SHOP_OPTIONS", "{}")))
app.conf.worker_pool_start_method = os.environ.get("SHOP_START_METHOD", "fork")
if "SHOP_EARLY" in os.environ:
    client.wait_until_ready(10.0)
    client.track({"key": "main"}, "started")
if "SHOP_BEAT_S" in os.environ:
    beaten = os.environ.get("SHOP_BEAT_TASK", IDLE)
    app.conf.beat_schedule = {"beaten": {"task": beaten, "schedule": float(os.environ["SHOP_BEAT_S"])}}


@app.task(name=LOOK)  # type: ignore[untyped-decorator]  # Celery has no types
def look(hold_s: float = 0.0) -> dict[str, Any]:
    """Read a flag and track a metric, then go on for a while."""
    value = flags.variation(FLAG)
    flags.track(METRIC, 1)
    (FOLDER / "served" / str(flags.user.key)).touch()
    time.sleep(hold_s)
    return {"user": flags.user.key, "value": value, "pid": os.getpid(), "plan": flags.user.attributes.get("plan")}


@app.task(name=RELAY)  # type: ignore[untyped-decorator]  # as above
def relay() -> str:
    """Queue a task, and give its id."""
    told: str = look.delay().id
    return told


@app.task(name=IDLE)  # type: ignore[untyped-decorator]  # as above
def idle() -> int:
    """Read no flag."""
    return os.getpid()
