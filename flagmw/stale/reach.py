"""Which functions are reached only from code that can no longer run, by the text of the program and by what was seen.

Two proofs must agree: nothing else in the code base so much as mentions the function's name, and the usage agent, which
watched for long enough, has not seen it run since.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from flagmw.stale.constants import class_of
from flagmw.stale.dead import DeadCode, Span
from flagmw.stale.decorators import is_harmless
from flagmw.stale.files import FileKind
from flagmw.stale.modules import Code, Module
from flagmw.stale.receivers import Receivers
from flagmw.stale.references import Defined, References
from flagmw.stale.scopes import ScopeKind
from flagmw.usage.functions import CodeBase, Function
from flagmw.usage.store import StoredFunction, StoredUsage

_BASES = frozenset({"abc.ABC", "typing.Generic", "typing.Protocol"})
_DYNAMIC = re.compile(r"\b(?:getattr|attrgetter|methodcaller)\s*\([^\n]*(?:\n[^\n]*){0,2}(?:[+%]|\bf[\"']|format)")
_PIECE = re.compile(r"\w{3,}|\w+_|_\w+")


class Calls:
    """What the usage agent knows of calls.

    Args:
        code_base: the functions of the sources as they are now.
        usage: what was seen; of one application and environment, or of several.
        since: no call since then counts as none; in seconds of wall time, as the following.
        known_by: by when a function, and its application, must have been watched.
    """

    def __init__(self, code_base: CodeBase, usage: StoredUsage, *, since: float, known_by: float) -> None:
        self._functions = {(each.path, each.first_line, each.name): each for each in code_base.functions}
        self._stored: dict[str, list[StoredFunction]] = {}
        self._since = since
        self._known_by = known_by
        for stored in usage.functions:
            if stored.removed_at is None:
                self._stored.setdefault(stored.function.signature, []).append(stored)
        # An application of which nothing runs proves nothing: perhaps its agent cannot see.
        self._running = {
            (stored.app_name, stored.environment)
            for stored in usage.functions
            if stored.last_invoked_at is not None and stored.last_invoked_at >= since
        }

    def of(self, path: str, first_line: int, name: str) -> tuple[Function | None, Seen]:
        """Tell whether a function ran."""
        function = self._functions.get((path, first_line, name))
        stored = self._stored.get(function.signature, []) if function is not None else []
        if any(each.last_invoked_at is not None and each.last_invoked_at >= self._since for each in stored):
            return function, Seen.CALLED
        watched = [
            each
            for each in stored
            if each.first_seen_at <= self._known_by and (each.app_name, each.environment) in self._running
        ]
        return function, Seen.NEVER if watched else Seen.UNPROVEN


class Seen(Enum):
    """What is known of a function's calls."""

    CALLED = "called"
    NEVER = "never"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedFunction:
    """A function that only dead code reaches.

    Attributes:
        name: dotted, with its class.
        path: of its file, absolute, links resolved.
        shown_path: of its file, for people.
        first_line: of its first decorator, or of itself.
        last_line: of its body.
        function: as the usage agent knows it; None where it does not.
    """

    name: str
    path: str
    shown_path: str
    first_line: int
    last_line: int
    function: Function | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What only dead code reaches.

    Attributes:
        functions: that had no call.
        unproven: that would be among them, if the usage agent had watched them for long enough.
    """

    functions: tuple[ReachedFunction, ...] = ()
    unproven: tuple[ReachedFunction, ...] = ()


def reached_from(code: Code, dead: Sequence[DeadCode], calls: Calls | None) -> Reached:
    """Find the functions that only dead code reaches.

    Args:
        code: the code base.
        dead: what can no longer run, by file.
        calls: what was seen running; None proves nothing.
    """
    return _Finder(code, dead, calls).find()


class _Finder:
    def __init__(self, code: Code, dead: Sequence[DeadCode], calls: Calls | None) -> None:
        self._code = code
        self._dead = {each.file.path: each.spans for each in dead}
        self._files = [each.file for each in dead if each.spans]
        self._calls = calls
        self._references = References(code)
        self._pieces: frozenset[str] | None = None

    def find(self) -> Reached:
        candidates = self._candidates()
        proven = self._closed([each for each, seen in candidates.values() if seen is Seen.NEVER])
        perhaps = self._closed([each for each, _ in candidates.values()])
        unproven = [each for key, each in perhaps.items() if key not in proven and candidates[key][1] is Seen.UNPROVEN]
        return Reached(functions=self._described(proven.values()), unproven=self._described(unproven))

    def _candidates(self) -> dict[tuple[str, int], tuple[Defined, Seen]]:
        """Give all functions that may die, going from one to the next."""
        found: dict[tuple[str, int], tuple[Defined, Seen]] = {}
        waiting: list[tuple[Module, list[Span]]] = []
        for file in self._files:
            module = self._code.module_of(file) if file.kind is FileKind.PYTHON else None
            if module is not None:
                waiting.append((module, self._dead[file.path]))
        while waiting:
            module, spans = waiting.pop()
            for defined in self._references.functions_in(module, spans):
                if defined.key in found or not self._may_die(defined):
                    continue
                seen = self._seen(defined)
                if seen is Seen.CALLED:
                    continue
                found[defined.key] = defined, seen
                waiting.append((defined.module, [defined.span]))
        return found

    def _seen(self, defined: Defined) -> Seen:
        if self._calls is None:
            return Seen.UNPROVEN
        return self._calls.of(defined.module.file.path, defined.first_line, defined.node.name)[1]

    def _closed(self, candidates: Iterable[Defined]) -> dict[tuple[str, int], Defined]:
        """Keep those that nothing mentions but dead code and each other."""
        left = {each.key: each for each in candidates}
        while True:
            spans: dict[str, list[Span]] = {path: list(own) for path, own in self._dead.items()}
            for each in left.values():
                spans.setdefault(each.module.file.path, []).append(each.span)
            alive = [key for key, each in left.items() if self._is_mentioned(each, spans)]
            if not alive:
                return left
            for key in alive:
                del left[key]

    def _is_mentioned(self, defined: Defined, dead: Mapping[str, Sequence[Span]]) -> bool:
        own = defined.span
        for name in {defined.node.name, *self._references.other_names(defined.node.name)}:
            for file in self._code.with_word(name):
                if file.kind is not FileKind.PYTHON:
                    return True
                module = self._code.module_of(file)
                if module is None:
                    return True
                spans = dead.get(file.path, ())
                is_own = file.path == defined.module.file.path
                for line, column in self._references.mentions(module, name):
                    if is_own and own.holds(line, column):
                        continue
                    if not any(span.holds(line, column) for span in spans):
                        return True
        return False

    # --- what may die at all ----------------------------------------------------------------------------------

    def _may_die(self, defined: Defined) -> bool:
        module, name = defined.module, defined.node.name
        if module.file.is_test or (name.startswith("__") and name.endswith("__")):
            return False
        receivers = Receivers(self._code, module)
        if not all(is_harmless(module, receivers, decorator) for decorator in defined.node.decorator_list):
            return False
        if _looks_up_names(module) or any(piece in name for piece in self._looked_up_pieces()):
            return False
        if defined.owner is None:
            return module.scopes.module.only(name) is not None
        return self._is_plain_class(module, defined.owner, name)

    def _is_plain_class(self, module: Module, owner: ast.ClassDef, method: str) -> bool:
        """Tell whether nobody outside the code base, and no base class, may call a method of a class."""
        receivers = Receivers(self._code, module)
        if owner.keywords or not all(is_harmless(module, receivers, each) for each in owner.decorator_list):
            return False
        for base in owner.bases:
            bare = base.value if isinstance(base, ast.Subscript) else base
            imported = module.imported(bare)
            if imported is not None and imported.dotted in _BASES:
                continue
            if isinstance(bare, ast.Name) and bare.id == "object" and module.scope_of(bare).resolve("object") is None:
                continue
            found = class_of(self._code, module, bare)
            if found is None or found[1] is owner or method in _members(found[0], found[1]):
                return False
            if not self._is_plain_class(found[0], found[1], method):
                return False
        return module.scope_of(owner).kind is ScopeKind.MODULE

    def _looked_up_pieces(self) -> frozenset[str]:
        """Give the pieces of names that the code base puts together to look something up: `getattr(x, "do_" + y)`."""
        if self._pieces is None:
            found: set[str] = set()
            for file, text in self._code.python():
                module = self._code.module_of(file) if not file.is_test and _DYNAMIC.search(text) else None
                for node in ast.walk(module.tree) if module is not None else ():
                    if isinstance(node, ast.Call) and _name_of(node.func) in ("getattr", "attrgetter", "methodcaller"):
                        found.update(_pieces_in(node.args[-2:]))
            self._pieces = frozenset(found)
        return self._pieces

    def _described(self, functions: Iterable[Defined]) -> tuple[ReachedFunction, ...]:
        found = []
        for defined in functions:
            file, node = defined.module.file, defined.node
            known = self._calls.of(file.path, defined.first_line, node.name)[0] if self._calls is not None else None
            found.append(
                ReachedFunction(
                    name=".".join(
                        [file.module, *([defined.owner.name] if defined.owner is not None else []), node.name]
                    ),
                    path=file.path,
                    shown_path=file.shown_path,
                    first_line=defined.first_line,
                    last_line=defined.last_line,
                    function=known,
                )
            )
        return tuple(sorted(found, key=lambda each: (each.shown_path, each.first_line)))


def _members(module: Module, owner: ast.ClassDef) -> Iterable[str]:
    return module.scope_of(owner.body[0]).bindings


def _looks_up_names(module: Module) -> bool:
    """Tell whether a file finds its own functions by names that it makes up: `globals()[name]`, `getattr(self, name)`."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id="globals" | "vars" | "eval" | "exec")):
                return True
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="self" | "cls"), name, *_]) if not _is_text(
                name
            ):
                return True
            case ast.Subscript(value=ast.Attribute(value=ast.Name(id="sys"), attr="modules")):
                return True
            case ast.Attribute(attr="__dict__"):
                return True
            case _:
                pass
    return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _pieces_in(arguments: Iterable[ast.expr]) -> Iterable[str]:
    for argument in arguments:
        if isinstance(argument, (ast.JoinedStr, ast.BinOp, ast.Call)):
            for node in ast.walk(argument):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from _PIECE.findall(node.value)
