"""`Scanner`: which functions a code base has, found from its files without importing them.

The rules of files and names are the official Scavenger agent's; beyond it, async functions and lambdas are found, bad
files are left out and named, and a second scan reads what changed only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flagmw.usage.config import UsageConfig
from flagmw.usage.definitions import Definition, each_place_once
from flagmw.usage.files import CodeFile, find_files, roots_of
from flagmw.usage.fingerprints import fingerprint, official_fingerprint
from flagmw.usage.functions import CodeBase, FileProblem, Function, FunctionKind
from flagmw.usage.source_scan import UnreadableSource, definitions_in

__all__ = ["Scanner", "official_fingerprint", "official_functions"]


class Scanner:
    """Scans a code base. Constructing one touches no file; one thread at a time may use it.

    Args:
        config: what to look at; folders are taken from the working directory of this moment.
    """

    def __init__(self, config: UsageConfig) -> None:
        self._config = config
        self._roots = roots_of(config)

    def scan(
        self, on_progress: Callable[[int, int], None] | None = None, pause: Callable[[float], None] | None = None
    ) -> CodeBase:
        """Find the functions that exist now. Never raises for what a code base holds.

        Args:
            on_progress: called after each file with how many are done, and how many there are.
            pause: called after each file with the seconds spent on it, so that a thread in the background can yield.
        """
        found = find_files(self._config, self._roots)
        problems = list(found.problems)
        files = _each_once(found.files)
        functions: list[Function] = []
        for done, file in enumerate(files, 1):
            began = time.perf_counter()
            functions += self._functions_of(file, problems)
            if on_progress is not None:
                on_progress(done, len(files))
            if pause is not None:
                pause(time.perf_counter() - began)
        functions.sort(key=lambda function: (function.path, function.first_line, function.name))
        return CodeBase(
            functions=tuple(functions),
            fingerprint=fingerprint(self._config, (function.signature for function in functions)),
            problems=tuple(problems),
        )

    def _functions_of(self, file: CodeFile, problems: list[FileProblem]) -> list[Function]:
        definitions = _read(file, problems)
        return [_function(file, found) for found in each_place_once(definitions) if _is_wanted(self._config, found)]


def official_functions(config: UsageConfig) -> tuple[Function, ...]:
    """List what the official agent finds, in its order: files by path, in each the outer functions first.

    A file to which the configuration leads twice is listed twice; async functions and lambdas are left out. Bad files
    are left out too, for which the official agent raises.
    """
    functions: list[Function] = []
    for file in find_files(config, roots_of(config)).files:
        definitions = sorted(_read(file, []), key=lambda found: found.level)
        functions += [
            _function(file, found)
            for found in definitions
            if found.kind is FunctionKind.DEF and _is_wanted(config, found)
        ]
    return tuple(functions)


def _read(file: CodeFile, problems: list[FileProblem]) -> list[Definition]:
    try:
        with open(file.path, "rb") as opened:
            return definitions_in(opened.read())
    except UnreadableSource as error:
        problems.append(FileProblem(path=file.shown_path, message=error.message, line=error.line))
    except OSError as error:
        problems.append(FileProblem(path=file.shown_path, message=f"it cannot be read: {error.strerror}"))
    return []


def _each_once(files: Iterable[CodeFile]) -> list[CodeFile]:
    """Keep one way to each file: the first, but no link where there is a way without."""
    kept: dict[str, CodeFile] = {}
    for file in files:
        if file.path not in kept or (kept[file.path].is_link and not file.is_link):
            kept[file.path] = file
    return list(kept.values())


def _is_wanted(config: UsageConfig, found: Definition) -> bool:
    if config.exclude_init and found.name == "__init__":
        return False
    return not config.decorators or not set(config.decorators).isdisjoint(found.decorators)


def _function(file: CodeFile, found: Definition) -> Function:
    package_name = file.package_name
    return Function(
        package_name=package_name,
        declaring_type=f"{package_name}.{found.chain}" if found.chain else package_name,
        name=found.name,
        parameter_types=found.parameter_types,
        kind=found.kind,
        path=file.path,
        shown_path=file.shown_path,
        first_line=found.first_line,
        last_line=found.last_line,
    )
