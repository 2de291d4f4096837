"""Documents: flag definitions as they arrive, and their parsed form with the place of each value.

A transport brings `Document`s, a dialect parses and compiles them. The text formats live in `json_text` and
`yaml_text`; this module chooses between them and holds what they share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
        text = json.dumps(value, sort_keys=True, allow_nan=False, default=_as_json)
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(name, (Problem(message=f"not a JSON value: {error}"),)) from None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _as_json(value: Any) -> Any:
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


def parse(document: Document) -> Any:
    """Parse a document's text into JSON values.

    Raises:
        DocumentError: not UTF-8, a syntax error, a duplicate key, nested too deeply, or aliases that explode;
            with line and column.
    """
    if not isinstance(document.content, bytes):
        try:
            value = json.loads(json.dumps(document.content, default=_as_json, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise DocumentError(document.name, (Problem(message=f"not a JSON value: {error}"),)) from None
        if depth_of(value) > MAX_DEPTH:
            raise DocumentError(document.name, (Problem(message=f"nested deeper than {MAX_DEPTH} levels"),))
        return value
    text = _decode(document.name, document.content)
    if document.is_yaml:
        from flagmw.core.yaml_text import parse_yaml  # noqa: PLC0415  # PyYAML is optional

        return parse_yaml(document.name, text)
    from flagmw.core.json_text import parse_json  # noqa: PLC0415  # beside its twin

    return parse_json(document.name, text)


def place_problems(document: Document, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Give the problems of a document that was parsed with their lines and columns filled in, in text order.

    Reads the text a second time: only broken documents pay for places.
    """
    if not isinstance(document.content, bytes):
        return tuple(problems)
    text = _decode(document.name, document.content)
    if document.is_yaml:
        from flagmw.core.yaml_text import places  # noqa: PLC0415  # PyYAML is optional
    else:
        from flagmw.core.json_text import places  # noqa: PLC0415  # beside its twin
    tree = places(text)
    placed = []
    for problem in problems:
        line, column = tree.find(problem.path)
        placed.append(
            Problem(message=problem.message, path=problem.path, line=line, column=column, severity=problem.severity)
        )
    return tuple(sorted(placed, key=lambda problem: (problem.line, problem.column)))


def _decode(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        problem = Problem(
            message=f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8", line=line, column=column
        )
        raise DocumentError(name, (problem,)) from None
