"""The last good flags on disk, for a process that starts while the service is down.

A file is replaced as a whole or not at all, readable by its owner only, and begins with a line by which a torn or
foreign file is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from flagmw.errors import TransportError

logger = logging.getLogger("flagmw")

MAX_BYTES = 256 * 1024 * 1024

_FIRST_LINE = re.compile(rb"flagmw-cache 1 ([0-9a-f]{32})\n")
_FIRST_LINE_BYTES = 48

_ABANDONED_S = 60.0
"""Before this age, a temporary file may be that of a process which we cannot see, in another container."""

_OLD_S = 24 * 3600.0


def cache_path(folder: str | os.PathLike[str], service: str, secret: str) -> Path:
    """Name the file for the flags of one environment; nothing is created.

    Args:
        folder: where it lies.
        service: the flag service, for people who look into the folder.
        secret: of the environment; a part of its hash goes into the name.
    """
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Path(folder) / f"{service}-{digest}.flags"


class SnapshotCache:
    """Keeps one document in a file. Several processes may use the same one; the last to save wins.

    Args:
        path: of the file; its folder is created, for its owner only, when something is saved.
        max_bytes: a larger file is not read.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes

    def load(self) -> bytes | None:
        """Give the document that was saved last, None when there is none that can be used; never raises."""
        try:
            return self._read()
        except FileNotFoundError:
            return None
        except OSError as error:
            why = error.strerror or type(error).__name__
        except ValueError as error:
            why = str(error)
        logger.warning("%s: the flags kept there cannot be used: %s", self._path, why)
        return None

    def _read(self) -> bytes:
        # Not blocking, should somebody have put a pipe there.
        descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise ValueError("not a regular file")
            if info.st_size > self._max_bytes + _FIRST_LINE_BYTES:
                raise ValueError(f"larger than {self._max_bytes} bytes")
            first = _FIRST_LINE.fullmatch(file.read(_FIRST_LINE_BYTES))
            if first is None:
                raise ValueError("not written by this version of flagmw")
            content = file.read(self._max_bytes + 1)
        if _new_digest(content).hexdigest().encode() != first[1]:
            raise ValueError("damaged")
        return content

    def save(self, pieces: Iterable[bytes]) -> None:
        """Replace the document.

        Args:
            pieces: the document, one after another.

        Raises:
            TransportError: it cannot be written; names the file and the cause. The one before stays.
        """
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
        try:
            os.makedirs(self._path.parent, mode=0o700, exist_ok=True)
            try:
                made_s = _write(temporary, pieces)
                os.replace(temporary, self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise TransportError(f"{self._path}: {error.strerror or type(error).__name__}") from None
        self._tidy_up(made_s)

    def _tidy_up(self, now_s: float) -> None:
        """Remove what processes left that died while they saved."""
        pattern = re.compile(rf"\.{re.escape(self._path.name)}\.(\d+)\.[0-9a-f]+\.tmp")
        with contextlib.suppress(OSError):
            for name in os.listdir(self._path.parent):
                found = pattern.fullmatch(name)
                if found is None:
                    continue
                place = self._path.with_name(name)
                with contextlib.suppress(OSError):
                    age_s = now_s - os.stat(place).st_mtime
                    if age_s > _OLD_S or (age_s > _ABANDONED_S and not _is_alive(int(found[1]))):
                        os.unlink(place)


def _new_digest(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=16)


def _write(path: Path, pieces: Iterable[bytes]) -> float:
    """Write a new file to the disk; gives its time by the clock of the file system."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    with open(descriptor, "wb") as file:
        digest = _new_digest()
        file.write(b" " * _FIRST_LINE_BYTES)
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.seek(0)
        file.write(f"flagmw-cache 1 {digest.hexdigest()}\n".encode())
        file.flush()
        os.fsync(descriptor)
        return os.fstat(descriptor).st_mtime


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
