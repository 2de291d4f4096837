"""`Code`: the texts of a code base, parsed when something in them is asked for."""

from __future__ import annotations

import ast
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

from flagmw.stale.files import FileKind, SourceFile
from flagmw.stale.scopes import Binding, Scope, ScopeKind, Scopes
from flagmw.usage.functions import FileProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an imported name stands for.

    Attributes:
        module: dotted, made absolute.
        name: of what was taken out of the module; None for the module itself.
    """

    module: str
    name: str | None = None

    @property
    def dotted(self) -> str:
        """The whole dotted name."""
        return self.module if self.name is None else f"{self.module}.{self.name}"


class Module:
    """One Python file that could be parsed.

    Attributes:
        file: which.
        text: of it.
        tree: its syntax.
    """

    def __init__(self, file: SourceFile, text: str, tree: ast.Module) -> None:
        self.file = file
        self.text = text
        self.tree = tree
        self._lines: list[str] | None = None
        self._scopes: Scopes | None = None
        self._parents: dict[int, ast.AST] | None = None

    @property
    def lines(self) -> list[str]:
        """The lines of the text, the first at 0."""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines

    def source_of(self, node: ast.expr) -> str:
        """Give an expression's text, its lines joined by spaces."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        lines = [line.encode("utf-8", "surrogatepass") for line in self.lines[first : last + 1]]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return " ".join(line.decode("utf-8", "surrogatepass").strip() for line in lines)

    @property
    def scopes(self) -> Scopes:
        """Which names are bound where."""
        if self._scopes is None:
            self._scopes = Scopes(self.tree)
        return self._scopes

    def parent_of(self, node: ast.AST) -> ast.AST | None:
        """Give what a node is directly part of."""
        if self._parents is None:
            self._parents = {
                id(child): parent for parent in ast.walk(self.tree) for child in ast.iter_child_nodes(parent)
            }
        return self._parents.get(id(node))

    def scope_of(self, node: ast.AST) -> Scope:
        """Give the scope in which a node is evaluated."""
        return self.scopes.of(node)

    def binding_of(self, name: ast.Name) -> tuple[Scope, Binding] | None:
        """Give the one place that binds a name; None when there are several, or none in this file."""
        scope = self.scope_of(name).resolve(name.id)
        binding = scope.only(name.id) if scope is not None else None
        return (scope, binding) if scope is not None and binding is not None else None

    def imported(self, expression: ast.expr) -> Imported | None:
        """Tell what was imported as a name, or is an attribute of what was: `a.b.c`; None for anything else."""
        if isinstance(expression, ast.Attribute):
            base = self.imported(expression.value)
            return Imported(module=base.dotted, name=expression.attr) if base is not None else None
        if not isinstance(expression, ast.Name):
            return None
        scope = self.scope_of(expression).resolve(expression.id)
        targets = (
            {self.import_at(binding.node) for binding in scope.bindings[expression.id]} if scope is not None else {None}
        )
        return targets.pop() if len(targets) == 1 else None  # `try: import x except ...: import y` has two

    def import_at(self, node: ast.AST) -> Imported | None:
        """Tell what an `alias` node imports."""
        if not isinstance(node, ast.alias):
            return None
        statement = self.parent_of(node)
        if isinstance(statement, ast.ImportFrom):
            return Imported(module=self.absolute(statement), name=node.name)
        return Imported(module=node.name if node.asname is not None else node.name.split(".")[0])

    def absolute(self, statement: ast.ImportFrom) -> str:
        """Give the dotted name of the module that a `from ... import` names."""
        if not statement.level:
            return statement.module or ""
        parts = self.file.module.split(".")
        kept = len(parts) - statement.level + (1 if self.file.is_package else 0)
        return ".".join([*parts[: max(kept, 0)], *((statement.module,) if statement.module else ())])

    def function_of(self, node: ast.AST) -> str:
        """Give the dotted name of the function, or class, that a node is in; empty for none."""
        return self.scope_of(node).qualified()

    def in_function(self, node: ast.AST) -> Scope | None:
        """Give the scope of the function that evaluates a node; None in a module or a class body."""
        scope: Scope | None = self.scope_of(node)
        while scope is not None and scope.kind is ScopeKind.COMPREHENSION:
            scope = scope.parent
        return scope if scope is not None and scope.kind is ScopeKind.FUNCTION else None


class Code:
    """A code base. Files are read and parsed once, when something in them is asked for. For one thread.

    Args:
        files: of the code base.
    """

    def __init__(self, files: Iterable[SourceFile]) -> None:
        self.files = tuple(files)
        self._texts: dict[str, str | None] = {}
        self._modules: dict[str, Module | None] = {}
        self._problems: dict[str, FileProblem] = {}
        self._named: dict[str, SourceFile | None] = {}
        self._assigned: dict[str, bool] = {}
        for file in self.files:
            if file.kind is FileKind.PYTHON:
                # Two files of one dotted name, in two folders: nobody knows which is imported.
                self._named[file.module] = None if file.module in self._named else file

    @property
    def problems(self) -> tuple[FileProblem, ...]:
        """The files that could not be read so far."""
        return tuple(self._problems[path] for path in sorted(self._problems))

    def text_of(self, file: SourceFile) -> str | None:
        """Give a file's text with line feeds at the ends of lines; None when it cannot be read."""
        if file.path not in self._texts:
            self._texts[file.path] = self._read(file)
        return self._texts[file.path]

    def module_of(self, file: SourceFile) -> Module | None:
        """Parse a file; None when that is impossible."""
        if file.path not in self._modules:
            self._modules[file.path] = self._parse(file)
        return self._modules[file.path]

    def module_named(self, dotted: str) -> Module | None:
        """Give the module of a dotted name; None for one that the code base does not have."""
        file = self._named.get(dotted)
        return self.module_of(file) if file is not None else None

    def has_module(self, dotted: str) -> bool:
        """Tell whether the code base has a module of this name."""
        return dotted in self._named

    def python(self) -> Iterator[tuple[SourceFile, str]]:
        """Give the Python files that can be read, with their texts."""
        return self._of_kind(FileKind.PYTHON)

    def templates(self) -> Iterator[tuple[SourceFile, str]]:
        """Give the templates that can be read, with their texts."""
        return self._of_kind(FileKind.TEMPLATE)

    # --- what files name, whatever they mean by it: asked when a claim hangs on nobody else's doing it -----------

    def with_word(self, word: str) -> Iterator[SourceFile]:
        """Give the files, other than tests, in which a word occurs."""
        pattern = _word(word)
        for file in self.files:
            text = None if file.is_test else self.text_of(file)
            if text is not None and word in text and pattern.search(text) is not None:
                yield file

    def is_assigned_from_outside(self, name: str) -> bool:
        """Tell whether some file assigns an attribute of this name: `module.NAME = ...`."""
        if name in self._assigned:
            return self._assigned[name]
        word = re.escape(name)
        pattern = re.compile(
            rf"\.{word}\s*(?:=(?!=)|:[^=\n]*=)|\bsetattr\([^)]*[\"']{word}[\"']|\bglobal\b.*\b{word}\b"
        )
        self._assigned[name] = self._any_python(name, pattern)
        return self._assigned[name]

    def is_made(self, name: str) -> bool:
        """Tell whether something of this name is called, other than the definition of a class."""
        return self._any_python(name, re.compile(rf"(?<!class )(?<!\w){re.escape(name)}\s*\("))

    def is_subclassed(self, name: str) -> bool:
        """Tell whether some class names another among its bases."""
        return self._any_python(name, re.compile(rf"\bclass\s+\w+\s*\([^)]*\b{re.escape(name)}\b"))

    def is_keyword(self, name: str) -> bool:
        """Tell whether some call passes an argument by this name."""
        return self._any_python(name, re.compile(rf"[(,]\s*{re.escape(name)}\s*=(?!=)"))

    def is_named_twice(self, name: str) -> bool:
        """Tell whether a word occurs more than once in all."""
        pattern = _word(name)
        texts = (self.text_of(file) or "" for file in self.with_word(name))
        return sum(len(pattern.findall(text)) for text in texts) > 1

    def _any_python(self, word: str, pattern: re.Pattern[str]) -> bool:
        return any(word in text and pattern.search(text) for file, text in self.python() if not file.is_test)

    def _of_kind(self, kind: FileKind) -> Iterator[tuple[SourceFile, str]]:
        for file in self.files:
            text = self.text_of(file) if file.kind is kind else None
            if text is not None:
                yield file, text

    def _read(self, file: SourceFile) -> str | None:
        try:
            with open(file.path, "rb") as opened:
                content = opened.read()
            encoding = (
                tokenize.detect_encoding(BytesIO(content).readline)[0] if file.kind is FileKind.PYTHON else "utf-8"
            )
            text = content.decode(encoding, "strict" if file.kind is FileKind.PYTHON else "replace")
        except OSError as error:
            self._refuse(file, f"cannot be read: {error.strerror}")
            return None
        except (SyntaxError, UnicodeDecodeError, LookupError) as error:
            self._refuse(file, f"cannot be read as text: {error}")
            return None
        return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")

    def _parse(self, file: SourceFile) -> Module | None:
        text = self.text_of(file)
        if text is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes and the like are the file's own affair
                return Module(file, text, ast.parse(text))
        except SyntaxError as error:
            self._refuse(file, f"is no Python that this interpreter understands: {error.msg}", error.lineno or 0)
        except (ValueError, RecursionError, MemoryError) as error:
            self._refuse(file, f"cannot be parsed: {error}")
        return None

    def _refuse(self, file: SourceFile, message: str, line: int = 0) -> None:
        self._problems[file.path] = FileProblem(path=file.shown_path, message=message, line=line)


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
