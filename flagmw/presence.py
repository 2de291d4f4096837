"""`Presence`: tells whoever looks that this process uses an environment's flags, and how it is doing.

Each process writes a file of its own into the folder where the processes of a host meet, again and again, and holds a
lock on it that ends with the process. What others make of the files is `processes`'. A POSIX lock is the process's,
not the descriptor's: closing any descriptor of the file frees it, so nobody opens a file of his own process again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flagmw.lifecycle.descriptors import close_file_in_children, forget_file
from flagmw.lifecycle.places import StatePlace
from flagmw.lifecycle.threads import Background
from flagmw.status import Status

try:
    import fcntl
except ImportError:  # Windows: processes do not tell of themselves there
    fcntl = None  # type: ignore[assignment]  # see above

logger = logging.getLogger("flagmw")

PREFIX = "process-"
SUFFIX = ".json"
UNSEEN_SUFFIX = ".unseen"
"""Of a file that is being made; a process that is killed at that moment leaves it."""

PERIOD_S = 1.0
"""How often a process writes its file; more often in its first second, in which most happens."""

FIRST_PERIOD_S = 0.1

TIDY_INTERVAL_S = 30.0
"""How often the files of processes that were killed are removed."""

RETRY_S = 10.0
"""How often a process tries to make its file where that cannot be done: a disk may have room again."""

STEP_BYTES = 1024
"""Files are filled up with blanks to a multiple of this, and never shrink: no rest of a longer text stays behind."""

MAX_ERROR_CHARS = 300

_HEAD = b'{"crc":"%08x","process":'
_HEAD_BYTES = len(_HEAD % 0)


class Presence:
    """Shows one process in one environment. Making one starts nothing; nothing here raises or waits for a disk.

    All its I/O is in a thread of its own, which owns the descriptor.

    Args:
        place: where the processes of the host meet.
        describe: tells how this process is doing; called from the thread, a few times per second at most.
        tidy: removes the files of processes that are gone from the folder; called from the thread now and then.
        tidy_interval_s: how often.
    """

    def __init__(
        self,
        place: StatePlace,
        describe: Callable[[], Status],
        tidy: Callable[[Path], object] | None = None,
        *,
        tidy_interval_s: float = TIDY_INTERVAL_S,
    ) -> None:
        self._place = place
        self._describe = describe
        self._tidy = tidy
        self._tidy_interval_s = tidy_interval_s
        self._began = time.time()
        self._program = program_name()
        self._background: Background | None = None
        self._is_over = False

    def start(self) -> None:
        """Begin to show this process; may be called twice."""
        if fcntl is None or self._background is not None:
            return
        background = Background("flagmw-status", self._run)
        try:
            background.start()
        except RuntimeError as error:  # no more threads, or the interpreter is on its way out
            logger.debug("flagmw status will not show this process: %s", error)
            return
        self._background = background
        if self._is_over:  # while it was started
            background.ask_to_stop()

    def ask_to_stop(self) -> None:
        """Let the file be removed soon, without waiting."""
        self._is_over = True
        if self._background is not None:
            self._background.ask_to_stop()

    def close(self, timeout_s: float = 1.0) -> bool:
        """Remove the file; may be called twice. In a forked child nothing is done, since all of it is the parent's.

        Returns:
            Whether that was done in time.
        """
        return self._background.stop(timeout_s) if self._background is not None else True

    # --- in the thread --------------------------------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        file: _OwnFile | None = None
        period_s = FIRST_PERIOD_S
        tidy_at_s = time.monotonic() + self._tidy_interval_s
        if stopping.wait(FIRST_PERIOD_S):  # a process that is gone so soon needs not be shown
            return
        try:
            while True:
                if time.monotonic() >= tidy_at_s:
                    tidy_at_s = time.monotonic() + self._tidy_interval_s
                    self._clear()
                if file is not None and file.is_there():
                    file.write(self._text())
                else:
                    if file is not None:
                        file.forget()
                    file = self._make_file()
                if stopping.wait(period_s if file is not None else RETRY_S):
                    return
                period_s = min(period_s * 2, PERIOD_S)
        finally:
            if file is not None:
                file.remove()

    def _clear(self) -> None:
        try:
            folder = self._place.open()
            if folder is not None and self._tidy is not None:
                self._tidy(folder)
        except Exception:  # as in `_text`
            logger.debug("looking after the files of processes raised an error", exc_info=True)

    def _make_file(self) -> _OwnFile | None:
        folder = self._place.open()
        return _OwnFile.make(folder, self._text()) if folder is not None else None

    def _text(self) -> bytes:
        try:
            status = self._describe()
        except Exception:  # what another part of ours does wrong must not end the telling
            logger.debug("telling how this process is doing raised an error", exc_info=True)
            return b""
        return encode(status, program=self._program, began=self._began, at=time.time())


class _OwnFile:
    """A file that is locked as long as this process lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        info = os.fstat(descriptor)
        self._path = path
        self._descriptor = descriptor
        self._identity = (info.st_dev, info.st_ino)
        self._size = STEP_BYTES
        self._failed = False
        close_file_in_children(descriptor)

    @classmethod
    def make(cls, folder: Path, text: bytes) -> _OwnFile | None:
        """Make a file of a new name, which is locked and holds a text before anybody sees it; None where it cannot be."""
        path = folder / f"{PREFIX}{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
        unseen = path.with_suffix(UNSEEN_SUFFIX)
        file: _OwnFile | None = None
        try:
            descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            file = cls(path, descriptor)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(text)
            os.rename(unseen, path)
            return file
        except OSError as error:
            logger.debug("%s cannot be made (%s); flagmw status will not show this process", unseen, error)
        if file is not None:
            with contextlib.suppress(OSError):
                os.unlink(unseen)
            file.forget()
        return None

    def is_there(self) -> bool:
        """Tell whether the file still has its name, and the descriptor is still the file's."""
        try:
            info = os.fstat(self._descriptor)
        except OSError:
            return False
        return bool(info.st_nlink) and (info.st_dev, info.st_ino) == self._identity

    def write(self, text: bytes) -> None:
        """Replace what is in the file; a full disk leaves it as it was."""
        if not text:
            return
        self._size = max(self._size, -(-len(text) // STEP_BYTES) * STEP_BYTES)
        try:
            os.pwrite(self._descriptor, text.ljust(self._size - 1) + b"\n", 0)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                logger.debug("%s cannot be written: %s", self._path, error)

    def forget(self) -> None:
        """Close the descriptor, if it is still the file's; the file has lost its name."""
        forget_file(self._descriptor)
        with contextlib.suppress(OSError):
            info = os.fstat(self._descriptor)
            if (info.st_dev, info.st_ino) == self._identity:
                os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the file, then let go of it."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self.forget()


# --- the text -----------------------------------------------------------------------------------------------


def encode(status: Status, *, program: str, began: float, at: float) -> bytes:
    """Write what a process tells of itself: JSON, with a checksum for those who read while it is written.

    Args:
        status: how it is doing.
        program: its name.
        began: Unix time at which it began to use the environment.
        at: Unix time of now; monotonic clocks need not be the same in every container of a host.
    """
    fields = asdict(status)
    for name in ("age_s", "heartbeat_age_s", "revision_age_s"):
        if fields[name] is not None:
            fields[name] = round(fields[name], 3)
    if status.error is not None:
        fields["error"] = status.error[:MAX_ERROR_CHARS]
    fields["pid"] = os.getpid()
    told = {"program": program, "began": round(began, 3), "at": round(at, 3), **fields}
    text = json.dumps(told, separators=(",", ":")).encode()
    return _HEAD % zlib.crc32(text) + text + b"}"


def decode(text: bytes) -> dict[str, Any] | None:
    """Read what `encode` has written; None for what is empty, torn or something else."""
    text = text.rstrip()
    inner = text[_HEAD_BYTES:-1]
    if text[:_HEAD_BYTES] != _HEAD % zlib.crc32(inner) or text[-1:] != b"}":
        return None
    try:
        told = json.loads(inner)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def program_name() -> str:
    """Give the name of the program that runs here, as people know it."""
    arguments = getattr(sys, "argv", None) or [""]
    path = str(arguments[0])
    name = os.path.basename(path)
    if name == "__main__.py":  # python -m gunicorn
        name = os.path.basename(os.path.dirname(path))
    return name[:40] or "python"
