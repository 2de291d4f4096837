"""Which statements never go on to the next one: they return, raise, or leave the turn of a loop, whatever happens."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from flagmw.stale.values import Evaluator


class Leaving:
    """Judges statements.

    `with` may swallow an exception, and a loop may have no turn: neither counts as leaving, whatever is in it.

    Args:
        evaluator: decides conditions as far as they are known.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def leaves(self, statement: ast.stmt) -> bool:
        """Tell whether what follows a statement in its block is never reached by way of it."""
        match statement:
            case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
                return True
            case ast.If():
                known = self._evaluator.truth(statement.test)
                if known is not None:
                    return self._any(statement.body if known.value else statement.orelse)
                return self._any(statement.body) and self._any(statement.orelse)
            case ast.Match():
                return self._match(statement)
            case ast.Try() | ast.TryStar():
                tried = self._any(statement.body) or self._any(statement.orelse)
                handled = all(self._any(handler.body) for handler in statement.handlers)
                return (tried and handled) or self._any(statement.finalbody)
            case _:
                return False

    def _any(self, statements: Sequence[ast.stmt]) -> bool:
        return any(self.leaves(statement) for statement in statements)

    def _match(self, statement: ast.Match) -> bool:
        subject = self._evaluator.value(statement.subject)
        for case in statement.cases:
            known = subject is not None and not subject.is_detail
            matches = self._evaluator.matches(case.pattern, subject) if subject is not None and known else None
            if matches is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None:
                matches = True
            guard = self._evaluator.truth(case.guard) if case.guard is not None else None
            if matches is False or (guard is not None and not guard.value):
                continue
            if not self._any(case.body):
                return False
            if matches and (case.guard is None or (guard is not None and guard.value)):
                return True
        return False
