"""Which name means what in a Python file: scopes, and what is bound in them, by Python's own rules.

Only as much as it takes to follow a name to the one expression that it was given, and to be sure that it is the only one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class ScopeKind(StrEnum):
    """What a scope is of."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    COMPREHENSION = "comprehension"


class Binding(NamedTuple):
    """One place that gives a name a value.

    Attributes:
        node: the statement, or the part of it, that does.
        value: the expression whose value the name gets; None where it gets something else.
    """

    node: ast.AST
    value: ast.expr | None


@dataclass(slots=True, eq=False)
class Scope:
    """One scope; filled while a file is read, and not changed afterwards."""

    kind: ScopeKind
    node: ast.AST
    parent: Scope | None
    name: str = ""
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)

    def qualified(self) -> str:
        """Give the dotted name of the function or class, empty for the module itself."""
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None and scope.kind is not ScopeKind.MODULE:
            if scope.kind is not ScopeKind.COMPREHENSION:
                names.append(scope.name)
            scope = scope.parent
        return ".".join(reversed(names))

    def module(self) -> Scope:
        """Give the file's own scope."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def resolve(self, name: str) -> Scope | None:
        """Give the scope that binds a name which is used in this one; None for a built-in name, and unknown ones."""
        if self.elsewhere.get(name) == "global":
            return self.module() if name in self.module().bindings else None
        if name in self.bindings and name not in self.elsewhere:
            return self
        scope = self.parent
        while scope is not None:
            declared = scope.elsewhere.get(name)
            if declared == "global":
                return self.module() if name in self.module().bindings else None
            if scope.kind is not ScopeKind.CLASS and declared is None and name in scope.bindings:
                return scope
            scope = scope.parent
        return None

    def only(self, name: str) -> Binding | None:
        """Give the one place that binds a name here; None when there are more, or none."""
        found = self.bindings.get(name, ())
        return found[0] if len(found) == 1 else None


class Scopes:
    """The scopes of one file.

    Attributes:
        module: the file's own.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope(ScopeKind.MODULE, tree, None)
        self._of: dict[int, Scope] = {}
        reader = _Reader(self._of)
        reader.statements(tree.body, self.module)
        reader.settle()

    def of(self, node: ast.AST) -> Scope:
        """Give the scope in which a name, a call or a statement is evaluated."""
        return self._of.get(id(node), self.module)


class _Reader:
    def __init__(self, scope_of: dict[int, Scope]) -> None:
        self._of = scope_of
        self._late: list[tuple[Scope, str]] = []
        self._moved: list[tuple[Scope, str]] = []

    def statements(self, body: Iterable[ast.stmt], scope: Scope) -> None:
        for statement in body:
            self.visit(statement, scope)

    def settle(self) -> None:
        """Hand what was bound by way of `global` and `nonlocal` to the scope that it belongs to."""
        for scope, name in self._moved:
            bound = scope.bindings.pop(name, [Binding(scope.node, None)])
            kind = scope.elsewhere[name]
            owner: Scope | None = scope.module() if kind == "global" else scope.parent
            while (
                kind == "nonlocal"
                and owner is not None
                and (owner.kind is ScopeKind.CLASS or name not in owner.bindings)
            ):
                owner = owner.parent
            if owner is not None:
                owner.bindings.setdefault(name, []).extend(bound)

    def visit(self, node: ast.AST, scope: Scope) -> None:
        self._of[id(node)] = scope
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._bind(scope, node.name, node, None)
                self._all(node.decorator_list, scope)
                self._function(node, scope, node.name, node.body)
                if node.returns is not None:
                    self.visit(node.returns, scope)
            case ast.Lambda():
                self._function(node, scope, "<lambda>", [node.body])
            case ast.ClassDef():
                self._bind(scope, node.name, node, None)
                self._all([*node.decorator_list, *node.bases, *node.keywords], scope)
                inner = Scope(ScopeKind.CLASS, node, scope, node.name)
                self._parameters_of_types(node, inner)
                self.statements(node.body, inner)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
            case _:
                self._simple(node, scope)

    def _simple(self, node: ast.AST, scope: Scope) -> None:  # noqa: PLR0912  # one case per way to bind a name
        value_of: dict[int, ast.expr] = {}
        match node:
            case ast.Assign():
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        value_of[id(target)] = node.value
            case ast.AnnAssign(value=ast.expr() as value):
                value_of[id(node.target)] = value
            case ast.NamedExpr():
                self.visit(node.value, scope)
                self._of[id(node.target)] = scope
                self._bind(_beyond_comprehensions(scope), node.target.id, node, node.value)
                return
            case ast.withitem(optional_vars=ast.Name() as target):
                value_of[id(target)] = node.context_expr
            case ast.Name(ctx=ast.Store() | ast.Del()):
                self._bind(scope, node.id, node, None)
            case (
                ast.ExceptHandler(name=str() as name)
                | ast.MatchAs(name=str() as name)
                | ast.MatchStar(name=str() as name)
            ):
                self._bind(scope, name, node, None)
            case ast.MatchMapping(rest=str() as name):
                self._bind(scope, name, node, None)
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    self._bind(scope, alias.asname or alias.name.split(".")[0], alias, None)
                    self._of[id(alias)] = scope
                return
            case ast.Global() | ast.Nonlocal():
                kind = "global" if isinstance(node, ast.Global) else "nonlocal"
                for name in node.names:
                    scope.elsewhere[name] = kind
                    self._moved.append((scope, name))
                return
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            if id(child) in value_of and isinstance(child, ast.Name):
                self._of[id(child)] = scope
                self._bind(scope, child.id, node, value_of[id(child)])
            elif isinstance(child, ast.AST):
                self.visit(child, scope)

    def _function(self, node: AnyFunction, scope: Scope, name: str, body: Iterable[ast.AST]) -> None:
        inner = Scope(ScopeKind.FUNCTION, node, scope, name)
        arguments = node.args
        self._all([*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)], scope)
        own = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in own:
            if argument is not None:
                self._bind(inner, argument.arg, argument, None)
                if argument.annotation is not None:
                    self.visit(argument.annotation, scope)
        self._parameters_of_types(node, inner)
        self._all(body, inner)

    def _parameters_of_types(self, node: ast.AST, inner: Scope) -> None:
        for parameter in getattr(node, "type_params", ()):
            self._bind(inner, parameter.name, parameter, None)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, scope: Scope) -> None:
        inner = Scope(ScopeKind.COMPREHENSION, node, scope)
        self.visit(node.generators[0].iter, scope)
        for number, generator in enumerate(node.generators):
            self.visit(generator.target, inner)
            if number:
                self.visit(generator.iter, inner)
            self._all(generator.ifs, inner)
        self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)

    def _all(self, nodes: Iterable[ast.AST], scope: Scope) -> None:
        for node in nodes:
            self.visit(node, scope)

    def _bind(self, scope: Scope, name: str, node: ast.AST, value: ast.expr | None) -> None:
        scope.bindings.setdefault(name, []).append(Binding(node, value))


def _beyond_comprehensions(scope: Scope) -> Scope:
    while scope.kind is ScopeKind.COMPREHENSION and scope.parent is not None:
        scope = scope.parent
    return scope
