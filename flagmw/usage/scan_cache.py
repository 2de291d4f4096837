"""What parsing found, kept on disk for the next process: one private file for each code base.

Only parsed files are in it, since compiled ones are read as quickly as this. It is a convenience: a file that is broken,
another's, or of another release is not used, and nothing is told when it cannot be written.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

from flagmw.lifecycle.places import StatePlace
from flagmw.usage.definitions import Definition
from flagmw.usage.file_reading import Version
from flagmw.usage.functions import FunctionKind

_FORM = [1, sys.version]
"""What is kept depends on how it is found, and on the grammar of the interpreter."""
_NAME = "parsed.json"


class Parsed(NamedTuple):
    """What parsing one file gave.

    Attributes:
        version: of the file.
        definitions: that are in it; none when it does not parse.
        problem: why it does not parse; None when it does.
        line: of the problem, 0 when unknown.
    """

    version: Version
    definitions: list[Definition]
    problem: str | None = None
    line: int = 0


class ScanCache:
    """Finds what was parsed by the path and the version of a file. Making one touches nothing.

    Several processes may use one: each replaces the file as a whole, by what it knows then.

    Args:
        roots: the folders of the code base, by which the file is found.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._place = StatePlace(None, "usage-scan", [sys.version, *roots])
        self._known: dict[str, Parsed] | None = None
        self._used: dict[str, Parsed] = {}
        self._is_new = False

    def find(self, path: str, version: Version) -> Parsed | None:
        """Give what was parsed of a file, if it is still the same."""
        if self._known is None:
            self._known = _load(os.path.join(self._place.path(), _NAME))
        parsed = self._used.get(path) or self._known.get(path)
        if parsed is None or parsed.version != version:
            return None
        self._used[path] = parsed
        return parsed

    def add(self, path: str, parsed: Parsed) -> None:
        """Keep what was parsed of a file."""
        self._used[path] = parsed
        self._is_new = True

    def save(self) -> None:
        """Write what was used since this was made, if some of it is new."""
        if not self._is_new:
            return
        self._is_new = False
        folder = self._place.path()
        with contextlib.suppress(OSError):
            for place in (folder.parent, folder):
                _make_private(str(place))
            _write(str(folder), self._used)


def _make_private(folder: str) -> None:
    """Make a folder for its owner only, or see that it is one.

    Raises:
        OSError: it cannot be made, or others may write to it.
    """
    with contextlib.suppress(FileExistsError):
        os.makedirs(folder, mode=0o700)
    info = os.lstat(folder)
    if not stat.S_ISDIR(info.st_mode):
        raise NotADirectoryError(folder)
    if not _is_own(info):
        raise PermissionError(folder)


def _is_own(info: os.stat_result) -> bool:
    """Tell whether only this process's user may have written something."""
    return os.name != "posix" or (info.st_uid == os.geteuid() and not info.st_mode & 0o077)


def _load(path: str) -> dict[str, Parsed]:
    try:
        with open(path, encoding="utf-8") as file:
            if not _is_own(os.fstat(file.fileno())):
                return {}
            form, files = json.load(file)
        if form != _FORM:
            return {}
        return {name: _parsed(*entry) for name, entry in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _parsed(mtime_ns: int, size_bytes: int, rows: list[list[object]], problem: str | None, line: int) -> Parsed:
    return Parsed(Version(mtime_ns, size_bytes), [_definition(*row) for row in rows], problem, line)


def _definition(*values: object) -> Definition:
    """Make a definition of a row.

    Raises:
        TypeError: the row is no such; another error of a broken file.
    """
    chain, name, parameter_types, kind, first_line, last_line, level, decorators = values
    texts, numbers = (chain, name, parameter_types), (first_line, last_line, level)
    if not (all(type(text) is str for text in texts) and all(type(number) is int for number in numbers)):
        raise TypeError("a row of the cache is broken")
    return Definition(*texts, FunctionKind(kind), *numbers, tuple(decorators))  # type: ignore[arg-type]  # checked above


def _write(folder: str, files: dict[str, Parsed]) -> None:
    entries = {
        path: [*parsed.version, parsed.definitions, parsed.problem, parsed.line] for path, parsed in files.items()
    }
    content = json.dumps([_FORM, entries], separators=(",", ":"), ensure_ascii=True)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=_NAME)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        os.replace(name, os.path.join(folder, _NAME))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
