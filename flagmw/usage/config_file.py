"""Reading a `scavenger.conf`, as Scavenger's agents have it, and a section of `pyproject.toml`.

Gives settings by name. A `scavenger.conf` has lines `key=value` or `key: value` and no section.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flagmw.errors import ConfigError
from flagmw.lifecycle.imports import import_optional
from flagmw.usage.config_checks import CHECKS, check, shown

logger = logging.getLogger("flagmw")

CONF_NAME = "scavenger.conf"
PYPROJECT_NAME = "pyproject.toml"
SECTION = "[tool.flagmw.usage]"

MAX_BYTES = 1024 * 1024
"""A longer file is none of ours."""

_MANDATORY = ("server_url", "api_key", "packages", "codebase")
_NEVER_EMPTY = ("app_name", "app_version")
"""A collector refuses them; an empty value stands for the default."""

_FALSE = frozenset({"", "0", "false", "no", "off"})
_OPTION = re.compile(r"(?P<key>.*?)\s*[=:]\s*(?P<value>.*)")
_HEADER = re.compile(r"\[(?P<name>.+)\]")
_LINE_END = re.compile(r"\r\n|\r|\n")


# --- pyproject.toml -------------------------------------------------------------------------------------------


def read_toml(path: Path) -> Mapping[str, Any] | None:
    """Give the section of a `.toml` file, None when it has none.

    Raises:
        ConfigError: the file cannot be read.
    """
    tomllib: Any = import_optional("tomllib")
    try:
        document = tomllib.loads(_text_of(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: this is no TOML: {error}") from None
    section: Any = document
    for name in ("tool", "flagmw", "usage"):
        section = section.get(name)
        if section is None:
            return None
        if not isinstance(section, dict):
            raise ConfigError(f"{path}: {SECTION} must be a section, got {shown(section)}")
    found: dict[str, Any] = section
    return found


def plain_name(given: str) -> str:
    """Give a setting's own name for its name in upper case, or with Scavenger's `_seconds`."""
    lower = given.lower()
    return f"{lower[: -len('_seconds')]}_s" if lower.endswith("_seconds") else lower


# --- scavenger.conf -------------------------------------------------------------------------------------------


def _list(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _packages(text: str) -> tuple[str, ...]:
    return _list(text) or ("",)  # to Scavenger, no name means everything in the folders


def _bool(text: str) -> bool:
    return text.strip().lower() not in _FALSE  # any other text is true to Scavenger


def _whole(text: str) -> int:
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def _milliseconds(text: str) -> int:
    return int(int(text) / 1000)  # cut, as Scavenger does


Reader = Callable[[str], Any]

_LISTS: Mapping[str, Reader] = {
    "packages": _packages,
    "codebase": _list,
    "exclude_packages": _list,
    "decorators": _list,
}
_BOOLS = ("exclude_init", "async_codebase_scan_mode", "debug_mode")
_BY_CONSOLE = {
    "codeBase": "codebase",
    "asyncCodeBaseScanMode": "async_codebase_scan_mode",
    "excludeConstructors": "exclude_init",
    "exclude_constructors": "exclude_init",
    "maxMethodsCount": "max_functions",
}
"""What the file of Scavenger's console, and its Java agent, call our settings."""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _known_keys() -> dict[str, tuple[str, Reader]]:
    """Give, for each spelling, the setting and what reads its text."""
    keys: dict[str, tuple[str, Reader]] = {}
    for name in CHECKS:
        spellings: list[tuple[str, Reader]]
        if name.endswith("_s"):
            stem = name[: -len("_s")]
            spellings = [(name, _seconds), (f"{stem}_seconds", _whole), (f"{stem}_millis", _milliseconds)]
        elif name == "max_functions":
            spellings = [(name, _whole)]
        else:
            spellings = [(name, _LISTS.get(name) or (_bool if name in _BOOLS else str))]
        for spelling, reader in spellings:
            keys[spelling] = keys[_camel(spelling)] = name, reader
    for spelling, name in _BY_CONSOLE.items():
        keys[spelling] = keys[name]
    return keys


_KEYS = _known_keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One setting of a file, with the line that it begins in."""

    key: str
    value: str
    number: int


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Where reading has come to."""

    own: dict[str, _Line] = field(default_factory=dict)
    defaults: dict[str, _Line] = field(default_factory=dict)
    section: dict[str, _Line] | None = None
    header: tuple[str, int] | None = None
    others: set[str] = field(default_factory=set)
    parts: list[str] = field(default_factory=list)
    last: str | None = None
    indent: int = 0

    def end_value(self) -> None:
        """Keep the value that no further line continues."""
        if self.last is not None and self.section is not None:
            line = self.section[self.last]
            self.section[self.last] = _Line(key=line.key, value="\n".join(self.parts).rstrip(), number=line.number)
        self.last = None


def read_conf(path: Path) -> dict[str, Any]:
    """Read a `scavenger.conf`.

    Returns:
        Settings by name.

    Raises:
        ConfigError: names the file and the line.
    """
    lines, header = _lines_of(path, _text_of(path))
    settings: dict[str, Any] = {}
    ignored: list[_Line] = []
    for line in lines:
        if line.key not in _KEYS:
            ignored.append(line)
            continue
        name, reader = _KEYS[line.key]
        if line.value == "" and name in _NEVER_EMPTY:
            settings.pop(name, None)
            continue
        try:
            settings[name] = check(name, reader(line.value))
        except ConfigError as error:
            raise ConfigError(f"{path}:{line.number}: {error}") from None
        except ValueError:
            found = "" if name == "api_key" else f", got {shown(line.value)}"
            kind = "a number" if reader is _seconds else "a whole number"
            raise ConfigError(f"{path}:{line.number}: {line.key} must be {kind}{found}") from None
    _check_mandatory(path, settings, ignored, header)
    if ignored:
        names = ", ".join(sorted(line.key for line in ignored))
        logger.info("%s: keys that mean nothing here are left alone: %s", path, names)
    return settings


def _check_mandatory(
    path: Path, settings: Mapping[str, Any], ignored: list[_Line], header: tuple[str, int] | None
) -> None:
    for name in _MANDATORY:
        if name in settings:
            continue
        hint = ""
        close = get_close_matches(name, [line.key for line in ignored], n=1, cutoff=0.7)
        if close:
            (line,) = [line for line in ignored if line.key == close[0]][:1]
            hint = f"; line {line.number} has {shown(line.key)}, is that meant?"
        elif header is not None:
            hint = f"; what follows the line [{header[0]}], line {header[1]}, is not read: take that line out"
        raise ConfigError(f"{path}: {name} is missing: add a line {name}=...{hint}")


def _lines_of(path: Path, text: str) -> tuple[list[_Line], tuple[str, int] | None]:
    """Split a file into settings, by the rules of Python's configparser, which Scavenger's agent uses.

    Returns:
        The settings, those that count last at the end, and the first header of a section if there is one.
    """
    reading = _Reading()
    reading.section = reading.own
    for number, raw in enumerate(_LINE_END.split(text), start=1):
        _read_line(path, reading, number, raw)
    reading.end_value()
    own = list(reading.own.values())
    return [line for line in reading.defaults.values() if line.key not in reading.own] + own, reading.header


def _read_line(path: Path, reading: _Reading, number: int, raw: str) -> None:
    value = raw.strip()
    if value.startswith(("#", ";")):
        return
    if not value:
        if reading.last is not None:
            reading.parts.append("")
        return
    indent = len(raw) - len(raw.lstrip())
    if reading.last is not None and indent > reading.indent:
        reading.parts.append(value)
        return
    reading.indent = indent
    reading.end_value()
    header = _HEADER.match(value)
    if header is not None:
        if header["name"] in reading.others:
            raise ConfigError(f"{path}:{number}: the section [{header['name']}] is there twice; keep one of the two")
        reading.header = reading.header or (header["name"], number)
        if header["name"] == "DEFAULT":
            reading.section = reading.defaults
        else:
            reading.section = {}
            reading.others.add(header["name"])
        return
    option = _OPTION.fullmatch(value)
    if option is None or not option["key"]:
        raise ConfigError(f"{path}:{number}: this is no line of the form key=value; a comment begins with #")
    if reading.section is None:
        return
    key = option["key"]
    if key in reading.section:
        first = reading.section[key].number
        raise ConfigError(f"{path}:{number}: {shown(key)} was given in line {first} already; keep one of the two")
    reading.section[key] = _Line(key=key, value=option["value"], number=number)
    reading.last, reading.parts = key, [option["value"].strip()]


def _text_of(path: Path) -> str:
    """Read a small file as UTF-8, with or without a byte order mark."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; give the path of yours, or write one") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file system takes this name"
        raise ConfigError(f"{path}: it cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: it has more than {MAX_BYTES} bytes, and so is no file of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from None
