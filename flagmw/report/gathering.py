"""Gathers what a report is made of: the store, the source files, and the flags of a provider. Slow; for commands only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from flagmw.client import Client
from flagmw.errors import ConfigError, FlagmwError
from flagmw.evaluations import flag_keys
from flagmw.flag_counts import FlagHistory, read_flag_counts
from flagmw.providers import FlagFile
from flagmw.report.ages import AgeLimits
from flagmw.report.flag_uses import Judged, judge_flags, near
from flagmw.report.model import Report, Selection, build_report
from flagmw.showing import start_for_showing
from flagmw.stale.judging import DEFAULT_SETTLED_DAYS
from flagmw.usage.config import DEFAULT_STORE, EVERYTHING, UsageConfig
from flagmw.usage.config_file import CONF_NAME, PYPROJECT_NAME, SECTION, read_toml
from flagmw.usage.store import StoredFunction, StoredUsage, read_usage

DSN = "FLAGMW_DSN"
SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a report is made of, and what it shows.

    Attributes:
        config: where the settings are: a `scavenger.conf` or a `.toml`; None takes what the working directory has.
        store: of the usage agent; None takes the configured one.
        flags: a flag file, a folder of them, or a provider's DSN; None takes FLAGMW_DSN, else what the store knows.
        app_name: of one application; None for all that the store has.
        environment: of one environment; None for all.
        settled_days: for how long a flag gives one variation when it is settled.
        limits: of the classes of ages.
        selection: which functions are shown.
    """

    config: str | None = None
    store: str | None = None
    flags: str | None = None
    app_name: str | None = None
    environment: str | None = None
    settled_days: float = DEFAULT_SETTLED_DAYS
    limits: AgeLimits = field(default_factory=AgeLimits)
    selection: Selection = field(default_factory=Selection)


def gather(wanted: Wanted, now: float) -> Report:
    """Make a report.

    Args:
        wanted: of what.
        now: in seconds of wall time.

    Raises:
        FlagmwError: the settings, the store or the given flags cannot be had; says which and why.
    """
    notes: list[str] = []
    config, found = configuration(
        wanted.config, may_be_missing=wanted.store is not None or os.path.exists(DEFAULT_STORE)
    )
    store = wanted.store or (config.store if found else DEFAULT_STORE)
    if store is None:
        raise ConfigError("the settings name no store, so there is nothing to report; give --store FILE")
    usage = from_here(read_usage(store, wanted.app_name, wanted.environment))
    history = read_flag_counts(store, wanted.app_name, wanted.environment)
    if not found:
        config = code_base_of(usage)
        notes.append("no settings were found; the code base is where the store says that its functions are")
    if not usage.functions:
        notes.append(
            "the store knows no functions: no process has published its code base yet, or none is of this name"
        )
    keys = provider_keys(wanted.flags, notes)
    judged = judge_flags(config, usage, history, keys, wanted.settled_days, now)
    notes += _flag_notes(judged, usage, history)
    return build_report(
        usage,
        now=now,
        flags=judged.flags,
        flags_problem=judged.problem,
        limits=wanted.limits,
        selection=wanted.selection,
        notes=notes,
    )


def _flag_notes(judged: Judged, usage: StoredUsage, history: FlagHistory) -> Iterator[str]:
    if judged.problem is not None:
        yield judged.problem
    if judged.problems:
        number = len(judged.problems)
        yield f"{number} file{' was' if number == 1 else 's were'} not read, the first: {judged.problems[0]}"
    if judged.flags and history.watched_since is None:
        yield "no evaluation of a flag was counted yet"
    if judged.flags and len(usage.applications) > 1:
        names = ", ".join(f"{one.app_name} ({one.environment})" for one in usage.applications)
        yield f"flags are judged over {names} together; --app and --environment judge one of them"


def configuration(path: str | None, *, may_be_missing: bool = False) -> tuple[UsageConfig, bool]:
    """Read the settings.

    Args:
        path: of the file; None takes what the working directory has.
        may_be_missing: whether it is no error that the working directory has none.

    Returns:
        The settings, and whether they were found.

    Raises:
        ConfigError: they cannot be had.
    """
    if path is not None:
        return UsageConfig.load(path), True
    if os.path.isfile(CONF_NAME):
        return UsageConfig.load(CONF_NAME), True
    pyproject = Path(PYPROJECT_NAME)
    if pyproject.is_file() and read_toml(pyproject) is not None:
        return UsageConfig.from_pyproject(pyproject), True
    if may_be_missing:
        return UsageConfig(codebase=(".",)), False
    raise ConfigError(
        f"there is neither a {CONF_NAME} nor a {PYPROJECT_NAME} with the section {SECTION} in {os.getcwd()}; "
        "name one with --config FILE"
    )


def from_here(usage: StoredUsage) -> StoredUsage:
    """Show files below the working directory by their paths in it."""
    return replace(usage, functions=tuple(_from_here(stored) for stored in usage.functions))


def _from_here(stored: StoredFunction) -> StoredFunction:
    function = stored.function
    shown_path = near(function.path, function.shown_path)
    if shown_path == function.shown_path:
        return stored
    return replace(stored, function=replace(function, shown_path=shown_path))


def code_base_of(usage: StoredUsage) -> UsageConfig:
    """Give settings that lead to the functions of a store: their folders, and the packages in them."""
    folders: set[str] = set()
    packages: set[str] = set()
    for stored in usage.functions:
        function = stored.function
        parts = function.package_name.split(".")
        folder = os.path.splitext(function.path)[0]
        if folder.endswith(os.path.join("", *parts)):
            folders.add(folder[: -len(os.path.join(*parts))].rstrip(os.sep) or os.sep)
            packages.add(parts[0] if len(parts) > 1 else "")
    if not folders:
        return UsageConfig(codebase=(".",))
    chosen = EVERYTHING if "" in packages else tuple(sorted(packages))
    return UsageConfig(codebase=tuple(sorted(folders)), packages=chosen)


def provider_keys(flags: str | None, notes: list[str]) -> frozenset[str] | None:
    """Give the flags that a provider has; None when no provider is named.

    Args:
        flags: a flag file, a folder of them, or a DSN; None takes the environment variable FLAGMW_DSN.
        notes: gets a line when the environment's provider does not answer.

    Raises:
        ConfigError: `flags` is none of these, or no flags arrive from there.
    """
    named = flags or os.environ.get(DSN, "").strip()
    if not named:
        return None
    try:
        return _keys_of(named)
    except FlagmwError as error:
        if flags:
            raise
        notes.append(f"{DSN}: {error}; the flags that the store knows are taken instead")
        return None


def _keys_of(named: str) -> frozenset[str]:
    is_dsn = SCHEME.match(named) is not None and not os.path.exists(named)
    client = Client(named if is_dsn else FlagFile(named))
    try:
        problem = start_for_showing(client)
        if problem is not None:
            raise ConfigError(problem)
        return frozenset(str(key) for key in flag_keys(client.snapshot()))
    finally:
        client.close(0.0)
