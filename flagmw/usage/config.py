"""`UsageConfig`: what the usage agent watches, and where it reports to. Checked when it is made; starts nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flagmw.errors import ConfigError
from flagmw.usage.config_checks import check, shown, unknown_setting
from flagmw.usage.config_file import CONF_NAME, PYPROJECT_NAME, SECTION, plain_name, read_conf, read_toml

DEFAULT_STORE = "flagmw-usage.db"

EVERYTHING = ("",)
"""The packages of who names only folders: all that is in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageConfig:
    """Settings of the usage agent.

    Lists are given as any iterable of texts; a single text is a list of one.

    Attributes:
        packages: dotted names of the packages to watch; an empty name stands for all of a code base's folder.
        codebase: the folders, or archives, that hold them; the working directory when only packages are named.
        exclude_packages: what to leave out; compared as text with the beginning of a path, as Scavenger does.
        decorators: when there are any, only functions with one of them count; written as "@app.route".
        exclude_init: leave out every `__init__`.
        app_name: the application, on the wire and in the store.
        app_version: its version.
        environment: such as "production".
        server_url: of a Scavenger collector; None for none.
        api_key: of the collector's workspace.
        proxy: URL of an HTTP proxy to the collector; None takes the environment's, "" none at all.
        ca_file: certificates to trust instead of the system's, when the collector is reached by https.
        store: path of the SQLite file that all workers share; None for none.
        store_interval_s: how often what ran is written to the store.
        max_functions: with more, nothing is sent to the collector, whose own limit this is.
        scheduler_initial_delay_s: before the first publication to a collector.
        scheduler_interval_s: between two looks at what is due at the collector.
        force_interval_s: replaces all intervals that the collector gives; 0 for none.
        http_connect_timeout_s: for connecting to the collector.
        http_read_timeout_s: for an answer of the collector.
        exit_timeout_s: how long a process that leaves is held up for the last publication.
        async_codebase_scan_mode: taken for the official agent's sake; the scan never holds up a start.
        debug_mode: taken for the official agent's sake; has no effect, as there.

    Raises:
        ConfigError: names the setting, what was found and what to do.
    """

    packages: tuple[str, ...] = EVERYTHING
    codebase: tuple[str, ...] = ()
    exclude_packages: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    exclude_init: bool = False
    app_name: str = "missing-appName"
    app_version: str = "unspecified"
    environment: str = "<default>"
    server_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    store: str | None = DEFAULT_STORE
    store_interval_s: float = 60.0
    max_functions: int = 100_000
    scheduler_initial_delay_s: float = 10.0
    scheduler_interval_s: float = 10.0
    force_interval_s: float = 0.0
    http_connect_timeout_s: float = 10.0
    http_read_timeout_s: float = 10.0
    exit_timeout_s: float = 2.0
    async_codebase_scan_mode: bool = False
    debug_mode: bool = False

    def __post_init__(self) -> None:
        """Check the settings; nothing is read or resolved."""
        for item in fields(self):
            object.__setattr__(self, item.name, check(item.name, getattr(self, item.name)))
        if not self.codebase:
            if self.packages == EVERYTHING:
                raise ConfigError(
                    "nothing says what to watch: give packages=['shop'], the application's packages, or "
                    "codebase=['src'], a folder of which everything is watched"
                )
            object.__setattr__(self, "codebase", (".",))
        if self.server_url is not None and self.api_key is None:
            raise ConfigError("server_url needs api_key, the key of your workspace; the console of Scavenger shows it")
        if self.server_url is None and self.api_key is not None:
            raise ConfigError("api_key needs server_url, the address of your Scavenger collector")
        if self.server_url is None and self.store is None:
            raise ConfigError("there is nowhere to report to: give store, a path, or server_url and api_key")

    @classmethod
    def load(cls, path: str | os.PathLike[str] = CONF_NAME) -> UsageConfig:
        """Read a `scavenger.conf`, or the section `[tool.flagmw.usage]` of a `.toml` file.

        In a conf file each key has the spelling of the setting, in snake_case or camelCase, and Scavenger's own, such
        as `schedulerIntervalSeconds`; unknown keys are left alone, as Scavenger's agents do. Its relative paths start
        at the working directory, those of a `.toml` at the file's folder.

        Raises:
            ConfigError: the file cannot be read, or something in it is wrong; names the line.
        """
        file = Path(path)
        return cls.from_pyproject(file) if file.suffix.lower() == ".toml" else cls(**read_conf(file))

    @classmethod
    def from_pyproject(cls, path: str | os.PathLike[str] = PYPROJECT_NAME) -> UsageConfig:
        """Read the section `[tool.flagmw.usage]` of a `pyproject.toml`; relative paths start at the file's folder.

        Raises:
            ConfigError: the file cannot be read, has no such section, or something in it is wrong.
        """
        file = Path(path)
        section = read_toml(file)
        if section is None:
            raise ConfigError(f"{file}: there is no section {SECTION}; add it, with packages = ['shop'] for example")
        try:
            settings = cls._named(section)
            for name in ("codebase", "store", "ca_file"):
                if settings.get(name):
                    settings[name] = _below(file.parent, settings[name])
            settings.setdefault("store", str(file.parent / DEFAULT_STORE))
            if "packages" in settings:
                settings.setdefault("codebase", (str(file.parent),))
            return cls(**settings)
        except ConfigError as error:
            raise ConfigError(f"{file}, {SECTION}: {error}") from None

    @classmethod
    def of(cls, value: UsageConfig | Mapping[str, Any] | str | os.PathLike[str] | bool) -> UsageConfig:
        """Make settings of whatever form they are given in.

        Args:
            value: settings; a mapping of them, names in upper or lower case; the path of a file, see `load`; or True,
                which takes `scavenger.conf`, or else the section `[tool.flagmw.usage]` of `pyproject.toml`, in the
                working directory.

        Raises:
            ConfigError: it is none of these, nothing was found, or something is wrong in it.
        """
        if isinstance(value, UsageConfig):
            return value
        if value is True:
            return cls._found()
        if isinstance(value, Mapping):
            return cls(**cls._named(value))
        if isinstance(value, (str, os.PathLike)) and os.fspath(value):
            return cls.load(value)
        raise ConfigError(
            "the usage agent's settings must be a UsageConfig, a mapping such as {'PACKAGES': ['shop']}, the path of a "
            f"scavenger.conf or pyproject.toml, or True, got {shown(value)}"
        )

    @classmethod
    def _found(cls) -> UsageConfig:
        """Read what is in the working directory."""
        if Path(CONF_NAME).is_file():
            return cls.load(CONF_NAME)
        if Path(PYPROJECT_NAME).is_file() and read_toml(Path(PYPROJECT_NAME)) is not None:
            return cls.from_pyproject(PYPROJECT_NAME)
        raise ConfigError(
            f"there is neither a {CONF_NAME} nor a {PYPROJECT_NAME} with the section {SECTION} in {os.getcwd()}; "
            "write one, or give the settings themselves"
        )

    @classmethod
    def _named(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """Give settings by their own names."""
        known = tuple(item.name for item in fields(cls))
        settings: dict[str, Any] = {}
        for given, value in found.items():
            name = plain_name(given) if isinstance(given, str) else ""
            if name not in known:
                raise ConfigError(unknown_setting(given, known))
            if name in settings:
                raise ConfigError(f"{name} is given twice, once as {shown(given)}; keep one of them")
            settings[name] = check(name, value)
        return settings


def _below(folder: Path, value: Any) -> Any:
    """Let relative paths start at a folder."""
    return str(folder / value) if isinstance(value, str) else tuple(str(folder / item) for item in value)
