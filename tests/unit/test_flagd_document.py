"""Flagd documents: what is refused and where, how several come together, and what a change is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import changed_keys
from flagmw.dialects.flagd import check, explain
from flagmw.errors import DocumentError
from tests.unit.support import compiled, dialect, document, flag

USER = UserContext("user-1")

YAML = """\
flags:
  checkout:
    state: ENABLED
    variants:
      on: true
      off: false
    defaultVariant: of
    targetting: {}
  banner:
    state: enabled
    variants: {}
  theme:
    state: ENABLED
    variants:
      a: 1
      b: x
    metadata:
      owner: [team]
    targeting:
      if:
        - ===: [{var: plan}, pro]
        - a
        - fractional:
            - [a, 10]
            - [c, 90.5]
  pricing:
    state: ENABLED
    variants: {a: 1}
    targeting:
      if:
        - {equals: [1, 1]}
        - {$ref: absent}
"""


def yaml(text: str) -> Document:
    return Document(name="flags.yaml", content=text.encode(), is_yaml=True)


def test_every_problem_is_told_with_its_place() -> None:
    told = [(p.line, p.column, p.severity, str(p)) for p in check(yaml(YAML))]
    expected = [
        (7, 21, "error", "'of' is no variant"),
        (8, 17, "warning", "did you mean 'targeting'?"),
        (10, 12, "error", "'state' must be"),
        (11, 15, "error", "an empty mapping"),
        (15, 7, "warning", "different types"),
        (18, 14, "error", "a metadata value"),
        (25, 15, "warning", "must be a whole number"),
        (25, 16, "flag", "'c' is no variant"),
        (31, 20, "flag", "unknown operator 'equals'"),
        (32, 11, "flag", "$ref names no evaluator: 'absent'"),
    ]
    assert [(line, column, severity) for line, column, severity, _ in told] == [row[:3] for row in expected]
    for (*_, found), (*_, fragment) in zip(told, expected, strict=True):
        assert fragment in found


def test_the_same_problems_have_places_in_json() -> None:
    text = json.dumps({"flags": {"f": {"state": 5, "variants": {"a": 1}, "defaultVariant": "b"}}}, indent=2)
    told = [(p.line, p.column) for p in check(Document(name="flags.json", content=text.encode()))]
    assert told == [(4, 16), (8, 25)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected a mapping with 'flags'"),
        ({}, "'flags' is missing"),
        ({"flags": []}, "got a list"),
        ({"flags": {"": {}}}, "must not be empty"),
        ({"flags": {"f": 5}}, "got a number"),
        ({"flags": {"f": flag({"a": 1}, "b")}}, "'b' is no variant"),
        ({"flags": {"f": {**flag({"a": 1}), "defaultVariant": 5}}}, "must name a variant"),
        ({"flags": {"f": {"state": "ENABLED", "variants": []}}}, "got a list"),
        ({"flags": {"f": {"state": "ENABLED"}}}, "got nothing"),
        ({"flags": {"f": {"variants": {"a": 1}}}}, "it is missing"),
        ({"flags": {}, "metadata": []}, "metadata"),
        ({"flags": {}, "metadata": {"a": {}}}, "metadata.a"),
        ({"flags": {}, "$evaluators": []}, "$evaluators"),
    ],
)
def test_an_invalid_document_is_refused_as_a_whole(data: Any, message: str) -> None:
    compilation = dialect().compile([Document(name="flags.json", content=json.dumps(data).encode())], (), None)
    assert compilation.snapshot is None
    assert message in str(compilation.errors[0])


@pytest.mark.parametrize("member", [{"metadata": None}, {"more": 1}, {"$schema": "x"}])
def test_members_that_mean_nothing_are_ignored(member: dict[str, Any]) -> None:
    odd = {**flag(default="on"), "$comment": "x", "source": 5, "targeting": None, "metadata": {"gone": None}}
    snapshot = compiled(document({"f": odd}, **member))
    assert snapshot.flags["f"].evaluate(USER).value is True


def test_yaml_reads_variants_named_on_and_off_as_texts() -> None:
    text = "flags: {f: {state: ENABLED, variants: {on: yes, off: no, true: 1, 1: 2}, defaultVariant: on}}"
    outcome = compiled(yaml(text)).flags["f"].evaluate(USER)
    assert (outcome.variation, outcome.value) == ("on", "yes")


def test_yaml_merge_keys_and_anchors_save_repetition() -> None:
    text = """
flags:
  one: &base
    state: ENABLED
    variants: &switch {on: true, off: false}
    defaultVariant: on
  two:
    <<: *base
    defaultVariant: off
"""
    snapshot = compiled(yaml(text))
    assert [snapshot.flags[key].evaluate(USER).value for key in ("one", "two")] == [True, False]


def test_a_later_document_wins_and_its_metadata_stays_its_own() -> None:
    base = document({"f": flag(default="on"), "g": flag(default="on")}, name="a", metadata={"owner": "a", "set": "a"})
    over = document({"f": flag(default="off", metadata={"owner": "f"})}, name="b", metadata={"owner": "b"})
    snapshot = compiled(base, over)
    f, g = snapshot.flags["f"].evaluate(USER), snapshot.flags["g"].evaluate(USER)
    assert (f.value, dict(f.metadata)) == (False, {"owner": "f"})
    assert (g.value, dict(g.metadata)) == (True, {"owner": "a", "set": "a"})
    assert dict(snapshot.not_found.metadata) == {"owner": "b", "set": "a"}
    assert compiled(base, previous=snapshot).flags["f"].evaluate(USER).value is True


def test_a_refused_document_keeps_its_flags_and_a_kept_one_too() -> None:
    first = compiled(document({"f": flag(default="on")}, name="a"), document({"g": flag(default="on")}, name="b"))
    broken = Document(name="a", content=b"{")
    compilation = dialect().compile([broken], ["b"], first)
    assert [error.name for error in compilation.errors if isinstance(error, DocumentError)] == ["a"]
    assert compilation.snapshot is not None
    assert sorted(compilation.snapshot.flags) == ["f", "g"]
    gone = dialect().compile([document({"g": flag(default="on")}, name="b")], (), first)
    assert gone.snapshot is not None
    assert sorted(gone.snapshot.flags) == ["g"]


@pytest.mark.parametrize(
    ("before", "after", "evaluators"),
    [
        (flag(default="on"), flag(default="off"), None),
        (flag({"v": 1}, "v"), flag({"v": True}, "v"), None),
        (flag({"v": 1}, "v"), flag({"v": 1.0}, "v"), None),
        (flag(default="on"), {**flag(default="on"), "state": "DISABLED"}, None),
        (flag(default="on"), flag(default="on", metadata={"a": 1}), None),
        (flag(targeting={"if": [{"$ref": "x"}, "on"]}), flag(targeting={"if": [{"$ref": "x"}, "on"]}), {"x": True}),
    ],
)
def test_a_flag_altered_in_any_respect_is_a_change(before: Any, after: Any, evaluators: Any) -> None:
    old = compiled(document({"f": before, "same": flag()}, evaluators={"x": False}))
    new = compiled(document({"f": after, "same": flag()}, evaluators=evaluators or {"x": False}), previous=old)
    assert changed_keys(old, new) == {"f"}
    assert new.flags["same"] is old.flags["same"]


def test_equal_documents_have_equal_revisions() -> None:
    one, two = compiled(document({"f": flag()})), compiled(document({"f": flag()}))
    assert one.revision == two.revision
    assert one.revision != compiled(document({"f": flag(default="on")})).revision


def test_explaining_tells_the_conditions_in_order() -> None:
    rule = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", {"==": [{"var": "plan"}, "team"]}, "off", "on"]}
    steps = explain(
        document({"f": flag(targeting=rule)}), "f", "v2", UserContext("u", attributes={"plan": "team"}), 0.0
    )
    assert [(what, held) for _, what, held in steps] == [("condition 1", False), ("condition 2", True)]
    assert steps[1][0] == ("flags", "f", "targeting", "if", 2)


def test_all_other_flags_are_reused_when_one_changes() -> None:
    flags = {
        f"flag-{i}": flag(targeting={"if": [{"==": [{"var": "country"}, "DE"]}, "on", "off"]}) for i in range(1000)
    }
    old = compiled(document(flags))
    new = compiled(document({**flags, "flag-5": flag(default="on")}), previous=old)
    assert changed_keys(old, new) == {"flag-5"}
    assert sum(new.flags[key] is old.flags[key] for key in flags) == 999
