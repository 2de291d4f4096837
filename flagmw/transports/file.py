"""Flag files: read on open, then watched.

A path is followed by name, not by inode, since editors rename over it and orchestrators swap symbolic links. A
watching library gives the moment of a change; looking at the files at intervals finds what it misses, and does
all the work where it cannot be used (not installed, no more watches, gevent). The only file that imports
watchfiles.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flagmw.core.documents import Document
from flagmw.errors import TransportError
from flagmw.lifecycle.imports import import_optional
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver
from flagmw.transports.pulse import Pulse

logger = logging.getLogger("flagmw")

YAML_SUFFIXES = (".yaml", ".yml")
SUFFIXES = (".json", *YAML_SUFFIXES)

WATCH_STEP_MS = 25
"""How often the watching library looks whether its events have come to rest."""

SETTLE_S = 0.02
"""A file must be unchanged for this long before it is read: most writers empty a file and then fill it."""

MISSING_S = 0.2
"""A file that was there may be gone for this long before that is an error: some editors delete and create."""

SETTLE_LIMIT_S = 0.5
RECENT_S = 2.0
"""A file that was changed this recently is compared by content: time stamps are coarse."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found at a path: equal when nothing has changed."""

    size: int = -1
    modified_ns: int = 0
    changed_ns: int = 0
    inode: int = 0
    digest: bytes = b""


class FileSource:
    """Brings flag files.

    Args:
        paths: files, or directories whose flag files are all read, in order of name. Later ones win.
        max_bytes: a larger file is refused.
        poll_interval_s: how often files are looked at besides watching.
        wall_clock: gives Unix time in seconds, to compare with files' time stamps.
        watch: False looks at intervals only.

    Attributes:
        agreed_s: when all files could be read last; see `Source`.
    """

    background = True
    local = False
    awaited = False
    role = Role.ALONE

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        max_bytes: int,
        poll_interval_s: float,
        wall_clock: Callable[[], float],
        watch: bool = True,
    ) -> None:
        self._paths = tuple(paths)
        self._max_bytes = max_bytes
        self._poll_interval_s = poll_interval_s
        self._wall_clock = wall_clock
        self._watch = watch
        self._receiver: Receiver | None = None
        self._seen: dict[Path, _Seen] = {}
        self._content: dict[Path, bytes] = {}
        self._complaint: str | None = None
        self._pulse = Pulse(time.monotonic)
        self.agreed_s: float | None = None

    @property
    def heartbeat_s(self) -> float | None:
        """When the thread in `run` gave its last sign of life, see `Pulse`; None before the first."""
        return self._pulse.last_s

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        """Read the files and deliver them."""
        self.open(receiver)

    def open(self, receiver: Receiver) -> None:
        """Read the files and deliver them, whatever state they are in."""
        self._receiver = receiver
        self._look(force=True)

    def run(self, stopping: threading.Event) -> None:
        """Deliver every change until the event is set."""
        self._pulse.rest(self._poll_interval_s)
        for _ in self._wake_ups(stopping):
            if stopping.is_set():
                return
            self._pulse.rest(self._poll_interval_s)
            self._settle(stopping)
            self._look()

    def wake(self) -> None:
        """Do nothing: both ways of waiting look at the event."""

    # --- waiting for a change -------------------------------------------------------------------------------

    def _wake_ups(self, stopping: threading.Event) -> Iterator[None]:
        """Wake when something may have changed, and at every interval."""
        while not stopping.is_set():
            if self._watch and not _gevent_is_patching():
                yield from self._watched(stopping)
            if not stopping.wait(self._poll_interval_s):
                yield

    def _watched(self, stopping: threading.Event) -> Iterator[None]:
        """Wake on notifications. Ends when they cannot be had, or when other directories are to be watched."""
        watchfiles = import_optional("watchfiles")
        if watchfiles is None:
            self._watch = False
            return
        directories = self._directories()
        if not directories:
            return
        logging.getLogger("watchfiles.main").addFilter(_not_ours)
        try:
            for _ in watchfiles.watch(
                *directories,
                stop_event=stopping,
                recursive=False,
                watch_filter=self._concerns,
                debounce=200,
                step=WATCH_STEP_MS,
                rust_timeout=int(self._poll_interval_s * 1000),
                yield_on_timeout=True,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                yield
                if self._directories() != directories:
                    return
        except Exception as error:  # whatever the library says of this system, looking at intervals still works
            logger.info("flag files are polled every %.2f s, watching failed: %s", self._poll_interval_s, error)
            if not isinstance(error, FileNotFoundError):
                self._watch = False

    def _concerns(self, change: object, changed: str) -> bool:
        """Tell whether a change in a watched directory may be one of ours; it may be a busy directory."""
        name = os.path.basename(changed)
        return name.endswith(SUFFIXES) or name.startswith("..") or any(name == path.name for path in self._paths)

    def _directories(self) -> set[Path]:
        """Name the directories in which a change can happen: those of the paths and of what they link to."""
        found = set()
        for path in self._paths:
            for place in (path, Path(os.path.realpath(path))):
                directory = place if os.path.isdir(place) else place.parent
                if os.path.isdir(directory):
                    found.add(directory)
        return found

    def _settle(self, stopping: threading.Event) -> None:
        """Wait until writers seem to be done: nothing moves any more, and no file has just been removed."""
        before = self._stats()
        if before == {path: _without_digest(seen) for path, seen in self._seen.items()}:
            return
        began = time.monotonic()
        while not stopping.wait(SETTLE_S):
            after = self._stats()
            waited_s = time.monotonic() - began
            vanished = any(path not in after for path in self._seen if path in self._paths)
            if after == before and not (vanished and waited_s < MISSING_S):
                return
            if waited_s > SETTLE_LIMIT_S:
                return
            before = after

    def _stats(self) -> dict[Path, _Seen]:
        return {path: seen for path in self._files() if (seen := _stat(path)) is not None}

    # --- reading --------------------------------------------------------------------------------------------

    def _files(self) -> list[Path]:
        files: list[Path] = []
        for path in self._paths:
            if os.path.isdir(path):
                try:
                    names = sorted(os.listdir(path))
                except OSError:
                    continue
                inside = [path / name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
                files.extend(file for file in inside if os.path.isfile(file))
            else:
                files.append(path)
        return files

    def _look(self, *, force: bool = False) -> None:
        files = self._files()
        seen: dict[Path, _Seen] = {}
        errors: list[str] = []
        for path in files:
            try:
                found = self._read(path)
            except OSError as error:
                errors.append(_explain(path, error))
            except TransportError as error:
                errors.append(str(error))
            else:
                seen[path] = found
        if not files:
            errors.append(f"{', '.join(map(str, self._paths))}: no readable flag files (*.json, *.yaml, *.yml) in here")
        complaint = "; ".join(errors) or None
        unchanged = {path: s.digest for path, s in seen.items()} == {p: s.digest for p, s in self._seen.items()}
        same = unchanged and complaint == self._complaint
        self._seen = seen
        self._complaint = complaint
        if complaint is None:
            self.agreed_s = time.monotonic()
        if same and not force:
            return
        self._content = {path: content for path, content in self._content.items() if path in seen}
        if self._receiver is not None:
            self._receiver.deliver(self._delivery(files, complaint))

    def _delivery(self, files: list[Path], complaint: str | None) -> Delivery:
        documents = [
            Document(name=str(path), content=self._content[path], is_yaml=path.suffix in YAML_SUFFIXES)
            for path in files
            if path in self._content
        ]
        kept = [str(path) for path in files if path not in self._content]
        error = TransportError(complaint) if complaint else None
        return Delivery(documents=documents, kept=kept, error=error)

    def _read(self, path: Path) -> _Seen:
        info = os.stat(path)
        found = _seen_in(info)
        known = self._seen.get(path)
        if known is not None and _without_digest(known) == found and not self._is_recent(found):
            return known
        if stat.S_ISDIR(info.st_mode):
            raise IsADirectoryError(21, "is a directory")
        if path.suffix not in SUFFIXES:
            raise TransportError(f"{path}: a flag file ends in {', '.join(SUFFIXES)}, got {path.suffix!r}")
        if not stat.S_ISREG(info.st_mode):
            raise TransportError(f"{path}: is not a regular file")
        if info.st_size > self._max_bytes:
            raise TransportError(
                f"{path}: has {info.st_size} bytes, more than max_bytes={self._max_bytes}; split it, or raise max_bytes"
            )
        with open(path, "rb") as file:
            content = file.read(self._max_bytes + 1)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self._content[path] = content
        return replace(found, digest=digest)

    def _is_recent(self, seen: _Seen) -> bool:
        return abs(self._wall_clock() - seen.changed_ns / 1e9) < RECENT_S


def _stat(path: Path) -> _Seen | None:
    try:
        return _seen_in(os.stat(path))
    except OSError:
        return None


def _seen_in(info: os.stat_result) -> _Seen:
    return _Seen(info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


def _without_digest(seen: _Seen) -> _Seen:
    return replace(seen, digest=b"")


def _explain(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: the flag file does not exist"
    return f"{path}: {error.strerror or type(error).__name__}"


def _not_ours(record: logging.LogRecord) -> bool:
    """Keep the watching library from logging each change that it brings to us."""
    return not (record.threadName or "").startswith("flagmw-")


def _gevent_is_patching() -> bool:
    """Tell whether waiting in the watching library would stop a gevent hub."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
