"""`FlagFile`: flags in flagd files, which are read at the first use and followed from then on."""

from __future__ import annotations

import os
import time
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from flagmw.dialects import Dialect
from flagmw.dialects.flagd import FlagdDialect
from flagmw.dialects.flagd.fractional import Fractional
from flagmw.errors import ConfigError
from flagmw.events import Sink
from flagmw.lifecycle.imports import import_optional
from flagmw.transports import Source
from flagmw.transports.file import SUFFIXES, FileSource

OTHER_SUFFIXES = frozenset({".toml", ".ini", ".cfg", ".conf", ".txt", ".xml", ".csv", ".md", ".py", ".env"})
"""What is surely no flag file. Other endings may be those of folders, which are not looked at before the first use."""


def check_fractional(fractional: object) -> None:
    """Check how rollouts are to hash.

    Raises:
        ConfigError: it is no way that flagd has.
    """
    if fractional not in ("v2", "v3"):
        raise ConfigError(
            f'fractional must be "v2" (flagd today, the default) or "v3" (its announced successor), got {fractional!r}'
        )


@dataclass(frozen=True, slots=True, init=False)
class FlagFile:
    """Flags in flagd files, JSON or YAML, reloaded when they change.

    Args:
        *paths: files, or directories of which all *.json, *.yaml and *.yml are read in order of name. Where two
            files have a flag with the same key, the later one wins. A file may be missing for now.
        fractional: how percentage rollouts hash: "v2" as flagd does today, "v3" as it will.
        max_bytes: a larger file is refused.
        poll_interval_s: how often files are looked at besides being watched, in seconds.
        watch: False looks at intervals only.

    Raises:
        ConfigError: no path, a file of another kind, or a setting out of its range.
    """

    paths: tuple[Path, ...]
    _: KW_ONLY
    fractional: Fractional
    max_bytes: int
    poll_interval_s: float
    watch: bool

    def __init__(
        self,
        *paths: str | os.PathLike[str],
        fractional: Fractional = "v2",
        max_bytes: int = 16 * 1024 * 1024,
        poll_interval_s: float = 0.25,
        watch: bool = True,
    ) -> None:
        """Check the settings; no file is touched."""
        if not paths:
            raise ConfigError("FlagFile needs at least one path, for example FlagFile('flags.yaml')")
        for path in paths:
            if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(path):
                raise ConfigError(f"a path of FlagFile must be a str or a Path, got {path!r}")
            if "://" in str(path):  # and not shown, since it may hold a secret
                raise ConfigError(
                    "a path of FlagFile is no URL; a flag service's DSN is for Client, or the setting PROVIDER"
                )
            if Path(path).suffix in OTHER_SUFFIXES:
                raise ConfigError(f"{path}: a flag file ends in {', '.join(SUFFIXES)}, got {Path(path).suffix!r}")
        check_fractional(fractional)
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0:
            raise ConfigError(f"max_bytes must be an int above 0, got {max_bytes!r}")
        if (
            isinstance(poll_interval_s, bool)
            or not isinstance(poll_interval_s, (int, float))
            or not poll_interval_s > 0
        ):
            raise ConfigError(f"poll_interval_s must be above 0 seconds, got {poll_interval_s!r}")
        put = object.__setattr__
        # Absolute from here on: a server may change its directory after it has started.
        put(self, "paths", tuple(Path(os.path.abspath(path)) for path in paths))
        put(self, "fractional", fractional)
        put(self, "max_bytes", max_bytes)
        put(self, "poll_interval_s", float(poll_interval_s))
        put(self, "watch", watch)

    def dialect(self) -> Dialect:
        """Make the dialect of the files."""
        return FlagdDialect(fractional=self.fractional, wall_clock=time.time)

    def source(self) -> Source:
        """Make a source that reads and watches the files."""
        if any(path.suffix != ".json" for path in self.paths):
            import_optional("yaml")  # here, where a fork waits for it, rather than in the parser
        return FileSource(
            self.paths,
            max_bytes=self.max_bytes,
            poll_interval_s=self.poll_interval_s,
            wall_clock=time.time,
            watch=self.watch,
        )

    def sink(self) -> Sink | None:
        """Files take no events."""
        return None

    def place(self) -> None:
        """Nothing is shared: files are at hand in every process."""

    def cache(self) -> None:
        """Files are at hand at the next start."""
