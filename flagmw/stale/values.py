"""What an expression gives when a flag has one value for ever. What is not certain is not known."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The value of an expression.

    Attributes:
        value: as Python has it.
        by_flag: whether that is so because of the flag; other code that is dead is none of our business.
        is_detail: whether the expression gives an `Evaluation`, whose value this is.
    """

    value: Any
    by_flag: bool = True
    is_detail: bool = False


Read = Callable[[ast.expr], Known | None]


class Evaluator:
    """Evaluates expressions as far as they are known.

    Args:
        read: gives the value of a call that reads the flag, and of a name; None for all others.
        constant: gives the value of an expression that is constant.
    """

    def __init__(self, read: Read, constant: Read) -> None:
        self._read = read
        self._constant = constant

    def value(self, expression: ast.expr) -> Known | None:
        """Give an expression's value, None when it is not known."""
        match expression:
            case ast.Call() | ast.Name():
                return self._read(expression)
            case ast.NamedExpr(value=inner):
                return self.value(inner)
            case ast.Attribute(attr="value", value=inner):
                known = self.value(inner)
                return Known(value=known.value) if known is not None and known.is_detail else None
            case ast.UnaryOp(op=ast.Not()):
                known = self.truth(expression.operand)
                return Known(value=not known.value, by_flag=known.by_flag) if known is not None else None
            case ast.BoolOp():
                return self._bool_op(expression)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compare(left, op, right)
            case ast.IfExp():
                known = self.truth(expression.test)
                if known is None:
                    return None
                chosen = self.value(expression.body if known.value else expression.orelse)
                return Known(value=chosen.value, by_flag=chosen.by_flag or known.by_flag) if _is_plain(chosen) else None
            case ast.Constant(value=value) if value is None or isinstance(value, (bool, int, float, str)):
                return Known(value=value, by_flag=False)
            case _:
                return None

    def truth(self, expression: ast.expr) -> Known | None:
        """Tell whether an expression counts as true, None when it is not known."""
        if isinstance(expression, ast.BoolOp):
            return self._bool_truth(expression)
        known = self.value(expression)
        if known is None or known.is_detail:
            return None
        return Known(value=bool(known.value), by_flag=known.by_flag)

    def skipped(self, operation: ast.BoolOp) -> list[ast.expr]:
        """Give the operands of `and` or `or` that are never evaluated because of the flag."""
        decides = isinstance(operation.op, ast.Or)
        for place, operand in enumerate(operation.values):
            known = self.truth(operand)
            if known is not None and known.value is decides:
                return operation.values[place + 1 :] if known.by_flag else []
        return []

    def matches(self, pattern: ast.pattern, subject: Known) -> bool | None:
        """Tell whether a pattern takes a value, None when it is not known."""
        match pattern:
            case ast.MatchValue(value=expression):
                known = self._comparand(expression)
                return _answer(operator.eq, subject.value, known.value) if known is not None else None
            case ast.MatchSingleton(value=value):
                return subject.value is value
            case ast.MatchOr(patterns=patterns):
                answers = [self.matches(each, subject) for each in patterns]
                return True if True in answers else None if None in answers else False
            case ast.MatchAs(pattern=None):
                return True
            case ast.MatchAs(pattern=ast.pattern() as inner):
                return self.matches(inner, subject)
            case _:
                return None

    def _bool_truth(self, operation: ast.BoolOp) -> Known | None:
        decides = isinstance(operation.op, ast.Or)
        known = [self.truth(operand) for operand in operation.values]
        deciding = [each for each in known if each is not None and each.value is decides]
        if deciding:
            return Known(value=decides, by_flag=all(each.by_flag for each in deciding))
        if None in known:
            return None
        return Known(value=not decides, by_flag=any(each.by_flag for each in known if each is not None))

    def _bool_op(self, operation: ast.BoolOp) -> Known | None:
        """Give the operand that `and` or `or` gives, when all before it are known."""
        decides = isinstance(operation.op, ast.Or)
        by_flag = False
        known: Known | None = None
        for operand in operation.values:
            known = self.value(operand)
            if known is None or known.is_detail:
                return None
            by_flag = by_flag or known.by_flag
            if bool(known.value) is decides:
                break
        return Known(value=known.value, by_flag=by_flag) if known is not None else None

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Known | None:
        if isinstance(op, (ast.In, ast.NotIn)):
            return self._contained(left, right, is_in=isinstance(op, ast.In))
        one, other = self._comparand(left), self._comparand(right)
        if not _is_plain(one) or not _is_plain(other):
            return None
        by_flag = one.by_flag or other.by_flag
        if isinstance(op, (ast.Is, ast.IsNot)):
            fixed = (None, True, False)
            if not any(one.value is each for each in fixed) and not any(other.value is each for each in fixed):
                return None  # whether equal texts are one object is nobody's business
            return Known(value=(one.value is other.value) is isinstance(op, ast.Is), by_flag=by_flag)
        answer = _answer(_COMPARED[type(op)], one.value, other.value)
        return Known(value=answer, by_flag=by_flag) if answer is not None else None

    def _contained(self, left: ast.expr, right: ast.expr, *, is_in: bool) -> Known | None:
        known = self._comparand(left)
        if not _is_plain(known) or not isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            return None
        items = [self._comparand(item) for item in right.elts]
        answers = [_answer(operator.eq, item.value, known.value) if item is not None else None for item in items]
        if True in answers:
            return Known(value=is_in, by_flag=known.by_flag)
        return Known(value=not is_in, by_flag=known.by_flag) if None not in answers else None

    def _comparand(self, expression: ast.expr) -> Known | None:
        return self.value(expression) or self._constant(expression)


def _is_plain(known: Known | None) -> TypeGuard[Known]:
    return known is not None and not known.is_detail and not isinstance(known.value, (dict, list))


def _answer(compare: Callable[[Any, Any], Any], one: Any, other: Any) -> bool | None:
    try:
        return bool(compare(one, other))
    except TypeError:
        return None


def converted(method: str, value: Any) -> Known | None:
    """Give what a method of the accessor, or of a client, answers for a flag's value; None when that is not certain.

    Services whose values are all texts read them as other types in ways of their own, so a text that is asked for as a
    boolean or a number is not known.
    """
    kind = method.removesuffix("_detail")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    read: Iterable[Any] = ()
    if kind in ("variation", "config"):
        read = (value,)
    elif kind in ("is_enabled", "boolean", "require_flag", "RequireFlagMixin", "ifflag"):
        read = (value,) if isinstance(value, bool) else ()
    elif kind == "string":
        read = (value,) if isinstance(value, str) else ()
    elif kind == "integer":
        read = (int(value),) if is_number and float(value).is_integer() else ()
    elif kind == "number":
        read = (float(value),) if is_number else ()
    elif kind == "json":
        read = (value,) if isinstance(value, (dict, list)) else ()
    elif kind == "flag":
        read = (value,)
    for found in read:
        return Known(value=found, is_detail=method.endswith("_detail"))
    return None
