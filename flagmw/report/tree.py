"""`Node`: packages, modules and classes as a tree, each with how much of it ran when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from flagmw.report.ages import Age
from flagmw.usage.functions import Function


class NodeKind(StrEnum):
    """What a node of the tree is."""

    ROOT = "root"
    PACKAGE = "package"
    MODULE = "module"
    CLASS = "class"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUse:
    """A function, and when it ran.

    Attributes:
        function: which one.
        age: the class of its last call.
        first_seen_at: since when it is known to exist.
        first_invoked_at: its first call that was seen; None for never.
        last_invoked_at: its last one; a lower bound, up to one interval too early.
        lines: of its own, without those of functions inside it, so that sums count no line twice.
        environments: where it is known to exist.
    """

    function: Function
    age: Age
    first_seen_at: float
    first_invoked_at: float | None
    last_invoked_at: float | None
    lines: int
    environments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How much there is of something."""

    functions: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A package, module or class, with all that it holds.

    Attributes:
        name: the last part of its dotted name.
        kind: what it is.
        dotted: its full name; "" for the root.
        children: packages, then modules, then classes, by name.
        functions: those that it holds directly, by place.
        by_age: how much of all that is below it ran when.
        last_invoked_at: the last call of any function below it.
    """

    name: str
    kind: NodeKind
    dotted: str
    children: tuple[Node, ...]
    functions: tuple[FunctionUse, ...]
    by_age: Mapping[Age, Tally]
    last_invoked_at: float | None

    @property
    def total(self) -> Tally:
        """All that is below it."""
        return Tally(
            functions=sum(tally.functions for tally in self.by_age.values()),
            lines=sum(tally.lines for tally in self.by_age.values()),
        )

    def walk(self) -> Iterator[Node]:
        """Give the node and all below it, each before its children."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))


@dataclass(slots=True)
class _Draft:
    """A node while its children are collected."""

    name: str = ""
    kind: NodeKind = NodeKind.ROOT
    dotted: str = ""
    children: dict[tuple[NodeKind, str], _Draft] = field(default_factory=dict)
    functions: list[FunctionUse] = field(default_factory=list)

    def child(self, kind: NodeKind, name: str) -> _Draft:
        found = self.children.get((kind, name))
        if found is None:
            dotted = f"{self.dotted}.{name}" if self.dotted else name
            found = self.children[kind, name] = _Draft(name=name, kind=kind, dotted=dotted)
        return found


def tree_of(functions: Iterable[FunctionUse]) -> Node:
    """Put functions into the tree of their packages, modules and classes."""
    root = _Draft()
    homes: dict[tuple[str, str], _Draft] = {}
    for use in functions:
        function = use.function
        key = (function.package_name, function.declaring_type)
        home = homes.get(key)
        if home is None:
            home = homes[key] = _home_of(root, *key)
        home.functions.append(use)
    return _node(root)


def _home_of(root: _Draft, package_name: str, declaring_type: str) -> _Draft:
    *packages, module = package_name.split(".")
    home = root
    for name in packages:
        home = home.child(NodeKind.PACKAGE, name)
    home = home.child(NodeKind.MODULE, module)
    for name in filter(None, declaring_type[len(package_name) + 1 :].split(".")):
        home = home.child(NodeKind.CLASS, name)
    return home


ORDER = list(NodeKind)


def _node(draft: _Draft) -> Node:
    drafts = sorted(draft.children.values(), key=lambda child: (ORDER.index(child.kind), child.name))
    children = tuple(_node(child) for child in drafts)
    functions = tuple(sorted(draft.functions, key=lambda use: (use.function.path, use.function.first_line)))
    counts = {age: [0, 0] for age in Age}
    for use in functions:
        counts[use.age][0] += 1
        counts[use.age][1] += use.lines
    for child in children:
        for age, tally in child.by_age.items():
            counts[age][0] += tally.functions
            counts[age][1] += tally.lines
    calls = [*(use.last_invoked_at for use in functions), *(child.last_invoked_at for child in children)]
    return Node(
        name=draft.name,
        kind=draft.kind,
        dotted=draft.dotted,
        children=children,
        functions=functions,
        by_age={age: Tally(functions=functions_, lines=lines) for age, (functions_, lines) in counts.items()},
        last_invoked_at=max((at for at in calls if at is not None), default=None),
    )
