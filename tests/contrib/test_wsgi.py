"""`flagmw.wsgi.FlagMiddleware` around apps without any framework."""

from __future__ import annotations

import contextvars
import io
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

import flagmw
from flagmw import Client, ConfigError, State
from flagmw.accessor import Flags
from flagmw.http import AnonymousCookie
from flagmw.providers import FlagFile, Static
from flagmw.testing import MemorySink, override_flags
from flagmw.wsgi import ENVIRON_KEY, FlagMiddleware
from tests.contrib.contract import ANN, HttpContract, banner
from tests.contrib.support import (
    COOKIE,
    DEADLINE_S,
    HOST_NAME,
    PEER,
    Builder,
    Host,
    Reply,
    Visit,
    file_client,
    given,
    replace_flags,
    served,
    static_client,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Wrap = Callable[["WSGIApplication"], "WSGIApplication"]


def environ_for(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": PEER,
        "HTTP_HOST": HOST_NAME,
        "wsgi.url_scheme": "https" if https else "http",
    }
    setup_testing_defaults(environ)
    for name, value in (headers or {}).items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value.encode().decode("latin-1")
    return environ


class Server:
    """A small strict server: it takes an answer apart as PEP 3333 says.

    Attributes:
        starts: what `start_response` was called with.
        sent: the parts of the body, those of `write` too.
    """

    def __init__(self) -> None:
        self.starts: list[tuple[str, list[tuple[str, str]]]] = []
        self.sent: list[bytes] = []

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None:
            if self.sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.starts:
            raise AssertionError("start_response was called twice")
        assert type(headers) is list
        self.starts.append((status, headers))
        return self.sent.append

    def run(self, app: WSGIApplication, environ: dict[str, Any]) -> Reply:
        """Send a request and take the whole answer."""
        body = app(environ, self.start_response)
        try:
            self.sent.extend(body)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        status, headers = self.starts[-1]
        return Reply(status=int(status[:3]), headers=headers, body=b"".join(self.sent))


def get(app: WSGIApplication, environ: dict[str, Any] | None = None) -> Reply:
    """Send one request."""
    return Server().run(app, environ if environ is not None else environ_for())


def unwrapped(app: WSGIApplication) -> WSGIApplication:
    return app


@pytest.fixture(params=[unwrapped, validator], ids=["plain", "validated"])
def checked(request: pytest.FixtureRequest) -> Wrap:
    """Have apps checked by wsgiref, or not."""
    wrap: Wrap = request.param
    return wrap


class BareHost:
    """An app that is a function."""

    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap

    def serve(
        self,
        view: Callable[[Flags], Any],
        client: Client,
        *,
        user: Callable[[Any], Any] | None = None,
        anonymous: AnonymousCookie | bool = COOKIE,
        trusted_proxies: int = 0,
        vary: str = "",
    ) -> AbstractContextManager[Visit]:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            body = json.dumps(view(environ["flagmw.flags"])).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response("200 OK", headers + ([("Vary", vary)] if vary else []))
            return [body]

        middleware = FlagMiddleware(
            self._wrap(app), client, **given(user=user), anonymous=anonymous, trusted_proxies=trusted_proxies
        )
        checked_app = self._wrap(middleware)

        def visit(path: str = "/", headers: Mapping[str, str] | None = None, *, https: bool = False) -> Reply:
            return get(checked_app, environ_for(path, headers, https=https))

        return served(visit)


class TestBareWsgi(HttpContract):
    @pytest.fixture
    def host(self, checked: Wrap) -> Host:
        return BareHost(checked)


# --- users and starting ---------------------------------------------------------------------------------------


def app_of(view: Callable[[Flags], Any]) -> WSGIApplication:
    """Make an app that answers with the text of what a view gives."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = str(view(environ[ENVIRON_KEY])).encode()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    return app


def key_of(flags: Flags) -> str | None:
    return flags.user.key


def test_the_user_is_the_one_that_the_server_has_authenticated() -> None:
    environ = environ_for() | {"REMOTE_USER": "ann"}
    assert get(FlagMiddleware(app_of(key_of), static_client()), environ).body == b"ann"


def test_a_header_that_is_called_remote_user_is_not_believed() -> None:
    environ = environ_for(headers={"Remote-User": "ann"})
    assert get(FlagMiddleware(app_of(key_of), static_client(), anonymous=COOKIE), environ).body != b"ann"


def test_the_builder_gets_the_environ() -> None:
    def user(environ: WSGIEnvironment) -> dict[str, str]:
        return {"key": environ["HTTP_HOST"]}

    assert get(FlagMiddleware(app_of(key_of), static_client(), user)).body == HOST_NAME.encode()


def test_the_client_starts_with_the_first_read(tmp_path: Path) -> None:
    client = file_client(tmp_path / "flags.json")
    app = FlagMiddleware(app_of(lambda flags: None), client)
    get(app)
    assert client.status.state is State.INITIALIZING


def test_a_missing_flag_file_gives_defaults(tmp_path: Path) -> None:
    client = Client(FlagFile(tmp_path / "flags.yaml"))
    app = FlagMiddleware(app_of(lambda flags: flags.string("banner", "default")), client, anonymous=COOKIE)
    assert get(app).body == b"default"


@pytest.mark.parametrize(
    "arguments",
    [
        {"client": "flags.yaml"},
        {"user": "ann"},
        {"anonymous": "cookie"},
        {"trusted_proxies": -1},
        {"trusted_proxies": True},
        {"trusted_proxies": "1"},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_when_the_app_is_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FlagMiddleware(app_of(key_of), **({"client": static_client()} | arguments))


def test_a_coroutine_function_is_refused_as_user_builder() -> None:
    async def user(environ: WSGIEnvironment) -> None:
        return None

    with pytest.raises(ConfigError, match="plain function"):
        FlagMiddleware(app_of(key_of), static_client(), user)  # type: ignore[arg-type]  # that is the mistake


# --- how apps answer --------------------------------------------------------------------------------------------


def test_a_generator_reads_flags_while_it_is_sent(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(2):
            yield flagmw.flags.string("banner").encode()

    assert get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE))).body == b"oldold"


def test_a_body_that_is_sent_keeps_the_values_of_the_request(checked: Wrap, tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    client = file_client(path)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[ENVIRON_KEY].string("banner")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body()

    def body() -> Iterator[bytes]:
        replace_flags(client, path, "new")
        yield flagmw.flags.string("banner").encode()

    assert get(checked(FlagMiddleware(checked(app), client, anonymous=COOKIE))).body == b"old"


def test_headers_count_what_is_read_between_the_start_and_the_first_bytes(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ[ENVIRON_KEY].string("banner").encode()]

    reply = get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))
    assert (reply.vary, len(reply.cookies)) == (["cookie"], 1)


def test_headers_count_what_a_generator_reads_before_its_first_bytes(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield environ[ENVIRON_KEY].string("banner").encode()

    reply = get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))
    assert (reply.vary, len(reply.cookies)) == (["cookie"], 1)


def test_a_read_after_the_first_bytes_comes_too_late_for_a_cookie(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"begun "
        yield environ[ENVIRON_KEY].string("banner").encode()

    reply = get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))
    assert (reply.body, reply.cookies) == (b"begun old", [])


def test_an_empty_body_has_its_headers(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Own", "1")])
        yield from ()

    assert get(checked(FlagMiddleware(checked(app), static_client()))).values("X-Own") == ["1"]


def test_a_start_without_an_error_after_another_is_the_servers_to_refuse() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b""]

    with pytest.raises(AssertionError, match="called twice"):
        get(FlagMiddleware(app, static_client()))


def test_a_thread_that_outlives_the_request_may_be_the_first_to_read() -> None:
    answered = threading.Event()
    results: list[str | None] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        flags = environ[ENVIRON_KEY]  # taken during the request: afterwards the environ has it only if it was read

        def afterwards() -> None:
            assert answered.wait(DEADLINE_S)
            results.append(flags.user.key)

        threads.append(threading.Thread(target=afterwards))
        threads[0].start()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    threads: list[threading.Thread] = []
    get(FlagMiddleware(app, static_client(), lambda environ: {"key": environ["PATH_INFO"]}), environ_for("/ann"))
    answered.set()
    threads[0].join(DEADLINE_S)
    assert results == ["/ann"]


def test_write_sends_what_it_is_given(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        value = environ[ENVIRON_KEY].string("banner").encode()
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(value)
        return [b"!"]

    reply = get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))
    assert (reply.body, reply.vary) == (b"old!", ["cookie"])


def test_an_error_answer_has_the_headers_once(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[ENVIRON_KEY].string("banner")
        headers = [("Content-Type", "text/plain")]
        start_response("200 OK", headers)
        try:
            raise ValueError
        except ValueError:
            start_response("500 Internal Server Error", headers, sys.exc_info())
        return [b"sorry"]

    reply = get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))
    assert (reply.status, reply.vary, len(reply.cookies)) == (500, ["cookie"], 1)


def test_an_error_after_the_body_has_begun_is_the_servers_to_raise(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        environ[ENVIRON_KEY].string("banner")
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"begun"
        try:
            raise ValueError("in the middle")
        except ValueError:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")], sys.exc_info())

    with pytest.raises(ValueError, match="in the middle"):
        get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))


def test_an_exception_of_the_app_reaches_the_server(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError(flagmw.flags.string("banner"))

    with pytest.raises(ValueError, match="old"):
        get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))


def test_the_proxy_is_of_no_use_after_an_exception_of_the_app() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError

    with pytest.raises(ValueError):
        get(FlagMiddleware(app, static_client()))
    with pytest.raises(RuntimeError, match="outside a request"):
        flagmw.flags.all()


def test_a_body_that_raises_is_closed(checked: Wrap) -> None:
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"begun"
            raise ValueError("in the middle")

        def close(self) -> None:
            closed.append(flagmw.flags.string("banner"))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Body()

    with pytest.raises(ValueError, match="in the middle"):
        get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)))
    assert closed == ["old"]


def test_the_proxy_is_of_no_use_after_a_close_that_raises() -> None:
    class Body(list[bytes]):
        def close(self) -> None:
            raise ValueError("in close")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Body()

    with pytest.raises(ValueError, match="in close"):
        get(FlagMiddleware(app, static_client()))
    with pytest.raises(RuntimeError, match="outside a request"):
        flagmw.flags.all()


def test_a_list_is_handed_on_as_it_is() -> None:
    body = [b"hello"]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    assert FlagMiddleware(app, static_client())(environ_for(), Server().start_response) is body


def test_a_file_is_handed_on_as_it_is_so_that_the_server_can_send_it_quickly() -> None:
    file = FileWrapper(io.BytesIO(b"hello"))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return file

    environ = environ_for() | {"wsgi.file_wrapper": FileWrapper}
    assert FlagMiddleware(app, static_client())(environ, Server().start_response) is file


def test_a_head_request_has_the_same_headers(checked: Wrap) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[ENVIRON_KEY].string("banner")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"old"]

    environ = environ_for() | {"REQUEST_METHOD": "HEAD"}
    reply = get(checked(FlagMiddleware(checked(app), static_client(), anonymous=COOKIE)), environ)
    assert (reply.body, reply.vary, len(reply.cookies)) == (b"", ["cookie"], 1)


def test_the_headers_of_the_app_are_not_changed_in_place() -> None:
    headers = [("Content-Type", "text/plain")]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[ENVIRON_KEY].string("banner")
        start_response("200 OK", headers)
        return []

    get(FlagMiddleware(app, static_client(), anonymous=COOKIE))
    assert headers == [("Content-Type", "text/plain")]


def test_another_context_may_close_the_body() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield environ[ENVIRON_KEY].string("banner").encode()

    def serve_twice() -> bytes:
        body = FlagMiddleware(app, static_client(), anonymous=COOKIE)(environ_for(), Server().start_response)
        assert list(body) == [b"old"]
        contextvars.Context().run(body.close)  # type: ignore[attr-defined]  # PEP 3333 says that it may be there
        return get(FlagMiddleware(app_of(banner), static_client(), anonymous=COOKIE)).body

    assert contextvars.Context().run(serve_twice) == b"old"


def test_another_thread_may_send_the_body() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (environ[ENVIRON_KEY].string("banner").encode() for _ in range(1))

    sent: list[bytes] = []

    def send() -> None:
        body = FlagMiddleware(app, static_client(), anonymous=COOKIE)(environ_for(), Server().start_response)
        sender = threading.Thread(target=lambda: sent.extend(body))
        sender.start()
        sender.join(DEADLINE_S)

    contextvars.Context().run(send)
    assert sent == [b"old"]


# --- several middlewares ----------------------------------------------------------------------------------------


def test_installed_twice_a_request_has_one_accessor() -> None:
    client = static_client()
    seen: list[Flags] = []

    def look(app: WSGIApplication) -> WSGIApplication:
        def looking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            seen.append(environ[ENVIRON_KEY])
            return app(environ, start_response)

        return looking

    get(FlagMiddleware(look(FlagMiddleware(look(app_of(lambda flags: None)), client)), client))
    assert seen[0] is seen[1]


def test_installed_twice_the_headers_are_set_once(checked: Wrap) -> None:
    client = static_client()
    twice = FlagMiddleware(FlagMiddleware(app_of(banner), client, anonymous=COOKIE), client, anonymous=COOKIE)
    reply = get(checked(twice))
    assert (reply.vary, len(reply.cookies)) == (["cookie"], 1)


def test_installed_twice_an_exposure_is_counted_once() -> None:
    sink = MemorySink()
    client = static_client(sink)
    get(FlagMiddleware(FlagMiddleware(app_of(banner), client, anonymous=COOKIE), client, anonymous=COOKIE))
    assert len(sink.exposures) == 1


def test_an_app_within_an_app_reads_its_own_client() -> None:
    outer, inner = Client(Static({"banner": "outer"})), Client(Static({"banner": "inner"}))
    app = FlagMiddleware(FlagMiddleware(app_of(banner), inner, anonymous=False), outer, anonymous=False)
    assert get(app).body == b"inner"


def test_around_an_app_within_an_app_the_proxy_is_the_outer_one_again() -> None:
    outer, inner = Client(Static({"banner": "outer"})), Client(Static({"banner": "inner"}))
    within = FlagMiddleware(app_of(banner), inner, anonymous=False)

    def around(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = b"".join(within(environ, start_response))
        return [body, b" ", flagmw.flags.string("banner").encode()]

    assert get(FlagMiddleware(around, outer, anonymous=False)).body == b"inner outer"


def test_a_request_that_an_app_sends_to_itself_has_flags_of_its_own() -> None:
    client = static_client()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/inner":
            flagmw.flags.identify(ANN)
        else:
            get(middleware, environ_for("/inner"))
        return [str(flagmw.flags.is_enabled("beta")).encode()]

    middleware = FlagMiddleware(app, client, anonymous=False)
    assert get(middleware).body == b"False"


@override_flags(banner="test")
class TestADecoratedClass:
    def test_overrides_the_flags_of_its_tests(self) -> None:
        assert get(FlagMiddleware(app_of(banner), static_client(), anonymous=COOKIE)).body == b"test"

    def test_overrides_the_flags_of_each_of_them(self) -> None:
        assert get(FlagMiddleware(app_of(banner), static_client(), Builder(ANN))).body == b"test"
