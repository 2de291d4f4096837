"""The constant that an expression stands for: a literal, or a name that leads to one in a step or two.

Module constants, class constants, members of enumerations, and what other files of the code base import of these.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from flagmw.stale.modules import Code, Imported, Module
from flagmw.stale.scopes import Scope, ScopeKind

MAX_STEPS = 6
"""From a name over imports to a literal; a chain that is longer goes in circles."""

_TEXT_ENUMS = ("StrEnum", "TextChoices")
_ENUMS = ("Enum", "StrEnum", "IntEnum", "TextChoices", "IntegerChoices")
_NUMBER_ENUMS = ("IntEnum", "IntegerChoices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A value that is known from the source.

    Attributes:
        value: a text, number, boolean or None.
        is_sure: False for an attribute of `self`, which a subclass may have another value for.
    """

    value: Any
    is_sure: bool = True


def constant_of(code: Code, module: Module, expression: ast.expr, steps: int = MAX_STEPS) -> Constant | None:
    """Give the constant that an expression stands for; None for everything else."""
    match expression:
        case ast.Constant(value=value) if value is None or isinstance(value, (str, int, float)):
            return Constant(value=value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(value) in (int, float):
            return Constant(value=-value)  # type: ignore[operator]  # a number by its type
        case ast.Name():
            return _named(code, module, expression, steps)
        case ast.Attribute():
            return _attribute(code, module, expression, steps)
        case _:
            return None


def _named(code: Code, module: Module, name: ast.Name, steps: int) -> Constant | None:
    found = module.binding_of(name)
    if found is None or steps <= 0:
        return None
    scope, binding = found
    if scope.kind is ScopeKind.CLASS or isinstance(binding.node, ast.withitem) or "*" in scope.bindings:
        return None  # `from x import *` may bind it, too
    if binding.value is not None:
        return _literal(binding.value)
    imported = module.import_at(binding.node)
    return _of_import(code, imported, steps - 1) if imported is not None else None


def _literal(value: ast.expr) -> Constant | None:
    match value:
        case ast.Constant(value=text) if text is None or isinstance(text, (str, int, float)):
            return Constant(value=text)
        case ast.Call(func=ast.Name(id="cast"), args=[_, ast.Constant(value=str() as text)]):
            return Constant(value=text)
        case _:
            return None


def _of_import(code: Code, imported: Imported, steps: int) -> Constant | None:
    if imported.name is None or steps <= 0:
        return None
    module = code.module_named(imported.module)
    if module is None:
        return None
    binding = module.scopes.module.only(imported.name)
    if binding is None or "*" in module.scopes.module.bindings:
        return None
    if binding.value is not None:
        return _literal(binding.value)
    further = module.import_at(binding.node)
    return _of_import(code, further, steps - 1) if further is not None else None


def _attribute(code: Code, module: Module, attribute: ast.Attribute, steps: int) -> Constant | None:
    if steps <= 0:
        return None
    if attribute.attr == "value" and isinstance(attribute.value, ast.Attribute):
        owner = class_of(code, module, attribute.value.value)
        if owner is not None and is_enum(owner[0], owner[1]):
            return _member(owner[0], owner[1], attribute.value.attr, of_value=True)
    if isinstance(attribute.value, ast.Name) and attribute.value.id in ("self", "cls"):
        scope = _class_around(module, attribute)
        found = _class_constant(scope, attribute.attr) if scope is not None else None
        return Constant(value=found.value, is_sure=False) if found is not None else None
    owner = class_of(code, module, attribute.value)
    if owner is not None:
        return _member(owner[0], owner[1], attribute.attr, of_value=False)
    imported = module.imported(attribute)
    return _of_import(code, imported, steps - 1) if imported is not None else None


def class_of(
    code: Code, module: Module, expression: ast.expr, steps: int = MAX_STEPS
) -> tuple[Module, ast.ClassDef] | None:
    """Give the class of the code base that a name, or `module.Name`, stands for."""
    if isinstance(expression, ast.Name):
        found = module.binding_of(expression)
        if found is not None and isinstance(found[1].node, ast.ClassDef):
            return module, found[1].node
    imported = module.imported(expression) if isinstance(expression, (ast.Name, ast.Attribute)) else None
    while imported is not None and imported.name is not None and steps > 0:
        other = code.module_named(imported.module)
        binding = other.scopes.module.only(imported.name) if other is not None else None
        if other is None or binding is None:
            return None
        if isinstance(binding.node, ast.ClassDef):
            return other, binding.node
        imported = other.import_at(binding.node)
        steps -= 1
    return None


def is_enum(module: Module, owner: ast.ClassDef) -> bool:
    """Tell whether a class is an enumeration by its bases."""
    return any(base in _ENUMS for base in _bases(owner))


def _bases(owner: ast.ClassDef) -> list[str]:
    return [
        base.id if isinstance(base, ast.Name) else base.attr
        for base in owner.bases
        if isinstance(base, (ast.Name, ast.Attribute))
    ]


def _member(module: Module, owner: ast.ClassDef, name: str, *, of_value: bool) -> Constant | None:
    """Give a class's constant, or what compares equal to an enumeration's member."""
    scope = _scope_of_class(module, owner)
    if scope is None:
        return None
    if not is_enum(module, owner):
        return None if of_value else _class_constant(scope, name)
    bases = _bases(owner)
    compares = any(base in (*_TEXT_ENUMS, *_NUMBER_ENUMS, "str", "int") for base in bases)
    if not (of_value or compares) or any(_is_special(statement) for statement in owner.body):
        return None
    binding = scope.only(name)
    if binding is None or binding.value is None:
        return None
    match binding.value:
        case ast.Call(func=ast.Name(id="auto") | ast.Attribute(attr="auto")) if "StrEnum" in bases:
            return Constant(value=name.lower())
        case ast.Tuple(elts=[first, _]) if "TextChoices" in bases or "IntegerChoices" in bases:
            return _literal(first)
        case value:
            return _literal(value)


def _is_special(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef) and statement.name in (
        "__eq__",
        "__new__",
        "__hash__",
        "value",
        "__ne__",
    )


def _class_constant(scope: Scope, name: str) -> Constant | None:
    binding = scope.only(name)
    return _literal(binding.value) if binding is not None and binding.value is not None else None


def _scope_of_class(module: Module, owner: ast.ClassDef) -> Scope | None:
    return module.scope_of(owner.body[0]) if owner.body else None


def _class_around(module: Module, node: ast.AST) -> Scope | None:
    scope: Scope | None = module.scope_of(node)
    while scope is not None and scope.kind is not ScopeKind.CLASS:
        scope = scope.parent
    return scope
