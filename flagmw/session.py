"""`HttpSession`: requests one after another over a connection that is kept, each under one deadline.

It follows redirects within the same origin only, keeps no cookies, reads no `.netrc`, and bounds what it reads.
The only file that imports requests and urllib3, and not before the first request: they are heavier than all of
flagmw. Connections are opened by `connecting`.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from flagmw.connecting import Connector, Target
from flagmw.errors import ProtocolError, TransportError
from flagmw.lifecycle.imports import import_optional
from flagmw.lifecycle.waker import Waker
from flagmw.line import Interrupted, Line, Overdue
from flagmw.network import Network

if TYPE_CHECKING:
    import requests

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_CHUNK_BYTES = 64 * 1024
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""What zlib calls them; a deflate that is wrongly bare is refused."""

# Not of a thread: where gevent replaces those after this import, all greenlets would share it.
_ours: ContextVar[bool] = ContextVar("flagmw_is_asking", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered.

    Attributes:
        status: the status code.
        headers: names are in lower case; may hold secrets.
        body: decompressed.
        peer: host and port, for messages.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    peer: str = ""


class HttpSession:
    """Makes requests, one at a time, all from one thread. Making one opens nothing.

    Args:
        network: timeouts, proxy and certificates.
        monotonic: the clock for deadlines.
    """

    def __init__(self, network: Network, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._network = network
        self._monotonic = monotonic
        self._waker = Waker()
        self._connector = Connector(network, self._waker, monotonic)
        self._session: requests.Session | None = None
        self._line: Line | None = None
        self._opened = 0
        self._deadline_s = 0.0

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, max_bytes: int = 2**26
    ) -> Answer:
        """Make a request and wait for its answer, whatever its status.

        Args:
            method: GET or POST.
            url: where to; only host and port of it are ever shown.
            headers: sent to this origin only.
            body: what is posted.
            max_bytes: a larger body, after decompression, is refused.

        Raises:
            Interrupted: `interrupt` was called.
            ProtocolError: the answer is no HTTP, too large, or breaks off.
            TransportError: there is no answer in time.
        """
        deadline_s = self._monotonic() + self._network.connect_timeout_s + self._network.read_timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(method, url, headers, body, max_bytes, deadline_s)
            place = answer.headers.get("location")
            if method != "GET" or answer.status not in REDIRECTS or place is None:
                return answer
            there = urljoin(url, place)
            if _origin(there) != _origin(url):
                return answer
            url = there
        return answer

    def interrupt(self) -> None:
        """End the request under way, and let none follow. Any thread may call; never waits and never raises."""
        self._waker.wake()

    def close(self) -> None:
        """Close the connection. The thread that makes the requests calls this."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self._waker.woken = True
        self._waker.close()

    # --- one request ------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int, deadline_s: float
    ) -> Answer:
        target = Target.of(url)
        opened = self._opened
        try:
            return self._exchange(target, method, url, headers, body, max_bytes, deadline_s)
        except TransportError as error:
            # A server may close a connection that was kept just when it is used again.
            if method != "GET" or self._opened != opened or isinstance(error, (Interrupted, Overdue, ProtocolError)):
                raise
        return self._exchange(target, method, url, headers, body, max_bytes, deadline_s)

    def _exchange(
        self,
        target: Target,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        max_bytes: int,
        deadline_s: float,
    ) -> Answer:
        library: Any = import_optional("requests")
        if self._waker.woken:
            raise Interrupted(f"{target.peer}: asked to stop")
        session = self._session = self._session or self._make_session(library)
        self._deadline_s = deadline_s
        if self._line is not None:
            self._bound(self._line)
        proxies: dict[str, str] = {}
        if not target.is_secure and (proxy := self._connector.proxy_for(target)) is not None:
            proxies = {"http": proxy.url}  # such a proxy is asked for the whole URL; others are connected through
        with _silence():
            try:
                prepared = session.prepare_request(library.Request(method, url, headers=dict(headers), data=body))
                response = session.send(prepared, stream=True, allow_redirects=False, proxies=proxies)
                try:
                    return _read(response, target.peer, max_bytes)
                finally:
                    response.close()
            except TransportError:
                raise
            except Exception as error:  # the libraries' many ways to say that this is no HTTP
                raise _explained(target.peer, error) from None

    def _bound(self, line: Line) -> None:
        """Let what follows on a connection end in time."""
        line.deadline_s = min(self._deadline_s, self._monotonic() + self._network.read_timeout_s)

    def _connect(self, target: Target, *, directly: bool) -> Line:
        line = self._connector.connect(target, directly=directly)
        self._bound(line)
        self._line = line
        self._opened += 1
        return line

    def _make_session(self, library: Any) -> requests.Session:
        session: requests.Session = library.Session()
        session.trust_env = False  # no .netrc, and proxies and certificates as our own settings say
        session.headers.clear()
        session.headers.update({"Accept": "*/*", "Accept-Encoding": "gzip", "User-Agent": "flagmw"})
        session.cookies.set_policy(_no_cookies())
        session.mount("https://", _make_adapter(self._connect))
        session.mount("http://", _make_adapter(self._connect))
        return session


def _read(response: requests.Response, peer: str, max_bytes: int) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", *_ENCODINGS):
        raise ProtocolError(f"{peer} answered in an encoding that it was not asked for")
    unpacker = zlib.decompressobj(_ENCODINGS[encoding]) if encoding in _ENCODINGS else None
    declared = headers.get("content-length", "")
    if unpacker is None and declared.isdecimal() and int(declared[:18]) > max_bytes:
        raise ProtocolError(f"{peer} answered with more than {max_bytes} bytes")
    body = bytearray()
    is_empty = True
    while packed := response.raw.read(_CHUNK_BYTES, decode_content=False):
        is_empty = False
        body += packed if unpacker is None else unpacker.decompress(packed, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            raise ProtocolError(f"{peer} answered with more than {max_bytes} bytes")
    is_torn = unpacker is not None and not is_empty and not unpacker.eof
    if is_torn or response.raw.length_remaining not in (None, 0):
        raise TransportError(f"{peer} broke its answer off")
    return Answer(status=response.status_code, headers=headers, body=bytes(body), peer=peer)


def _make_adapter(connect: Callable[..., Line]) -> Any:
    """Make what gives our connections to requests."""
    # Imported by requests already, so that no fork can meet these imports half-way.
    from requests.adapters import HTTPAdapter  # noqa: PLC0415  # see the module's docstring
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool  # noqa: PLC0415
    from urllib3.connection import HTTPConnection, HTTPSConnection  # noqa: PLC0415

    class PlainConnection(HTTPConnection):
        def connect(self) -> None:
            self.sock = connect(Target(host=self.host, port=self.port, is_secure=False), directly=True)

    class SecureConnection(HTTPSConnection):
        def connect(self) -> None:
            self.sock = connect(Target(host=self.host, port=self.port, is_secure=True), directly=False)
            self.is_verified = True  # or was not wanted, which our own setting says

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **options)
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
            return manager

    return Adapter(pool_connections=1, pool_maxsize=1)


def _no_cookies() -> Any:
    from http.cookiejar import DefaultCookiePolicy  # noqa: PLC0415  # imported by requests already

    return DefaultCookiePolicy(allowed_domains=[])


def _origin(url: str) -> tuple[bool, str, int]:
    target = Target.of(url)
    return target.is_secure, target.host, target.port


def _explained(peer: str, error: Exception) -> TransportError:
    """Say what a library found wrong; its own words may hold the URL."""
    names = {type(part).__name__ for part in _causes(error)}
    if "RemoteDisconnected" in names:
        return TransportError(f"{peer} closed the connection without an answer")
    if "IncompleteRead" in names:
        return TransportError(f"{peer} broke its answer off")
    if names & {"InvalidURL", "MissingSchema", "InvalidSchema", "LocationParseError", "InvalidHeader"}:
        return TransportError(f"{peer} cannot be asked: its address or a header is not valid")
    return ProtocolError(f"{peer} answered something that is no HTTP")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Walk through an exception and those inside it."""
    while error is not None:
        yield error
        inside = [part for part in (*error.args, getattr(error, "reason", None)) if isinstance(part, BaseException)]
        error = inside[0] if inside else error.__cause__ or error.__context__


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the libraries from logging what this thread asks for: their lines hold the address, and so the secret."""
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "urllib3.response"):
        logging.getLogger(name).addFilter(_is_not_ours)
    _ours.set(True)
    try:
        yield
    finally:
        _ours.set(False)


def _is_not_ours(record: logging.LogRecord) -> bool:
    return not _ours.get()
