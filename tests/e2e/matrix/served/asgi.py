"""The ASGI app."""

from __future__ import annotations

import asyncio
import os
from secrets import token_hex

from starlette.types import ASGIApp, Receive, Scope, Send

from flagmw import UserContext
from flagmw.asgi import FlagMiddleware
from tests.e2e.matrix.served.reading import KEYS, Asked, Reads, official_reader, our_client, user_of

client = our_client()
official = official_reader() if client is None else None


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or take part in the lifespan."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    if scope["type"] != "http":
        return
    asked = Asked.of(scope["query_string"].decode())
    reads: Reads = scope["state"]["flags"] if official is None else official.reads(asked.user)
    value = asked.begin(reads)
    if asked.hold_s:
        await asyncio.sleep(asked.hold_s)
    body = asked.answer(value)
    headers = [(b"content-type", b"application/json")]
    if asked.kind != "streamed":
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if asked.is_streamed:  # only the last byte tells the other side that the body has come
        await send({"type": "http.response.body", "body": body[:-1], "more_body": True})
        asked.go_on(reads)
        await send({"type": "http.response.body", "body": body[-1:], "more_body": True})
        asked.end()
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": body})


async def live(receive: Receive, send: Send) -> None:
    """Answer the lifespan."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def scope_user(scope: Scope) -> UserContext:
    return user_of(scope["query_string"].decode())


if client is not None and "MATRIX_READS_EARLY" in os.environ:
    client.wait_until_ready(5.0)
    client.variation(KEYS[0], UserContext(f"early-{token_hex(4)}"))  # in the master of a server that preloads

app: ASGIApp = answer if client is None else FlagMiddleware(answer, client, scope_user)
