"""A process that constructs a client and uses it at once; prints how many milliseconds each step took.

It is run by `constructing`, and imports nothing but the standard library before the clock runs.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

DEFAULT = "the default"


def ours(given: Mapping[str, Any]) -> dict[str, float]:
    """Import flagmw and the provider, construct a client, evaluate a flag, answer a request."""
    began = time.perf_counter()
    import flagmw
    from flagmw import providers

    provider = getattr(providers, given["provider"])
    imported = time.perf_counter()
    client = flagmw.Client(provider(*given["arguments"], **given["options"]))
    constructed = time.perf_counter()
    client.variation("checkout", flagmw.UserContext("u-1"), DEFAULT)
    evaluated = time.perf_counter()
    from flagmw.wsgi import FlagMiddleware

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["flagmw.flags"].variation("checkout", DEFAULT)
        start_response("200 OK", [])
        return []

    asked = time.perf_counter()
    served: Any = FlagMiddleware(app, client, anonymous=False)
    served({}, lambda *_: None)
    return {
        "import": imported - began,
        "construct": constructed - imported,
        "evaluate": evaluated - constructed,
        "request": time.perf_counter() - asked,
    }


def official(given: Mapping[str, Any]) -> dict[str, float]:
    """Construct the service's own client as its documentation does."""
    if given["official"] == "hackle":
        from hackle import hackle
        from hackle.config import HackleConfig

        url = given["url"]
        config = HackleConfig.builder().sdk_url(url).event_url(url).monitoring_url(url).build()
        began = time.perf_counter()
        hackle.Client(given["secret"], config=config)
    else:
        from fbclient.client import FBClient
        from fbclient.config import Config

        began = time.perf_counter()
        FBClient(Config(given["secret"], given["url"], given["ws_url"]))
    return {"construct": time.perf_counter() - began}


def main() -> None:
    """Print the figures, and leave without waiting for any thread."""
    logging.disable(logging.CRITICAL)
    given = json.loads(sys.stdin.read())
    found = (official if "official" in given else ours)(given)
    print(json.dumps({step: took_s * 1e3 for step, took_s in found.items()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
