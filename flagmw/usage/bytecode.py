"""Compiled files: which one Python would take for a source, and the code in it. Nothing of it is executed."""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from types import CodeType

COMPILED = ".pyc"
CACHE_FOLDER = "__pycache__"
_HEADER_BYTES = 16
_HASH = 0b01
_CHECKED = 0b10
_UINT32 = 0xFFFFFFFF


class NotUsable(Exception):
    """A compiled file that this Python would not take. Caught by the scan.

    Attributes:
        message: why.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def cache_path(source: str) -> str | None:
    """Give where this Python keeps the compiled code of a source when it runs without -O; None for nowhere."""
    tag = sys.implementation.cache_tag
    if tag is None:
        return None
    if sys.pycache_prefix is not None:
        return importlib.util.cache_from_source(source, optimization="")
    folder, name = os.path.split(source)
    return os.path.join(folder, CACHE_FOLDER, f"{name.rpartition('.')[0]}.{tag}{COMPILED}")


def load(content: bytes) -> CodeType:
    """Read the code of a compiled file.

    Raises:
        NotUsable: another Python made it, or it is broken.
    """
    _flags(content)
    try:
        code = marshal.loads(memoryview(content)[_HEADER_BYTES:])  # noqa: S302  # Python itself would execute it
    except (ValueError, EOFError, TypeError, MemoryError) as error:
        raise NotUsable(f"it is broken: {error}") from None
    if not isinstance(code, CodeType):
        raise NotUsable("it is broken: there is no code in it")
    return code


def is_of(content: bytes, source: bytes, mtime: float, tolerance_s: int = 0) -> bool:
    """Tell whether Python would take a compiled file for a source, by its time and size, or by its hash.

    Args:
        content: of the compiled file.
        source: the source's text.
        mtime: the source's, in seconds.
        tolerance_s: by how much times may differ.

    Raises:
        NotUsable: another Python made it, or it is broken.
    """
    flags = _flags(content)
    if flags & _HASH:
        return not flags & _CHECKED or is_same(content, source)
    made_of = int.from_bytes(content[8:12], "little")
    return abs(made_of - (int(mtime) & _UINT32)) <= tolerance_s and content[12:16] == _uint32(len(source))


def is_unchecked(content: bytes) -> bool:
    """Tell whether Python takes it whatever the source is now."""
    return content[4:8] == _uint32(_HASH)


def is_same(content: bytes, source: bytes) -> bool:
    """Tell whether a compiled file with a hash was made from a source."""
    return content[8:16] == importlib.util.source_hash(source)


def _flags(content: bytes) -> int:
    if len(content) < _HEADER_BYTES:
        raise NotUsable("it is broken: it is too short")
    if content[:4] != importlib.util.MAGIC_NUMBER:
        raise NotUsable("another version of Python compiled it")
    flags = int.from_bytes(content[4:8], "little")
    if flags & ~(_HASH | _CHECKED):
        raise NotUsable("another version of Python compiled it")
    return flags


def _uint32(value: int) -> bytes:
    return (value & _UINT32).to_bytes(4, "little")
