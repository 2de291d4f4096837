"""Settings as web frameworks have them: one mapping, read by name, with every mistake named at once.

Adapters pass the mapping (Django's `FLAGMW`, Flask's `app.config["FLAGMW"]`) and use what comes back. Values that
a settings file cannot hold may be dotted paths to them.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar, cast

from flagmw.client import Client
from flagmw.errors import ConfigError
from flagmw.holding import DEFAULT_START_WAIT_S, check_start_wait
from flagmw.http import AnonymousCookie
from flagmw.page_views import PageViews, check_page_views
from flagmw.providers import FlagFile
from flagmw.providers.dsn import VARIABLE, provider_from_dsn, provider_from_environment
from flagmw.registry import configure
from flagmw.runtime import Provider
from flagmw.watching import check_usage
from flagmw.wsgi import check_trusted_proxies

T = TypeVar("T")

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

NAMES = (
    "flag_file",
    "fractional",
    "provider",
    "dsn",
    "user",
    "anonymous_cookie",
    "trusted_proxies",
    "start_wait",
    "page_views",
    "usage",
    "offline",
    "name",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an adapter needs, checked.

    Attributes:
        provider: where flags come from.
        user: the application's function from request to user; None is the adapter's default.
        anonymous: the cookie for users without a key; False leaves them without.
        trusted_proxies: how many proxies add to X-Forwarded-For.
        start_wait: for how many seconds requests may be held back for the first flags.
        page_views: which page views are told; False for none.
        usage: what `flagmw.watching.watch` takes, checked.
        offline: do no I/O at all.
        name: under which name the client is shared.
    """

    provider: Provider
    user: Callable[[Any], Any] | None = None
    anonymous: AnonymousCookie | bool = True
    trusted_proxies: int = 0
    start_wait: float = DEFAULT_START_WAIT_S
    page_views: PageViews | bool = False
    usage: Any = None
    offline: bool = False
    name: str | None = None

    def client(self) -> Client:
        """Give the client for these settings: the same settings, the same client."""
        return configure(self.provider, name=self.name, offline=self.offline)


class SettingsError(ConfigError):
    """Settings are wrong.

    Attributes:
        problems: one sentence for each mistake.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        """Keep the problems and make a message of all of them."""
        self.problems = tuple(problems)
        super().__init__(f"{where}: " + "; ".join(problems))


def read_settings(where: str, found: object, *, secret: str | Sequence[str] = "") -> Settings:
    """Check a settings mapping.

    Names may be in upper or lower case: `flag_file` (a path or several), `fractional`, `provider` or `dsn` (instead of
    a file; without any of the three, the environment variable FLAGMW_DSN), `user`, `anonymous_cookie` (a mapping of
    `AnonymousCookie`'s arguments, or False), `trusted_proxies`, `start_wait`, `page_views` (a mapping of `PageViews`'
    arguments, or True), `usage` (a mapping of `UsageConfig`'s arguments, a path, or True), `offline`, `name`. `provider`, `user` and the `name` of page views may be dotted paths,
    `provider` a DSN as well.

    Args:
        where: the mapping's name, for messages.
        found: the mapping.
        secret: signs the anonymous cookie unless the mapping has a secret of its own.

    Raises:
        SettingsError: lists every mistake, with the nearest right name for a wrong one.
    """
    if not isinstance(found, Mapping):
        raise SettingsError(
            where, [f"must be a mapping such as {{'FLAG_FILE': 'flags.yaml'}}, got {type(found).__name__}"]
        )
    reader = _Reader(found)
    provider = reader.provider()
    user = reader.user()
    anonymous = reader.anonymous(secret)
    trusted_proxies = reader.checked("trusted_proxies", check_trusted_proxies, default=0)
    start_wait = reader.checked("start_wait", check_start_wait, default=DEFAULT_START_WAIT_S)
    page_views = reader.page_views()
    usage = reader.usage()
    offline = reader.typed("offline", bool, default=False)
    name = reader.typed("name", str, default=None)
    if reader.problems:
        raise SettingsError(where, reader.problems)
    return Settings(
        provider=cast("Provider", provider),
        user=user,
        anonymous=anonymous,
        trusted_proxies=trusted_proxies,
        start_wait=start_wait,
        page_views=page_views,
        usage=usage,
        offline=bool(offline),
        name=name,
    )


class _Reader:
    """Reads one mapping and collects what is wrong with it."""

    def __init__(self, found: Mapping[Any, Any]) -> None:
        self.problems: list[str] = []
        self._found: dict[str, Any] = {}
        for name, value in found.items():
            lower = name.lower() if isinstance(name, str) else ""
            if lower in NAMES:
                self._found[lower] = value
            else:
                self.problems.append(_unknown(name, NAMES))

    def provider(self) -> Provider | None:
        given = [name for name in ("flag_file", "provider", "dsn") if self._found.get(name) is not None]
        if len(given) > 1:
            names = " and ".join(name.upper() for name in given)
            self.problems.append(f"{names} exclude each other; keep one")
            return None
        if not given:
            return self._provider_from_environment()
        if given == ["flag_file"]:
            return self._flag_file(self._found["flag_file"])
        (name,) = given
        value = self._found[name]
        if name == "dsn" or (isinstance(value, str) and ":" in value):
            return self._dsn(name, value)
        provider = self._imported("provider")
        if isinstance(provider, type) or (callable(provider) and not hasattr(provider, "source")):
            provider = self._called("provider", provider)
        if provider is not None and not all(hasattr(provider, part) for part in ("dialect", "source", "sink")):
            kind = type(provider).__name__
            self.problems.append(f"PROVIDER must be one of flagmw.providers, a DSN or a path to one, got {kind}")
            return None
        return cast("Provider | None", provider)

    def _provider_from_environment(self) -> Provider | None:
        try:
            provider = provider_from_environment()
        except ConfigError as error:
            self.problems.append(str(error))
            return None
        if provider is None:
            self.problems.append(
                f"FLAG_FILE is missing: the path of your flags.yaml (or give PROVIDER, or set {VARIABLE})"
            )
        return provider

    def _dsn(self, name: str, value: Any) -> Provider | None:
        try:
            return provider_from_dsn(value)
        except ConfigError as error:
            self.problems.append(f"{name.upper()}: {error}")
            return None

    def _flag_file(self, paths: Any) -> Provider | None:
        if isinstance(paths, (str, os.PathLike)):
            paths = [paths]
        if not isinstance(paths, (list, tuple)):
            self.problems.append(f"FLAG_FILE must be a path or a list of paths, got {type(paths).__name__}")
            return None
        try:
            return FlagFile(*paths, fractional=self._found.get("fractional", "v2"))
        except ConfigError as error:
            self.problems.append(str(error))
            return None

    def user(self) -> Callable[[Any], Any] | None:
        user = self._imported("user")
        if user is not None and not callable(user):
            self.problems.append(f"USER must be a function or a path to one, got {type(user).__name__}")
            return None
        if inspect.iscoroutinefunction(user):
            self.problems.append("USER must be a plain function: flags are read without await")
            return None
        return cast("Callable[[Any], Any] | None", user)

    def anonymous(self, secret: str | Sequence[str]) -> AnonymousCookie | bool:
        value = self._found.get("anonymous_cookie", True)
        if value is False or value is None:
            return False
        if isinstance(value, AnonymousCookie):
            return value
        if value is True:
            value = {}
        if not isinstance(value, Mapping):
            self.problems.append(f"ANONYMOUS_COOKIE must be a mapping or False, got {type(value).__name__}")
            return False
        try:
            return AnonymousCookie(**{"secret": secret, **self._arguments("ANONYMOUS_COOKIE", value, AnonymousCookie)})
        except ConfigError as error:
            self.problems.append(f"ANONYMOUS_COOKIE: {error}")
            return False

    def page_views(self) -> PageViews | bool:
        value = self._found.get("page_views", False)
        try:
            if not isinstance(value, Mapping):
                return check_page_views(value) or False
            arguments = self._arguments("PAGE_VIEWS", value, PageViews)
            if isinstance(arguments.get("name"), str):
                arguments["name"] = self._at("PAGE_VIEWS: NAME", arguments["name"])
            return PageViews(**arguments)
        except ConfigError as error:
            self.problems.append(f"PAGE_VIEWS: {error}".replace("PAGE_VIEWS: page_views", "PAGE_VIEWS"))
            return False

    def usage(self) -> Any:
        value = self._found.get("usage")
        try:
            return False if value is False else check_usage(value)
        except ConfigError as error:
            self.problems.append(f"USAGE: {error}")
            return None

    def _arguments(self, where: str, found: Mapping[Any, Any], kind: type) -> dict[str, Any]:
        """Read a mapping of a class's arguments; names may be in upper or lower case."""
        known = tuple(field.name for field in fields(kind))
        arguments: dict[str, Any] = {}
        for name, setting in found.items():
            lower = name.lower() if isinstance(name, str) else ""
            if lower in known:
                arguments[lower] = setting
            else:
                self.problems.append(f"{where}: " + _unknown(name, known))
        return arguments

    def checked(self, name: str, check: Callable[[object], T], *, default: T) -> T:
        try:
            return check(self._found.get(name, default))
        except ConfigError as error:
            self.problems.append(str(error).replace(name, name.upper(), 1))
            return default

    def typed(self, name: str, kind: type, *, default: Any) -> Any:
        value = self._found.get(name, default)
        if value is not default and not isinstance(value, kind):
            self.problems.append(f"{name.upper()} must be a {kind.__name__}, got {type(value).__name__}")
            return default
        return value

    def _imported(self, name: str) -> Any:
        value = self._found.get(name)
        return self._at(name.upper(), value) if isinstance(value, str) else value

    def _at(self, where: str, value: str) -> Any:
        """Import what is at a dotted path."""
        if not _DOTTED.fullmatch(value):  # and not shown, since it may be a secret that was put here
            name = where.rpartition(" ")[2].lower()
            self.problems.append(f"{where} is a text that is no dotted path such as 'shop.flags.{name}'")
            return None
        module_name, _, attribute = value.rpartition(".")
        try:
            return getattr(import_module(module_name), attribute)
        except Exception as error:  # whatever the application's module does when it is imported
            self.problems.append(f"{where}: {value!r} cannot be imported: {type(error).__name__}: {error}")
            return None

    def _called(self, name: str, factory: Any) -> Any:
        try:
            return factory()
        except Exception as error:  # the application's function
            self.problems.append(f"{name.upper()}: calling it raised {type(error).__name__}: {error}")
            return None


def _unknown(name: object, known: Sequence[str]) -> str:
    close = get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    if close:
        return f"{name!r} is no setting; did you mean {close[0].upper()!r}?"
    return f"{name!r} is no setting; the settings are {', '.join(word.upper() for word in known)}"
