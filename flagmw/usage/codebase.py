"""`Scanner`: which functions a code base has, found from its files without importing them.

The rules of files and names are the official Scavenger agent's; beyond it, async functions and lambdas are found, bad
files are left out and named, compiled code is read where it can be, and a second scan reads what changed only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flagmw.usage.archives import Archives
from flagmw.usage.config import UsageConfig
from flagmw.usage.definitions import Definition, each_place_once
from flagmw.usage.file_reading import Version, definitions_of, read, version_of
from flagmw.usage.files import CodeFile, find_files, roots_of
from flagmw.usage.fingerprints import fingerprint, official_fingerprint
from flagmw.usage.functions import CodeBase, FileProblem, Function, FunctionKind
from flagmw.usage.scan_cache import Parsed, ScanCache
from flagmw.usage.source_scan import UnreadableSource, definitions_in

__all__ = ["Scanner", "official_fingerprint", "official_functions"]


@dataclass(frozen=True, slots=True)
class _Known:
    """What one file gave.

    Attributes:
        file: where it is.
        version: that was read.
        functions: that are wanted of it.
        problem: why it could not be read.
    """

    file: CodeFile
    version: Version | None
    functions: tuple[Function, ...] = ()
    problem: FileProblem | None = None


class Scanner:
    """Scans a code base. Constructing one touches no file; one thread at a time may use it.

    Args:
        config: what to look at; folders are taken from the working directory of this moment.
    """

    def __init__(self, config: UsageConfig) -> None:
        self._config = config
        self._roots = roots_of(config)
        self._known: dict[str, _Known] = {}
        self._cache = ScanCache(root.location for root in self._roots)

    def scan(
        self, on_progress: Callable[[int, int], None] | None = None, pause: Callable[[float], None] | None = None
    ) -> CodeBase:
        """Find the functions that exist now. Never raises for what a code base holds; what the callbacks raise passes.

        Args:
            on_progress: called after each file with how many are done, and how many there are.
            pause: called after each file with the seconds spent on it, so that a thread in the background can yield.
        """
        with Archives() as archives:
            found = find_files(self._config, self._roots, archives)
            files = _each_once(found.files)
            for done, file in enumerate(files, 1):
                began = time.perf_counter()
                self._known[file.path] = self._look(file, archives)
                if on_progress is not None:
                    on_progress(done, len(files))
                if pause is not None:
                    pause(time.perf_counter() - began)
        self._cache.save()
        self._known = {file.path: self._known[file.path] for file in sorted(files, key=lambda file: file.path)}
        functions = tuple(function for known in self._known.values() for function in known.functions)
        problems = [known.problem for known in self._known.values() if known.problem is not None]
        return CodeBase(
            functions=functions,
            fingerprint=fingerprint(self._config, [function.signature for function in functions]),
            problems=(*found.problems, *problems),
        )

    def _look(self, file: CodeFile, archives: Archives) -> _Known:
        """Read a file, unless it is as it was."""
        known = self._known.get(file.path)
        try:
            if known is not None and known.file == file and known.version == version_of(file):
                return known
            content = read(file, archives)
        except OSError as error:
            message = f"it cannot be read: {error.strerror or error}"
            return _Known(file, None, (), FileProblem(path=file.shown_path, message=message))

        def parse(source: bytes) -> list[Definition]:
            return self._parse(file, content.version, source)

        try:
            definitions = definitions_of(file, content, parse, needs_decorators=bool(self._config.decorators))
        except UnreadableSource as error:
            problem = FileProblem(path=file.shown_path, message=error.message, line=error.line)
            return _Known(file, content.version, (), problem)
        return _Known(file, content.version, _functions(self._config, file, each_place_once(definitions)))

    def _parse(self, file: CodeFile, version: Version, source: bytes) -> list[Definition]:
        """Parse a file, unless this or another process did before.

        Raises:
            UnreadableSource: it does not parse.
        """
        parsed = self._cache.find(file.path, version)
        if parsed is None:
            try:
                parsed = Parsed(version, definitions_in(source))
            except UnreadableSource as error:
                parsed = Parsed(version, [], error.message, error.line)
            self._cache.add(file.path, parsed)
        if parsed.problem is not None:
            raise UnreadableSource(parsed.problem, parsed.line)
        return parsed.definitions


def official_functions(config: UsageConfig) -> tuple[Function, ...]:
    """List what the official agent finds, in its order: files by path, in each the outer functions first.

    A file to which the configuration leads twice is listed twice; async functions and lambdas are left out, and so is
    what is compiled only. Bad files are left out too, for which the official agent raises.
    """
    functions: list[Function] = []
    with Archives() as archives:
        for file in find_files(config, roots_of(config), archives).files:
            if file.is_compiled or file.member is not None:
                continue
            try:
                definitions = definitions_in(read(file, archives).content)
            except (UnreadableSource, OSError):
                continue
            by_level = sorted(definitions, key=lambda found: found.level)
            functions += _functions(config, file, [found for found in by_level if found.kind is FunctionKind.DEF])
    return tuple(functions)


def _each_once(files: Iterable[CodeFile]) -> list[CodeFile]:
    """Keep one way to each file: the first, but no link where there is a way without."""
    kept: dict[str, CodeFile] = {}
    for file in files:
        known = kept.setdefault(file.path, file)
        if known.is_link and not file.is_link:
            kept[file.path] = file
    return list(kept.values())


def _functions(config: UsageConfig, file: CodeFile, definitions: Iterable[Definition]) -> tuple[Function, ...]:
    """Name the functions of a file, without those that the configuration leaves out."""
    package_name = file.package_name
    wanted = frozenset(config.decorators)
    declaring_types = {"": package_name}
    functions = []
    for found in definitions:
        if config.exclude_init and found.name == "__init__":
            continue
        if wanted and wanted.isdisjoint(found.decorators):
            continue
        declaring_type = declaring_types.get(found.chain)
        if declaring_type is None:
            declaring_type = declaring_types[found.chain] = f"{package_name}.{found.chain}"
        functions.append(
            Function(
                package_name=package_name,
                declaring_type=declaring_type,
                name=found.name,
                parameter_types=sys.intern(found.parameter_types),
                kind=found.kind,
                path=file.path,
                shown_path=file.shown_path,
                first_line=found.first_line,
                last_line=found.last_line,
            )
        )
    return tuple(functions)
