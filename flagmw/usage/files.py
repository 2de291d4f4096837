"""Which files a code base has: folders and packages of the configuration, by the rules of the official Scavenger agent.

Beyond it, modules that are compiled only are found, and archives: those that the configuration names, and those in its
folders that Python imports from. What cannot be found is a `FileProblem`, never an exception.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import PurePath

from flagmw.usage.archives import SOURCE, Archives, on_import_path, split
from flagmw.usage.bytecode import CACHE_FOLDER, COMPILED
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import FileProblem

_WILDCARDS = frozenset("*?[")
_ANY_DEPTH = "**"
_name_of = itemgetter(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """A file that holds functions.

    Attributes:
        parts: its path inside the code base's folder, as if it were a source.
        path: as a recorder names it, see `Seen`.
        shown_path: as the configuration leads to it.
        location: of the file, or of the archive that it is in.
        member: its name in the archive; None outside.
        is_link: a link leads to it, so that it may have a better name.
    """

    parts: tuple[str, ...]
    path: str
    shown_path: str
    location: str
    member: str | None = None
    is_link: bool = False

    @property
    def package_name(self) -> str:
        """The dotted path that signatures begin with."""
        return ".".join(self.parts)[: -len(SOURCE)]

    @property
    def is_compiled(self) -> bool:
        """Whether there is no source."""
        return (self.member or self.location).endswith(COMPILED)


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
    """A folder of the code base, or an archive.

    Attributes:
        text: as the configuration writes it, normalised; exclusions are compared with it.
        location: where it is, absolute.
        within: text of the folder that an archive was found in; exclusions are compared with it too.
    """

    text: str
    location: str
    within: str | None = None


def roots_of(config: UsageConfig) -> tuple[Root, ...]:
    """Note where the folders are now, so that the application may change its working directory."""
    return tuple(Root(text=str(PurePath(folder)), location=os.path.abspath(folder)) for folder in config.codebase)


def find_files(config: UsageConfig, roots: tuple[Root, ...], archives: Archives) -> FoundFiles:
    """List the files of all packages in all folders."""
    found = FoundFiles()
    unmatched = dict.fromkeys(config.packages, "no file of it was found below the folders of codebase")
    for root in (*roots, *_archives_in(roots)):
        excluded = _excluded(root, config)
        for package in config.packages:
            for file in _files_of(root, package, archives, found.problems):
                if excluded and file.shown_path.startswith(excluded):
                    if package in unmatched:
                        unmatched[package] = "exclude_packages leaves out all of its files"
                else:
                    found.files.append(file)
                    unmatched.pop(package, None)
    for package, why in unmatched.items():
        found.problems.append(FileProblem(path=package, message=_hint(why, package, roots)))
    return found


def _excluded(root: Root, config: UsageConfig) -> tuple[str, ...]:
    texts = [root.text] if root.within is None else [root.text, root.within]
    return tuple(str(PurePath(text, name.replace(".", "/"))) for text in texts for name in config.exclude_packages)


def _hint(why: str, package: str, roots: tuple[Root, ...]) -> str:
    """Say more where a package's name is that of a module."""
    for root in roots:
        if os.path.isfile(os.path.join(root.location, *_parts(package)) + SOURCE):
            return f"{why}: it is a single module, and packages names folders; name the package that holds it"
    return why


def _archives_in(roots: tuple[Root, ...]) -> Iterator[Root]:
    """Give the archives that modules are imported from and that lie in a folder of the code base."""
    known = {root.location for root in roots}
    folders = [(root, os.path.join(os.path.realpath(root.location), "")) for root in roots]
    for archive, inside in on_import_path():
        location = os.path.join(archive, *inside)
        real = os.path.realpath(archive)
        for root, folder in folders:
            if real.startswith(folder) and location not in known:
                known.add(location)
                text = str(PurePath(root.text, real[len(folder) :], *inside))
                yield Root(text=text, location=location, within=root.text)


def _files_of(root: Root, package: str, archives: Archives, problems: list[FileProblem]) -> Iterator[CodeFile]:
    if os.path.isdir(root.location):
        for folder in _package_folders(root, package):
            location = os.path.join(root.location, *folder)
            shown = str(PurePath(root.text, *folder))
            yield from _walk(folder, "" if shown == "." else shown, location, os.path.realpath(location), problems)
        return
    found = split(root.location)
    if found is not None:
        yield from _files_in_archive(root, *found, package, archives, problems)
        return
    problem = FileProblem(path=root.text, message=_missing(root.location))
    if problem not in problems:
        problems.append(problem)


def _missing(location: str) -> str:
    found = "it is no folder and no archive" if os.path.exists(location) else "there is no such folder"
    return f"{found}; codebase names the folders that hold the packages"


def _parts(package: str) -> tuple[str, ...]:
    return tuple(part for part in package.replace(".", "/").split("/") if part)


def _package_folders(root: Root, package: str) -> list[tuple[str, ...]]:
    """Give the folders of a package, as paths inside the root; a package's own folder may be a link."""
    parts = _parts(package)
    if not any(_WILDCARDS & set(part) for part in parts):
        return [parts] if os.path.isdir(os.path.join(root.location, *parts)) else []
    found = sorted({tuple(path) for path in _matching(root.location, parts)})
    if _ANY_DEPTH not in parts:
        return found
    return [path for path in found if not any(path[:depth] in found for depth in range(len(path)))]


def _matching(location: str, parts: tuple[str, ...]) -> Iterator[list[str]]:
    """Give the folders that a name with wildcards means; `**` goes to any depth, but through no link."""
    if not parts:
        yield []
        return
    if parts[0] == _ANY_DEPTH:
        yield from _matching(location, parts[1:])
    with contextlib.suppress(OSError), os.scandir(location) as listing:
        for entry in listing:
            if parts[0] == _ANY_DEPTH:
                rest = parts if _is_folder(entry) else None
            else:
                is_wanted = fnmatch.fnmatchcase(entry.name, parts[0]) and os.path.isdir(entry.path)
                rest = parts[1:] if is_wanted else None
            if rest is not None:
                yield from ([entry.name, *below] for below in _matching(entry.path, rest))


def _walk(
    parts: tuple[str, ...], shown: str, location: str, real: str, problems: list[FileProblem]
) -> Iterator[CodeFile]:
    """Give the files below a folder, sorted by the names on the way; links to folders are not followed."""
    suffixes = SOURCE if parts[-1:] == (CACHE_FOLDER,) else (SOURCE, COMPILED)
    try:
        with os.scandir(location) as listing:
            entries = [
                (entry.name, is_folder, entry)
                for entry in listing
                if (is_folder := _is_folder(entry)) or entry.name.endswith(suffixes)
            ]
    except OSError as error:
        problems.append(FileProblem(path=shown or ".", message=f"it cannot be read: {error.strerror}"))
        return
    entries.sort(key=_name_of)
    sources = {name for name, _, _ in entries if name.endswith(SOURCE)}
    for name, is_folder, entry in entries:
        if name in sources or not (is_folder or name[:-1] in sources):
            is_link = entry.is_symlink()
            yield CodeFile(
                parts=(*parts, name if name in sources else name[:-1]),
                path=os.path.realpath(entry.path) if is_link else os.path.join(real, name),
                shown_path=os.path.join(shown, name),
                location=entry.path,
                is_link=is_link,
            )
        if is_folder:
            yield from _walk((*parts, name), os.path.join(shown, name), entry.path, os.path.join(real, name), problems)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _files_in_archive(
    root: Root,
    archive: str,
    inside: tuple[str, ...],
    package: str,
    archives: Archives,
    problems: list[FileProblem],
) -> Iterator[CodeFile]:
    wanted = _parts(package)
    real = os.path.realpath(archive)
    try:
        modules = archives.modules(archive, inside)
    except OSError as error:
        problem = FileProblem(path=root.text, message=f"it cannot be read: {error.strerror}")
        if problem not in problems:
            problems.append(problem)
        return
    for parts, member, loaded in modules:
        if _begins_with(parts[:-1], wanted):
            yield CodeFile(
                parts=parts,
                path=os.path.join(real, *loaded.split("/")),
                shown_path=str(PurePath(root.text, *member.split("/")[len(inside) :])),
                location=archive,
                member=member,
            )


def _begins_with(folders: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Tell whether folders lie in a package, whose name may have wildcards."""
    if not wanted:
        return True
    if wanted[0] == _ANY_DEPTH:
        return any(_begins_with(folders[depth:], wanted[1:]) for depth in range(len(folders) + 1))
    return bool(folders) and fnmatch.fnmatchcase(folders[0], wanted[0]) and _begins_with(folders[1:], wanted[1:])
