"""What a request says about its user, and the anonymous cookie: HTTP without any framework.

Reads WSGI environs and ASGI scopes into the same `RequestFacts`, issues and checks signed anonymous ids, and
says which headers a response needs.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from itsdangerous import BadSignature, Signer
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import dump_cookie, parse_accept_header

from flagmw.errors import ConfigError
from flagmw.once import LogOnce

logger = logging.getLogger("flagmw")
_log_once = LogOnce(logger)

MAX_HEADER_CHARS = 8_192
"""What is longer is cut: rules have no use for it."""

_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSIGNED = "flagmw: no secret is configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What rules can read of a request, as the attribute `request`.

    Attributes:
        language: the language that the client prefers most, empty when it states none.
        client_address: the address of the client, in front of the trusted proxies.
        is_secure: the client came over https; not for rules.
        cookies: the Cookie header; not for rules.
    """

    path: str
    method: str
    host: str
    user_agent: str
    accept_language: str
    client_address: str
    is_secure: bool
    cookies: str

    def attributes(self) -> dict[str, str]:
        """Give what rules can read."""
        return {
            "path": self.path[:MAX_HEADER_CHARS],
            "method": self.method,
            "host": self.host[:MAX_HEADER_CHARS],
            "user_agent": self.user_agent[:MAX_HEADER_CHARS],
            "language": preferred_language(self.accept_language[:MAX_HEADER_CHARS]),
            "client_address": self.client_address,
        }


@functools.lru_cache(maxsize=256)
def preferred_language(accept_language: str) -> str:
    """Give the language with the highest quality of an Accept-Language header, empty when there is none."""
    if not accept_language:
        return ""
    return parse_accept_header(accept_language, LanguageAccept).best or ""


def facts_of_environ(environ: Mapping[str, Any], trusted_proxies: int = 0) -> RequestFacts:
    """Read a WSGI environ (or Django's `request.META`).

    Args:
        environ: the environ.
        trusted_proxies: how many proxies in front of the server add to X-Forwarded-For and -Proto.
    """
    get = environ.get
    scheme = str(get("wsgi.url_scheme", "http"))
    return RequestFacts(
        path=_utf8(str(get("SCRIPT_NAME", "")) + str(get("PATH_INFO", ""))),
        method=str(get("REQUEST_METHOD", "")),
        host=str(get("HTTP_HOST") or get("SERVER_NAME", "")),
        user_agent=str(get("HTTP_USER_AGENT", "")),
        accept_language=str(get("HTTP_ACCEPT_LANGUAGE", "")),
        client_address=_behind_proxies(
            str(get("REMOTE_ADDR") or ""), str(get("HTTP_X_FORWARDED_FOR", "")), trusted_proxies
        ),
        is_secure=_behind_proxies(scheme, str(get("HTTP_X_FORWARDED_PROTO", "")), trusted_proxies) in ("https", "wss"),
        cookies=str(get("HTTP_COOKIE", "")),
    )


def facts_of_scope(scope: Mapping[str, Any], trusted_proxies: int = 0) -> RequestFacts:
    """Read an ASGI scope of type http or websocket; see `facts_of_environ`."""
    headers: dict[bytes, str] = {}
    for raw_name, raw_value in scope.get("headers") or ():
        name, value = raw_name.lower(), raw_value.decode("latin-1")
        joint = "; " if name == b"cookie" else ", "
        headers[name] = headers[name] + joint + value if name in headers else value
    client = scope.get("client") or ("", 0)
    scheme = str(scope.get("scheme") or "http")
    return RequestFacts(
        path=str(scope.get("path", "")),
        method=str(scope.get("method") or "GET"),
        host=headers.get(b"host", ""),
        user_agent=headers.get(b"user-agent", ""),
        accept_language=headers.get(b"accept-language", ""),
        client_address=_behind_proxies(str(client[0] or ""), headers.get(b"x-forwarded-for", ""), trusted_proxies),
        is_secure=_behind_proxies(scheme, headers.get(b"x-forwarded-proto", ""), trusted_proxies) in ("https", "wss"),
        cookies=headers.get(b"cookie", ""),
    )


def _utf8(text: str) -> str:
    """Undo WSGI's reading of UTF-8 paths as Latin-1 (PEP 3333)."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _behind_proxies(seen: str, forwarded: str, trusted_proxies: int) -> str:
    """Give what the outermost trusted proxy saw: each one appends what it saw to the list."""
    if trusted_proxies < 1 or not forwarded:
        return seen
    stated = [part.strip() for part in forwarded.split(",")]
    return stated[-trusted_proxies] if len(stated) >= trusted_proxies else seen


# --- the anonymous cookie -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousCookie:
    """How users without an identity are recognised: a signed random id, set only when flags were read.

    Args:
        secret: signs the id, so that nobody chooses a bucket. A sequence rotates: all are accepted, the last one
            signs. Empty: from the environment variable FLAGMW_SECRET; without that a fixed key guards against
            damage only, and a warning says so.
        name: the cookie's name.
        max_age_s: how long browsers keep it, in seconds.
        path: see RFC 6265.
        domain: see RFC 6265; None is the host alone.
        secure: "auto" sets Secure on https.
        same_site: see RFC 6265bis.

    Raises:
        ConfigError: a setting out of its range.
    """

    secret: str | Sequence[str] = field(default="", repr=False)
    name: str = "flagmw_id"
    max_age_s: int = 365 * 24 * 3600
    path: str = "/"
    domain: str | None = None
    secure: bool | Literal["auto"] = "auto"
    same_site: Literal["Lax", "Strict", "None"] = "Lax"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.name, str) or not _COOKIE_NAME.fullmatch(self.name):
            raise ConfigError(f"the anonymous cookie's name must be letters, digits or - and _, got {self.name!r}")
        if isinstance(self.max_age_s, bool) or not isinstance(self.max_age_s, int) or self.max_age_s <= 0:
            raise ConfigError(f"the anonymous cookie's max_age_s must be an int above 0, got {self.max_age_s!r}")
        if self.secure not in (True, False, "auto"):
            raise ConfigError(f'the anonymous cookie\'s secure must be True, False or "auto", got {self.secure!r}')
        if self.same_site not in ("Lax", "Strict", "None"):
            raise ConfigError(
                f'the anonymous cookie\'s same_site must be "Lax", "Strict" or "None", got {self.same_site!r}'
            )
        if not isinstance(self.path, str) or not self.path.startswith("/"):
            raise ConfigError(f"the anonymous cookie's path must begin with /, got {self.path!r}")
        if self.domain is not None and not isinstance(self.domain, str):
            raise ConfigError(f"the anonymous cookie's domain must be a str or None, got {self.domain!r}")
        secrets_given = (self.secret,) if isinstance(self.secret, str) else self.secret
        if not isinstance(secrets_given, Sequence) or not all(isinstance(secret, str) for secret in secrets_given):
            raise ConfigError("the anonymous cookie's secret must be a str or a sequence of str")


class AnonymousIds:
    """Issues anonymous ids and recognises its own."""

    def __init__(self, cookie: AnonymousCookie) -> None:
        self.cookie = cookie
        given = [cookie.secret] if isinstance(cookie.secret, str) else list(cookie.secret)
        found = [secret for secret in given if secret] or [os.environ.get("FLAGMW_SECRET", "")]
        self._is_guarded = bool(found[-1])
        self._signer = Signer(
            found if self._is_guarded else _UNSIGNED,
            salt="flagmw.anonymous",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def read(self, cookies: str) -> str | None:
        """Give the id in a Cookie header, None when there is none that we issued."""
        for part in cookies.split(";"):
            name, _, value = part.partition("=")
            if name.strip() != self.cookie.name:
                continue
            value = value.strip()
            if len(value) > 128 or not value.isascii():
                continue
            try:
                anonymous_id = self._signer.unsign(value).decode("ascii")
            except BadSignature:
                continue
            if _ID.fullmatch(anonymous_id):
                return anonymous_id
        return None

    def new(self) -> str:
        """Make an id that nobody has: 128 random bits."""
        if not self._is_guarded:
            _log_once(
                logging.WARNING,
                "secret",
                "anonymous ids are not protected against forgery: set AnonymousCookie(secret=...) or FLAGMW_SECRET",
            )
        return secrets.token_urlsafe(16)

    def header(self, anonymous_id: str, *, is_secure: bool) -> str:
        """Give the Set-Cookie header's value for an id."""
        cookie = self.cookie
        return dump_cookie(cookie.name, self.signed(anonymous_id), **self.attributes(is_secure=is_secure))

    def signed(self, anonymous_id: str) -> str:
        """Give the cookie's value for an id."""
        return self._signer.sign(anonymous_id).decode("ascii")

    def attributes(self, *, is_secure: bool) -> dict[str, Any]:
        """Give the cookie's attributes, by the names that werkzeug and Django share."""
        cookie = self.cookie
        return {
            "max_age": cookie.max_age_s,
            "path": cookie.path,
            "domain": cookie.domain,
            "secure": is_secure if cookie.secure == "auto" else cookie.secure,
            "httponly": True,
            "samesite": cookie.same_site,
        }


def varies_by_cookie(values: Iterable[str]) -> bool:
    """Tell whether Vary headers keep shared caches from mixing up users already."""
    names = {name.strip().lower() for value in values for name in value.split(",")}
    return bool(names & {"cookie", "*"})
