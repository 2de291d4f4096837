"""Finding a collector: it says over HTTP where it takes gRPC."""

from __future__ import annotations

import json
from urllib.parse import quote, urlsplit

from flagmw.connecting import Target
from flagmw.errors import ProtocolError, TransportError
from flagmw.session import HttpSession

PATH = "/javaagent/v5/initConfig"
MAX_BODY_BYTES = 64 * 1024

_DEFAULT_PORT = 80
_DEFAULT_TLS_PORT = 443


def find_collector(session: HttpSession, server_url: str, api_key: str) -> Target:
    """Ask a collector where it takes gRPC.

    Raises:
        TransportError: it does not say; the text holds nothing of the key.
    """
    url = f"{server_url.rstrip('/')}{PATH}?licenseKey={quote(api_key, safe='')}"
    answer = session.request("GET", url, {"Accept": "application/json"}, max_bytes=MAX_BODY_BYTES)
    if answer.status != 200:
        raise TransportError(f"{answer.peer} answered HTTP {answer.status}; is server_url that of a collector?")
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):  # also what is no UTF-8
        found = None
    if not isinstance(found, dict):
        raise ProtocolError(f"{answer.peer} answered no JSON; is server_url that of a collector?")
    where = found.get("collectorUrl")
    target = target_of(where, server_url) if isinstance(where, str) else None
    if target is None:
        raise ProtocolError(f"{answer.peer} does not say where it takes gRPC; is server_url that of a collector?")
    return target


def target_of(collector_url: str, server_url: str) -> Target | None:
    """Give where a collector takes gRPC.

    TLS is spoken where the collector was asked by https and names the same host and port: that is one server. To any
    other it is not, as with the official agents.

    Args:
        collector_url: `host` or `host:port`.
        server_url: what the collector was asked by.

    Returns:
        None when the text is no such address.
    """
    try:
        parts = urlsplit(f"//{collector_url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or "@" in parts.netloc or parts.path or parts.query or parts.fragment or port == 0:
        return None
    if any(character <= " " or character == "\x7f" for character in collector_url):
        return None
    server = Target.of(server_url)
    is_same = server.is_secure and (host, port or _DEFAULT_TLS_PORT) == (server.host, server.port)
    return Target(host=host, port=port or (_DEFAULT_TLS_PORT if is_same else _DEFAULT_PORT), is_secure=is_same)
