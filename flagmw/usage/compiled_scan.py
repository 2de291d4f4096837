"""The functions of compiled code that has its source beside it: many times quicker than parsing, with the same result.

A code object says what a function is called and what it takes; the code that holds it says in which class it is. What
it cannot say is asked of the text, without parsing; see `source_text`. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_OPTIMIZED, CO_VARARGS, CO_VARKEYWORDS
from operator import itemgetter
from types import CodeType

from flagmw.usage.bare_code import last_line_of
from flagmw.usage.code_names import LAMBDA, name_of
from flagmw.usage.definitions import Definition, kind_of
from flagmw.usage.functions import FunctionKind
from flagmw.usage.source_text import SourceText, Unclear

_ASYNC = CO_COROUTINE | CO_ASYNC_GENERATOR
_DEF = FunctionKind.DEF
_VARIADIC = CO_VARARGS | CO_VARKEYWORDS
_ANNOTATIONS = "__annotate__"
"""The function that the compiler makes of annotations, from 3.14 on; nobody wrote it."""
_HAS_TYPE_PARAMETERS = sys.version_info >= (3, 12)
_line_of = itemgetter(2)


def checked_definitions(module: CodeType, source: bytes) -> list[Definition] | None:
    """Find the functions of a module's code, each exactly as `source_scan` would find it in the source.

    Args:
        module: compiled from the source.
        source: of the module.

    Returns:
        None when it takes the syntax tree to be certain.
    """
    text = SourceText(source)
    try:
        return _CheckedWalk(text).of(module)
    except (Unclear, IndexError):
        return None


class _CheckedWalk:
    """Goes through a module's code objects once."""

    __slots__ = ("_definitions", "_lambdas", "_starts", "_text")

    def __init__(self, text: SourceText) -> None:
        self._text = text
        self._definitions: list[Definition] = []
        self._starts: set[int] = set()
        self._lambdas: set[tuple[int, bytes]] = set()

    def of(self, module: CodeType) -> list[Definition]:
        """Give the definitions.

        Raises:
            Unclear: some may be missing, or have other classes, names or lines.
        """
        if _HAS_TYPE_PARAMETERS and self._text.has_type_alias():
            raise Unclear
        defs = self._collect_starts(module)
        if not self._text.holds(defs + len(self._lambdas)):
            raise Unclear
        self._children(module, "", around=_code_lines(module))
        return self._definitions

    def _collect_starts(self, module: CodeType) -> int:
        """Note where functions and classes begin, and count the functions that are no lambdas."""
        lines: set[int] = set()
        unseen = [module]
        while unseen:
            for code in unseen.pop().co_consts:
                if type(code) is not CodeType:
                    continue
                unseen.append(code)
                name = code.co_name
                if name == LAMBDA:
                    self._lambdas.add((code.co_firstlineno, code.co_linetable))
                elif name[0] != "<" and name != _ANNOTATIONS:
                    self._starts.add(code.co_firstlineno)
                    if code.co_flags & CO_OPTIMIZED:
                        lines.add(code.co_firstlineno)
                elif name.startswith("<generic"):
                    raise Unclear
        return len(lines)

    def _children(self, parent: CodeType, chain: str, body_indent: int = -1, around: Sequence[int] = ()) -> int:
        """Take the functions in a code object.

        Args:
            parent: holds them.
            chain: of classes that encloses its functions directly.
            body_indent: of the class that the parent is; -1 when it is none.
            around: the lines that its own code begins on, of a module or a class.

        Returns:
            The last line that code in it begins on; 0 for none.
        """
        last = 0
        for code in parent.co_consts:
            if type(code) is not CodeType:
                continue
            name = code.co_name
            if not code.co_flags & CO_OPTIMIZED:
                line = self._class(code, chain, body_indent)
            elif name == LAMBDA:
                line = self._lambda(code, chain, body_indent)
            elif name[0] == "<" or name == _ANNOTATIONS:
                line = self._children(code, chain, body_indent)
            else:
                line = self._function(code, chain, body_indent, around)
            last = max(last, line)
        return last

    def _chain_at(self, chain: str, indent: int, body_indent: int) -> str:
        """Give the chain of what begins at a column; what stands under a statement in a class body has none."""
        if indent < body_indent:
            raise Unclear
        return chain if body_indent in {-1, indent} else ""

    def _class(self, code: CodeType, chain: str, body_indent: int) -> int:
        first_line = code.co_firstlineno
        chain = self._chain_at(chain, self._text.indent(first_line), body_indent)
        name = code.co_name
        lines = _code_lines(code)
        if CodeType not in map(type, code.co_consts):
            return lines[-1]
        inner_indent = self._text.body_indent(first_line)
        inside = self._children(code, f"{chain}.{name}" if chain else name, inner_indent, lines)
        return max(inside, lines[-1])

    def _function(self, code: CodeType, chain: str, body_indent: int, around: Sequence[int]) -> int:
        first_line = code.co_firstlineno
        indent = self._text.indent(first_line)
        chain = self._chain_at(chain, indent, body_indent)
        inside = self._children(code, "")
        last = self._text.last_line_before(first_line, indent, around) if around else None
        if last is None:
            last = self._text.last_line(first_line, indent, max(inside, _last_code_line(code)), self._starts)
        kind = kind_of(code) if code.co_flags & _ASYNC else _DEF
        self._definitions.append(Definition(chain, code.co_name, self._parameters(code), kind, first_line, last))
        return last

    def _lambda(self, code: CodeType, chain: str, body_indent: int) -> int:
        first_line = code.co_firstlineno
        if body_indent >= 0:
            self._text.require_direct(first_line, body_indent)
        last = last_line_of(code)
        parameters = self._parameters(code)
        self._definitions.append(Definition(chain, LAMBDA, parameters, FunctionKind.LAMBDA, first_line, last))
        self._children(code, "")
        return last

    def _parameters(self, code: CodeType) -> str:
        """Write the parameters; `_K__x` in a class K may have been written so, or as `__x`."""
        if not code.co_flags & _VARIADIC:
            parameters = ", ".join(code.co_varnames[code.co_posonlyargcount : code.co_argcount])
            if "__" not in parameters:
                return parameters
        parameters = name_of(code).parameter_types
        if "__" in parameters:
            count = code.co_argcount + code.co_kwonlyargcount + 2
            for name in code.co_varnames[:count]:
                if "__" in name and name not in parameters and self._text.mentions(name):
                    raise Unclear
        return parameters


def _last_code_line(code: CodeType) -> int:
    last: int = max(filter(None, map(_line_of, code.co_lines())), default=0)
    return last


def _code_lines(code: CodeType) -> list[int]:
    return sorted(set(filter(None, map(_line_of, code.co_lines()))))
