"""Opening connections as a `Network` says: which address, which proxy, which certificates are trusted.

What comes out is a `Line`. Needs `line`, `network` and the standard library; `ssl` is imported when it is needed.
The only file that imports certifi.
"""

from __future__ import annotations

import base64
import math
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from flagmw.errors import ProtocolError, TransportError
from flagmw.lifecycle.imports import import_optional
from flagmw.lifecycle.waker import Waker
from flagmw.line import Interrupted, Line, Overdue, explain, load_ssl
from flagmw.network import Network

if TYPE_CHECKING:
    import ssl

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request goes.

    Attributes:
        host: a name or an address, without brackets.
        port: given in the URL, or the scheme's.
        is_secure: whether TLS is spoken.
        resource: path and query, which may hold a secret.
    """

    host: str
    port: int
    is_secure: bool
    resource: str = field(default="/", repr=False)

    @classmethod
    def of(cls, url: str) -> Target:
        """Read a URL.

        Raises:
            TransportError: not one of http, https, ws, wss with a host; the text holds nothing of it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS[parts.scheme]
            host = parts.hostname or ""
        except (KeyError, ValueError):
            host, port = "", 0
        if not host:
            raise TransportError("the service's address is no URL with a host")
        resource = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        return cls(
            host=host,
            port=port,
            is_secure=parts.scheme in ("https", "wss"),
            resource=quote(resource, safe="%/:=&?~#+!$,;'@()*[]"),
        )

    @property
    def peer(self) -> str:
        """Host and port, which is all that messages say of an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        host: a name or an address.
        port: where it listens.
        url: for libraries that speak to it themselves; holds the password.
        authorization: the header that goes with each request, None when it needs none.
    """

    host: str
    port: int
    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)


class Connector:
    """Opens connections as a `Network` says. Belongs to one thread, besides the waker.

    Args:
        network: timeouts, proxy and certificates.
        waker: ends waits from another thread.
        monotonic: the clock for deadlines.
        alpn: names of the protocols that TLS offers; none for a protocol that needs no such name.
    """

    def __init__(
        self, network: Network, waker: Waker, monotonic: Callable[[], float], *, alpn: Sequence[str] = ()
    ) -> None:
        self._network = network
        self._waker = waker
        self._monotonic = monotonic
        self._alpn = list(alpn)
        self._context: ssl.SSLContext | None = None

    def connect(self, target: Target, *, directly: bool = False) -> Line:
        """Open a connection, through the proxy if there is one, with TLS if the target wants it.

        Looking up a host's name cannot be interrupted: the operating system does it, and bounds it.

        Args:
            target: where to.
            directly: use no proxy; the caller speaks to it itself.

        Raises:
            TransportError: there is no connection; says why, and names host and port only.
        """
        deadline_s = self._monotonic() + self._network.connect_timeout_s
        proxy = None if directly else self.proxy_for(target)
        context = self._tls_context() if target.is_secure else None
        if proxy is None:
            line = self._reach(target, deadline_s)
        else:
            line = self._reach(Target(host=proxy.host, port=proxy.port, is_secure=False), deadline_s)
        try:
            if proxy is not None:
                _tunnel(line, target, proxy)
                line.peer = f"{target.peer} (by the proxy {proxy.host}:{proxy.port})"
            if context is not None:
                line.secure(context, target.host)
        except Overdue:
            line.close()
            raise Overdue(f"{line.peer} did not let us connect in {self._network.connect_timeout_s:g} s") from None
        except BaseException:
            line.close()
            raise
        line.deadline_s = math.inf
        return line

    def _reach(self, target: Target, deadline_s: float) -> Line:
        """Connect to the first address of a host that answers; each gets its share of the time."""
        failure: TransportError | None = None
        addresses = _look_up(target)
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                failure = TransportError(explain(target.peer, error))
                continue
            line = Line(sock, target.peer, self._waker, self._monotonic)
            now = self._monotonic()
            line.deadline_s = now + (deadline_s - now) / (len(addresses) - place)
            try:
                sock.settimeout(0)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                line.reach(address)
            except Overdue:
                line.close()
                timeout_s = self._network.connect_timeout_s
                failure = Overdue(f"{target.peer} did not let us connect in {timeout_s:g} s")
            except Interrupted:
                line.close()
                raise
            except TransportError as error:
                line.close()
                failure = error
            except BaseException:
                line.close()
                raise
            else:
                line.deadline_s = deadline_s
                return line
        raise failure or TransportError(f"{target.peer}: the host has no address")

    def proxy_for(self, target: Target) -> Proxy | None:
        """Choose the proxy for a target.

        Raises:
            TransportError: the environment names one that cannot be used.
        """
        if self._network.proxy is not None:
            return _read_proxy(self._network.proxy) if self._network.proxy else None
        request: Any = import_optional("urllib.request")
        proxies = request.getproxies_environment()
        url = proxies.get("https" if target.is_secure else "http") or proxies.get("all")
        if not url or request.proxy_bypass_environment(target.peer, proxies) or _is_in_networks(target.host, proxies):
            return None
        return _read_proxy(url)

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = _make_context(self._network)
            if self._alpn:
                self._context.set_alpn_protocols(self._alpn)
        return self._context


def _look_up(target: Target) -> list[Any]:
    import_optional("encodings.idna")  # looking up a name imports it, and a fork waits for it here
    try:
        return socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransportError(f"{target.peer}: the host's name is not known: {error.strerror}") from None
    except UnicodeError:
        raise TransportError(f"{target.peer}: the host's name is none") from None


def _tunnel(line: Line, target: Target, proxy: Proxy) -> None:
    """Have a proxy connect us to the target."""
    fields = [f"CONNECT {target.peer} HTTP/1.1", f"Host: {target.peer}"]
    if proxy.authorization is not None:
        fields.append(f"Proxy-Authorization: {proxy.authorization}")
    line.sendall("\r\n".join([*fields, "", ""]).encode())
    head = line.read_head()
    if not 200 <= head.status < 300:
        raise TransportError(f"the proxy {line.peer} does not connect us to {target.peer} (HTTP {head.status})")
    # Where no TLS follows, the target may speak first, and its words may come with the proxy's.
    if target.is_secure and line.has_unread:
        raise ProtocolError(f"the proxy {line.peer} said more than its protocol has")


def _read_proxy(url: str) -> Proxy:
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if not host or parts.scheme != "http":
        raise TransportError("the environment's proxy is not of the form http://host:port; set proxy, or proxy=''")
    authorization = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host=host, port=port, url=url, authorization=authorization)


def _is_in_networks(host: str, proxies: Mapping[str, str]) -> bool:
    """Tell whether NO_PROXY has a network, such as 10.0.0.0/8, that the address is in."""
    import ipaddress  # noqa: PLC0415  # only for those who have a proxy

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for name in proxies.get("no", "").split(","):
        try:
            if "/" in name and address in ipaddress.ip_network(name.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def _make_context(network: Network) -> ssl.SSLContext:
    """Trust the system's certificates or those of a file.

    Raises:
        TransportError: the file cannot be used.
    """
    module = load_ssl()
    try:
        context: ssl.SSLContext = module.create_default_context(cafile=network.ca_file)
    except OSError as error:  # also what is not PEM
        why = error.strerror or "it holds no certificates"
        raise TransportError(f"ca_file {os.fspath(network.ca_file or '')}: {why}") from None
    if not network.verify:
        context.check_hostname = False
        context.verify_mode = module.CERT_NONE
    elif network.ca_file is None:
        paths = module.get_default_verify_paths()
        bundle = import_optional("certifi") if paths.cafile is None and paths.capath is None else None
        if bundle is not None:  # a Python that knows no certificates of the system
            context.load_verify_locations(bundle.where())
    return context
