"""Where names are mentioned in Python files, and which functions of the code base they lead to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flagmw.stale.constants import class_of
from flagmw.stale.dead import Span
from flagmw.stale.layout import first_line
from flagmw.stale.modules import Code, Imported, Module
from flagmw.stale.scopes import Scope, ScopeKind

_WORD = re.compile(r"[^\W\d]\w*")
_MAX_STEPS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Defined:
    """A function at the top of a file, or directly in a class.

    Attributes:
        module: its file.
        node: its definition.
        owner: its class, None for none.
    """

    module: Module
    node: ast.FunctionDef | ast.AsyncFunctionDef
    owner: ast.ClassDef | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from all others."""
        return self.module.file.path, self.node.lineno

    @property
    def first_line(self) -> int:
        """Of its first decorator, or of itself."""
        return first_line(self.node)

    @property
    def last_line(self) -> int:
        """Of its body."""
        return self.node.end_lineno or self.node.lineno

    @property
    def span(self) -> Span:
        """All of it, decorators included."""
        return Span(self.first_line, 0, self.last_line, self.node.end_col_offset or 0)


class References:
    """Reads mentions of names, once per file.

    Args:
        code: the code base.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._mentions: dict[str, dict[str, list[tuple[int, int]]]] = {}
        self._renamed: dict[str, set[str]] = {}

    def mentions(self, module: Module, word: str) -> list[tuple[int, int]]:
        """Give the places, lines and columns, where a file uses a name, an attribute, or a text with that word."""
        path = module.file.path
        if path not in self._mentions:
            self._mentions[path] = _mentions_in(module)
        return self._mentions[path].get(word, [])

    def other_names(self, name: str) -> set[str]:
        """Give the names that files of the code base import something of this name as."""
        if name not in self._renamed:
            pattern = re.compile(rf"(?<!\w){re.escape(name)}\s+as\s+(\w+)")
            texts = (text for file, text in self._code.python() if not file.is_test and name in text)
            self._renamed[name] = {other for text in texts for other in pattern.findall(text)}
        return self._renamed[name]

    def functions_in(self, module: Module, spans: list[Span]) -> Iterator[Defined]:
        """Give the functions of the code base that pieces of a file name."""
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.Name, ast.Attribute)) and any(
                span.holds(node.lineno, node.col_offset) for span in spans
            ):
                found = self._function(module, node)
                if found is not None:
                    yield found

    def _function(self, module: Module, node: ast.Name | ast.Attribute) -> Defined | None:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            scope: Scope | None = module.scope_of(node)
            while scope is not None and scope.kind is not ScopeKind.CLASS:
                scope = scope.parent
            return _method(module, scope.node, node.attr) if scope is not None else None
        if isinstance(node, ast.Attribute):
            owner = class_of(self._code, module, node.value)
            if owner is not None:
                return _method(owner[0], owner[1], node.attr)
        imported = module.imported(node)
        if imported is not None:
            return self._imported(imported)
        if isinstance(node, ast.Name):
            found = module.binding_of(node)
            if found is not None and found[0].kind is ScopeKind.MODULE:
                return _at_top(module, found[1].node)
        return None

    def _imported(self, imported: Imported) -> Defined | None:
        following: Imported | None = imported
        for _ in range(_MAX_STEPS):
            if following is None or following.name is None:
                return None
            module = self._code.module_named(following.module)
            binding = module.scopes.module.only(following.name) if module is not None else None
            if module is None or binding is None:
                return None
            found = _at_top(module, binding.node)
            if found is not None:
                return found
            following = module.import_at(binding.node)
        return None


def _at_top(module: Module, node: ast.AST) -> Defined | None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return Defined(module, node)
    return None


def _method(module: Module, owner: ast.AST, name: str) -> Defined | None:
    if not isinstance(owner, ast.ClassDef) or module.scope_of(owner).kind is not ScopeKind.MODULE:
        return None
    binding = module.scope_of(owner.body[0]).only(name)
    if binding is None or not isinstance(binding.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    return Defined(module, binding.node, owner)


def _mentions_in(module: Module) -> dict[str, list[tuple[int, int]]]:
    """Read a file; what defines a function of a name, or imports it, does not count as a mention."""
    found: dict[str, list[tuple[int, int]]] = {}
    documentation = {
        id(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module.tree):
        match node:
            case ast.Name(id=name):
                found.setdefault(name, []).append((node.lineno, node.col_offset))
            case ast.Attribute(attr=name):
                end = (node.end_col_offset or 0) - len(name.encode())
                found.setdefault(name, []).append((node.end_lineno or node.lineno, end))
            case ast.Constant(value=str() as text) if id(node) not in documentation:
                for name in _WORD.findall(text):
                    found.setdefault(name, []).append((node.lineno, node.col_offset))
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                for name in names:
                    found.setdefault(name, []).append((node.lineno, node.col_offset))
            case _:
                pass
    return found
