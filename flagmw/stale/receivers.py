"""Whether an expression is a flags accessor or a client, as far as the source tells.

`is_enabled` and its kin are also methods of other libraries: what is not known to be flagmw's may be a place where a flag
is read, but nothing is concluded from it.
"""

from __future__ import annotations

import ast
from enum import Enum

from flagmw.stale.modules import Code, Imported, Module
from flagmw.stale.scopes import Binding

OWN = ("flagmw", "flagmw_django", "flagmw_flask", "flagmw_starlette", "flagmw_celery", "flagmw_pytest")
ENVIRON_KEY = "flagmw.flags"

_MAKERS = {"Client": 1, "get_client": 1, "configure": 1, "get_flags": 0, "flags_of": 0}
_TYPES = {"Flags": 0, "FlagsDep": 0, "Client": 1}
_MAX_STEPS = 5


class Receiver(Enum):
    """What a flag is read from."""

    FLAGS = "flags"
    CLIENT = "client"
    PERHAPS = "perhaps"
    NO = "no"


class Receivers:
    """Judges the receivers of one file.

    Args:
        code: where imported names are followed to.
        module: the file.
    """

    def __init__(self, code: Code, module: Module) -> None:
        self._code = code
        self._module = module
        self._attributes: dict[str, Receiver] | None = None

    def judge(self, expression: ast.expr, steps: int = _MAX_STEPS) -> Receiver:
        """Tell what an expression is."""
        if steps <= 0:
            return Receiver.PERHAPS
        match expression:
            case ast.Constant() | ast.JoinedStr() | ast.Dict() | ast.List() | ast.Set() | ast.Tuple() | ast.Lambda():
                return Receiver.NO
            case ast.Name():
                return self._name(expression, steps)
            case ast.Attribute():
                return self._attribute(expression)
            case ast.Call():
                return self._call(expression, steps)
            case ast.Subscript(slice=ast.Constant(value=key)):
                return Receiver.FLAGS if key in (ENVIRON_KEY, "flags") else Receiver.PERHAPS
            case ast.Subscript(slice=ast.Name() | ast.Attribute() as key):
                imported = self._module.imported(key)
                is_own = imported is not None and is_own_name(imported) and imported.name == "ENVIRON_KEY"
                return Receiver.FLAGS if is_own else Receiver.PERHAPS
            case ast.NamedExpr():
                return self.judge(expression.value, steps - 1)
            case _:
                return Receiver.PERHAPS

    def own_name(self, expression: ast.expr) -> str | None:
        """Give the name that flagmw has for what an expression stands for, such as `require_flag`; None for others'."""
        imported = self._module.imported(expression) if isinstance(expression, (ast.Name, ast.Attribute)) else None
        for _ in range(_MAX_STEPS):
            if imported is None or imported.name is None:
                return None
            if is_own_name(imported):
                return imported.name
            other = self._code.module_named(imported.module)
            binding = other.scopes.module.only(imported.name) if other is not None else None
            imported = other.import_at(binding.node) if other is not None and binding is not None else None
        return None

    def _name(self, name: ast.Name, steps: int) -> Receiver:
        scope = self._module.scope_of(name).resolve(name.id)
        if scope is None:
            return Receiver.PERHAPS
        found = {self.bound(binding, name.id, steps) for binding in scope.bindings[name.id]}
        return found.pop() if len(found) == 1 else Receiver.PERHAPS

    def bound(self, binding: Binding, name: str, steps: int) -> Receiver:
        """Tell what a name is by one place that binds it."""
        if isinstance(binding.node, ast.arg):
            return self._parameter(binding.node)
        if binding.value is not None:
            found = self.judge(binding.value, steps - 1)
            return found if found is not Receiver.NO else Receiver.PERHAPS
        imported = self._module.import_at(binding.node)
        if imported is None:
            return Receiver.PERHAPS
        if is_own_name(imported):
            return Receiver.FLAGS if imported.name == "flags" else Receiver.NO
        other = self._code.module_named(imported.module) if imported.name is not None else None
        if other is None or imported.name is None:
            return Receiver.PERHAPS
        there = other.scopes.module.only(imported.name)
        return Receivers(self._code, other).bound(there, name, steps - 1) if there is not None else Receiver.PERHAPS

    def _parameter(self, parameter: ast.arg) -> Receiver:
        if parameter.annotation is None:
            by_name = {"flags": Receiver.FLAGS, "flag_client": Receiver.CLIENT}
            return by_name.get(parameter.arg, Receiver.PERHAPS)
        return self._annotated(parameter.annotation)

    def _annotated(self, annotation: ast.expr) -> Receiver:
        match annotation:
            case ast.BinOp(op=ast.BitOr(), left=left, right=ast.Constant(value=None)):
                return self._annotated(left)
            case ast.Subscript(value=ast.Name(id="Optional") | ast.Attribute(attr="Optional"), slice=inner):
                return self._annotated(inner)
            case ast.Subscript(
                value=ast.Name(id="Annotated") | ast.Attribute(attr="Annotated"), slice=ast.Tuple(elts=elts)
            ):
                return self._annotated(elts[0])
            case ast.Constant(value=str() as text):
                kind = _TYPES.get(text.strip()) if self._imports_own(text.strip()) else None
            case _:
                kind = _TYPES.get(self.own_name(annotation) or "")
        return Receiver.PERHAPS if kind is None else (Receiver.FLAGS, Receiver.CLIENT)[kind]

    def _imports_own(self, name: str) -> bool:
        binding = self._module.scopes.module.only(name)
        imported = self._module.import_at(binding.node) if binding is not None else None
        return imported is not None and is_own_name(imported)

    def _attribute(self, attribute: ast.Attribute) -> Receiver:
        imported = self._module.imported(attribute)
        if imported is not None:
            if is_own_name(imported):
                return Receiver.FLAGS if imported.name == "flags" else Receiver.NO
            other = self._code.module_named(imported.module)
            there = other.scopes.module.only(imported.name or "") if other is not None else None
            if other is not None and there is not None:
                return Receivers(self._code, other).bound(there, attribute.attr, _MAX_STEPS - 1)
            # An attribute of some object that was imported, such as `request.flags` of Flask, or of a foreign module.
            is_request = imported.module.rpartition(".")[2] in ("request", "g")
            return Receiver.FLAGS if is_request and attribute.attr == "flags" else Receiver.PERHAPS
        known = self._assigned_attributes().get(attribute.attr)
        if known is not None:
            return known
        by_name = {"flags": Receiver.FLAGS, "flag_client": Receiver.CLIENT}
        return by_name.get(attribute.attr, Receiver.PERHAPS)

    def _assigned_attributes(self) -> dict[str, Receiver]:
        """Give what attributes are that this file assigns: `self.client = Client(...)`."""
        if self._attributes is None:
            self._attributes = {}
            found: dict[str, set[Receiver]] = {}
            for node in ast.walk(self._module.tree):
                targets = (
                    node.targets
                    if isinstance(node, ast.Assign)
                    else [node.target]
                    if isinstance(node, ast.AnnAssign)
                    else []
                )
                for target in targets:
                    if isinstance(target, ast.Attribute) and isinstance(node, (ast.Assign, ast.AnnAssign)):
                        value = node.value
                        kind = self.judge(value, _MAX_STEPS - 1) if value is not None else Receiver.PERHAPS
                        found.setdefault(target.attr, set()).add(kind)
            for attr, kinds in found.items():
                only = kinds.pop() if len(kinds) == 1 else Receiver.PERHAPS
                self._attributes[attr] = only if only is not Receiver.NO else Receiver.PERHAPS
        return self._attributes

    def _call(self, call: ast.Call, steps: int) -> Receiver:
        match call:
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value="flagmw.flags"), *_]):
                return Receiver.FLAGS
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value="flags"), *_]):
                return Receiver.FLAGS
            case ast.Call(func=ast.Name(id="cast"), args=[_, value]):
                return self.judge(value, steps - 1)
            case _:
                kind = _MAKERS.get(self.own_name(call.func) or "")
                return Receiver.PERHAPS if kind is None else (Receiver.FLAGS, Receiver.CLIENT)[kind]


def is_own_name(imported: Imported) -> bool:
    """Tell whether something is imported from flagmw or one of its adapters."""
    return imported.module.partition(".")[0] in OWN
