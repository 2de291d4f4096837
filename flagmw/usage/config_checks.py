"""What each setting of the usage agent may be. Pure; a message names the setting, what was found and what to do.

No message shows a value that may hold a secret.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from flagmw.errors import ConfigError

_MAX_SHOWN_CHARS = 60


def shown(value: object) -> str:
    """Show a value that holds no secret, in a few words."""
    if not isinstance(value, (str, int, float, bool)):
        return type(value).__name__
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 3] + "..."


def unknown_setting(name: object, known: Sequence[str]) -> str:
    """Say that there is no such setting, and which one may be meant."""
    close = get_close_matches(str(name).lower().replace("-", "_"), known, n=1, cutoff=0.6)
    if close:
        return f"{shown(str(name))} is no setting of the usage agent; did you mean {close[0]!r}?"
    return f"{shown(str(name))} is no setting of the usage agent; the settings are {', '.join(known)}"


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {shown(value)}")
    return value


def _name(name: str, value: object) -> str:
    text = _text(name, value)
    if not text.strip():
        raise ConfigError(f"{name} must not be empty; leave it out for its default")
    return text


def _names(name: str, value: object) -> tuple[str, ...]:
    """Read a list of names; a single text is one name."""
    if isinstance(value, (str, os.PathLike)):
        value = (value,)
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} must be a list of texts, got {shown(value)}")
    items = sorted(value, key=str) if isinstance(value, AbstractSet) else list(value)
    return tuple(_text(f"each of {name}", os.fspath(item) if isinstance(item, os.PathLike) else item) for item in items)


def _filled_names(name: str, value: object) -> tuple[str, ...]:
    names = _names(name, value)
    if not all(item.strip() for item in names):
        raise ConfigError(f"{name} has an empty name, which would mean everything; take it out, or name what is meant")
    return names


def _packages(name: str, value: object) -> tuple[str, ...]:
    names = _names(name, value)
    if not names:
        raise ConfigError(f"{name} is empty, so nothing would be watched; name the application's packages")
    for item in names:
        if "," in item or "/" in item or "\\" in item:
            raise ConfigError(f"{name} are dotted names in a list such as ['shop', 'shop_api.web'], got {shown(item)}")
    return names


def _codebase(name: str, value: object) -> tuple[str, ...]:
    names = _filled_names(name, value)
    if any("\0" in item for item in names):
        raise ConfigError(f"{name} has a folder whose name no file system takes")
    return names


def _decorators(name: str, value: object) -> tuple[str, ...]:
    names = _filled_names(name, value)
    for item in names:
        if not item.startswith("@") or "(" in item or any(character.isspace() for character in item):
            raise ConfigError(f"{name} are written as '@app.route', without arguments and blanks, got {shown(item)}")
    return names


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, got {shown(value)}")
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a number of seconds, got {shown(value)}")
    return float(value)


def _above_zero(name: str, value: object) -> float:
    seconds = _number(name, value)
    if seconds <= 0:
        raise ConfigError(f"{name} must be above 0 seconds, got {shown(value)}")
    return seconds


def _not_negative(name: str, value: object) -> float:
    seconds = _number(name, value)
    if seconds < 0:
        raise ConfigError(f"{name} must be 0 seconds or more, got {shown(value)}")
    return seconds


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{name} must be a whole number above 0, got {shown(value)}")
    return value


def _server_url(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    usable = f"{name} must be the address of a Scavenger collector, such as http://scavenger.example.com:8080"
    try:
        parts = urlsplit(_text(name, value))
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError(usable) from None
    text = str(value)
    if not is_usable or any(character <= " " or character == "\x7f" for character in text):
        raise ConfigError(usable)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"{usable}; it has no user, no password and nothing after a ? or #")
    return text


def _api_key(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {type(value).__name__}")
    if not value.isprintable() or value != value.strip():
        raise ConfigError(f"{name} has blanks at its ends or characters that cannot be printed; copy it again")
    return value


def _proxy(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None if value is None else ""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        is_usable = parts is not None and parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(f"{name} must be the URL of an HTTP proxy, such as http://proxy.example:3128")
    return str(value)


def _path(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} must be the path of a file, or None, got {shown(value)}")
    return _text(name, os.fspath(value))


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "packages": _packages,
    "codebase": _codebase,
    "exclude_packages": _filled_names,
    "decorators": _decorators,
    "exclude_init": _bool,
    "app_name": _name,
    "app_version": _name,
    "environment": _text,
    "server_url": _server_url,
    "api_key": _api_key,
    "proxy": _proxy,
    "ca_file": _path,
    "store": _path,
    "store_interval_s": _above_zero,
    "max_functions": _count,
    "scheduler_initial_delay_s": _not_negative,
    "scheduler_interval_s": _above_zero,
    "force_interval_s": _not_negative,
    "http_connect_timeout_s": _above_zero,
    "http_read_timeout_s": _above_zero,
    "exit_timeout_s": _not_negative,
    "async_codebase_scan_mode": _bool,
    "debug_mode": _bool,
}
"""For each setting what gives its value, given its name and what was found."""


def check(name: str, value: object) -> Any:
    """Give a setting's value.

    Raises:
        ConfigError: it is not what it should be.
    """
    return CHECKS[name](name, value)
