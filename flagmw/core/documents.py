"""Documents: flag definitions as they arrive, and their parsed form with the place of each value.

A transport brings `Document`s, a dialect parses (`parsing`) and compiles them. Here is what both text formats share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flagmw.errors import DocumentError, Path, Problem

MAX_DEPTH = 100
"""How deep lists and mappings may be nested; rules become nested calls, which Python bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Flag definitions as they arrived.

    Attributes:
        name: where they came from, for messages; unique among the documents of one delivery.
        content: bytes of JSON or YAML text, or a mapping that is parsed already.
        is_yaml: which of the two texts it is.
    """

    name: str
    content: bytes | Mapping[str, Any]
    is_yaml: bool = False

    def digest(self) -> bytes:
        """Give 16 bytes that differ when the content does.

        Raises:
            DocumentError: a parsed content that is not JSON.
        """
        if isinstance(self.content, bytes):
            return hashlib.blake2b(self.content, digest_size=16).digest()
        return digest_of(self.name, self.content)


class PlaceTree:
    """Where in a text each value of a document begins, as a tree of the document's shape."""

    __slots__ = ("children", "column", "line")

    def __init__(self, line: int, column: int) -> None:
        """Make a leaf at a 1-based place."""
        self.line = line
        self.column = column
        self.children: dict[str | int, PlaceTree] = {}

    def find(self, path: Path) -> tuple[int, int]:
        """Give line and column of the value at `path`, or of the last value on the way that exists."""
        place = self
        for part in path:
            inner = place.children.get(part)
            if inner is None:
                # An operator's single argument may be written without a list around it.
                if part == 0 and not any(isinstance(key, int) for key in place.children):
                    continue
                break
            place = inner
        return place.line, place.column


def digest_of(name: str, value: Any) -> bytes:
    """Give 16 bytes that are equal for equal JSON values; 1, 1.0 and true differ.

    Raises:
        DocumentError: the value is not JSON.
    """
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False, default=as_json)
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(name, (Problem(message=f"not a JSON value: {error}"),)) from None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def as_json(value: Any) -> Any:
    """Give a mapping that is no dict to `json.dumps` as one."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"type {type(value).__name__}")


def depth_of(value: Any) -> int:
    """Tell how deep lists and mappings are nested in a JSON value: 0 for a scalar."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        if depth > MAX_DEPTH:
            break
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
