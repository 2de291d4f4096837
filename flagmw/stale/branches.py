"""Which code of a Python file can no longer run when a flag keeps its value.

Only what follows from the program's text: conditions that the value decides, code after a statement that then always
leaves, views that are gated by the flag. Everything else is taken to run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

from flagmw.stale.constants import constant_of
from flagmw.stale.dead import DeadCode, Span
from flagmw.stale.decorators import is_harmless
from flagmw.stale.layout import Layout, first_line
from flagmw.stale.leaving import Leaving
from flagmw.stale.modules import Code, Module
from flagmw.stale.receivers import Receivers
from flagmw.stale.scopes import ScopeKind
from flagmw.stale.sites import MIXIN, REQUIRE, CallSite, Found, sites_in_module
from flagmw.stale.values import Evaluator, Known, converted

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MAX_STEPS = 10


def dead_in_module(code: Code, module: Module, sites: Iterable[CallSite], value: Any) -> DeadCode:
    """Find what can no longer run in one file.

    Args:
        code: the file's code base, where constants are looked up.
        module: the file.
        sites: where the flag is read; those of other files, and uncertain ones, are passed over.
        value: the flag's, for ever.
    """
    wanted = {
        (site.line, site.column, site.method) for site in sites if site.is_certain and site.path == module.file.path
    }
    found = [each for each in sites_in_module(code, module) if _place(each.site) in wanted]
    finder = _Finder(code, module, found, value)
    finder.block(module.tree.body)
    finder.assignments()
    return finder.dead


def _place(site: CallSite) -> tuple[int, int, str]:
    return site.line, site.column, site.method


class _Finder:
    def __init__(self, code: Code, module: Module, found: Sequence[Found], value: Any) -> None:
        self.dead = DeadCode(module.file)
        self._code = code
        self._module = module
        self._layout = Layout(module)
        self._receivers = Receivers(code, module)
        self._value = value
        self._sites = {id(each.call): each.site for each in found if each.call is not None}
        self._calls = [each.call for each in found if each.call is not None]
        self._gates = [each.node for each in found if isinstance(each.node, ast.stmt) and each.site.method == MIXIN]
        self._following: set[str] = set()
        self._evaluator = Evaluator(self._read, self._constant)
        self._leaving = Leaving(self._evaluator)
        self._anyway = Leaving(Evaluator(lambda _: None, self._constant))

    # --- what is known ----------------------------------------------------------------------------------------

    def _read(self, expression: ast.expr) -> Known | None:
        if isinstance(expression, ast.Call):
            match expression:
                case ast.Call(func=ast.Name(id="bool") as name, args=[inner], keywords=[]):
                    is_built_in = self._module.scope_of(name).resolve("bool") is None
                    return self._evaluator.truth(inner) if is_built_in else None
                case _:
                    pass
            site = self._sites.get(id(expression))
            return converted(site.method, self._value) if site is not None and site.method != REQUIRE else None
        if not isinstance(expression, ast.Name):
            return None
        found = self._module.binding_of(expression)
        if found is None or found[0].kind is not ScopeKind.FUNCTION:
            return None
        binding = found[1]
        if binding.value is None or isinstance(binding.node, ast.withitem) or len(self._following) > _MAX_STEPS:
            return None
        if expression.id in self._following:
            return None
        self._following.add(expression.id)
        try:
            known = self._evaluator.value(binding.value)
        finally:
            self._following.discard(expression.id)
        # A mapping or a list may have been changed since it was assigned.
        return known if known is not None and known.by_flag and not isinstance(known.value, (dict, list)) else None

    def _constant(self, expression: ast.expr) -> Known | None:
        constant = constant_of(self._code, self._module, expression)
        if constant is None or not constant.is_sure:
            return None
        if isinstance(expression, (ast.Name, ast.Attribute)):
            name = expression.id if isinstance(expression, ast.Name) else expression.attr
            if self._code.is_assigned_from_outside(name):
                return None
        return Known(value=constant.value, by_flag=False)

    # --- statements -------------------------------------------------------------------------------------------

    def block(self, statements: Sequence[ast.stmt]) -> None:
        """Look at statements that follow each other."""
        for place, statement in enumerate(statements):
            self._statement(statement)
            if self._anyway.leaves(statement):
                return  # what follows was dead before
            if self._leaving.leaves(statement) and place + 1 < len(statements):
                self._bury(statements[place + 1 :], f"line {first_line(statement)} always leaves before it")
                return

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.If():
                self._if(statement)
            case ast.While():
                self._while(statement)
            case ast.Match():
                self._match(statement)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(statement)
            case ast.ClassDef():
                self._class(statement)
            case _:
                self._parts(statement)

    def _parts(self, node: ast.AST) -> None:
        """Look at all that a statement consists of, in whatever way."""
        for _, content in ast.iter_fields(node):
            if isinstance(content, ast.expr):
                self._expression(content)
            elif isinstance(content, list) and content and isinstance(content[0], ast.stmt):
                self.block(content)
            elif isinstance(content, list):
                for item in content:
                    if isinstance(item, ast.expr):
                        self._expression(item)
                    elif isinstance(item, ast.AST):
                        self._parts(item)
            elif isinstance(content, ast.AST):
                self._parts(content)

    def _if(self, statement: ast.If) -> None:
        self._expression(statement.test)
        known = self._evaluator.truth(statement.test)
        if known is None or not known.by_flag:
            self.block(statement.body)
            self.block(statement.orelse)
            return
        is_elif = self._layout.is_elif(statement)
        if known.value:
            self.block(statement.body)
            if statement.orelse:
                self._bury_else(statement, f"the condition of line {statement.lineno} is always true")
            if not is_elif:
                self._drop_header(statement.lineno, statement.test, statement.body)
            return
        self._bury(statement.body, f"the condition of line {statement.lineno} is never true")
        self._drop_header(statement.lineno, statement.test, statement.body)
        line = self._layout.else_line(statement)
        if line is not None and not is_elif:
            self.dead.lines.add(line)
        self.block(statement.orelse)

    def _while(self, statement: ast.While) -> None:
        self._expression(statement.test)
        known = self._evaluator.truth(statement.test)
        if known is not None and known.by_flag and not known.value:
            self._bury(statement.body, f"the condition of line {statement.lineno} is never true")
            self._drop_header(statement.lineno, statement.test, statement.body)
        else:
            self.block(statement.body)
        self.block(statement.orelse)

    def _match(self, statement: ast.Match) -> None:
        self._expression(statement.subject)
        subject = self._evaluator.value(statement.subject)
        is_known = subject is not None and subject.by_flag and not subject.is_detail
        taken_at = 0
        for case in statement.cases:
            line = self._layout.case_line(case)
            if taken_at:
                self._bury(case.body, f"the case of line {taken_at} is always taken before it", from_line=line)
                continue
            if case.guard is not None:
                self._expression(case.guard)
            matches = self._evaluator.matches(case.pattern, subject) if subject is not None and is_known else None
            guard = self._evaluator.truth(case.guard) if case.guard is not None else None
            if matches is False or (guard is not None and guard.by_flag and not guard.value):
                self._bury(case.body, f"the case of line {line} is never taken")
                self._drop_header(line, case.pattern, case.body)
                continue
            self.block(case.body)
            if (
                matches
                and (case.guard is None or (guard is not None and guard.value))
                and case is not statement.cases[-1]
            ):
                taken_at = line

    def _function(self, function: Function) -> None:
        for decorator in function.decorator_list:
            self._expression(decorator)
        self._parts(function.args)
        why = self._closed_by(function)
        if why is not None:
            self._bury(function.body, why)
            self.dead.lines.update(range(first_line(function), (function.end_lineno or function.lineno) + 1))
            return
        for decorator in function.decorator_list:
            site = self._sites.get(id(decorator))
            known = converted(site.method, self._value) if site is not None else None
            if known is not None and known.value is True:
                self.dead.lines.update(range(decorator.lineno, (decorator.end_lineno or decorator.lineno) + 1))
        self.block(function.body)

    def _closed_by(self, function: Function) -> str | None:
        """Say why a view is never reached: it has `require_flag`, and nothing below it hands the view itself out."""
        known = converted(REQUIRE, self._value)
        if known is None or known.value is not False:
            return None
        for decorator in reversed(function.decorator_list):
            site = self._sites.get(id(decorator))
            if site is not None and site.method == REQUIRE:
                return f"line {decorator.lineno} lets nobody in"
            if not is_harmless(self._module, self._receivers, decorator):
                break
        return self._closed_by_dependency(function)

    def _closed_by_dependency(self, function: Function) -> str | None:
        """Say the same of a FastAPI endpoint: `dependencies=[Depends(require_flag(...))]` of its only decorator."""
        if len(function.decorator_list) != 1 or not isinstance(function.decorator_list[0], ast.Call):
            return None
        for keyword in function.decorator_list[0].keywords:
            if keyword.arg != "dependencies" or not isinstance(keyword.value, (ast.List, ast.Tuple)):
                continue
            for item in keyword.value.elts:
                inner = item.args[0] if isinstance(item, ast.Call) and item.args else None
                site = self._sites.get(id(inner))
                if site is None or site.method != REQUIRE or not isinstance(item, ast.Call):
                    continue
                name = self._module.imported(item.func) if isinstance(item.func, (ast.Name, ast.Attribute)) else None
                is_depends = name is not None and name.module.partition(".")[0] == "fastapi"
                if is_depends and not self._code.is_named_twice(function.name):
                    return f"line {inner.lineno if inner is not None else function.lineno} lets nobody in"
        return None

    def _class(self, owner: ast.ClassDef) -> None:
        for part in (*owner.decorator_list, *owner.bases, *(keyword.value for keyword in owner.keywords)):
            self._expression(part)
        closed = self._closed_methods(owner)
        for statement in owner.body:
            if statement in closed and isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._bury(statement.body, f"{owner.name} lets nobody in")
                self.dead.lines.update(range(first_line(statement), (statement.end_lineno or statement.lineno) + 1))
        self.block([statement for statement in owner.body if statement not in closed])

    def _closed_methods(self, owner: ast.ClassDef) -> list[ast.stmt]:
        """Give the handlers of a view with `RequireFlagMixin` that are never reached."""
        known = converted(MIXIN, self._value)
        if known is None or known.value is not False or not any(gate in owner.body for gate in self._gates):
            return []
        if not owner.bases or self._receivers.own_name(owner.bases[0]) != MIXIN or owner.decorator_list:
            return []
        methods = [each for each in owner.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
        if any(each.name in ("dispatch", "as_view", "setup", "__getattribute__", "__init__") for each in methods):
            return []
        if self._code.is_subclassed(owner.name) or self._code.is_made(owner.name) or self._code.is_keyword("flag_key"):
            return []
        return [each for each in methods if each.name in _HANDLERS and not each.decorator_list]

    # --- expressions ------------------------------------------------------------------------------------------

    def _expression(self, expression: ast.expr) -> None:
        """Look for parts of an expression that are never evaluated."""
        skipped: list[ast.AST] = []
        match expression:
            case ast.IfExp():
                known = self._evaluator.truth(expression.test)
                if known is not None and known.by_flag:
                    skipped = [expression.orelse if known.value else expression.body]
                    word = "true" if known.value else "false"
                    self._bury_part(skipped[0], f"the condition of line {expression.test.lineno} is always {word}")
            case ast.BoolOp():
                rest = self._evaluator.skipped(expression)
                if rest:
                    word = "or" if isinstance(expression.op, ast.Or) else "and"
                    self._bury_part(rest[0], f"what is left of `{word}` decides", until=rest[-1])
                    skipped = list(rest)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                skipped = self._comprehension(expression)
            case _:
                pass
        for child in ast.iter_child_nodes(expression):
            if any(child is each for each in skipped):
                continue
            if isinstance(child, ast.expr):
                self._expression(child)
            else:
                self._parts_but(child, skipped)

    def _parts_but(self, node: ast.AST, skipped: Sequence[ast.AST]) -> None:
        for child in ast.iter_child_nodes(node):
            if any(child is each for each in skipped):
                continue
            if isinstance(child, ast.expr):
                self._expression(child)
            else:
                self._parts_but(child, skipped)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> list[ast.AST]:
        for place, generator in enumerate(node.generators):
            for number, condition in enumerate(generator.ifs):
                known = self._evaluator.truth(condition)
                if known is None or not known.by_flag or known.value:
                    continue
                results: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
                later = [each.iter for each in node.generators[place + 1 :]]
                conditions = [each for after in node.generators[place + 1 :] for each in after.ifs]
                skipped = [*results, *generator.ifs[number + 1 :], *later, *conditions]
                for each in skipped:
                    self._bury_part(each, f"the condition of line {condition.lineno} is never true")
                return skipped
        return []

    # --- what is found ----------------------------------------------------------------------------------------

    def assignments(self) -> None:
        """Drop `x = flags.is_enabled(...)` and bare calls where nothing that stays needs them."""
        for call in self._calls:
            statement = self._module.parent_of(call)
            if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr)) or not self._layout.stands_alone(
                statement
            ):
                continue
            if isinstance(statement, ast.Expr) or self._is_unneeded(statement):
                self.dead.lines.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))

    def _is_unneeded(self, statement: ast.Assign | ast.AnnAssign) -> bool:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        if isinstance(statement, ast.Assign) and len(statement.targets) != 1:
            return False
        if not isinstance(target, ast.Name):
            return False
        scope = self._module.in_function(statement)
        if scope is None or scope.only(target.id) is None:
            return False
        uses = [
            node
            for node in ast.walk(scope.node)
            if isinstance(node, ast.Name) and node.id == target.id and node is not target
        ]
        return bool(uses) and all(node.lineno in self.dead.lines for node in uses)

    def _bury(self, statements: Sequence[ast.stmt], why: str, from_line: int | None = None) -> None:
        """Note statements that follow each other as never run.

        Args:
            statements: at least one.
            why: as in `DeadBranch`.
            from_line: where what belongs to them alone begins, such as `else:`.
        """
        last = statements[-1]
        last_line, last_column = last.end_lineno or last.lineno, last.end_col_offset or 0
        place = 0
        if from_line is None:  # the first ones may share a line with what runs: `if flag: a(); b()`
            while place < len(statements) and not self._layout.begins_line(statements[place]):
                place += 1
        else:
            self.dead.add(
                Span(from_line, 0, last_line, last_column),
                why,
                first_line=from_line,
                last_line=last_line,
                is_part=False,
            )
            return
        if place:
            self._bury_part(statements[0], why, until=statements[place - 1])
        if place < len(statements):
            first = first_line(statements[place])
            self.dead.add(
                Span(first, 0, last_line, last_column), why, first_line=first, last_line=last_line, is_part=False
            )

    def _bury_part(self, node: ast.AST, why: str, until: ast.AST | None = None) -> None:
        until = until if until is not None else node
        if not isinstance(node, (ast.expr, ast.stmt)) or not isinstance(until, (ast.expr, ast.stmt)):
            return
        last_line, last_column = until.end_lineno or until.lineno, until.end_col_offset or 0
        span = Span(node.lineno, node.col_offset, last_line, last_column)
        self.dead.add(span, why, first_line=node.lineno, last_line=last_line, is_part=True)

    def _bury_else(self, statement: ast.If, why: str) -> None:
        line = self._layout.else_line(statement)
        if line is None:  # an `elif`, or `else: something` in a line
            first = statement.orelse[0]
            line = (
                first.lineno if self._layout.is_elif_line(first.lineno) or self._layout.is_else(first.lineno) else None
            )
        self._bury(statement.orelse, why, from_line=line)

    def _drop_header(self, line: int, test: ast.expr | ast.pattern, body: Sequence[ast.stmt]) -> None:
        """Count the lines of a condition that is decided."""
        if first_line(body[0]) == line and not all(self.dead.holds(each.lineno, each.col_offset) for each in body):
            return  # `if flag: stays()`: the line stays
        self.dead.lines.update(range(line, self._layout.header_end(line, test, body[0]) + 1))


_HANDLERS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
