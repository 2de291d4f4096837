"""What makes Hackle's rules quick must not change what they decide: guards, bounds, ranges."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw import UserContext
from flagmw.core.bucketing import murmur3_32_signed
from flagmw.dialects.hackle.buckets import allocation, slot_number
from flagmw.dialects.hackle.calls import IDLE
from flagmw.dialects.hackle.matching import compile_match
from flagmw.dialects.hackle.model import Bucket, Condition, Match, Slot
from flagmw.dialects.hackle.plain import Plain, plain_form
from flagmw.dialects.hackle.rules import NOWHERE, any_match, first_match
from flagmw.dialects.hackle.values import MAX_TEXT_CHARS, number_of, property_value, text_of
from flagmw.dialects.hackle.versions import compare_versions, parse_version
from flagmw.frozen import FrozenDict
from tests.services import hackle_workspaces as hackle
from tests.unit.hackle_support import compiled, feature_flag, outcome

OPERATORS = ["IN", "CONTAINS", "STARTS_WITH", "ENDS_WITH", "GT", "GTE", "LT", "LTE", "UNHEARD"]
SCALARS: list[Any] = [
    *["", "a", "ab", "b", "10", "9", " 10 ", "1e1", "1.0.0", "1.0.0-a", "true", "x" * 1025, "한"],
    *[0, 1, 9, 10, -1, 2**53, 2**53 + 1, 10.0, 0.5, -0.0, 1e300, True, False],
]
VALUES: list[Any] = [*SCALARS, None, {"a": 1}, [], ["a", 10, True], [None], [1e300]]

matches = st.builds(
    Match,
    kind=st.sampled_from(["MATCH", "NOT_MATCH", "ODD"]),
    operator=st.sampled_from(OPERATORS),
    value_type=st.sampled_from(["STRING", "NUMBER", "BOOLEAN", "VERSION", "NULL", "ODD"]),
    values=st.lists(st.sampled_from(SCALARS), max_size=3).map(tuple),
)
conditions = st.builds(
    Condition, key_type=st.just("USER_PROPERTY"), key_name=st.sampled_from(["p", "q", "country", "$p"]), match=matches
)
contexts = st.builds(
    UserContext,
    st.just("u"),
    attributes=st.dictionaries(st.sampled_from(["p", "q", "country", "$p"]), st.sampled_from(VALUES)),
    country=st.sampled_from([None, "a", "10"]),
)


def holds(condition: Condition, context: UserContext) -> bool:
    """Tell in the slow and simple way whether a condition holds."""
    value = context.attributes.get(condition.key_name)
    if condition.key_name == "country" and value is None:
        value = context.country
    value = property_value(condition.key_name, value)
    return value is not None and compile_match(condition.match)(value)


def as_json(condition: Condition) -> dict[str, Any]:
    match = condition.match
    return {
        "key": {"type": condition.key_type, "name": condition.key_name},
        "match": {
            "type": match.kind,
            "operator": match.operator,
            "valueType": match.value_type,
            "values": list(match.values),
        },
    }


@settings(max_examples=1000)
@given(targets=st.lists(st.lists(conditions, min_size=1, max_size=3).map(tuple), max_size=4), context=contexts)
def test_guards_pass_over_no_target_that_matches(targets: list[tuple[Condition, ...]], context: UserContext) -> None:
    def test_of(target: tuple[Condition, ...]) -> Any:
        return lambda context, call: all(holds(condition, context) for condition in target)

    tests = [test_of(target) for target in targets]
    expected = [index for index, test in enumerate(tests) if test(context, IDLE)]
    find = first_match(targets, tests)
    found, index = [], find(context, IDLE, 0)
    while index != NOWHERE:
        found.append(index)
        index = find(context, IDLE, index + 1)
    assert found == expected
    assert any_match(targets, tests)(context, IDLE) == bool(expected)


@settings(max_examples=500, deadline=None)
@given(target=st.lists(conditions, min_size=1, max_size=3), context=contexts)
def test_a_compiled_target_holds_when_all_its_conditions_do(target: list[Condition], context: UserContext) -> None:
    rules = [{"target": hackle.target(*map(as_json, target)), "action": hackle.serve(12)}]
    snapshot = compiled({"featureFlags": [feature_flag(1, 1, hackle.serve(11), rules=rules)]})
    assert outcome(snapshot, "feature_flag/1", context).value is all(holds(condition, context) for condition in target)


@settings(max_examples=1000)
@given(match=matches, value=st.sampled_from(SCALARS))
def test_a_condition_hits_when_any_of_its_values_does(match: Match, value: Any) -> None:
    one_by_one = [compile_match(match._replace(kind="MATCH", values=(each,)))(value) for each in match.values]
    assert compile_match(match._replace(kind="MATCH"))(value) == any(one_by_one)


@given(match=matches, values=st.lists(st.sampled_from(SCALARS), max_size=3).map(tuple))
def test_a_list_hits_when_any_of_its_items_does(match: Match, values: tuple[Any, ...]) -> None:
    hits = any(compile_match(match._replace(kind="MATCH"))(value) for value in values)
    assert compile_match(match._replace(kind="MATCH"))(values) == hits


@pytest.mark.parametrize("value_type", ["STRING", "NUMBER"])
@pytest.mark.parametrize("kind", ["MATCH", "NOT_MATCH"])
@pytest.mark.parametrize("name", ["p", "$p"])
def test_a_plain_form_says_what_the_condition_says(name: str, kind: str, value_type: str) -> None:
    users = [*SCALARS, *(sign * 10**power for sign in (1.0, -1.0) for power in (0, 1, 15, 16, 300)), nan, inf, 9.5]
    contexts = [UserContext("u", attributes=FrozenDict({name: value})) for value in users]
    several = [(1, 10), (10, "9"), (0.5, 9, 1e300), ("a", "x" * 1025), (), (2**53, -(2**53)), (True, None)]
    for operator in OPERATORS:
        for values in [*((value,) for value in SCALARS), *several]:
            condition = Condition("USER_PROPERTY", name, Match(kind, operator, value_type, values))
            plain = plain_form(condition)
            assert plain is not None
            for value, context in zip(users, contexts, strict=True):
                held = holds(condition, context)
                if type(value) is str and plain.texts is not None:
                    is_there = plain.is_listed or len(value) <= MAX_TEXT_CHARS
                    assert ((value in plain.texts) is plain.is_listed and is_there) == held, (condition, value)
                if type(value) in (int, float) and plain.low is not None:
                    assert (plain.low <= value <= plain.high) == held, (condition, value)


def test_most_conditions_on_texts_and_numbers_have_a_plain_form() -> None:
    condition = Condition("USER_PROPERTY", "p", Match("MATCH", "IN", "STRING", ("a",)))
    listed = Plain("p", texts=frozenset({"a"}))
    assert plain_form(condition) == listed
    assert plain_form(condition._replace(key_name="email")) == listed._replace(name="email", is_field=True)
    at_least = condition._replace(match=Match("NOT_MATCH", "LT", "NUMBER", (1, "2")))
    assert plain_form(at_least) == Plain("p", low=2.0)
    assert plain_form(at_least._replace(match=at_least.match._replace(operator=[]))) == Plain("p")
    assert plain_form(condition._replace(key_type="USER_ID")) is None
    assert plain_form(condition._replace(key_name="x" * 129)) is None


# --- buckets ------------------------------------------------------------------------------------------------------

slots = st.builds(Slot, start=st.integers(-2, 12), end=st.integers(-2, 12), variation_id=st.integers(0, 5)) | st.builds(
    Slot, start=st.floats(-2, 12), end=st.floats(-2, 12), variation_id=st.integers(0, 5)
)


@settings(max_examples=500)
@given(slots=st.lists(slots, max_size=6).map(tuple), seed=st.integers(-(2**40), 2**40), name=st.text(max_size=5))
def test_the_first_slot_that_contains_the_number_wins(slots: tuple[Slot, ...], seed: int, name: str) -> None:
    number = slot_number(seed, -10, name)
    expected = next((index for index, slot in enumerate(slots) if slot.start <= number < slot.end), None)
    assert allocation(Bucket(seed, -10, slots), list(range(len(slots))), None)(name) == expected


def test_a_number_is_taken_from_the_signed_hash() -> None:
    assert murmur3_32_signed(b"abcd", 462645735) == -(2**31)
    assert slot_number(462645735, 10_000, "abcd") == 3648


def test_many_overlapping_slots_compile_quickly() -> None:
    many = tuple(Slot(start, 100_000, start) for start in range(50_000))
    assert allocation(Bucket(1, 50_000, many), [slot.variation_id for slot in many], None)("u") == 0


# --- values and versions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        ("x", "x", None),
        (42, "42", 42),
        (42.0, "42.0", 42.0),
        (-0.0, "-0.0", -0.0),
        (1e-07, "1e-07", 1e-07),
        (True, None, None),
        (None, None, None),
        ([], None, None),
        (2**53, str(2**53), 2**53),
        (2**53 + 1, None, None),
        ("9007199254740993", "9007199254740993", float(2**53)),
        (" 4_2 ", " 4_2 ", 42.0),
        ("4٢", "4٢", 42.0),
        ("0x10", "0x10", None),
        ("nan", "nan", None),
        ("-inf", "-inf", None),
        ("1e400", "1e400", None),
        (float("nan"), None, None),
    ],
    ids=repr,
)
def test_values_are_read_as_python_reads_them(value: Any, text: str | None, number: Any) -> None:
    assert text_of(value) == text
    assert (number_of(value), type(number_of(value))) == (number, type(number))


@pytest.mark.parametrize(
    "text",
    ["", "v1", "01.0.0", "1.0.0.0", "1.", " 1", "1 ", "1.0.0-", "1.0.0-01", "1.0.0-a..b", "1.0.0+", "1.0.0-é", "a"],
)
def test_what_is_no_version_is_none(text: str) -> None:
    assert parse_version(text) is None


def test_digits_without_end_are_no_version() -> None:
    assert parse_version("9" * 1024) is not None
    assert parse_version("9" * 5000) is None
    assert parse_version(1.0) is None


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1", "1.0.1"),
        ("1.2", "1.10"),
        ("1.0.0-a", "1.0.0"),
        ("1-beta", "1.0-rc"),
        ("1.0.0-a", "1.0.0-a.1"),
        ("1.0.0-2", "1.0.0-10"),
        ("1.0.0--1", "1.0.0-1"),
        ("1.0.0-10", "1.0.0-9a"),
        ("1.0.0-rc.1\n", "1.0.0+build"),
    ],
)
def test_versions_are_ordered_as_hackle_orders_them(lower: str, higher: str) -> None:
    a, b = parse_version(lower), parse_version(higher)
    assert a is not None
    assert b is not None
    assert compare_versions(a, b) < 0 < compare_versions(b, a)
    assert compare_versions(a, a) == compare_versions(b, b) == 0


def test_builds_and_missing_numbers_make_no_difference() -> None:
    assert len({parse_version(text) for text in ("1", "1.0", "1.0.0", "1.0.0+a", "1+b", "1.0.0\n")}) == 1
