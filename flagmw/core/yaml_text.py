"""Reads YAML flag documents. The only file that imports PyYAML, which is optional.

PyYAML's own constructor follows YAML 1.1 (an unquoted `on` becomes a boolean), recurses, lets aliases multiply
without bound and keeps the last of two equal keys. So only its event stream is used, and values are built here:
YAML 1.2 scalars, an explicit stack, and a bound on what aliases may expand to.

Source: YAML 1.2.2, section 10.3 (core schema); merge keys (`<<`) as YAML 1.1 has them.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from flagmw.core.documents import MAX_DEPTH, PlaceTree, depth_of
from flagmw.errors import ConfigError, DocumentError, Problem

MAX_VALUES = 2_000_000
"""How many values a document may have once its aliases are followed."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAGS = {"tag:yaml.org,2002:" + name for name in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!", None}


class _Refused(Exception):
    def __init__(self, message: str, mark: Any) -> None:
        self.problem = Problem(message=message, line=mark.line + 1, column=mark.column + 1)


def parse_yaml(name: str, text: str) -> Any:
    """Parse a YAML text.

    Raises:
        DocumentError: with the line and column of the first problem.
        ConfigError: PyYAML is not installed.
    """
    return _build(name, text)[0]


def places(text: str) -> PlaceTree:
    """Find the place of each value in a YAML text that parses."""
    return _build("", text)[1]


def _build(name: str, text: str) -> tuple[Any, PlaceTree]:
    try:
        import yaml  # noqa: PLC0415  # optional
    except ImportError:
        raise ConfigError(
            f"{name} is YAML, which needs PyYAML: pip install 'flagmw[file]', or write the flags as JSON"
        ) from None
    builder = _Builder(yaml)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = Problem(message=f"invalid YAML: {error.problem or error.context}", line=line, column=column)
        raise DocumentError(name, (problem,)) from None
    except yaml.YAMLError as error:  # a character that YAML does not have
        raise DocumentError(name, (_unreadable(text, error),)) from None
    except _Refused as error:
        raise DocumentError(name, (error.problem,)) from None
    if not builder.documents:
        problem = Problem(message="the file is empty, expected a mapping with 'flags'", line=1, column=1)
        raise DocumentError(name, (problem,))
    return builder.value, builder.place


def _unreadable(text: str, error: Any) -> Problem:
    position = getattr(error, "position", 0) or 0
    before = text[:position]
    return Problem(
        message=f"invalid YAML: {getattr(error, 'reason', 'unreadable character')}",
        line=before.count("\n") + 1,
        column=position - (before.rfind("\n") + 1) + 1,
    )


class _Open:
    """A list or mapping whose end has not come yet."""

    __slots__ = ("anchor", "entries", "is_list", "key", "key_mark", "merged", "place", "size", "value")

    def __init__(self, place: PlaceTree, anchor: str | None, *, is_list: bool) -> None:
        self.place = place
        self.anchor = anchor
        self.is_list = is_list
        self.value: Any = [] if is_list else {}
        self.key: str | None = None
        self.key_mark: Any = None
        self.merged: list[dict[str, Any]] = []
        self.size = 1


class _Builder:
    """Builds one document's value from parser events."""

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int, int, PlaceTree]] = {}
        self._left = MAX_VALUES
        self.documents = 0
        self.value: Any = None
        self.place = PlaceTree(1, 1)

    def take(self, event: Any) -> None:
        yaml = self._yaml
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._start(event, is_list=isinstance(event, yaml.SequenceStartEvent))
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _Refused("a second document ('---'); keep one document per file", event.start_mark)

    def _start(self, event: Any, *, is_list: bool) -> None:
        self._check_tag(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        holder = self._stack[-1] if self._stack else None
        if holder is not None and not holder.is_list and holder.key is None:
            raise _Refused("a key must be a scalar", event.start_mark)
        place = PlaceTree(event.start_mark.line + 1, event.start_mark.column + 1)
        self._stack.append(_Open(place, event.anchor, is_list=is_list))

    def _end(self, event: Any) -> None:
        done = self._stack.pop()
        for source in done.merged:
            for key, value in source.items():
                done.value.setdefault(key, value)
        depth = 1 + depth_of(done.value) if done.anchor else 0
        if done.anchor:
            self._anchors[done.anchor] = (done.value, done.size, depth, done.place)
        self._put(done.value, done.size, done.place, event)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _Refused(f"the alias *{event.anchor} has no anchor before it", event.start_mark)
        value, size, depth, place = self._anchors[event.anchor]
        if len(self._stack) + depth > MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self._put(value, size, place, event)

    def _scalar(self, event: Any) -> None:
        self._check_tag(event)
        holder = self._stack[-1] if self._stack else None
        if holder is not None and not holder.is_list and holder.key is None:
            self._key(holder, event)
            return
        value = self._resolve(event)
        place = PlaceTree(event.start_mark.line + 1, event.start_mark.column + 1)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1, 0, place)
        self._put(value, 1, place, event)

    def _key(self, holder: _Open, event: Any) -> None:
        # Keys are texts as written: flag files use variants named on, off, true and 1.
        key = event.value
        if key in holder.value:
            raise _Refused(f"the key {key!r} is there twice", event.start_mark)
        if event.anchor:
            self._anchors[event.anchor] = (key, 1, 0, holder.place)
        holder.key, holder.key_mark = key, event

    def _put(self, value: Any, size: int, place: PlaceTree, event: Any) -> None:
        self._left -= size
        if self._left < 0:
            raise _Refused(f"the aliases expand to more than {MAX_VALUES} values", event.start_mark)
        if not self._stack:
            self.value, self.place = value, place
            return
        holder = self._stack[-1]
        holder.size += size
        if holder.is_list:
            holder.place.children[len(holder.value)] = place
            holder.value.append(value)
            return
        key, holder.key = holder.key, None
        if key == "<<" and holder.key_mark.implicit[0]:
            self._merge(holder, value, event)
        elif key is not None:
            holder.value[key] = value
            holder.place.children[key] = place

    def _merge(self, holder: _Open, value: Any, event: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _Refused("'<<' merges a mapping or a list of mappings", event.start_mark)
        holder.merged.extend(sources)

    def _check_tag(self, event: Any) -> None:
        if event.tag not in _TAGS:
            raise _Refused(f"the tag {event.tag} is not supported; flags are plain JSON values", event.start_mark)

    def _resolve(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag is not None and tag.endswith(":str"):
            return text
        if not event.implicit[0] and tag in (None, "!"):
            return text  # quoted
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return _integer(text, 10, event)
        if _OTHER_BASE.fullmatch(text):
            return _integer(text[2:], 8 if text[1] == "o" else 16, event)
        if _FLOAT.fullmatch(text):
            return self._float(text, event)
        if _NOT_FINITE.fullmatch(text):
            raise _Refused(f"{text} is no number that flags can have", event.start_mark)
        return text

    @staticmethod
    def _float(text: str, event: Any) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise _Refused("a number beyond the range of numbers", event.start_mark)
        return number


def _integer(text: str, base: int, event: Any) -> int:
    try:
        number = int(text, base)
        str(number)
    except ValueError:  # more digits than Python converts
        _refuse_integer(event)
    return number


def _refuse_integer(event: Any) -> NoReturn:
    raise _Refused("a number beyond the range of numbers", event.start_mark)
