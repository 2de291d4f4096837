"""The functions of a source file, read from its syntax tree: every `def`, `async def` and lambda, reachable or not.

The rules of names are the official Scavenger agent's. Statements are walked; expressions only where the text has the
word lambda, since walking all of them takes longer than parsing.
"""

from __future__ import annotations

import ast
import bisect
import importlib.util
import re
from collections.abc import Iterator, Sequence

from flagmw.usage.code_names import LAMBDA
from flagmw.usage.definitions import Definition
from flagmw.usage.functions import FunctionKind, parameters_of

_COOKIE = re.compile(rb"\A[^\n]*(?:\n[^\n]*)?coding[:=]")
_LAMBDA = re.compile(rb"lambda(?![A-Za-z0-9_])")
_USELESS_ESCAPE = re.compile(rb"\\(?:([^\n\r\\'\"abfnrtvxuUN0-7])|.)", re.DOTALL)

_Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class UnreadableSource(Exception):
    """A text that is no Python source. Caught by the scan, which goes on with the other files.

    Attributes:
        message: what is wrong.
        line: 1-based, 0 when unknown.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def definitions_in(source: bytes) -> list[Definition]:
    """Find the functions of a module; coding cookies and byte order marks are honoured.

    Returns:
        Each in the order of the text; a place may appear twice where lambdas cannot be told apart.

    Raises:
        UnreadableSource: it cannot be decoded or parsed.
    """
    tree = _parse(source)
    lambda_lines = [source.count(b"\n", 0, match.start()) + 1 for match in _LAMBDA.finditer(source)]
    return _Walk(tree, lambda_lines).definitions


def _parse(source: bytes) -> ast.Module:
    try:
        if not _COOKIE.match(source):
            return ast.parse(_quiet(source))
        return ast.parse(_quiet(importlib.util.decode_source(source).encode()).decode())
    except SyntaxError as error:
        raise UnreadableSource(f"it does not parse: {error.msg}", error.lineno or 0) from None
    except UnicodeDecodeError as error:
        raise UnreadableSource(
            f"it is not {error.encoding}: {error.reason}", source.count(b"\n", 0, error.start) + 1
        ) from None
    except (ValueError, LookupError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableSource(f"it does not parse: {error}") from None


def _quiet(source: bytes) -> bytes:
    r"""Replace backslashes as in "\d", for which the parser would warn on behalf of the application."""
    return _USELESS_ESCAPE.sub(_without_backslash, source) if b"\\" in source else source


def _without_backslash(match: re.Match[bytes]) -> bytes:
    return b"." + match[1] if match[1] else match[0]


class _Walk:
    """Goes through a module once.

    Args:
        tree: the module.
        lambda_lines: where the word lambda stands, ascending.
    """

    def __init__(self, tree: ast.Module, lambda_lines: Sequence[int]) -> None:
        self.definitions: list[Definition] = []
        self._lambda_lines = lambda_lines
        self._annotations_are_texts = _has_text_annotations(tree)
        self._open: list[tuple[ast.stmt, str, int, bool]] = []
        self._push(tree.body, "", 1, in_function=False)
        while self._open:
            self._statement(*self._open.pop())

    def _push(self, statements: Sequence[ast.stmt], chain: str, level: int, *, in_function: bool) -> None:
        """Have statements walked next; the last pushed comes first."""
        self._open.extend((statement, chain, level, in_function) for statement in reversed(statements))

    def _statement(self, node: ast.stmt, chain: str, level: int, in_function: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._definition(node, chain, level)
        if self._has_lambda(node):
            for expression in self._expressions(node, in_function):
                self._lambdas(expression, chain, level)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._push(node.body, "", level + 1, in_function=True)
        elif isinstance(node, ast.ClassDef):
            self._push(node.body, f"{chain}.{node.name}" if chain else node.name, level + 1, in_function=False)
        else:
            for statements, depth in reversed(list(_blocks(node))):
                self._push(statements, "", level + depth, in_function=in_function)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef, chain: str, level: int) -> None:
        decorators = node.decorator_list
        self.definitions.append(
            Definition(
                chain,
                node.name,
                _parameters(node.args),
                FunctionKind.DEF if isinstance(node, ast.FunctionDef) else FunctionKind.ASYNC,
                decorators[0].lineno if decorators else node.lineno,
                node.end_lineno or node.lineno,
                level,
                tuple(f"@{name}" for name in map(_dotted, decorators) if name) if decorators else (),
            )
        )

    def _has_lambda(self, node: ast.stmt) -> bool:
        lines = self._lambda_lines
        if not lines:
            return False
        first = node.lineno
        if isinstance(node, _Scope) and node.decorator_list:
            first = node.decorator_list[0].lineno
        at = bisect.bisect_left(lines, first)
        return at < len(lines) and lines[at] <= (node.end_lineno or first)

    def _expressions(self, node: ast.stmt, in_function: bool) -> Iterator[ast.AST]:
        """Give what a statement evaluates where it stands; the statements in it are walked by themselves."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.decorator_list
            yield from _defaults(node.args)
            if not self._annotations_are_texts:
                yield from _annotations(node)
        elif isinstance(node, ast.AnnAssign):
            yield node.target
            if node.value is not None:
                yield node.value
            if not (in_function or self._annotations_are_texts):
                yield node.annotation
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.ExceptHandler):
                    if child.type is not None:
                        yield child.type
                elif isinstance(child, ast.match_case):
                    yield child.pattern
                    if child.guard is not None:
                        yield child.guard
                elif not isinstance(child, ast.stmt):
                    yield child

    def _lambdas(self, expression: ast.AST, chain: str, level: int) -> None:
        """Find the lambdas of an expression; those inside others have no class."""
        unseen = [(expression, chain)]
        while unseen:
            node, around = unseen.pop()
            if isinstance(node, ast.Lambda):
                last_line = node.body.end_lineno or node.lineno
                parameters = _parameters(node.args)
                found = Definition(around, LAMBDA, parameters, FunctionKind.LAMBDA, node.lineno, last_line, level)
                self.definitions.append(found)
                unseen.append((node.body, ""))
                unseen.extend((default, around) for default in _defaults(node.args))
            else:
                unseen.extend((child, around) for child in ast.iter_child_nodes(node))


def _blocks(node: ast.stmt) -> Iterator[tuple[list[ast.stmt], int]]:
    """Give the statements inside a compound statement, and how much deeper they lie."""
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        inside = getattr(node, name, None)
        if not inside:
            continue
        if name in {"handlers", "cases"}:
            for part in inside:
                yield part.body, 2
        else:
            yield inside, 1


def _parameters(arguments: ast.arguments) -> str:
    return parameters_of(
        [argument.arg for argument in arguments.args],
        arguments.vararg.arg if arguments.vararg else None,
        arguments.kwarg.arg if arguments.kwarg else None,
    )


def _defaults(arguments: ast.arguments) -> Iterator[ast.expr]:
    yield from arguments.defaults
    yield from (default for default in arguments.kw_defaults if default is not None)


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg):
        if argument is not None and argument.annotation is not None:
            yield argument.annotation
    if node.returns is not None:
        yield node.returns


def _dotted(decorator: ast.expr) -> str | None:
    """Write a decorator as a dotted name; calls in it are reduced to what is called. None for other expressions."""
    names: list[str] = []
    while not isinstance(decorator, ast.Name):
        if isinstance(decorator, ast.Call):
            decorator = decorator.func
        elif isinstance(decorator, ast.Attribute):
            names.append(decorator.attr)
            decorator = decorator.value
        else:
            return None
    return ".".join([decorator.id, *reversed(names)])


def _has_text_annotations(tree: ast.Module) -> bool:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level:
            if any(alias.name == "annotations" for alias in node.names):
                return True
            continue
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return False
    return False
