"""The files in which flags may be read, or functions be named: Python, templates, and configuration.

More than the usage agent's scan looks at: a function, or a flag, that only a script beside the watched packages uses is in
use all the same.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import FileProblem

TEMPLATES = (".html", ".htm", ".djhtml", ".jinja", ".jinja2", ".j2", ".xhtml", ".xml", ".txt", ".email", ".mjml")
OTHERS = (".toml", ".cfg", ".ini", ".conf", ".yaml", ".yml", ".json", ".sh", ".pyx", ".pxd", ".ipynb")
OTHER_NAMES = ("Procfile", "Makefile", "Dockerfile")
MAX_TEXT_BYTES = 2_000_000
"""A larger file that is not Python is data, not a template."""

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


class FileKind(StrEnum):
    """What a file is read for."""

    PYTHON = "python"
    TEMPLATE = "template"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a code base.

    Attributes:
        path: absolute, links resolved.
        shown_path: the code base's folder and the path in it, for people.
        kind: what it is.
        module: dotted name of a Python file, from the code base's folder; a package's own file has the package's name.
        is_watched: whether it belongs to the configured packages; templates always do.
        is_test: whether its name, or a folder's, is one that tests have.
    """

    path: str
    shown_path: str
    kind: FileKind = FileKind.PYTHON
    module: str = ""
    is_watched: bool = True
    is_test: bool = False

    @property
    def is_package(self) -> bool:
        """Whether it is a package's own file."""
        return os.path.basename(self.path) == "__init__.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFiles:
    """What was found.

    Attributes:
        files: sorted by path, each once.
        problems: folders that could not be read.
    """

    files: tuple[SourceFile, ...]
    problems: tuple[FileProblem, ...] = ()


def files_of(config: UsageConfig) -> SourceFiles:
    """List the files of a configured code base: everything below its folders.

    Left out are hidden folders, virtual environments, `node_modules`, and archives. Links to folders are followed as the
    usage agent's scan does.
    """
    found: dict[str, SourceFile] = {}
    problems: list[FileProblem] = []

    def failed(error: OSError) -> None:
        problems.append(FileProblem(path=str(error.filename or ""), message=error.strerror or "cannot be read"))

    for folder in config.codebase:
        if os.path.isfile(folder):
            continue  # an archive: its functions are known, its texts are not looked into
        watched = _watched(folder, config)
        linked = [os.path.join(folder, _in_folder(package)) for package in config.packages]
        for root in (folder, *(path for path in linked if os.path.islink(path))):
            for path in _walk(root, failed):
                file = _described(folder, path, watched)
                if file is not None:
                    found.setdefault(file.path, file)
    return SourceFiles(files=tuple(found[path] for path in sorted(found)), problems=tuple(problems))


def _in_folder(package: str) -> str:
    return package.strip(".").replace(".", "/")


def _watched(folder: str, config: UsageConfig) -> Callable[[str], bool]:
    """Give what tells whether a path inside a folder belongs to the configured packages, as the scan decides it."""
    patterns = [
        re.compile("".join(fnmatch.translate(part)[4:-3] + "/" for part in _in_folder(package).split("/") if part))
        for package in config.packages
    ]
    excluded = tuple(str(PurePath(folder, name.replace(".", "/"))) for name in config.exclude_packages)

    def is_watched(inside: str) -> bool:
        shown = str(PurePath(folder, inside))
        return any(pattern.match(inside) for pattern in patterns) and not (excluded and shown.startswith(excluded))

    return is_watched


def _walk(root: str, failed: object) -> Iterator[str]:
    for folder, folders, names in os.walk(root, onerror=failed):  # type: ignore[arg-type]  # called with an OSError
        folders[:] = sorted(
            name
            for name in folders
            if name[0] != "." and name not in _SKIPPED and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            yield os.path.join(folder, name)


def _described(folder: str, path: str, is_watched: Callable[[str], bool]) -> SourceFile | None:
    kind = _kind_of(path)
    if kind is None:
        return None
    inside = os.path.relpath(path, folder).replace(os.sep, "/")
    return SourceFile(
        path=os.path.realpath(path),
        shown_path=os.path.normpath(os.path.join(folder, inside)),
        kind=kind,
        module=_module_of(inside) if kind is FileKind.PYTHON else "",
        is_watched=kind is not FileKind.PYTHON or is_watched(inside),
        is_test=_is_test(inside),
    )


def _kind_of(path: str) -> FileKind | None:
    if path.endswith(".py"):
        return FileKind.PYTHON
    kind = FileKind.TEMPLATE if path.endswith(TEMPLATES) else None
    if kind is None and (path.endswith(OTHERS) or os.path.basename(path) in OTHER_NAMES):
        kind = FileKind.OTHER
    try:
        return kind if kind is not None and os.path.getsize(path) <= MAX_TEXT_BYTES else None
    except OSError:
        return None


def _module_of(inside: str) -> str:
    return inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_test(inside: str) -> bool:
    *folders, name = inside.split("/")
    return (
        "tests" in folders
        or name in ("tests.py", "conftest.py")
        or (name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py")))
    )
