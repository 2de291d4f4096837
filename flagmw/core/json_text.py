"""Reads JSON flag documents: values by the standard library's parser, places by a second, slower pass.

The standard parser is quick but silently keeps the last of two equal keys and knows no places, so duplicates
are caught by a hook, and whoever has a problem to report asks `places`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from bisect import bisect_right
from typing import Any, NoReturn

from flagmw.core.documents import MAX_DEPTH, PlaceTree, depth_of
from flagmw.errors import DocumentError, Problem

_TOKEN = re.compile(r'[ \t\n\r]*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*")|([^ \t\n\r{}\[\],:"]+))', re.DOTALL)


class _Refused(Exception):
    pass


def parse_json(name: str, text: str) -> Any:
    """Parse a JSON text.

    Raises:
        DocumentError: with the line and column of the first problem.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float)
    except json.JSONDecodeError as error:
        message = error.msg[0].lower() + error.msg[1:]
        if not text.strip():
            message = "the file is empty, expected a mapping with 'flags'"
        problem = Problem(message=f"invalid JSON: {message}", line=error.lineno, column=error.colno)
        raise DocumentError(name, (problem,)) from None
    except RecursionError:
        raise DocumentError(name, (_too_deep(),)) from None
    except _Refused as error:
        raise DocumentError(name, (_place_of_refused(text, str(error)),)) from None
    except ValueError:  # an integer of more digits than Python converts
        raise DocumentError(name, (_place_of_refused(text, "number"),)) from None
    if depth_of(value) > MAX_DEPTH:
        raise DocumentError(name, (_too_deep(),))
    return value


def _too_deep() -> Problem:
    return Problem(message=f"nested deeper than {MAX_DEPTH} levels", line=1, column=1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Refused("duplicate")
    return made


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Refused("number")
    return number


def _is_out_of_range(token: str) -> bool:
    if token.lstrip("-").isdigit():
        return len(token.lstrip("-")) > sys.get_int_max_str_digits() > 0
    return math.isinf(float(token))


def _refuse_constant(constant: str) -> NoReturn:
    raise _Refused(constant)


def _place_of_refused(text: str, what: str) -> Problem:
    scan = _Scan(text)
    scan.run(stop_at=what)
    line, column = scan.place(scan.stopped_at)
    if what == "duplicate":
        message = f"the key {scan.stopped_on} is there twice"
    elif what == "number":
        message = f"{scan.stopped_on} is beyond the range of numbers"
    else:
        message = f"invalid JSON: {what} is no JSON number"
    return Problem(message=message, line=line, column=column)


def places(text: str) -> PlaceTree:
    """Find the place of each value in a JSON text that parses."""
    return _Scan(text).run()


def _is_refused(token: str, what: str) -> bool:
    if what == "number":
        return token not in {"true", "false", "null"} and _is_out_of_range(token)
    return token == what


class _Scan:
    """One pass over the tokens of a valid JSON text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.stopped_at = 0
        self.stopped_on = ""

    def place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def run(self, *, stop_at: str = "") -> PlaceTree:
        root = PlaceTree(1, 1)
        stack: list[tuple[PlaceTree, bool]] = [(root, False)]
        key: str | int | None = None
        for match in _TOKEN.finditer(self._text):
            punctuation, quoted, bare = match.groups()
            start = match.start(match.lastindex or 0)
            holder, is_list = stack[-1]
            if punctuation in ("}", "]"):
                stack.pop()
                key = None
            elif punctuation in (",", ":"):
                continue
            elif quoted is not None and not is_list and len(stack) > 1 and key is None:
                key = json.loads(quoted, strict=False)
                if stop_at == "duplicate" and key in holder.children:
                    self.stopped_at, self.stopped_on = start, quoted
                    break
            else:
                if bare is not None and _is_refused(bare, stop_at):
                    self.stopped_at, self.stopped_on = start, bare if len(bare) <= 40 else bare[:37] + "..."
                    break
                place = PlaceTree(*self.place(start))
                holder.children[len(holder.children) if is_list else key if key is not None else ""] = place
                key = None
                if punctuation is not None:
                    stack.append((place, punctuation == "["))
        return root.children.get("", root)
