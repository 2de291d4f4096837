"""What the tests of the spool need: folders with files in them, processes that have a file, and a disk that is full."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flagmw.events import Record
from flagmw.events.adoption import Adoption
from flagmw.events.buffer import Entry, Source
from flagmw.events.lines import line_of
from flagmw.events.room import Room
from flagmw.events.spool import SpoolBuffer

NOW_S = 1_700_000_000.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def room_in(folder: Path, *, max_bytes: int = 2**26, max_age_s: float = 1e9, now_s: float = NOW_S) -> Room:
    return Room(
        folder,
        lambda: os.makedirs(folder, exist_ok=True),
        max_bytes=max_bytes,
        max_age_s=max_age_s,
        wall_clock=lambda: now_s,
    )


def encode(record: Record) -> Entry:
    """Write an exposure as its flag key; one that begins with `bad` cannot be written."""
    key: str = record.flag_key  # type: ignore[union-attr]  # the tests put exposures only
    if key.startswith("none"):
        return ()
    return None if key.startswith("bad") else [("x", key.encode())]


def spool_in(
    folder: Path,
    *,
    room: Room | None = None,
    ring: Callable[[], None] = lambda: None,
    capacity: int = 1_000,
    clock: Callable[[], float] | None = None,
    encode: Callable[[Record], Entry] = encode,
) -> SpoolBuffer:
    return SpoolBuffer(room or room_in(folder), encode=encode, ring=ring, capacity=capacity, monotonic=clock or Clock())


def adoption_in(folder: Path, *, room: Room | None = None, clock: Callable[[], float] | None = None) -> Adoption:
    return Adoption(room or room_in(folder), monotonic=clock or Clock(), random=lambda: 1.0)


def line(name: str) -> bytes:
    return line_of([("x", name.encode())])


def left_behind(folder: Path, stem: str, *names: str, tail: bytes = b"", changed_s: float = NOW_S) -> Path:
    """Write the file of a process that is gone."""
    path = folder / f"events-{stem}.spool"
    path.write_bytes(b"".join(map(line, names)) + tail)
    os.utime(path, (changed_s, changed_s))
    return path


def name_of(entry: Entry) -> str | None:
    return None if entry is None else "+".join(text.decode() for _, text in entry)


def drained(source: Source, at_most: int = 100_000) -> list[str | None]:
    """Take and settle what is there."""
    names: list[str | None] = []
    try:
        while len(names) < at_most:
            names.append(name_of(source.take()))
    except IndexError:
        pass
    source.settle(len(names))
    return names


def files_in(folder: Path, suffix: str = ".spool") -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(suffix))


def descriptors_in(folder: Path) -> list[str]:
    """Give the files of a folder that this process has open, once per descriptor; those that were removed, too."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith(f"{folder}/"):
            found.append(target)
    return sorted(found)


@contextmanager
def full_disk(room_bytes: int = 0) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def in_child(action: Callable[[], object]) -> int:
    """Run something in a forked child.

    Returns:
        0 when it gave something true, 1 for something false, 2 for an exception.
    """
    child = os.fork()
    if child == 0:
        code = 2
        try:
            signal.alarm(20)
            code = 0 if action() else 1
        except BaseException as error:
            sys.stderr.write(repr(error))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def other_process(begin: Callable[[], object]) -> Iterator[int]:
    """Have another process that has done something and lives until the end; give its id."""
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            kept: Sequence[object] = [begin()]
            os.write(begun, b"!" * len(kept))
            while True:
                signal.pause()
        except BaseException as error:
            sys.stderr.write(repr(error))
        finally:
            os._exit(2)
    os.close(begun)
    try:
        assert os.read(ready, 1), "the other process did not begin"
        yield child
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
