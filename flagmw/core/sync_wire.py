"""What clients of featureflag.co and FeatBit say on a stream.

Source: featureflag.co reference, sections 3 to 5; FeatBit reference, sections 2 to 4.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from flagmw.core.snapshot import Snapshot
from flagmw.core.tokens import encode_token, start_of
from flagmw.core.versioned import Store

USER_AGENT = "fb-python-server-sdk"
"""Both services' own clients give this name."""

PING = json.dumps({"messageType": "ping", "data": None})

REFUSAL_CODES = frozenset({4003})


def version_of(snapshot: Snapshot | None) -> int:
    """Give the version from which a snapshot can be brought up to date; 0 asks for everything."""
    origin = snapshot.origin if snapshot is not None else None
    return max(origin.version, 0) if isinstance(origin, Store) else 0


def greeting(snapshot: Snapshot | None) -> str:
    """Give the message that asks for everything newer than a snapshot."""
    return json.dumps({"messageType": "data-sync", "data": {"timestamp": version_of(snapshot)}})


def stream_url(base: str, env_secret: str, now_s: float, fraction: float) -> str:
    """Give the address of one attempt to stream.

    Args:
        base: scheme and host.
        env_secret: goes into the token.
        now_s: Unix time, which does, too.
        fraction: from 0 to 1, for where the token is cut.
    """
    token = encode_token(env_secret, start_of(env_secret, fraction), int(now_s * 1000))
    return f"{base}/streaming?token={quote(token, safe='')}&type=server"
