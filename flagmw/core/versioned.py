"""Flags and segments that arrive one by one, each with a version: merging them, and compiling no more than has changed.

A `Store` is immutable: one patch makes a new one that shares all the rest with the old. What items mean is their
dialect's business, which gives a function that compiles one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FLAG, SEGMENT = "flag:", "segment:"
"""What tags begin with; an id follows."""

MAX_NESTING = 32
"""How many items deep references are followed at once; compiling and evaluating are nested calls, which Python bounds."""

_NO_CUT = MAX_NESTING

MAX_UNROLLED = 100_000
"""How often items are compiled anew, all in all, because they are part of a cycle."""

MAX_REACH = 1_000
"""How many items a flag may depend on before it counts as altered whenever anything is."""

_TOTAL_MASK = (1 << 64) - 1

CUT = object()
"""What `Links.find` gives instead of an item that is being compiled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A flag or a segment at one version.

    Attributes:
        tag: `FLAG` or `SEGMENT`, and the id: unique in a store.
        version: Unix milliseconds.
        text: its JSON, with sorted keys; of one that is archived no more than says so.
        is_archived: it is kept only because of its version, and is invisible.
        digest: of the tag and the text.
    """

    tag: str
    version: int
    text: bytes
    is_archived: bool
    digest: int

    def value(self) -> Any:
        """Parse the text."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """All items of one moment.

    Attributes:
        items: by tag.
        version: the highest of an item that was ever accepted.
        total: sum of all digests modulo 2**64, which does not depend on the order of items.
        parts: what the items that are not archived were compiled to, by tag.
        links: tags that an item refers to, for the items that refer to any.
        cycles: of an item whose part has a cut, the tags that it can be entered from only by compiling it anew.
    """

    items: Mapping[str, Item]
    version: int
    total: int
    parts: Mapping[str, Any]
    links: Mapping[str, frozenset[str]]
    cycles: Mapping[str, frozenset[str]]

    @property
    def revision(self) -> str:
        """Name this state: 12 hexadecimal digits that are equal for equal items."""
        return f"{self.total & 0xFFFF_FFFF_FFFF:012x}"


EMPTY_STORE = Store(items={}, version=0, total=0, parts={}, links={}, cycles={})


def make_item(tag: str, version: int, value: Mapping[str, Any], stub: Mapping[str, Any], *, is_archived: bool) -> Item:
    """Make an item.

    Args:
        tag: see `Item`.
        version: the same.
        value: its JSON.
        stub: the members that identify it: all that is kept of it when it is archived.
        is_archived: see `Item`.
    """
    try:
        text = json.dumps(stub if is_archived else value, sort_keys=True).encode()
    except RecursionError:  # nested more deeply than can be written: a flag without anything, which is broken
        text = json.dumps(stub, sort_keys=True).encode()
    hashed = hashlib.blake2b(tag.encode("utf-8", "surrogatepass") + b"\0" + text, digest_size=8)
    digest = int.from_bytes(hashed.digest(), "big")
    return Item(tag=tag, version=version, text=text, is_archived=is_archived, digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Items after a message.

    Attributes:
        items: see `Store`.
        version: the same.
        total: the same.
        changed: tags of what was added, altered or removed.
    """

    items: Mapping[str, Item]
    version: int
    total: int
    changed: frozenset[str]


def replaced(store: Store, items: Iterable[Item]) -> Merged:
    """Give the items that replace all others; of two with the same tag the later counts."""
    new = {item.tag: item for item in items}
    old = store.items
    changed = {tag for tag, item in new.items() if (known := old.get(tag)) is None or known.digest != item.digest}
    return Merged(
        items=new,
        version=max((item.version for item in new.values()), default=0),
        total=sum(item.digest for item in new.values()) & _TOTAL_MASK,
        changed=frozenset(changed | (old.keys() - new.keys())),
    )


def patched(store: Store, items: Iterable[Item]) -> Merged:
    """Give all items after some have changed; one that is not newer than what is there is ignored."""
    merged = dict(store.items)
    version, total = store.version, store.total
    changed = set()
    for item in sorted(items, key=lambda item: item.version):
        known = merged.get(item.tag)
        if known is not None and item.version <= known.version:
            continue
        merged[item.tag] = item
        version = max(version, item.version)
        total = (total + item.digest - (known.digest if known is not None else 0)) & _TOTAL_MASK
        changed.add(item.tag)
    return Merged(items=merged, version=version, total=total, changed=frozenset(changed))


CompileItem = Callable[[Item, "Links"], Any]


def advance(store: Store, merged: Merged, compile_item: CompileItem) -> tuple[Store, frozenset[str]]:
    """Make the store after a message.

    Args:
        store: the one before.
        merged: the items from here on.
        compile_item: makes an item's part; asks the links for those of others. Never raises.

    Returns:
        The store, and the tags of what was compiled anew or is gone.
    """
    affected = merged.changed | _dependents(merged.changed, store.links)
    parts, links, cycles = dict(store.parts), dict(store.links), dict(store.cycles)  # whole: that is the quickest way
    for tag in affected:
        for table in (parts, links, cycles):
            table.pop(tag, None)
    made = Store(
        items=merged.items, version=merged.version, total=merged.total, parts=parts, links=links, cycles=cycles
    )
    finder = Links(merged.items, parts, links, cycles, compile_item)
    for tag in sorted(affected):
        finder.find(tag)
    return made, frozenset(affected)


def _dependents(changed: Collection[str], links: Mapping[str, frozenset[str]]) -> set[str]:
    """Name the items that refer to changed ones, directly or through others."""
    found: set[str] = set()
    fresh: Collection[str] = changed
    while fresh:
        fresh = {tag for tag, refs in links.items() if tag not in found and not refs.isdisjoint(fresh)}
        found |= fresh
    return found


@dataclass(slots=True, kw_only=True)
class _Frame:
    """An item that is being compiled: what it has asked for, and what that has, and so on."""

    refs: set[str]
    reached: set[str]


class Links:
    """Finds the parts of items that others refer to, compiling each when it is first needed.

    A cycle is cut where it closes, so what comes out depends on where it is entered: an item of a cycle is compiled anew
    inside of each other item of the cycle.
    """

    def __init__(
        self,
        items: Mapping[str, Item],
        parts: dict[str, Any],
        links: dict[str, frozenset[str]],
        cycles: dict[str, frozenset[str]],
        compile_item: CompileItem,
    ) -> None:
        """Fill `parts`, `links` and `cycles` of a store as items are compiled."""
        self._items = items
        self._parts = parts
        self._links = links
        self._cycles = cycles
        self._compile = compile_item
        self._path: dict[str, _Frame] = {}
        self._cut_at = _NO_CUT
        self._unrolled = 0

    def find(self, tag: str) -> Any:
        """Give the part of an item.

        Returns:
            Its part; None when there is no such item, or it is archived; `CUT` when it is being compiled just now.
        """
        if self._path:
            frame = self._top()
            frame.refs.add(tag)
            frame.reached.add(tag)
        if tag in self._parts and (tag not in self._cycles or self._cycles[tag].isdisjoint(self._path)):
            return self._parts[tag]
        item = self._items.get(tag)
        if item is None or item.is_archived:
            return None
        if tag in self._path:
            self._cut_at = min(self._cut_at, list(self._path).index(tag))
            return CUT
        if len(self._path) >= MAX_NESTING or (self._path and self._unrolled > MAX_UNROLLED):
            self._cut_at = 0
            return CUT
        return self._compile_one(item)

    def _top(self) -> _Frame:
        return next(reversed(self._path.values()))

    def _compile_one(self, item: Item) -> Any:
        depth, outer_cut = len(self._path), self._cut_at
        self._cut_at = _NO_CUT
        self._path[item.tag] = _Frame(refs=set(), reached=set())
        part = self._compile(item, self)
        frame = self._path.pop(item.tag)
        if frame.refs:
            self._links[item.tag] = frozenset(frame.refs)
        if self._path:
            self._top().reached.update(frame.reached)
        if self._cut_at >= depth:  # no cut leads to what is outside of it
            self._parts[item.tag] = part
            if self._cut_at != _NO_CUT:
                self._cycles[item.tag] = frozenset(frame.reached)
            self._cut_at = outer_cut
        else:
            self._unrolled += 1
            self._cut_at = min(self._cut_at, outer_cut)
        return part


def behaviour_digest(store: Store, tag: str) -> bytes:
    """Give bytes that differ whenever an item behaves differently, because of itself or of what it refers to."""
    digest = hashlib.blake2b(store.items[tag].digest.to_bytes(8, "big"), digest_size=16)
    if tag in store.links:
        reached = _reach(store, tag)
        if len(reached) > MAX_REACH:
            digest.update(store.total.to_bytes(8, "big"))
        for other in sorted(reached):
            item = store.items.get(other)
            digest.update(item.digest.to_bytes(8, "big") if item is not None else other.encode("utf-8", "replace"))
    return digest.digest()


def _reach(store: Store, tag: str) -> set[str]:
    reached: set[str] = set()
    waiting = [tag]
    while waiting and len(reached) <= MAX_REACH:
        fresh = store.links.get(waiting.pop(), frozenset()) - reached
        reached |= fresh
        waiting.extend(fresh)
    return reached


def dump_pieces(store: Store) -> Iterator[bytes]:
    """Write all items as one full message, a piece per item."""
    yield b'{"messageType": "data-sync", "data": {"eventType": "full", "featureFlags": ['
    yield from _joined(item.text for item in store.items.values() if item.tag.startswith(FLAG))
    yield b'], "segments": ['
    yield from _joined(item.text for item in store.items.values() if not item.tag.startswith(FLAG))
    yield b"]}}"


def _joined(texts: Iterable[bytes]) -> Iterator[bytes]:
    separator = b""
    for text in texts:
        yield separator + text
        separator = b",\n"
