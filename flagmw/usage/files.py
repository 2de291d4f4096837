"""Which files a code base has: folders and packages of the configuration, by the rules of the official Scavenger agent.

Nothing is read here but folders. What cannot be found is a `FileProblem`, never an exception.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import FileProblem

SOURCE = ".py"
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """A file that holds functions.

    Attributes:
        parts: its path inside the code base's folder.
        path: as a recorder names it, see `Seen`.
        shown_path: as the configuration leads to it.
        is_link: a link leads to it, so that it may have a better name.
    """

    parts: tuple[str, ...]
    path: str
    shown_path: str
    is_link: bool = False

    @property
    def package_name(self) -> str:
        """The dotted path that signatures begin with."""
        return ".".join(self.parts)[: -len(SOURCE)]


@dataclass(slots=True)
class FoundFiles:
    """What a configuration leads to.

    Attributes:
        files: in the order of the configuration, then of paths; a file may come twice.
        problems: folders that cannot be read, packages without files.
    """

    files: list[CodeFile] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder of the code base.

    Attributes:
        text: as the configuration writes it, normalised; exclusions are compared with it.
        location: where it is, absolute.
    """

    text: str
    location: str


def roots_of(config: UsageConfig) -> tuple[Root, ...]:
    """Note where the folders are now, so that the application may change its working directory."""
    return tuple(Root(text=str(PurePath(folder)), location=os.path.abspath(folder)) for folder in config.codebase)


def find_files(config: UsageConfig, roots: tuple[Root, ...]) -> FoundFiles:
    """List the files of all packages in all folders. Any thread may call it."""
    found = FoundFiles()
    unmatched = dict.fromkeys(config.packages, "no file of it was found")
    for root in roots:
        excluded = tuple(str(PurePath(root.text, name.replace(".", "/"))) for name in config.exclude_packages)
        if not os.path.isdir(root.location):
            found.problems.append(FileProblem(path=root.text, message=_missing(root.location)))
            continue
        for package in config.packages:
            for folder in _package_folders(root, package):
                for file in _walk(root, folder, found.problems):
                    if file.shown_path.startswith(excluded):
                        if package in unmatched:
                            unmatched[package] = "exclude_packages leaves out all of its files"
                    else:
                        found.files.append(file)
                        unmatched.pop(package, None)
    for package, why in unmatched.items():
        found.problems.append(FileProblem(path=package, message=why))
    return found


def _missing(location: str) -> str:
    if os.path.exists(location):
        return "it is no folder; codebase names the folders that hold the packages"
    return "there is no such folder; codebase names the folders that hold the packages"


def _package_folders(root: Root, package: str) -> list[tuple[str, ...]]:
    """Give the folders of a package, as paths inside the root; a package's own folder may be a link."""
    parts = tuple(part for part in package.replace(".", "/").split("/") if part)
    if not any(_WILDCARDS & set(part) for part in parts):
        return [parts] if os.path.isdir(os.path.join(root.location, *parts)) else []
    start = Path(root.location)
    return sorted(path.relative_to(start).parts for path in set(start.glob("/".join(parts))) if path.is_dir())


def _walk(root: Root, parts: tuple[str, ...], problems: list[FileProblem]) -> Iterator[CodeFile]:
    """Give the files below a folder, sorted by the names on the way; links to folders are not followed."""
    location = os.path.join(root.location, *parts)
    yield from _walk_folder(root, parts, location, os.path.realpath(location), problems)


def _walk_folder(
    root: Root, parts: tuple[str, ...], location: str, real: str, problems: list[FileProblem]
) -> Iterator[CodeFile]:
    shown = str(PurePath(root.text, *parts))
    try:
        with os.scandir(location) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(FileProblem(path=shown, message=f"it cannot be read: {error.strerror}"))
        return
    prefix = "" if shown == "." else os.path.join(shown, "")
    for entry in entries:
        name = entry.name
        if name.endswith(SOURCE):
            is_link = entry.is_symlink()
            path = os.path.realpath(entry.path) if is_link else os.path.join(real, name)
            yield CodeFile(parts=(*parts, name), path=path, shown_path=f"{prefix}{name}", is_link=is_link)
        if _is_folder(entry):
            yield from _walk_folder(root, (*parts, name), entry.path, os.path.join(real, name), problems)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
