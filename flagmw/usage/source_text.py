"""What the lines of a source say about the functions that its compiled code has. Pure.

Reading a `.pyc` is many times quicker than parsing. What it cannot say is told by the text without parsing, mostly by
indentation: whether it holds all functions, whether one is directly in its class, where one ends. Whatever is not
certain raises `Unclear`; the file is parsed then.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

_DEF = re.compile(rb"def(?<![A-Za-z0-9_]def)[\s\\]+[\w\x80-\xff]+[\s\\]*[(\[]")
_LAMBDA = re.compile(rb"lambda(?<![A-Za-z0-9_]lambda)(?:[\s\\]*[:*#]|[\s\\]+[\w\x80-\xff]+[\s\\]*[,:=/#])")
_TEXT = re.compile(
    rb"#[^\n]*"
    rb'|"""(?:[^"\\]|\\.|"(?!""))*"""'
    rb"|'''(?:[^'\\]|\\.|'(?!''))*'''"
    rb'|"(?:[^"\\\n]|\\.)*"'
    rb"|'(?:[^'\\\n]|\\.)*'",
    re.DOTALL,
)
_TYPE_ALIAS = re.compile(rb"type[ \t\\]+[\w\x80-\xff]+\s*[=\[]")
_COMPOUND = re.compile(rb"(?:if|elif|else|for|while|with|try|except|finally|match|case|async\s+(?:for|with))\b")
_LONG_FORMATTED = tuple(letter + quote for letter in (b"f", b"F", b"r", b"R") for quote in (b'"""', b"'''"))
_CLOSERS = frozenset(b")]}")
_COMMENT = ord("#")
_WHITE = b" \t"


class Unclear(Exception):
    """The text does not say it for certain."""


class SourceText:
    """A module's text.

    Args:
        source: as in the file.
    """

    __slots__ = ("_has_long_formatted", "_lines", "_source")

    def __init__(self, source: bytes) -> None:
        if b"\r" in source:
            source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\f" in source:
            source = source.replace(b"\f", b"")
        self._source = source
        self._lines = source.split(b"\n")
        self._has_long_formatted: bool | None = None

    def holds(self, functions: int) -> bool:
        """Tell whether there are certainly no more functions in the text than this number.

        The compiler leaves out what cannot run, such as functions after a `return` or under `if 0`. The keywords in
        the text can only be more than there are functions, since comments and strings may have them too.
        """
        source = self._source
        if source.count(b"def ") + source.count(b"lambda") == functions:
            return True
        if len(_DEF.findall(source)) + len(_LAMBDA.findall(source)) == functions:
            return True
        bare = self._bare()
        return len(_DEF.findall(bare)) + len(_LAMBDA.findall(bare)) == functions

    def _bare(self) -> bytes:
        """Give the source without strings and comments, where there is no doubt what they are."""
        return _TEXT.sub(self._without_text, self._source)

    def _without_text(self, match: re.Match[bytes]) -> bytes:
        """Take out strings and comments; a formatted string may hold lambdas."""
        start = match.start()
        before = self._source[max(0, start - 2) : start].lower()
        is_formatted = before.endswith((b"f", b"fr"))
        return match[0] if is_formatted and match[0][:1] != b"#" else b'""'

    def has_type_alias(self) -> bool:
        """Tell whether there may be a `type` statement, whose code object looks like a function's."""
        if _TYPE_ALIAS.search(self._source) is None:
            return False
        return _TYPE_ALIAS.search(self._bare()) is not None

    def mentions(self, name: str) -> bool:
        """Tell whether a name stands in the text."""
        return name.encode() in self._source

    def indent(self, line: int) -> int:
        """Count the white space that a line begins with."""
        text = self._lines[line - 1]
        return len(text) - len(text.lstrip(_WHITE))

    def body_indent(self, first_line: int) -> int:
        """Give the indentation of a class's statements.

        Args:
            first_line: of its first decorator, or of itself.

        Raises:
            Unclear: where its body begins.
        """
        lines = self._lines
        at = first_line - 1
        if lines[at].lstrip().startswith(b"@"):
            own = self.indent(first_line)
            while not (lines[at].lstrip().startswith(b"class") and self.indent(at + 1) == own):
                at += 1
                if at == len(lines):
                    raise Unclear
        elif not lines[at].lstrip().startswith(b"class"):
            raise Unclear
        while not lines[at].partition(b"#")[0].rstrip().endswith(b":"):
            at += 1
            if at == len(lines):
                raise Unclear
        for line in range(at + 2, len(lines) + 1):
            text = lines[line - 1].lstrip()
            if text and text[0] != _COMMENT:
                return self.indent(line)
        raise Unclear

    def require_direct(self, line: int, body_indent: int) -> None:
        """See that an expression belongs to a statement right in a class's body.

        Args:
            line: where it stands.
            body_indent: of the class.

        Raises:
            Unclear: it may stand under another statement.
        """
        while self.indent(line) > body_indent or not self._lines[line - 1].strip():
            line -= 1
        text = self._lines[line - 1].lstrip()
        starts_statement = text[:1].isalpha() or text[:1] in {b"_", b"@"}
        if self.indent(line) != body_indent or not starts_statement or _COMPOUND.match(text):
            raise Unclear

    def last_line_before(self, first_line: int, indent: int, around: Sequence[int]) -> int | None:
        """Find where a function ends by the statement after it.

        Args:
            first_line: of the function.
            indent: of its first line.
            around: the lines that the code around it begins on, ascending.

        Returns:
            None where this does not tell.
        """
        lines = self._lines
        is_header = lines[first_line - 1][indent : indent + 1] == b"@"
        for at in range(bisect.bisect_right(around, first_line), len(around)):
            line = around[at]
            text = lines[line - 1]
            bare = text.lstrip(_WHITE)
            if len(text) - len(bare) > indent or bare[0] in _CLOSERS:
                continue
            if is_header:
                # the other decorators, and the line with the word def
                is_header = bare.startswith(b"@")
                continue
            return self._last_inside(first_line, indent, line)
        return None

    def _last_inside(self, first_line: int, indent: int, next_line: int) -> int | None:
        """Go back from the statement after a function to its last line."""
        for line in range(next_line - 1, first_line - 1, -1):
            text = self._lines[line - 1]
            bare = text.lstrip()
            if bare and bare[0] != _COMMENT:
                is_inside = len(text) - len(bare) > indent or line == first_line
                return line if is_inside else None
        return None

    def last_line(self, first_line: int, indent: int, code_line: int, starts: AbstractSet[int]) -> int:
        """Find where a function ends.

        Args:
            first_line: of the function.
            indent: of its first line.
            code_line: the last one that its code, or code in it, begins on.
            starts: first lines of the functions and classes of the module.

        Raises:
            Unclear: where that is.
        """
        lines = self._lines
        if code_line == first_line and lines[first_line - 1].lstrip().startswith(b"@"):
            code_line = self._def_line(first_line, indent)
        last = code_line
        for line in range(code_line + 1, len(lines) + 1):
            text = lines[line - 1]
            bare = text.lstrip()
            if not bare or bare[0] == _COMMENT:
                continue
            if len(text) - len(bare) <= indent and bare[0] not in _CLOSERS:
                if line not in starts and self._goes_on(first_line, code_line, last):
                    raise Unclear
                return last
            last = line
        return last

    def _def_line(self, first_line: int, indent: int) -> int:
        """Find the line with the word def of a function that has decorators."""
        for line in range(first_line + 1, len(self._lines) + 1):
            if self._lines[line - 1].lstrip().startswith((b"def ", b"async ")) and self.indent(line) == indent:
                return line
        raise Unclear

    def _goes_on(self, first_line: int, code_line: int, last: int) -> bool:
        """Tell whether a statement may go on after a line, though what follows is not indented.

        Code inside a formatted string begins on a line of its own, so that it takes more lines to see such a string.
        """
        if self._has_long_formatted is None:
            self._has_long_formatted = any(start in self._source for start in _LONG_FORMATTED)
        begins = first_line if self._has_long_formatted else code_line
        text = b"\n".join(self._lines[begins - 1 : last])
        if text.count(b'"""') % 2 or text.count(b"'''") % 2 or text.endswith(b"\\"):
            return True
        return any(text.count(start) > text.count(end) for start, end in ((b"(", b")"), (b"[", b"]"), (b"{", b"}")))
