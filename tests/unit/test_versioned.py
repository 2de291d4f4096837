"""Items with versions: merging, compiling no more than has changed, and references that go in circles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flagmw.core import versioned
from flagmw.core.versioned import (
    CUT,
    EMPTY_STORE,
    FLAG,
    MAX_NESTING,
    MAX_REACH,
    Item,
    Links,
    Merged,
    Store,
    advance,
    behaviour_digest,
    make_item,
    patched,
    replaced,
)


def item(name: str, version: int = 1, refs: Sequence[str] = (), *, is_archived: bool = False) -> Item:
    value = {"id": name, "version": version, "refs": list(refs)}
    return make_item(FLAG + name, version, value, {"id": name, "version": version}, is_archived=is_archived)


def names_of(found: Item, links: Links) -> tuple[str, ...]:
    """Compile an item to its name and the names of all that it refers to, as far as they are not cut."""
    names = [found.tag.removeprefix(FLAG)]
    for ref in found.value()["refs"]:
        part = links.find(FLAG + ref)
        names.extend(["missing"] if part is None else ["cut"] if part is CUT else part)
    return tuple(names)


class Compiler:
    """Counts what it compiles."""

    def __init__(self) -> None:
        self.compiled: list[str] = []

    def __call__(self, found: Item, links: Links) -> tuple[str, ...]:
        self.compiled.append(found.tag.removeprefix(FLAG))
        return names_of(found, links)


def store_of(*items: Item) -> Store:
    return advance(EMPTY_STORE, replaced(EMPTY_STORE, items), names_of)[0]


def parts(store: Store) -> dict[str, Any]:
    return {tag.removeprefix(FLAG): part for tag, part in store.parts.items()}


def test_an_item_is_compiled_with_what_it_refers_to() -> None:
    store = store_of(item("a", refs=["b", "c"]), item("b", refs=["c"]), item("c"))
    assert parts(store) == {"a": ("a", "b", "c", "c"), "b": ("b", "c"), "c": ("c",)}


def test_an_item_that_is_not_there_or_archived_is_missing() -> None:
    store = store_of(item("a", refs=["b", "c"]), item("b", is_archived=True))
    assert parts(store) == {"a": ("a", "missing", "missing")}


def test_a_patch_compiles_what_has_changed_and_what_depends_on_it_and_nothing_else() -> None:
    before = store_of(item("a", refs=["b"]), item("b", refs=["c"]), item("c"), item("d"))
    compiler = Compiler()
    after, affected = advance(before, patched(before, [item("c", 2)]), compiler)
    assert sorted(compiler.compiled) == ["a", "b", "c"]
    assert affected == {FLAG + "a", FLAG + "b", FLAG + "c"}
    assert after.parts[FLAG + "d"] is before.parts[FLAG + "d"]


def test_an_item_that_appears_reaches_those_that_were_missing_it() -> None:
    before = store_of(item("a", refs=["b"]))
    after, _ = advance(before, patched(before, [item("b")]), names_of)
    assert parts(after)["a"] == ("a", "b")


def test_an_item_that_goes_is_missed() -> None:
    before = store_of(item("a", refs=["b"]), item("b"))
    after, affected = advance(before, replaced(before, [item("a", refs=["b"])]), names_of)
    assert parts(after) == {"a": ("a", "missing")}
    assert FLAG + "b" in affected


def test_the_store_before_a_patch_stays_as_it_was() -> None:
    before = store_of(item("a", refs=["b"]), item("b"))
    kept = dict(before.items), dict(before.parts), dict(before.links)
    advance(before, patched(before, [item("b", 2, is_archived=True)]), names_of)
    assert (before.items, before.parts, before.links) == kept


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([item("a", refs=["a"])], {"a": ("a", "cut")}),
        ([item("a", refs=["b"]), item("b", refs=["a"])], {"a": ("a", "b", "cut"), "b": ("b", "a", "cut")}),
        (
            [item("x", refs=["a"]), item("a", refs=["b"]), item("b", refs=["a", "c"]), item("c")],
            {"x": ("x", "a", "b", "cut", "c"), "a": ("a", "b", "cut", "c"), "b": ("b", "a", "cut", "c"), "c": ("c",)},
        ),
    ],
)
def test_a_cycle_is_cut_where_it_closes_from_wherever_it_is_entered(
    items: Sequence[Item], expected: dict[str, Any]
) -> None:
    assert parts(store_of(*items)) == expected
    assert parts(store_of(*reversed(items))) == expected


def test_a_chain_of_any_length_is_compiled() -> None:
    length = 3_000
    chain = [item(f"i{n}", refs=[f"i{n + 1}"]) for n in range(length)]
    assert len(store_of(*chain).parts) == length


def test_a_chain_is_followed_only_so_far_at_once() -> None:
    chain = [item(f"i{n:04}", refs=[f"i{n + 1:04}"]) for n in range(MAX_NESTING + 5)]
    assert parts(store_of(*chain))["i0000"] == (*(f"i{n:04}" for n in range(MAX_NESTING)), "cut")


def test_a_cycle_is_entered_from_outside_as_from_anywhere_else() -> None:
    before = store_of(item("a", refs=["b"]), item("b", refs=["a"]))
    after, _ = advance(before, patched(before, [item("x", refs=["a"])]), names_of)
    assert parts(after)["x"] == ("x", "a", "b", "cut")


def test_many_items_that_all_refer_to_all_are_compiled_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versioned, "MAX_UNROLLED", 500)
    names = [f"i{n}" for n in range(20)]
    compiler = Compiler()

    def compile_item(found: Item, links: Links) -> int:
        compiler.compiled.append(found.tag)
        return sum(links.find(FLAG + ref) is not None for ref in found.value()["refs"])

    store, _ = advance(EMPTY_STORE, replaced(EMPTY_STORE, [item(name, refs=names) for name in names]), compile_item)
    assert len(store.parts) == len(names)
    assert len(compiler.compiled) < 2_000


# --- merging --------------------------------------------------------------------------------------------------


def versions(merged: Merged) -> dict[str, int]:
    return {tag.removeprefix(FLAG): found.version for tag, found in merged.items.items()}


def test_a_patch_takes_newer_items_and_leaves_older_and_equal_ones() -> None:
    store = store_of(item("a", 5), item("b", 5), item("c", 5))
    merged = patched(store, [item("a", 4), item("b", 5), item("c", 6), item("d", 1)])
    assert versions(merged) == {"a": 5, "b": 5, "c": 6, "d": 1}
    assert merged.changed == {FLAG + "c", FLAG + "d"}
    assert merged.version == 6


def test_of_an_item_that_is_twice_in_a_patch_the_newer_counts() -> None:
    merged = patched(EMPTY_STORE, [item("a", 7), item("a", 3)])
    assert versions(merged) == {"a": 7}


def test_an_archived_item_keeps_older_versions_away() -> None:
    store = store_of(item("a", 5, is_archived=True))
    assert patched(store, [item("a", 4)]).changed == frozenset()
    assert versions(patched(store, [item("a", 6)])) == {"a": 6}


def test_what_replaces_everything_names_what_is_new_altered_or_gone() -> None:
    store = store_of(item("a", 1), item("b", 1), item("c", 1))
    assert replaced(store, [item("a", 1), item("b", 2), item("d", 1)]).changed == {FLAG + "b", FLAG + "c", FLAG + "d"}


# --- naming states --------------------------------------------------------------------------------------------


def test_equal_items_have_one_revision_however_they_came() -> None:
    at_once = store_of(item("a", 2), item("b", 3, is_archived=True))
    first = store_of(item("b", 1), item("a", 1))
    later, _ = advance(first, patched(first, [item("a", 2), item("b", 3, is_archived=True)]), names_of)
    assert later.revision == at_once.revision
    assert len(at_once.revision) == 12


@pytest.mark.parametrize(
    "other",
    [[item("a", 2)], [item("a", 1), item("b", 1)], [item("b", 1)], [item("a", 1, is_archived=True)], []],
)
def test_other_items_have_another_revision(other: Sequence[Item]) -> None:
    assert store_of(*other).revision != store_of(item("a", 1)).revision


def digests(store: Store) -> Mapping[str, bytes]:
    return {tag: behaviour_digest(store, tag) for tag in store.parts}


def test_an_item_behaves_differently_when_what_it_refers_to_does() -> None:
    before = store_of(item("a", refs=["b"]), item("b", refs=["c"]), item("c"), item("d"))
    after, _ = advance(before, patched(before, [item("c", 2)]), names_of)
    old, new = digests(before), digests(after)
    assert {tag for tag in old if old[tag] != new[tag]} == {FLAG + "a", FLAG + "b", FLAG + "c"}


def test_items_of_a_cycle_behave_differently_when_one_of_them_does() -> None:
    before = store_of(item("a", refs=["b"]), item("b", refs=["a", "c"]), item("c"))
    after, _ = advance(before, patched(before, [item("c", 2)]), names_of)
    old, new = digests(before), digests(after)
    assert all(old[tag] != new[tag] for tag in old)


def test_an_item_that_depends_on_very_many_counts_as_altered_when_anything_is() -> None:
    many = [f"i{n}" for n in range(MAX_REACH + 1)]
    before = store_of(item("a", refs=many), item("elsewhere"))
    after, _ = advance(before, patched(before, [item("elsewhere", 2)]), names_of)
    assert behaviour_digest(before, FLAG + "a") != behaviour_digest(after, FLAG + "a")
    assert before.parts[FLAG + "a"] is after.parts[FLAG + "a"]


def test_an_item_too_nested_to_be_written_is_kept_with_nothing_but_its_identity() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    made = make_item(FLAG + "a", 1, {"id": "a", "nested": nested}, {"id": "a"}, is_archived=False)
    assert made.value() == {"id": "a"}
