"""Zip archives that hold modules: wheels, eggs, bundles. Which files are in one, and what Python would load of them."""

from __future__ import annotations

import os
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from flagmw.usage.bytecode import CACHE_FOLDER, COMPILED, NotUsable, is_of

SOURCE = ".py"
_TIME_TOLERANCE_S = 1
"""Archives keep even seconds only."""


def split(location: str) -> tuple[str, tuple[str, ...]] | None:
    """Tell an archive from the folder inside it that a path leads to.

    Returns:
        The archive's path, and the parts inside it; None where no archive is on the way.
    """
    inside: tuple[str, ...] = ()
    while not os.path.exists(location):
        location, name = os.path.split(location)
        if not name:
            return None
        inside = (name, *inside)
    if not os.path.isfile(location) or not zipfile.is_zipfile(location):
        return None
    return location, inside


def on_import_path() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give the archives from which modules can be imported now, as `split` does."""
    for entry in tuple(sys.path):
        # what is no text is no entry, though programs may put it there
        if isinstance(entry, str) and entry and not os.path.isdir(entry):
            found = split(os.path.abspath(entry))
            if found is not None:
                yield found


class Archives:
    """Archives that are open while a scan reads them; a context manager that closes them."""

    def __init__(self) -> None:
        self._open: dict[str, zipfile.ZipFile] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for archive in self._open.values():
            archive.close()
        self._open = {}

    def read(self, archive: str, member: str) -> bytes:
        """Read a file of an archive.

        Raises:
            OSError: it cannot be read.
        """
        try:
            opened = self._opened(archive)
            if opened.getinfo(member).compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise OSError(0, "compressed in a way that Python cannot import")
            return opened.read(member)
        except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError, ValueError) as error:
            # RuntimeError: it is encrypted
            raise OSError(0, f"not readable in the archive: {error}") from None

    def modules(self, archive: str, inside: tuple[str, ...]) -> list[tuple[tuple[str, ...], str, str]]:
        """List what Python could import, sorted.

        Args:
            archive: its path.
            inside: the folder in it to begin at.

        Returns:
            The parts of the path below that folder, as if all were sources; the member to read; the member that
            Python names as the module's file, which is compiled where that is up to date.

        Raises:
            OSError: it cannot be read.
        """
        try:
            members = self._opened(archive).NameToInfo
        except (zipfile.BadZipFile, ValueError) as error:
            raise OSError(0, f"no readable archive: {error}") from None
        found = []
        for name in members:
            parts = tuple(name.split("/"))
            if parts[: len(inside)] != inside:
                continue
            below = parts[len(inside) :]
            if name.endswith(SOURCE):
                found.append((below, name, self._loaded(archive, name)))
            elif name.endswith(COMPILED) and name[:-1] not in members and CACHE_FOLDER not in parts:
                found.append(((*below[:-1], below[-1][:-1]), name, name))
        return sorted(found)

    def _loaded(self, archive: str, source: str) -> str:
        """Give the member that Python loads: a compiled one where it is of the source."""
        opened = self._opened(archive)
        compiled = f"{source}c"
        if compiled not in opened.NameToInfo:
            return source
        info = opened.NameToInfo[source]
        mtime = time.mktime((*info.date_time, -1, -1, -1))
        try:
            text, code = self.read(archive, source), self.read(archive, compiled)
            if is_of(code, text, mtime, _TIME_TOLERANCE_S):
                return compiled
        except (OSError, NotUsable):
            pass
        return source

    def _opened(self, archive: str) -> zipfile.ZipFile:
        if archive not in self._open:
            self._open[archive] = zipfile.ZipFile(archive)
        return self._open[archive]
