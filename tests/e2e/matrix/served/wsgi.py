"""The WSGI app."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from secrets import token_hex
from typing import TYPE_CHECKING

from flagmw import UserContext
from flagmw.wsgi import FlagMiddleware
from tests.e2e.matrix.served.reading import KEYS, Asked, Reads, official_reader, our_client, user_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

client = our_client()
official = official_reader() if client is None else None


def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request."""
    asked = Asked.of(environ["QUERY_STRING"])
    reads: Reads = environ["flagmw.flags"] if official is None else official.reads(asked.user)
    value = asked.begin(reads)
    if asked.hold_s:
        time.sleep(asked.hold_s)
    body = asked.answer(value, environ.get("SCRIPT_NAME", ""))
    headers = [("Content-Type", "application/json")]
    if asked.kind != "streamed":
        headers.append(("Content-Length", str(len(body))))
    start_response("200 OK", headers)
    return streamed(asked, reads, body) if asked.is_streamed else [body]


def streamed(asked: Asked, reads: Reads, body: bytes) -> Iterator[bytes]:
    """Read more while the body is on its way; only its last byte tells the other side that it has come."""
    yield body[:-1]
    asked.go_on(reads)
    yield body[-1:]
    asked.end()


def installed() -> WSGIApplication:
    """Put our middleware around the app, if it is ours that is tried."""
    if client is None:
        return answer
    user: Callable[[WSGIEnvironment], object] = lambda environ: user_of(environ["QUERY_STRING"])  # noqa: E731  # short
    return FlagMiddleware(answer, client, user)  # type: ignore[arg-type]  # a lambda's type is not inferred


if client is not None and "MATRIX_READS_EARLY" in os.environ:
    client.wait_until_ready(5.0)
    client.variation(KEYS[0], UserContext(f"early-{token_hex(4)}"))  # in the master of a server that preloads

app = installed()
