"""On which lines things stand that the syntax tree does not tell: `else:`, `elif`, `case`, and what shares a line."""

from __future__ import annotations

import ast

from flagmw.stale.modules import Module


class Layout:
    """Reads the lines of one file.

    Args:
        module: the file.
    """

    def __init__(self, module: Module) -> None:
        self._lines = module.lines

    def stands_alone(self, node: ast.stmt) -> bool:
        """Tell whether a statement shares its first and last line with nothing but a comment."""
        line, column = node.end_lineno or node.lineno, node.end_col_offset or 0
        rest = self._bytes(line)[column:].strip()
        return self._starts_line(node.lineno, node.col_offset) and (not rest or rest.startswith(b"#"))

    def begins_line(self, statement: ast.stmt) -> bool:
        """Tell whether a statement, or its first decorator, is the first thing on its line."""
        return first_line(statement) != statement.lineno or self._starts_line(statement.lineno, statement.col_offset)

    def else_line(self, statement: ast.If) -> int | None:
        """Give the line of an `else:` that stands alone; None for an `elif`, none at all, and `else: something`."""
        if not statement.orelse:
            return None
        body_end = statement.body[-1].end_lineno or 0
        for line in range(first_line(statement.orelse[0]) - 1, body_end, -1):
            if self.is_else(line):
                return line
        return None

    def is_else(self, line: int) -> bool:
        """Tell whether a line begins with `else:`."""
        text = self._lines[line - 1].strip()
        return text.startswith("else") and text[4:].lstrip().startswith(":")

    def is_elif_line(self, line: int) -> bool:
        """Tell whether a line begins with `elif`."""
        text = self._lines[line - 1].strip()
        return text.startswith("elif") and not text[4:5].isidentifier()

    def is_elif(self, statement: ast.If) -> bool:
        """Tell whether an `if` of the syntax tree is written as `elif`."""
        return self._bytes(statement.lineno)[statement.col_offset :].startswith(b"elif")

    def case_line(self, case: ast.match_case) -> int:
        """Give the line of a `case`."""
        line = case.pattern.lineno
        while line > 1 and not self._lines[line - 1].lstrip().startswith("case"):
            line -= 1
        return line

    def header_end(self, line: int, test: ast.expr | ast.pattern, first: ast.stmt) -> int:
        """Give the last line of a condition, without comments that belong to what follows.

        Args:
            line: where it begins.
            test: its expression, or pattern; the parenthesis around it may end later.
            first: the first statement below it.
        """
        test_end = test.end_lineno or line
        last = max(first_line(first) - 1, test_end)
        while last > test_end and self._lines[last - 1].strip()[:1] in ("", "#"):
            last -= 1
        return last

    def _starts_line(self, line: int, column: int) -> bool:
        return not self._bytes(line)[:column].strip()

    def _bytes(self, line: int) -> bytes:
        return self._lines[line - 1].encode("utf-8", "surrogatepass")


def first_line(statement: ast.stmt) -> int:
    """Give a statement's first line, decorators included."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])
    return statement.lineno
