"""When the events of a request are handed over: before anybody outside can see what they tell of, and all of them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from flagmw import Client, asgi, wsgi
from flagmw.accessor import Flags
from flagmw.core.records import Exposure, Record
from flagmw.http import RequestFacts
from flagmw.page_views import PageViews
from flagmw.testing import MemorySink
from flagmw.users import Visitors
from tests.contrib.support import Takings, static_client

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FACTS = RequestFacts(
    path="/", method="GET", host="h", user_agent="", accept_language="", client_address="", is_secure=False, cookies=""
)


def ann(request: Any) -> dict[str, str]:
    return {"key": "ann"}


def read_two(flags: Flags) -> None:
    flags.string("banner")
    flags.is_enabled("beta")


# --- WSGI -----------------------------------------------------------------------------------------------------


def call(app: Any, sink: Takings) -> tuple[list[int], list[list[int]]]:
    """Give what had been taken when the response began, and at each chunk of its body."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    begun: list[int] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        begun.extend(sink.sizes)
        return lambda data: None

    body = wsgi.FlagMiddleware(app, static_client(sink), ann)(environ, start_response)
    chunks = [list(sink.sizes) for _ in body]
    if hasattr(body, "close"):
        body.close()
    return begun, chunks


def test_a_wsgi_response_begins_after_its_events_were_handed_over() -> None:
    sink = Takings()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        read_two(environ["flagmw.flags"])
        return [b"done"]

    begun, _ = call(app, sink)
    assert (begun, sink.sizes) == ([2], [2])


def test_what_a_streamed_body_reads_is_handed_over_before_the_chunk_that_depends_on_it() -> None:
    sink = Takings()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        flags: Flags = environ["flagmw.flags"]
        flags.string("banner")
        yield b"first"
        flags.is_enabled("beta")
        yield b"second"

    begun, chunks = call(app, sink)
    assert (begun, chunks) == ([1], [[1], [1, 1]])


def test_the_events_of_a_wsgi_request_that_fails_are_handed_over() -> None:
    sink = Takings()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        read_two(environ["flagmw.flags"])
        raise LookupError

    with pytest.raises(LookupError):
        call(app, sink)
    assert sink.sizes == [2]


# --- ASGI -----------------------------------------------------------------------------------------------------


def serve(
    app: Any, sink: Takings, scope: dict[str, Any], page_views: PageViews | bool = False
) -> list[tuple[str, list[int], int]]:
    """Give, for each message to the server, what had been taken, and how many metrics."""
    seen: list[tuple[str, list[int], int]] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        seen.append((message["type"], list(sink.sizes), len(sink.metrics)))

    middleware = asgi.FlagMiddleware(app, static_client(sink), ann, page_views=page_views)
    asyncio.run(middleware({"method": "GET", "path": "/", "headers": [], **scope}, receive, send))
    return seen


def test_an_asgi_message_is_sent_after_the_events_it_depends_on_were_handed_over() -> None:
    sink = Takings()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        flags: Flags = scope["state"]["flags"]
        flags.string("banner")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        flags.is_enabled("beta")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    seen = serve(app, sink, {"type": "http"})
    assert [(kind, taken) for kind, taken, _ in seen] == [
        ("http.response.start", [1]),
        ("http.response.body", [1, 1]),
    ]


def test_a_websocket_hands_over_before_each_message() -> None:
    sink = Takings()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        flags: Flags = scope["state"]["flags"]
        await send({"type": "websocket.accept"})
        flags.string("banner")
        await send({"type": "websocket.send", "text": "1"})
        flags.track("seen")
        await send({"type": "websocket.send", "text": "2"})

    seen = serve(app, sink, {"type": "websocket"})
    assert [taken for _, taken, _ in seen] == [[], [1], [1, 1]]


def test_what_is_read_after_the_answer_goes_by_itself() -> None:
    sink = Takings()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        scope["state"]["flags"].string("banner")
        assert sink.sizes == [1]

    serve(app, sink, {"type": "http"})
    assert sink.sizes == [1]


def test_a_websocket_that_sends_nothing_hands_over_each_event() -> None:
    sink = Takings()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read_two(scope["state"]["flags"])
        assert sink.sizes == [1, 1]

    serve(app, sink, {"type": "websocket"})
    assert sink.sizes == [1, 1]


def test_the_events_of_an_asgi_request_that_fails_are_handed_over() -> None:
    sink = Takings()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read_two(scope["state"]["flags"])
        raise LookupError

    with pytest.raises(LookupError):
        serve(app, sink, {"type": "http"})
    assert sink.sizes == [2]


def test_a_page_is_told_before_the_last_of_it_is_sent() -> None:
    sink = Takings()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["flags"].string("banner")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    seen = serve(app, sink, {"type": "http"}, PageViews(name=lambda scope: "home", everyone=True))
    assert [metrics for _, _, metrics in seen] == [0, 1]


# --- the accessor ---------------------------------------------------------------------------------------------


def accessor(sink: MemorySink) -> Flags:
    return Flags(static_client(sink), Visitors(ann, lambda _: FACTS, False), {})  # noqa: FBT003  # no cookie


def test_without_an_adapter_that_hands_over_each_event_goes_by_itself() -> None:
    sink = Takings()
    read_two(accessor(sink))
    assert sink.sizes == [1, 1]


def test_what_is_read_after_the_last_hand_over_goes_by_itself() -> None:
    sink = Takings()
    flags = accessor(sink)
    flags.gather()
    flags.string("banner")
    flags.hand_over(is_last=True)
    flags.is_enabled("beta")
    assert sink.sizes == [1, 1]


def test_a_request_that_reads_nothing_hands_over_nothing() -> None:
    sink = Takings()
    flags = accessor(sink)
    flags.gather()
    flags.hand_over()
    flags.hand_over(is_last=True)
    assert sink.sizes == []


class Kept(MemorySink):
    """A sink that keeps the order in which events were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def take_all(self, records: Sequence[Record]) -> None:
        self.names += [one.flag_key if isinstance(one, Exposure) else getattr(one, "event", "") for one in records]


def test_events_of_a_request_keep_their_order() -> None:
    sink = Kept()
    flags = accessor(sink)
    flags.gather()
    flags.string("banner")
    flags.track("seen")
    flags.is_enabled("beta")
    flags.hand_over()
    assert sink.names == ["banner", "seen", "beta"]


def test_threads_that_tell_while_the_request_ends_lose_nothing() -> None:
    sink = Kept()
    flags = accessor(sink)
    flags.gather()
    flags.string("banner")
    go = threading.Event()

    def track(number: int) -> None:
        go.wait(10.0)
        for count in range(200):
            flags.track(f"{number}-{count}")

    threads = [threading.Thread(target=track, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        go.set()
        while any(thread.is_alive() for thread in threads) and len(sink.names) < 100:
            flags.hand_over()
        flags.hand_over(is_last=True)
        for thread in threads:
            thread.join(10.0)
    finally:
        sys.setswitchinterval(interval)
    told = {name for name in sink.names if "-" in name}
    assert (len(told), len(sink.names)) == (800, 801)


def test_a_client_without_a_sink_is_told_nothing() -> None:
    flags = Flags(Client("file:nothing.json"), Visitors(ann, lambda _: FACTS, False), {})  # noqa: FBT003  # no cookie
    flags.gather()
    assert flags.variation("f", 1) == 1
    flags.track("seen")
    flags.hand_over(is_last=True)
    flags.client.close()
