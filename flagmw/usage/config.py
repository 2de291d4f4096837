"""`UsageConfig`: what the usage agent watches, and where it reports to. Checked when it is made; starts nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_STORE = "flagmw-usage.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageConfig:
    """Settings of the usage agent.

    Attributes:
        packages: dotted names of the packages to watch; an empty name stands for all of a code base's folder.
        codebase: the folders, or archives, that hold them.
        exclude_packages: what to leave out; compared as text with the beginning of a path, as Scavenger does.
        decorators: when there are any, only functions with one of them count; written as "@app.route".
        exclude_init: leave out every `__init__`.
        app_name: the application, on the wire and in the store.
        app_version: its version.
        environment: such as "production".
        server_url: of a Scavenger collector; None for none.
        api_key: of the collector's workspace.
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

    packages: tuple[str, ...] = ()
    codebase: tuple[str, ...] = (".",)
    exclude_packages: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    exclude_init: bool = False
    app_name: str = "missing-appName"
    app_version: str = "unspecified"
    environment: str = "<default>"
    server_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
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
