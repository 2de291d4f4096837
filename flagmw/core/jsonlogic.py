"""Compiles JsonLogic rules into closures.

A rule is walked once, here; what comes out is a tree of closures over decoded constants, so that evaluating
neither parses nor looks at the rule again. Frequent shapes (one attribute against a constant) get closures of
their own. Rules never raise: a defect in the rule is a `Problem` at compile time, a defect in the data is a
falsy result.

Source: the flagd rule reference, "JsonLogic"; vectors of all flagd categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from flagmw.core.coercion import ResultTooLargeError, to_text
from flagmw.errors import Path, Problem

Run = Callable[[Any], Any]
Trace = Callable[[Path, str, Any], None]

LISTS = (list, tuple)
"""What counts as a list: contexts hold tuples."""

MAX_COST = 100_000
"""How many parts a rule may have once its references are followed."""

MAX_RULE_DEPTH = 100
"""How deep these may be nested: they become nested calls."""


@dataclass(slots=True)
class _Measure:
    """How large the part of a rule is that is being compiled."""

    cost: int = 1
    depth: int = 1

    def add(self, part: _Measure) -> None:
        self.cost += part.cost
        self.depth = max(self.depth, part.depth + 1)

    @property
    def is_too_large(self) -> bool:
        return self.cost > MAX_COST or self.depth > MAX_RULE_DEPTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A compiled (part of a) rule.

    Attributes:
        run: from the data to the result; ignores the data when `constant`.
        constant: the result is always `value`.
        attribute: the result is this top-level attribute of the data, null when absent.
        python_truth: truth of the result is the same in Python and JsonLogic.
    """

    run: Run
    constant: bool = False
    value: Any = None
    attribute: str | None = None
    python_truth: bool = False


def constant(value: Any) -> Compiled:
    """Make the compiled form of a value that is known already."""
    return Compiled(
        run=lambda _: value,
        constant=True,
        value=value,
        python_truth=value is None or value.__class__ in (bool, str, int),
    )


NULL = constant(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What `var` reads.

    Attributes:
        is_root: the data is the context; in the body of `map` and its kin it is an element.
        supplied: top-level names that the dialect supplies, looked up before the data.
        constants: whole paths whose value is known while compiling.
    """

    is_root: bool
    supplied: Mapping[str, Run]
    constants: Mapping[str, Any]


ELEMENT = Scope(is_root=False, supplied={}, constants={})

Operator = Callable[["RuleCompiler", list[Any], Scope, Path], Compiled]


class RuleCompiler:
    """Compiles the rules of one document.

    Args:
        operators: by name.
        references: named rules that `$ref` stands for.
        trace: for explaining an evaluation: told the path of each branch that is decided, a word on it, and
            its result. None compiles for speed.

    Problems are collected in `problems`; a part with a problem compiles to null.
    """

    def __init__(
        self, operators: Mapping[str, Operator], references: Mapping[str, Any], trace: Trace | None = None
    ) -> None:
        self._operators = operators
        self._references = references
        self._known: dict[tuple[str, bool, int], tuple[Compiled, _Measure]] = {}
        self._open: list[str] = []
        self._level = 0
        self._measure = _Measure()
        self._told_too_large = False
        self.trace = trace
        self.problems: list[Problem] = []

    def report(self, path: Path, message: str) -> Compiled:
        """Note a defect of the rule at `path` and go on with null in its place."""
        self.problems.append(Problem(message=message, path=path, severity="flag"))
        return NULL

    def warn(self, path: Path, message: str) -> None:
        """Note something that is allowed and surely not meant."""
        self.problems.append(Problem(message=message, path=path, severity="warning"))

    def compile(self, node: Any, scope: Scope, path: Path) -> Compiled:
        """Compile a rule or a part of one; `path` is its place in the document."""
        if self._level >= MAX_RULE_DEPTH:
            return self._too_large(path)
        # Texts and numbers count for nothing: a list of all customers is long, not complicated.
        outer, self._measure = self._measure, _Measure(cost=1 if isinstance(node, (dict, *LISTS)) else 0)
        self._level += 1
        try:
            compiled = self._compile(node, scope, path)
        finally:
            self._level -= 1
            part, self._measure = self._measure, outer
        outer.add(part)
        # Checked before the parts come together, which for constants means: before they are computed.
        return self._too_large(path) if outer.is_too_large else compiled

    def _too_large(self, path: Path) -> Compiled:
        message = f"the rule has more than {MAX_COST} parts or {MAX_RULE_DEPTH} levels once its $refs are followed"
        if not self._told_too_large:
            self._told_too_large = True
            self.report(path, message)
        return NULL

    def _compile(self, node: Any, scope: Scope, path: Path) -> Compiled:
        if isinstance(node, LISTS):
            return _list_of([self.compile(item, scope, (*path, i)) for i, item in enumerate(node)])
        if not isinstance(node, dict) or len(node) != 1:
            return constant(node)
        ((name, raw),) = node.items()
        if name == "$ref" and isinstance(raw, str):
            return self._compile_reference(raw, scope, path)
        operator = self._operators.get(name)
        path = (*path, name)
        if operator is None:
            return self.report(path, f"unknown operator {name!r}{_nearest(name, self._operators)}")
        try:
            return operator(self, raw if isinstance(raw, list) else [raw], scope, path)
        except ResultTooLargeError:  # constants that are put together now
            return self._too_large(path)

    def compile_arguments(self, raw: Sequence[Any], scope: Scope, path: Path) -> list[Compiled]:
        """Compile each argument of an operator."""
        if len(raw) == 1:
            return [self.compile(raw[0], scope, path)]
        return [self.compile(item, scope, (*path, i)) for i, item in enumerate(raw)]

    def _compile_reference(self, name: str, scope: Scope, path: Path) -> Compiled:
        if name not in self._references:
            return self.report(path, f"$ref names no evaluator: {name!r}{_nearest(name, self._references)}")
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            return self.report(path, f"$ref goes in a circle: {circle}")
        # The scope decides what `var` reads, so one evaluator has a compiled form per scope.
        known = (name, scope.is_root, id(scope.supplied))
        if known not in self._known:
            self._open.append(name)
            compiled = self.compile(self._references[name], scope, ("$evaluators", name))
            self._open.pop()
            self._known[known] = compiled, self._measure
            return compiled
        compiled, measure = self._known[known]
        self._measure.add(measure)
        return compiled


def _list_of(items: list[Compiled]) -> Compiled:
    if all(item.constant for item in items):
        return constant([item.value for item in items])
    runs = [item.run for item in items]
    return Compiled(run=lambda data: [run(data) for run in runs])


def pick(arguments: Sequence[Compiled], index: int) -> Compiled:
    """Give an operator's argument, null when it has fewer."""
    return arguments[index] if index < len(arguments) else NULL


def operation(arguments: Sequence[Compiled], run: Run, *, python_truth: bool = False) -> Compiled:
    """Make the compiled form of an operator whose result depends on its arguments alone.

    Constant arguments are folded: the operation then runs once, now.
    """
    if all(argument.constant for argument in arguments):
        return folded(run)
    return Compiled(run=run, python_truth=python_truth)


def folded(run: Run) -> Compiled:
    """Make the compiled form of what does not depend on the data: its result, unless that is too large."""
    try:
        return constant(run(None))
    except ResultTooLargeError:
        return Compiled(run=run)


def resolve(data: Any, names: Sequence[str]) -> Any:
    """Follow names through mappings (by key) and lists (by decimal index); null where one is absent."""
    for name in names:
        if isinstance(data, dict):
            data = data.get(name)
        elif isinstance(data, LISTS) and name.isascii() and name.isdigit() and len(name) < 10:
            index = int(name)
            data = data[index] if index < len(data) else None
        else:
            return None
        if data is None:
            return None
    return data


def read_path(path: Any, data: Any, scope: Scope) -> Any:
    """Read what a `var` with this (evaluated) path reads, null when absent."""
    if path is None or path == "":
        return whole_data(data, scope)
    names = to_text(path).split(".")
    supplied = scope.supplied.get(names[0])
    if supplied is not None:
        return resolve(supplied(data), names[1:])
    return resolve(data, names)


def whole_data(data: Any, scope: Scope) -> Any:
    """Give all that a rule sees in this scope."""
    if not scope.supplied:
        return data
    return {**data, **{name: supply(data) for name, supply in scope.supplied.items()}}


def compile_var(compiler: RuleCompiler, raw: list[Any], scope: Scope, path: Path) -> Compiled:
    """Compile `var`: a path (usually a constant) and a default."""
    arguments = compiler.compile_arguments(raw, scope, path)
    where, default = pick(arguments, 0), pick(arguments, 1)
    if not where.constant:
        read, fallback = where.run, default.run

        def run_computed(data: Any) -> Any:
            found = read_path(read(data), data, scope)
            return fallback(data) if found is None else found

        return Compiled(run=run_computed)
    return _var_of_known_path(where.value, default, scope)


def _var_of_known_path(where: Any, default: Compiled, scope: Scope) -> Compiled:
    fallback = default.run
    has_default = not (default.constant and default.value is None)
    text = "" if where is None else to_text(where)
    names = text.split(".")
    if text in scope.constants:
        return constant(scope.constants[text])
    if not text or names[0] in scope.supplied:

        def find(data: Any) -> Any:
            return read_path(text, data, scope)

    elif len(names) > 1 or not scope.is_root:

        def find(data: Any) -> Any:
            return resolve(data, names)

    elif not has_default:
        return Compiled(run=lambda data: data.get(text), attribute=text)
    else:

        def find(data: Any) -> Any:
            return data.get(text)

    if not has_default:
        return Compiled(run=find)

    def run(data: Any) -> Any:
        found = find(data)
        return fallback(data) if found is None else found

    return Compiled(run=run)


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
