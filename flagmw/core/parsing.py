"""From a document's text to JSON values, and from problems to their places in the text.

Both formats are imported here and not when they are needed: a first import that meets a fork can hang the child.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from typing import Any

from flagmw.core import json_text, yaml_text
from flagmw.core.documents import MAX_DEPTH, Document, as_json, depth_of
from flagmw.errors import DocumentError, Problem


def parse(document: Document) -> Any:
    """Parse a document's text into JSON values.

    Raises:
        DocumentError: not UTF-8, a syntax error, a duplicate key, nested too deeply, or aliases that explode;
            with line and column.
    """
    if not isinstance(document.content, bytes):
        try:
            value = json.loads(json.dumps(document.content, default=as_json, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise DocumentError(document.name, (Problem(message=f"not a JSON value: {error}"),)) from None
        if depth_of(value) > MAX_DEPTH:
            raise DocumentError(document.name, (Problem(message=f"nested deeper than {MAX_DEPTH} levels"),))
        return value
    text = _decode(document.name, document.content)
    return (yaml_text.parse_yaml if document.is_yaml else json_text.parse_json)(document.name, text)


def place_problems(document: Document, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Give the problems of a document that was parsed with their lines and columns filled in, in text order.

    Reads the text a second time: only broken documents pay for places.
    """
    if not isinstance(document.content, bytes):
        return tuple(problems)
    text = _decode(document.name, document.content)
    tree = (yaml_text if document.is_yaml else json_text).places(text)
    placed = []
    for problem in problems:
        line, column = tree.find(problem.path)
        placed.append(
            Problem(message=problem.message, path=problem.path, line=line, column=column, severity=problem.severity)
        )
    return tuple(sorted(placed, key=lambda problem: (problem.line, problem.column)))


def _decode(name: str, content: bytes) -> str:
    # Not the codec utf-8-sig: its module is imported at the first use, which a fork in that moment does not survive.
    start = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    try:
        return content[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: start + error.start]
        line = before.count(b"\n") + 1
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        problem = Problem(
            message=f"not UTF-8: byte 0x{content[start + error.start]:02x}; save the file as UTF-8",
            line=line,
            column=column,
        )
        raise DocumentError(name, (problem,)) from None
