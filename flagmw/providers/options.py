"""What the providers of flag services have in common: their options, checked as soon as they are given.

A message names the option and never shows a value that may hold a secret. Nothing is read, resolved or started.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, get_args
from urllib.parse import urlsplit

from flagmw.core.documents import as_json
from flagmw.errors import ConfigError
from flagmw.frozen import EMPTY, FrozenDict
from flagmw.network import Network

STREAM_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""Which scheme a URL is used with, whichever of the four it is written with: both mean the same server."""

MAX_URL_CHARS = 2_000

LEAST_SPOOL_BYTES = 64 * 1024
"""With less, not even a handful of events would fit into each process's file."""

Durability = Literal["process", "memory"]
"""What events outlive: the process that took them, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOptions:
    """How exposures and metrics are kept and delivered.

    Args:
        flush_interval_s: how long an event waits for others to travel with; None is what the service's own client does.
        durability: "process" keeps events in a file until they are delivered, so that they outlive the process;
            "memory" does not. Where there is no private folder for the file, it is memory all the same.
        capacity: how many events may wait in memory, a few hundred bytes each; more are dropped and counted.
        max_spool_bytes: how much the events of all processes of the host may take on disk; the oldest are dropped for
            newer ones, and counted.
        max_spool_age_s: events that could not be delivered for so long are dropped, and counted.
        exit_timeout_s: for how long the last events are delivered when a process leaves; what is left then waits in
            the file for another process.

    Raises:
        ConfigError: a setting is out of its range.
    """

    flush_interval_s: float | None = None
    durability: Durability = "process"
    capacity: int = 10_000
    max_spool_bytes: int = 64 * 1024 * 1024
    max_spool_age_s: float = 7 * 24 * 3600.0
    exit_timeout_s: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.flush_interval_s is not None:
            check_seconds("flush_interval_s", self.flush_interval_s)
        if self.durability not in get_args(Durability):
            raise ConfigError('durability must be "process" or "memory"')
        for name, least in (("capacity", 0), ("max_spool_bytes", LEAST_SPOOL_BYTES)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value <= least:
                raise ConfigError(f"{name} must be an int above {least}, got {_shown(value)}")
        for name in ("max_spool_age_s", "exit_timeout_s"):
            check_seconds(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a stream is watched, and opened again when it ends; that is tried for ever.

    Args:
        ping_interval_s: how often the service is asked for a sign of life; three without an answer end the stream.
        first_retry_delay_s: bounds the wait after the first failure; the bound doubles with each further one. A wait is
            a random time of at least half its bound, so that clients do not come back all at once.
        max_retry_delay_s: the largest bound.

    Raises:
        ConfigError: a setting is out of its range.
    """

    ping_interval_s: float = 10.0
    first_retry_delay_s: float = 1.0
    max_retry_delay_s: float = 60.0

    def __post_init__(self) -> None:
        """Check the settings."""
        for option in fields(self):
            check_seconds(option.name, getattr(self, option.name))
        if self.max_retry_delay_s < self.first_retry_delay_s:
            raise ConfigError(
                f"max_retry_delay_s must not be below first_retry_delay_s={self.first_retry_delay_s:g}, "
                f"got {self.max_retry_delay_s:g}"
            )


class CommonOptions(TypedDict, total=False):
    """The options that every provider of a flag service takes, as `ServiceOptions` explains them."""

    offline: bool
    bootstrap: Mapping[str, Any] | str | os.PathLike[str] | None
    cache_dir: str | os.PathLike[str] | None
    shared: bool
    state_dir: str | os.PathLike[str] | None
    events: EventOptions | bool
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """The options that every provider of a flag service takes.

    Args:
        offline: use no network at all: evaluate from `bootstrap`, and send nothing.
        bootstrap: the document that the service would send, as a mapping or as the path of a JSON file. In force until
            the service answers.
        cache_dir: a folder in which the last good flags are kept for the next start; None keeps none.
        shared: whether one process of the host keeps the connection, and the others take its flags.
        state_dir: the folder where the processes of the host meet, and events wait; only this user may look into it.
            None takes FLAGMW_STATE_DIR, or a folder among the temporary files.
        events: whether exposures and metrics are delivered, or how.
        network: timeouts, proxy, certificates.

    Raises:
        ConfigError: a setting that is not what it should be.
    """

    offline: bool = False
    bootstrap: bytes | Path | None = field(default=None, repr=False)
    cache_dir: Path | None = None
    shared: bool = True
    state_dir: Path | None = None
    events: EventOptions | None = field(default_factory=EventOptions)
    network: Network = field(default_factory=Network)

    @classmethod
    def of(cls, given: CommonOptions, *, known: Sequence[str]) -> ServiceOptions:
        """Check what a provider was given.

        Args:
            given: the options by name.
            known: the provider's own options, for the hint at a name that is nearly right.

        Raises:
            ConfigError: an unknown option, or one that is not what it should be.
        """
        names = [option.name for option in fields(cls)]
        for name in given:
            if name not in names:
                raise ConfigError(unknown_option(name, (*known, *names)))
        options = {**given}
        offline = options.get("offline", False)
        check_bool("offline", offline)
        shared = options.get("shared", True)
        check_bool("shared", shared)
        network = options.get("network", Network())
        check_kind("network", network, Network)
        return cls(
            offline=bool(offline),
            bootstrap=_bootstrap(options.get("bootstrap")),
            cache_dir=_folder("cache_dir", options.get("cache_dir")),
            shared=bool(shared),
            state_dir=_folder("state_dir", options.get("state_dir")),
            events=_events(options.get("events", True)),
            network=cast("Network", network),
        )


def unknown_option(name: object, known: Sequence[str]) -> str:
    """Say that there is no such option; what is like none of them is not shown, since it may be part of a secret."""
    close = get_close_matches(str(name), known, n=1, cutoff=0.6)
    if close:
        return f"{str(name)[:40]!r} is no option; did you mean {close[0]!r}?"
    return f"an option is unknown; the options are {', '.join(known)}"


def check_secret(name: str, value: object, check: Callable[[str], str | None], *, offline: bool = False) -> str:
    """Give a secret.

    Args:
        name: of the option.
        value: what was given.
        check: the dialect's, which says what is wrong with a text without showing it.
        offline: an empty text does, since nobody is asked.

    Raises:
        ConfigError: it is none; the message shows nothing of it.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {type(value).__name__}")
    problem = None if offline and not value else check(value)
    if problem is not None:
        raise ConfigError(problem if problem.startswith(name) else f"{name} {problem}")
    return value


def check_seconds(name: str, value: object) -> float:
    """Give a number of seconds.

    Raises:
        ConfigError: it is no finite number above 0.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:  # type: ignore[operator]  # a number, as was just seen
        raise ConfigError(f"{name} must be a number of seconds above 0, got {_shown(value)}")
    return float(value)  # type: ignore[arg-type]  # as above


def check_defaults(value: object) -> FrozenDict:
    """Give a copy of the defaults of flags.

    Raises:
        ConfigError: it is no mapping from flag keys.
    """
    if value is None:
        return EMPTY
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"defaults must be a mapping from flag keys to values, got {type(value).__name__}")
    return FrozenDict(copy.deepcopy(dict(value)))


def check_kind(name: str, value: object, kind: type) -> None:
    """Refuse what is not of a type.

    Raises:
        ConfigError: it is of another.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")


def check_bool(name: str, value: object) -> None:
    """Refuse what is no bool.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, got {type(value).__name__}")


def check_url(name: str, value: object, schemes: Mapping[str, str]) -> str:
    """Give the URL of a server, without a slash at its end and with the scheme that it is used with.

    Raises:
        ConfigError: it is no such URL, or holds a user and a password; the message shows nothing of it.
    """
    usable = f"{name} must be the URL of a server, such as {schemes['wss']}://flags.example.com"
    if not isinstance(value, str):
        raise ConfigError(f"{usable}, got {type(value).__name__}")
    if len(value) > MAX_URL_CHARS or any(character <= " " or character == "\x7f" for character in value):
        raise ConfigError(f"{usable}; it has blanks, or more than {MAX_URL_CHARS} characters")
    problem = _url_problem(value)
    if problem is not None:
        raise ConfigError(f"{usable}; {problem}")
    scheme, _, rest = value.partition("://")
    return f"{schemes[scheme.lower()]}://{rest.rstrip('/')}"


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not match
        return "its host or port cannot be read"
    if parts.scheme not in HTTP_SCHEMES or "://" not in url:
        return f"its scheme is none of {', '.join(STREAM_SCHEMES)}"
    if "@" in parts.netloc:
        return "it has a user or a password, which flag services do not take"
    if not has_host:
        return "its host is missing"
    if "?" in url or "#" in url:
        return "it has a query or a fragment"
    return None


def _bootstrap(value: object) -> bytes | Path | None:
    """Keep a bootstrap document as its text, so that nobody alters it and equal ones are equal."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        try:
            return json.dumps(value, default=as_json, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise ConfigError("bootstrap must be a document of JSON values; it holds something else") from None
    if isinstance(value, (str, os.PathLike)) and not str(value).lstrip().startswith("{"):
        return _path("bootstrap", value)
    raise ConfigError(
        "bootstrap must be a mapping or the path of a JSON file; json.loads() makes a mapping of a text, "
        f"got {type(value).__name__}"
    )


def _folder(name: str, value: object) -> Path | None:
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)):
        return _path(name, value)
    raise ConfigError(f"{name} must be the path of a folder, got {type(value).__name__}")


def _path(name: str, value: str | os.PathLike[str]) -> Path:
    text = os.fspath(value)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"{name} must be a path that is not empty")
    # Absolute from here on: a server may change its directory after it has started.
    return Path(os.path.abspath(text))


def _events(value: object) -> EventOptions | None:
    if isinstance(value, EventOptions):
        return value
    if value is True or value is False:
        return EventOptions() if value else None
    raise ConfigError(f"events must be True, False or EventOptions, got {type(value).__name__}")


def _shown(value: object) -> str:
    """Show a number; anything else may be a secret that was put in the wrong place."""
    return repr(value) if isinstance(value, (int, float)) else type(value).__name__
