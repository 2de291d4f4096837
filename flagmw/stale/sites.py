"""Finds where flags are read: calls with a literal key, decorators, mixins, template tags. The rules are in the docs.

Reads sources and runs nothing. Templates are `template_sites`' subject, receivers are `receivers`'.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flagmw.stale.constants import constant_of
from flagmw.stale.files import FileKind, SourceFile
from flagmw.stale.modules import Code, Module
from flagmw.stale.receivers import Receiver, Receivers
from flagmw.usage.functions import FileProblem

CLEAR = frozenset({"variation", "variation_detail", "is_enabled", "is_enabled_detail"})
"""Methods whose name alone says that a flag is read."""

UNCLEAR = frozenset({"boolean", "string", "integer", "number", "json", "config", "config_detail", "is_flag_known"})
"""Methods that many libraries have: they count only on what is known to be flags or a client."""

WHOLE = frozenset({"all", "all_variations"})
REQUIRE = "require_flag"
MIXIN = "RequireFlagMixin"
METHODS = CLEAR | UNCLEAR

_UNCLEAR_NAMES = "|".join(sorted(UNCLEAR))
_HINT = re.compile(
    r"\b(?:variation|variation_detail|is_enabled|is_enabled_detail|all_variations|flagmw|flag_key|ifflag)\b"
    r"|\brequire_flag\b|\bRequireFlagMixin\b|\{%-?\s*flag\s"
    rf"|\.\s*(?:{_UNCLEAR_NAMES})\s*\(|\bflags\s*\.\s*(?:all|{_UNCLEAR_NAMES})\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSite:
    """One place where a flag is read.

    Attributes:
        path: of the file, absolute, links resolved.
        shown_path: of the file, for people.
        line: where it begins, 1-based.
        column: where it begins, 0-based, in bytes of the line.
        end_line: where it ends.
        flag_key: None when the key is not known from the source, or all flags are read at once.
        method: such as "is_enabled"; "require_flag", "RequireFlagMixin", "ifflag" and "flag" for those.
        default: the default's source text, None without one.
        function: dotted name of the function or class around it; empty at the top of a file, and in templates.
        use: "condition", "match", "assigned", "returned", "argument", "decorator", "class", "template" or "other".
        is_certain: whether it is known to be flagmw's; False for methods of that name on something unknown.
        is_watched: whether its file belongs to the configured packages.
    """

    path: str
    shown_path: str
    line: int
    column: int
    end_line: int
    flag_key: str | None
    method: str
    default: str | None = None
    function: str = ""
    use: str = "other"
    is_certain: bool = True
    is_watched: bool = True

    @property
    def shown(self) -> str:
        """File and line, as editors take them."""
        return f"{self.shown_path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSites:
    """What was found.

    Attributes:
        sites: by file and line.
        problems: files that could not be read, or parsed.
    """

    sites: tuple[CallSite, ...]
    problems: tuple[FileProblem, ...] = ()

    def of(self, flag_key: str) -> tuple[CallSite, ...]:
        """Give the sites of one flag."""
        return tuple(site for site in self.sites if site.flag_key == flag_key)

    @property
    def dynamic(self) -> tuple[CallSite, ...]:
        """The sites that may read any flag."""
        return tuple(site for site in self.sites if site.flag_key is None)


@dataclass(frozen=True, slots=True)
class Found:
    """A site and the syntax that it was found in."""

    site: CallSite
    node: ast.AST
    call: ast.Call | None = field(default=None)


def find_call_sites(files: Iterable[SourceFile] | Code) -> CallSites:
    """Find where flags are read.

    Tests are left out. A file that cannot be read is reported and skipped.

    Args:
        files: of the code base; or the code base, to have files read only once.
    """
    from flagmw.stale.template_sites import sites_in_template  # noqa: PLC0415  # it needs what is defined here

    code = files if isinstance(files, Code) else Code(files)
    sites: list[CallSite] = []
    for file in code.files:
        if file.is_test or file.kind is FileKind.OTHER:
            continue
        text = code.text_of(file)
        if text is None or not may_have_sites(text):
            continue
        if file.kind is FileKind.TEMPLATE:
            sites.extend(sites_in_template(file, text))
            continue
        module = code.module_of(file)
        if module is not None:
            sites.extend(found.site for found in sites_in_module(code, module))
    sites.sort(key=lambda site: (site.shown_path, site.line, site.column))
    return CallSites(sites=tuple(sites), problems=code.problems)


def may_have_sites(text: str) -> bool:
    """Tell whether it is worth while to parse a file."""
    return _HINT.search(text) is not None


def sites_in_module(code: Code, module: Module) -> Iterator[Found]:
    """Find where one Python file reads flags."""
    reader = _Reader(code, module)
    for node in ast.walk(module.tree):
        match node:
            case ast.Call():
                found = reader.call(node)
            case ast.Attribute(ctx=ast.Load()):
                found = reader.reference(node)
            case ast.ClassDef():
                found = reader.gated_class(node)
            case _:
                continue
        if found is not None:
            yield found


class _Reader:
    def __init__(self, code: Code, module: Module) -> None:
        self._code = code
        self._module = module
        self._receivers = Receivers(code, module)

    def call(self, call: ast.Call) -> Found | None:
        if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
            return self._method(call, call.func)
        if isinstance(call.func, ast.Attribute) and call.func.attr in WHOLE:
            return self._whole(call, call.func)
        if isinstance(call.func, (ast.Name, ast.Attribute)):
            last = call.func.id if isinstance(call.func, ast.Name) else call.func.attr
            if last == "as_view":
                return self._as_view(call)
            imported = self._module.imported(call.func)
            if last == REQUIRE or (imported is not None and imported.name == REQUIRE):
                return self._required(call, is_certain=self._receivers.own_name(call.func) == REQUIRE)
        return None

    def reference(self, attribute: ast.Attribute) -> Found | None:
        """Notice a method that is handed on instead of being called: with whatever key."""
        if attribute.attr not in METHODS | WHOLE:
            return None
        parent = self._module.parent_of(attribute)
        if isinstance(parent, ast.Call) and parent.func is attribute:
            return None
        if self._receivers.judge(attribute.value) not in (Receiver.FLAGS, Receiver.CLIENT):
            return None
        return self._found(attribute, None, attribute.attr, None, is_certain=True)

    def gated_class(self, owner: ast.ClassDef) -> Found | None:
        is_certain = any(self._receivers.own_name(base) == MIXIN for base in owner.bases)
        for statement in owner.body:
            value: ast.expr | None = None
            match statement:
                case ast.Assign(targets=[ast.Name(id="flag_key")]):
                    value = statement.value
                case ast.AnnAssign(target=ast.Name(id="flag_key")):
                    value = statement.value
                case _:
                    pass
            if value is None:
                continue
            key = constant_of(self._code, self._module, value)
            if (key is None or not isinstance(key.value, str) or not key.value) and not is_certain:
                return None
            key_text = str(key.value) if key is not None and key.value else None
            return self._found(statement, key_text, MIXIN, None, is_certain=is_certain, use="class")
        return None

    def _method(self, call: ast.Call, method: ast.Attribute) -> Found | None:
        kind = self._receivers.judge(method.value)
        is_certain = kind in (Receiver.FLAGS, Receiver.CLIENT)
        if kind is Receiver.NO or (not is_certain and method.attr in UNCLEAR):
            return None
        key, is_sure = self._key(_argument(call, 0, "key"))
        if key is None and not is_certain:
            return None
        place = 2 if kind is Receiver.CLIENT or (not is_certain and len(call.args) > 2) else 1
        default = _argument(call, place, "default") if method.attr != "is_flag_known" else None
        return self._found(call, key, method.attr, default, is_certain=is_certain and is_sure)

    def _whole(self, call: ast.Call, method: ast.Attribute) -> Found | None:
        kind = self._receivers.judge(method.value)
        wanted = Receiver.FLAGS if method.attr == "all" else Receiver.CLIENT
        if kind is not wanted:
            return None
        key: str | None = None
        parent = self._module.parent_of(call)
        match parent:
            case ast.Subscript(slice=slice_) if parent.value is call:
                key = self._key(slice_)[0]
            case ast.Attribute(attr="get"):
                outer = self._module.parent_of(parent)
                key = self._key(_argument(outer, 0, ""))[0] if isinstance(outer, ast.Call) else None
            case _:
                pass
        return self._found(call, key, method.attr, None, is_certain=True)

    def _as_view(self, call: ast.Call) -> Found | None:
        for keyword in call.keywords:
            if keyword.arg == "flag_key":
                key, is_sure = self._key(keyword.value)
                return self._found(call, key, MIXIN, None, is_certain=is_sure, use="argument")
        return None

    def _required(self, call: ast.Call, *, is_certain: bool) -> Found | None:
        key, is_sure = self._key(_argument(call, 0, "key"))
        if key is None and not is_certain:
            return None
        return self._found(call, key, REQUIRE, _argument(call, 1, "default"), is_certain=is_certain and is_sure)

    def _key(self, expression: ast.expr | None) -> tuple[str | None, bool]:
        constant = constant_of(self._code, self._module, expression) if expression is not None else None
        if constant is None or isinstance(constant.value, bool) or not isinstance(constant.value, (str, int)):
            return None, True
        name = expression.id if isinstance(expression, ast.Name) else getattr(expression, "attr", "")
        is_sure = constant.is_sure and not (name and self._code.is_assigned_from_outside(name))
        return str(constant.value), is_sure

    def _found(
        self,
        node: ast.expr | ast.stmt,
        key: str | None,
        method: str,
        default: ast.expr | None,
        *,
        is_certain: bool,
        use: str | None = None,
    ) -> Found:
        file = self._module.file
        site = CallSite(
            path=file.path,
            shown_path=file.shown_path,
            line=node.lineno,
            column=node.col_offset,
            end_line=node.end_lineno or node.lineno,
            flag_key=key,
            method=method,
            default=self._module.source_of(default) if default is not None else None,
            function=self._module.function_of(node),
            use=use or self._use_of(node),
            is_certain=is_certain,
            is_watched=file.is_watched,
        )
        return Found(site, node, node if isinstance(node, ast.Call) else None)

    def _use_of(self, node: ast.AST) -> str:
        """Tell what becomes of a flag's value."""
        while True:
            parent = self._module.parent_of(node)
            match parent:
                case ast.BoolOp() | ast.UnaryOp() | ast.Compare() | ast.NamedExpr() | ast.Subscript():
                    node = parent
                case ast.Attribute(attr="value"):
                    node = parent
                case ast.If() | ast.While() | ast.IfExp() | ast.Assert() if parent.test is node:
                    return "condition"
                case ast.comprehension() if node in parent.ifs:
                    return "condition"
                case ast.Match() | ast.match_case():
                    return "match"
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                    return "assigned"
                case ast.Return() | ast.Yield():
                    return "returned"
                case ast.Call() | ast.keyword():
                    return "argument"
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if node in parent.decorator_list:
                    return "decorator"
                case _:
                    return "other"


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    """Give an argument by its place or its name; None when there is none, or a `*list` makes places unknown."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    before = call.args[: place + 1]
    if len(before) <= place or any(isinstance(argument, ast.Starred) for argument in before):
        return None
    return before[place]
