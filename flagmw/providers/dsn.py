"""A provider in one line of text, as settings from the environment have it.

    file:flags.yaml    file:/etc/flags.yaml?fractional=v3    hackle://KEY    featbit://SECRET@flags.example.com:8443?tls=false

No message shows the text or a part of it that may be a secret: only the names of options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from flagmw.errors import ConfigError
from flagmw.lifecycle.imports import import_optional
from flagmw.network import Network
from flagmw.providers.files import FlagFile
from flagmw.providers.options import EventOptions, StreamOptions, check_url, unknown_option

if TYPE_CHECKING:
    from flagmw.providers.featbit import FeatBit
    from flagmw.providers.featureflag_co import FeatureFlagCo
    from flagmw.providers.hackle import Hackle

    AnyProvider = FlagFile | FeatureFlagCo | FeatBit | Hackle

VARIABLE = "FLAGMW_DSN"
"""The environment variable that says where flags come from when nothing else does."""

FORMS = "file:flags.yaml, featureflagco://SECRET@host, featbit://SECRET@host or hackle://KEY@host"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def provider_from_environment() -> AnyProvider | None:
    """Make the provider that the environment variable FLAGMW_DSN names; None when it is not set, or empty.

    Raises:
        ConfigError: it is no DSN.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        return provider_from_dsn(text)
    except ConfigError as error:
        raise ConfigError(f"{VARIABLE}: {error}") from None


def provider_from_dsn(dsn: str) -> AnyProvider:
    """Make a provider of its text form.

    Args:
        dsn: `file:PATH`, or `featureflagco://`, `featbit://` or `hackle://` with a secret, then `@` and a host unless
            it is the service's public one. Options follow as a query, by the names that the provider has. Secrets may
            be written as they are; `%` and `?` in them are written `%25` and `%3F`.

    Raises:
        ConfigError: it is none, or an option is not what it should be. The message shows nothing of the text but names
            of options.
    """
    found = _SCHEME.fullmatch(dsn.strip()) if isinstance(dsn, str) else None
    if found is None:
        raise ConfigError(f"a DSN is a text such as {FORMS}")
    scheme, rest = found[1].lower(), found[2]
    rest, _, query = rest.partition("?")
    options = _options_of(query)
    if scheme == "file":
        return _file(rest, options)
    service = _SERVICES.get(scheme)
    if service is None:
        raise ConfigError(f"a DSN's scheme is one of {', '.join(('file', *_SERVICES))}: {FORMS}")
    if not rest.startswith("//"):
        raise ConfigError(f"a DSN of {service.name} begins with {scheme}:// and the secret")
    return _of_service(service, rest[2:], options)


# --- files --------------------------------------------------------------------------------------------------


def _file(rest: str, options: Mapping[str, str]) -> FlagFile:
    """Make a provider of a path: `file:PATH`, or `file:///PATH` (RFC 8089)."""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise ConfigError(
                "a DSN of a file has no host: file:flags.yaml, file:/etc/flags.yaml or file:///etc/flags.yaml"
            )
        rest = slash + path
    if not rest:
        raise ConfigError("a DSN of a file needs a path: file:flags.yaml")
    return FlagFile(_decoded("the path", rest), **_read(options, _FILE_OPTIONS))


# --- flag services ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """What the DSNs of one flag service have of their own.

    Attributes:
        name: for messages.
        module: where its provider is; imported when a DSN asks for it, since only one service is.
        provider: the provider's name.
        key: its first argument, for messages.
        urls: the options that hold a URL of the service, each with the scheme of its default.
        options: further options, each with what reads its text.
        groups: the options that are values of several, each with its type.
    """

    name: str
    module: str
    provider: str
    key: str
    urls: Mapping[str, str]
    options: Mapping[str, Callable[[str, str], Any]]
    groups: Mapping[str, Callable[..., Any]]


def _of_service(service: _Service, place: str, texts: Mapping[str, str]) -> AnyProvider:
    secret, host = _split(service, place)
    grouped = {name: read for name, (group, _, read) in _GROUPED.items() if group in service.groups}
    known = {**dict.fromkeys(service.urls, _text), "tls": _flag, **service.options, **_COMMON_OPTIONS, **grouped}
    values = _read(texts, known)
    tls = values.pop("tls", True)
    if not tls and not host:
        raise ConfigError("tls=false is for a server of your own; name its host")
    if host:
        for name, scheme in service.urls.items():
            url = f"{scheme}{'s' if tls else ''}://{host}"
            values.setdefault(name, check_url("the DSN's host", url, _ANY_SCHEME))
    for group, kind in service.groups.items():
        given = {
            argument: values.pop(name)
            for name, (owner, argument, _) in _GROUPED.items()
            if owner == group and name in values
        }
        if given and values.get(group, True):
            values[group] = _grouped(kind, group, given)
    import_optional(service.module)  # a fork waits for it here
    provider = getattr(import_module(service.module), service.provider)
    return cast("AnyProvider", provider(secret, **values))


def _split(service: _Service, place: str) -> tuple[str, str]:
    """Give secret and host; the host is empty for the service's public one."""
    secret, at, host = place.rpartition("@")
    if not at:
        secret, host = place, ""
    elif host == "/":
        host = ""
    if not at and secret.endswith("/"):
        raise ConfigError(f"a DSN of {service.name} ends in a slash; write %2F for one that belongs to the secret")
    if not secret:
        raise ConfigError(
            f"{service.key} is missing: a DSN of {service.name} begins with the secret, then @ and a host"
        )
    return _decoded(service.key, secret), host


def _grouped(kind: Callable[..., Any], group: str, given: Mapping[str, Any]) -> Any:
    """Make one of the values that group options; its messages name the options as they are in a DSN."""
    try:
        return kind(**given)
    except ConfigError as error:
        message = str(error)
        for name, (owner, argument, _) in _GROUPED.items():
            if owner == group and name != argument:
                message = re.sub(rf"\b{argument}\b", name, message)
        raise ConfigError(message) from None


# --- texts --------------------------------------------------------------------------------------------------


def _options_of(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError("an option of a DSN is written name=value")
        if name in options:
            raise ConfigError("an option of a DSN is given twice")
        options[name] = _decoded("an option", value)
    return options


def _decoded(name: str, text: str) -> str:
    """Undo percent-encoding; a plus sign is a plus sign."""
    if _BAD_ESCAPE.search(text):
        raise ConfigError(f"{name} has a % that is not the beginning of an escape; write %25 for a percent sign")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"{name} has escapes that are not UTF-8") from None


def _read(options: Mapping[str, str], known: Mapping[str, Callable[[str, str], Any]]) -> dict[str, Any]:
    for name in options:
        if name not in known:
            if name in _all_options():
                raise ConfigError(f"{name} is no option of this one; the options are {', '.join(known)}")
            raise ConfigError(unknown_option(name, tuple(known)))
    return {name: known[name](name, text) for name, text in options.items()}


def _all_options() -> set[str]:
    services = (name for service in _SERVICES.values() for name in (*service.urls, *service.options))
    return {*_FILE_OPTIONS, *_COMMON_OPTIONS, *_GROUPED, *services, "tls"}


def _text(name: str, text: str) -> str:
    if not text:
        raise ConfigError(f"{name} is empty; leave the option out")
    return text


def _flag(name: str, text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ConfigError(f"{name} must be true or false")
    return word in _TRUE


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name} must be a number") from None


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ConfigError(f"{name} must be a whole number")
    return int(text)


_ANY_SCHEME = {scheme: scheme for scheme in ("ws", "wss", "http", "https")}

_FILE_OPTIONS: Mapping[str, Callable[[str, str], Any]] = {
    "fractional": _text,
    "max_bytes": _count,
    "poll_interval_s": _number,
    "watch": _flag,
}

_COMMON_OPTIONS: Mapping[str, Callable[[str, str], Any]] = {
    "offline": _flag,
    "bootstrap": _text,
    "cache_dir": _text,
    "shared": _flag,
    "state_dir": _text,
    "events": _flag,
}

_GROUPED: Mapping[str, tuple[str, str, Callable[[str, str], Any]]] = {
    "connect_timeout_s": ("network", "connect_timeout_s", _number),
    "read_timeout_s": ("network", "read_timeout_s", _number),
    "proxy": ("network", "proxy", lambda _, text: text),
    "ca_file": ("network", "ca_file", _text),
    "verify": ("network", "verify", _flag),
    "ping_interval_s": ("stream", "ping_interval_s", _number),
    "first_retry_delay_s": ("stream", "first_retry_delay_s", _number),
    "max_retry_delay_s": ("stream", "max_retry_delay_s", _number),
    "event_flush_interval_s": ("events", "flush_interval_s", _number),
    "event_durability": ("events", "durability", _text),
    "event_capacity": ("events", "capacity", _count),
    "max_spool_bytes": ("events", "max_spool_bytes", _count),
    "max_spool_age_s": ("events", "max_spool_age_s", _number),
    "exit_timeout_s": ("events", "exit_timeout_s", _number),
}
"""Options that are part of a value: the value's option, the name in it, and what reads the text."""

_GROUPS: Mapping[str, Callable[..., Any]] = {"network": Network, "events": EventOptions}

_SERVICES: Mapping[str, _Service] = {
    "featureflagco": _Service(
        name="featureflag.co",
        module="flagmw.providers.featureflag_co",
        provider="FeatureFlagCo",
        key="env_secret",
        urls={"base_uri": "http", "streaming_uri": "ws"},
        options={},
        groups={**_GROUPS, "stream": StreamOptions},
    ),
    "featbit": _Service(
        name="FeatBit",
        module="flagmw.providers.featbit",
        provider="FeatBit",
        key="env_secret",
        urls={"streaming_url": "ws", "event_url": "http"},
        options={"polling": _flag, "poll_interval_s": _number},
        groups={**_GROUPS, "stream": StreamOptions},
    ),
    "hackle": _Service(
        name="Hackle",
        module="flagmw.providers.hackle",
        provider="Hackle",
        key="sdk_key",
        urls={"sdk_url": "http", "event_url": "http"},
        options={"poll_interval_s": _number},
        groups=_GROUPS,
    ),
}
