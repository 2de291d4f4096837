"""Reads the functions of one file: from the compiled code that Python has of it where that is certain, else by parsing."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from types import CodeType
from typing import NamedTuple

from flagmw.usage.archives import Archives
from flagmw.usage.bare_code import bare_definitions
from flagmw.usage.bytecode import NotUsable, cache_path, is_of, is_same, is_unchecked, load
from flagmw.usage.compiled_scan import checked_definitions
from flagmw.usage.definitions import Definition
from flagmw.usage.files import CodeFile
from flagmw.usage.source_scan import UnreadableSource, definitions_in

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)

Parser = Callable[[bytes], list[Definition]]


class Version(NamedTuple):
    """By which a file is known to be unchanged; an archive's for what is in it."""

    mtime_ns: int
    size_bytes: int


class Content(NamedTuple):
    """A file's content, and the version that it is of."""

    version: Version
    content: bytes


def version_of(file: CodeFile) -> Version:
    """Give the version that a file has now.

    Raises:
        OSError: it cannot be seen.
    """
    status = os.stat(file.location)
    return Version(status.st_mtime_ns, status.st_size)


def read(file: CodeFile, archives: Archives) -> Content:
    """Read a file.

    Raises:
        OSError: it cannot be read.
    """
    if file.member is not None:
        return Content(version_of(file), archives.read(file.location, file.member))
    return _read_plain(file.location)


def definitions_of(
    file: CodeFile, content: Content, parse: Parser = definitions_in, *, needs_decorators: bool = False
) -> list[Definition]:
    """Find the functions of a file.

    Args:
        file: where it is.
        content: of it.
        parse: reads a source.
        needs_decorators: compiled code does not tell them.

    Raises:
        UnreadableSource: it cannot be parsed, or is compiled and not for this Python.
    """
    if file.is_compiled:
        try:
            return bare_definitions(load(content.content))
        except NotUsable as error:
            raise UnreadableSource(error.message) from None
    if file.member is None and not needs_decorators:
        definitions = _compiled_definitions(file, content)
        if definitions is not None:
            return definitions
    return parse(content.content)


def _compiled_definitions(file: CodeFile, content: Content) -> list[Definition] | None:
    with contextlib.suppress(OSError, NotUsable, RecursionError):
        path = cache_path(file.location)
        if path is None:
            return None
        compiled = _read_plain(path).content
        source = content.content
        if is_of(compiled, source, content.version.mtime_ns // 1_000_000_000):
            code: CodeType = load(compiled)
            if is_unchecked(compiled) and not is_same(compiled, source):
                # Python runs the code whatever the source says
                return bare_definitions(code)
            return checked_definitions(code, source)
    return None


def _read_plain(location: str) -> Content:
    """Read a file; quicker than with a file object, of which a scan would make many. A pipe does not hold it up."""
    descriptor = os.open(location, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file")
        content = os.read(descriptor, status.st_size + 1)
        if len(content) != status.st_size:
            while more := os.read(descriptor, 1 << 20):
                content += more
    finally:
        os.close(descriptor)
    return Content(Version(status.st_mtime_ns, status.st_size), content)
