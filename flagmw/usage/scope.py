"""`Scope`: which modules are watched, by their names and files, and under which path each is known."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES

from flagmw.usage.config import UsageConfig

OURS = "flagmw"
_WILDCARDS = frozenset("*?[")
_NOT_PYTHON = tuple(EXTENSION_SUFFIXES)


class Scope:
    """Decides by a module's file, as the scan does; one more or less of a file is found out only once.

    A package is a folder below a folder of the code base, so that `app` does not take `apples`; an empty package is
    all of that folder. What is excluded is compared as text with the beginning of a path.

    Args:
        config: `codebase`, `packages` and `exclude_packages` of it; relative folders are those of now.
    """

    def __init__(self, config: UsageConfig) -> None:
        self._folders = [_Folder(folder, config) for folder in config.codebase]
        self._takes_ours = any(_is_ours(package.split(".")[0]) for package in config.packages)
        self._known: dict[str, str | None] = {}

    def path_of(self, module_name: str, origin: str) -> str | None:
        """Say under which path a module's code is known.

        Args:
            module_name: dotted; flagmw's own modules are watched only when a package is named so.
            origin: the file it was, or will be, loaded from; inside an archive it begins with the archive's path.

        Returns:
            The file with its links resolved; None when it is not watched, or has no code of Python's.
        """
        if not self._takes_ours and _is_ours(module_name.split(".", 1)[0]):
            return None
        try:
            return self._known[origin]
        except KeyError:
            return self._known.setdefault(origin, self._find(origin))

    def _find(self, origin: str) -> str | None:
        if origin.endswith(_NOT_PYTHON):
            return None
        path = os.path.realpath(origin)
        folder, name = os.path.split(os.path.abspath(origin))
        spellings = {path, os.path.join(folder, name), os.path.join(os.path.realpath(folder), name)}
        return path if any(folder.takes(spelling) for folder in self._folders for spelling in spellings) else None


class _Folder:
    """One folder, or archive, of the code base."""

    def __init__(self, folder: str, config: UsageConfig) -> None:
        as_given = os.path.abspath(folder)
        bases = {as_given, os.path.realpath(folder)}
        self._roots = tuple(root + os.sep for base in bases for root in _roots(base, config.packages))
        # With the working directory itself as folder an empty name excludes nothing: so the official scan has it.
        excluded = [name for name in config.exclude_packages if name or os.path.normpath(folder) != os.curdir]
        self._excluded = tuple(os.path.join(base, _as_path(name)) for base in bases for name in excluded)

    def takes(self, path: str) -> bool:
        """Tell whether a file is in a package and not excluded."""
        return path.startswith(self._roots) and not path.startswith(self._excluded)


def _roots(base: str, packages: tuple[str, ...]) -> Iterator[str]:
    """Give the folders of the packages, as they are spelled and with links resolved."""
    for package in packages:
        inside = _as_path(package)
        if _WILDCARDS.isdisjoint(inside):
            found = [os.path.join(base, inside).rstrip(os.sep)]
        else:
            found = glob.glob(os.path.join(glob.escape(base), inside))
        for root in found:
            yield root
            yield os.path.realpath(root)


def _as_path(package: str) -> str:
    return package.replace(".", os.sep)


def _is_ours(top: str) -> bool:
    return top == OURS or top.startswith(OURS + "_")
