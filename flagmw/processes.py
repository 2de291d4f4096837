"""Which processes of this host use an environment, how they are doing, and whether that is well.

Reads what each `Presence` writes. The dead are told from the living by their locks, not by process ids, which come
back and mean nothing in another container; their files are removed here. Nothing of a living process is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagmw.lifecycle.places import FORMAT
from flagmw.presence import PREFIX, SUFFIX, UNSEEN_SUFFIX, decode
from flagmw.status import EventCounts, Role, State, Status

try:
    import fcntl
except ImportError:  # Windows, where no process tells of itself
    fcntl = None  # type: ignore[assignment]  # see above

MAX_STALE_S = 60.0
"""Flags that nobody knew to be the newest for longer than this are no longer called current."""

SILENT_S = 5.0
"""A process that has not told of itself for this long is stopped or hangs; it does so every second."""

STARTING_S = 5.0
"""How long a process may be without flags after it has begun."""

APART_S = 5.0
"""How long after a change processes may have different flags."""

LEFT_S = 2.0
"""Event files that were written to more recently may be those of a process which is about to tell of itself."""

UNSEEN_S = 60.0
"""How long a file may be in the making, which takes a moment; after that its process is gone."""

MAX_BYTES = 64 * 1024
MAX_READS = 5

_NAME = re.compile(rf"(?P<service>.+)-(?P<digest>[0-9a-f]{{16}})-v{FORMAT}")
_PROCESS = re.compile(rf"{PREFIX}(?P<pid>\d+)-[0-9a-f]+{re.escape(SUFFIX)}")
_UNSEEN = re.compile(rf"{PREFIX}\d+-[0-9a-f]+{re.escape(UNSEEN_SUFFIX)}")
_EVENTS = re.compile(r"events-(?P<pid>\d+)-.+\.spool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A living process.

    Attributes:
        pid: as the process itself knows it, in its own container.
        program: its name.
        began_s: Unix time at which it began to use the environment.
        silent_s: seconds since it last told of itself.
        status: how it was doing then, with the ages of now; None when it told nothing that can be read, as with a full
            disk.
    """

    pid: int
    program: str = ""
    began_s: float = 0.0
    silent_s: float = 0.0
    status: Status | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One environment of a flag service on this host.

    Attributes:
        name: of its folder: the flag service, and a hash of what tells its environments apart.
        folder: where its processes meet.
        processes: the living ones, the longest known first.
        left_files: files with events which processes that are gone have left, and nobody has delivered yet.
        left_bytes: what of them is not delivered.
    """

    name: str
    folder: Path
    processes: Sequence[Process] = ()
    left_files: int = 0
    left_bytes: int = 0


# --- reading ------------------------------------------------------------------------------------------------


def read_environments(root: Path) -> Sequence[Environment]:
    """Give all environments in the folder of environments that have a process, or events left.

    Raises:
        OSError: the folder is there and cannot be read.
    """
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return ()
    found = [read_environment(root / name) for name in names if _NAME.fullmatch(name)]
    return [environment for environment in found if environment.processes or environment.left_files]


def read_environment(folder: Path) -> Environment:
    """Give one environment; it is empty when its folder is not there or cannot be read. Never raises."""
    now_s = time.time()
    try:
        names = os.listdir(folder) if not os.path.islink(folder) else []
    except OSError:
        names = []
    _clear(folder, names, now_s)
    matches = [match for name in names if (match := _PROCESS.fullmatch(name))]
    # Looked up after the files were: one of our own was opened before it could be listed.
    own = _own_descriptors() if any(int(match["pid"]) == os.getpid() for match in matches) else {}
    found = [_read_process(folder / match[0], int(match["pid"]), own, now_s) for match in matches]
    living = (one for one in found if one is not None)
    processes = tuple(sorted(living, key=lambda one: (one.began_s, one.pid)))
    files, size = _left(folder, names, processes, now_s)
    return Environment(name=folder.name, folder=folder, processes=processes, left_files=files, left_bytes=size)


def environment_of(provider: object) -> Environment | None:
    """Give the environment of a provider; None where its processes have nothing in common."""
    find_place = getattr(provider, "place", None)  # a provider of a user's own may have none
    place = find_place() if find_place is not None else None
    return read_environment(place.path()) if place is not None else None


def _read_process(path: Path, pid: int, own: Mapping[tuple[int, int], int], now_s: float) -> Process | None:
    """Give the process that a file is of; None if it is gone, with its file."""
    if pid == os.getpid():
        try:
            info = os.stat(path, follow_symlinks=False)
        except OSError:
            return None
        descriptor = own.get((info.st_dev, info.st_ino))
        if descriptor is not None:  # opening it once more, and closing that, would free its lock
            return _told(descriptor, pid, now_s)
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or another user's
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            is_held = error.errno in (errno.EACCES, errno.EAGAIN)
            return _told(descriptor, pid, now_s) if is_held else None
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None
    finally:
        os.close(descriptor)


def _clear(folder: Path, names: Sequence[str], now_s: float) -> None:
    """Remove what processes left that were killed while they made their file."""
    for name in filter(_UNSEEN.fullmatch, names):
        with contextlib.suppress(OSError):
            if now_s - os.stat(folder / name, follow_symlinks=False).st_mtime > UNSEEN_S:
                os.unlink(folder / name)


def _told(descriptor: int, pid: int, now_s: float) -> Process:
    try:
        silent_s = max(now_s - os.fstat(descriptor).st_mtime, 0.0)
        for _ in range(MAX_READS):  # it may be written at the same moment
            told = decode(os.pread(descriptor, MAX_BYTES, 0))
            if told is not None:
                return _process(told, pid, now_s)
    except (OSError, ValueError, TypeError, KeyError):  # of another release, or damaged
        return Process(pid=pid)
    return Process(pid=pid, silent_s=silent_s)


def _process(told: Mapping[str, Any], pid: int, now_s: float) -> Process:
    """Read what a process told.

    Raises:
        KeyError, TypeError, ValueError: it is none of what `encode` writes.
    """
    silent_s = max(now_s - float(told["at"]), 0.0)
    ages = {
        name: None if told[name] is None else max(float(told[name]), 0.0) + silent_s
        for name in ("age_s", "heartbeat_age_s", "revision_age_s")
    }
    counts = told["events"]
    events = None
    if counts is not None:
        events = EventCounts(**{name: int(counts.get(name, 0)) for name in EventCounts.__slots__})
    status = Status(
        state=State(told["state"]),
        since=float(told["since"]),
        error=None if told["error"] is None else str(told["error"]),
        revision=str(told["revision"]),
        flags=int(told["flags"]),
        events=events,
        pid=pid,
        role=Role(told["role"]),
        **ages,
    )
    return Process(
        pid=pid, program=str(told["program"]), began_s=float(told["began"]), silent_s=silent_s, status=status
    )


def _own_descriptors() -> dict[tuple[int, int], int]:
    """Give this process's open files by device and inode. Other interpreters in it have some of their own."""
    found = {}
    for place in ("/proc/self/fd", "/dev/fd"):
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                info = os.fstat(int(name))
                if stat.S_ISREG(info.st_mode):
                    found[info.st_dev, info.st_ino] = int(name)
        break
    return found


def _left(folder: Path, names: Sequence[str], processes: Sequence[Process], now_s: float) -> tuple[int, int]:
    """Count the event files of processes that are gone.

    The files themselves are not opened: somebody in this very process may hold a lock on one, which closing it here would free.
    """
    began = {process.pid: process.began_s for process in processes}
    files = size = 0
    for match in map(_EVENTS.fullmatch, names):
        if match is None:
            continue
        with contextlib.suppress(OSError):
            info = os.stat(folder / match[0], follow_symlinks=False)
            pid = int(match["pid"])
            is_of_the_living = pid in began and info.st_mtime >= began[pid]
            if is_of_the_living or now_s - info.st_mtime <= LEFT_S:
                continue
            waiting = info.st_size - _delivered(folder / match[0], info.st_size)
            if waiting > 0:
                files += 1
                size += waiting
    return files, size


def _delivered(path: Path, size: int) -> int:
    """Give how much of an event file was delivered; nobody holds a lock on the file that says so."""
    try:
        text = path.with_suffix(".offset").read_bytes()[:64].strip()
    except OSError:
        return 0
    offset = int(text) if text.isdigit() else 0
    return offset if offset <= size else 0


# --- judging ------------------------------------------------------------------------------------------------


def problems_of(process: Process, max_stale_s: float = MAX_STALE_S) -> list[str]:
    """Say what is wrong with a process; nothing when all is well.

    Args:
        process: the one.
        max_stale_s: how long its flags may not have been known to be the newest.
    """
    status = process.status
    if process.silent_s > SILENT_S:
        return [f"silent for {age(process.silent_s)}: it is stopped or hangs, or its disk is full"]
    if status is None:
        return ["it tells nothing that can be read: it is of another release, or its disk is full"]
    why = f": {status.error}" if status.error else ""
    if status.state is State.INITIALIZING:
        waited_s = time.time() - process.began_s
        return [f"no flags after {age(waited_s)}{why}"] if waited_s > STARTING_S else []
    problems = []
    if status.state is not State.OK:
        problems.append(f"{status.state} for {age(time.time() - status.since)}{why}")
    if status.revision_age_s is not None and status.revision_age_s > max_stale_s:
        problems.append(f"its flags were last known to be the newest {age(status.revision_age_s)} ago")
    if status.heartbeat_age_s is not None and status.heartbeat_age_s > max_stale_s:
        problems.append(
            f"the thread that keeps its flags current gave no sign of life for {age(status.heartbeat_age_s)}"
        )
    return problems


def problems_among(environment: Environment) -> list[str]:
    """Say what is wrong with processes as compared to each other, and with what others have left."""
    problems = []
    revisions: dict[str, list[Process]] = {}
    changed_s = APART_S + 1.0
    for process in environment.processes:
        status = process.status
        if status is not None and status.age_s is not None and process.silent_s <= SILENT_S:
            revisions.setdefault(status.revision, []).append(process)
            changed_s = min(changed_s, status.age_s)
    if len(revisions) > 1 and changed_s > APART_S:
        parts = (f"{shortened(key)} in {', '.join(str(one.pid) for one in of)}" for key, of in revisions.items())
        problems.append(f"different flags for more than {APART_S:g} s: {'; '.join(parts)}")
    if environment.left_files and not environment.processes:
        problems.append("events wait to be sent, and no process is there that would")
    return problems


def problems_in(environment: Environment, max_stale_s: float = MAX_STALE_S) -> list[str]:
    """Say all that is wrong in an environment; nothing when all is well."""
    each = [
        f"{process.pid}: {problem}"
        for process in environment.processes
        for problem in problems_of(process, max_stale_s)
    ]
    return [*each, *problems_among(environment)]


# --- words --------------------------------------------------------------------------------------------------


def age(seconds: float | None) -> str:
    """Say a duration as people do; "-" for none."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    for unit, length_s, until_s in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < until_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def shortened(revision: str) -> str:
    """Give as much of a revision as is needed to tell it from others."""
    return revision if len(revision) <= 20 else f"{revision[:8]}…{revision[-11:]}"
