"""Conditions on texts: each operator, and where the two services differ."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.context import UserContext
from flagmw.core.properties import attribute
from flagmw.core.text_conditions import UNSTATED, BrokenConditionError, TextRules, compile_condition

FEATBIT = TextRules(empty_is_missing=False, ignores_case=False)
FEATUREFLAG_CO = TextRules(empty_is_missing=True, ignores_case=True)


def holds(operator: str, value: object, text: Any = None, rules: TextRules = FEATBIT) -> bool:
    condition = compile_condition(attribute("p"), operator, value, rules)
    assert condition is not None
    return condition(UserContext("u-1", attributes={} if text is None else {"p": text}))


@pytest.mark.parametrize(
    ("operator", "value", "text", "expected"),
    [
        ("Equal", "abc", "abc", True),
        ("Equal", "abc", "ABC", False),
        ("Equal", "30", 30, True),
        ("Equal", "30", 30.0, False),
        ("Equal", "True", True, True),
        ("Equal", "true", True, False),
        ("Equal", 30, "30", True),
        ("Equal", "abc", None, False),
        ("Equal", None, "abc", False),
        ("Equal", "['a']", ["a"], False),
        ("NotEqual", "abc", None, True),
        ("NotEqual", None, "abc", True),
        ("NotEqual", "abc", "abc", False),
        ("Contains", "b", "abc", True),
        ("Contains", "x", "abc", False),
        ("Contains", "b", None, False),
        ("NotContain", "b", "abc", False),
        ("NotContain", "b", None, True),
        ("NotContain", None, "abc", True),
        ("StartsWith", "ab", "abc", True),
        ("StartsWith", "b", "abc", False),
        ("StartsWith", "b", None, False),
        ("EndsWith", "bc", "abc", True),
        ("EndsWith", "b", "abc", False),
        ("EndsWith", "b", None, False),
        ("IsTrue", None, True, True),
        ("IsTrue", "IsTrue", "TRUE", True),
        ("IsTrue", None, "1", False),
        ("IsTrue", None, None, False),
        ("IsFalse", None, "False", True),
        ("IsFalse", None, None, False),
        ("IsOneOf", '["a", "30", 5]', "30", True),
        ("IsOneOf", '["a", "30", 5]', 30, True),
        ("IsOneOf", '["a", "30", 5]', "5", False),
        ("IsOneOf", '["a", ["b"]]', "a", True),
        ("IsOneOf", '"abc"', "b", True),
        ("IsOneOf", '"abc"', None, False),
        ("IsOneOf", '{"a": 1}', "a", True),
        ("IsOneOf", "[]", "a", False),
        ("IsOneOf", "5", "5", False),
        ("IsOneOf", "null", "null", False),
        ("IsOneOf", "[", "[", False),
        ("IsOneOf", None, "a", False),
        ("IsOneOf", ["a"], "a", False),
        ("NotOneOf", '["a"]', "a", False),
        ("NotOneOf", '["a"]', None, True),
        ("NotOneOf", '"abc"', "b", False),
        ("NotOneOf", '"abc"', None, True),
        ("NotOneOf", "[", "a", True),
        ("MatchRegex", "b+", "abbc", True),
        ("MatchRegex", "b+", "aBc", False),
        ("MatchRegex", "b+", None, False),
        ("NotMatchRegex", "b+", "abbc", False),
        ("NotMatchRegex", "b+", None, True),
        ("BiggerThan", "30", 31, True),
        ("BiggerThan", "30", "30", False),
        ("BiggerThan", "30.000004", "30", False),
        ("BiggerEqualThan", "30.000004", "30", True),
        ("LessThan", "30", "29.99999", True),
        ("LessThan", "30", "29.999996", False),
        ("LessEqualThan", "30", "30.000004", True),
        ("BiggerThan", "1", " 1e2 ", True),
        ("BiggerThan", "1", "1_000", True),
        ("BiggerThan", "1", "\u0663\u0660", True),
        ("BiggerThan", "1", "inf", True),
        ("BiggerEqualThan", "inf", "inf", True),
        ("LessThan", "-inf", "-inf", False),
        ("BiggerThan", "1", "nan", False),
        ("LessThan", "nan", "1", False),
        ("LessThan", "x", "1", False),
        ("LessThan", "1", "x", False),
        ("LessThan", "1", True, False),
        ("LessThan", "1", None, False),
        ("LessThan", None, "1", False),
        ("Bigger Than", "1", "2", False),
    ],
)
def test_an_operator_holds_when_the_references_say_so(operator: str, value: object, text: Any, expected: bool) -> None:
    assert holds(operator, value, text) is expected


@pytest.mark.parametrize(
    ("operator", "value", "text", "is_so", "is_so_if_empty_is_missing"),
    [
        ("Equal", "", "", True, False),
        ("NotEqual", "", "", False, True),
        ("Contains", "", "abc", True, False),
        ("NotContain", "", "abc", False, True),
        ("IsOneOf", '[""]', "", True, False),
        ("NotOneOf", '[""]', "", False, True),
        ("IsOneOf", '"abc"', "", True, False),
        ("MatchRegex", ".*", "", True, False),
        ("NotMatchRegex", ".*", "", False, True),
        ("MatchRegex", "", "abc", True, False),
        ("MatchRegex", "b", "ABC", False, True),
    ],
)
def test_the_services_differ_in_empty_texts_and_in_the_case_of_patterns(
    operator: str, value: str, text: str, is_so: bool, is_so_if_empty_is_missing: bool
) -> None:
    assert holds(operator, value, text, FEATBIT) is is_so
    assert holds(operator, value, text, FEATUREFLAG_CO) is is_so_if_empty_is_missing


@given(
    st.sampled_from(["BiggerThan", "BiggerEqualThan", "LessThan", "LessEqualThan"]),
    st.floats(allow_nan=False) | st.floats(-10, 10).map(lambda number: round(number, 6)),
    st.sampled_from([0.0, 0.000001, -0.000001, 0.000005, -0.000005, 0.00001, -0.00001, 0.00002, 1.0]),
)
def test_numbers_compare_as_after_rounding_both_to_five_digits(operator: str, limit: float, distance: float) -> None:
    number = limit + distance
    a, b = round(number, 5), round(limit, 5)
    expected = {
        "BiggerThan": a > b,
        "BiggerEqualThan": a >= b,
        "LessThan": a < b,
        "LessEqualThan": a <= b,
    }[operator]
    if not math.isnan(number):
        assert holds(operator, repr(limit), repr(number)) is expected


@pytest.mark.parametrize("operator", ["MatchRegex", "NotMatchRegex"])
def test_a_pattern_with_a_defect_counts_only_for_those_who_have_the_property(operator: str) -> None:
    assert holds(operator, "(", None) is (operator == "NotMatchRegex")
    with pytest.raises(BrokenConditionError):
        holds(operator, "(", "abc")


def test_a_pattern_that_python_warns_of_is_none_the_worse_where_warnings_are_errors() -> None:
    assert holds("MatchRegex", "[[a]", "[")
    with pytest.raises(BrokenConditionError):
        holds("MatchRegex", "[[", "[")


@pytest.mark.parametrize(
    "operator",
    ["Equal", "NotEqual", "Contains", "NotContain", "StartsWith", "EndsWith", "MatchRegex", "NotMatchRegex"],
)
def test_a_text_operator_without_a_value_is_broken_for_everybody(operator: str) -> None:
    with pytest.raises(BrokenConditionError):
        holds(operator, UNSTATED, None)


def test_a_number_operator_without_a_value_is_broken_for_those_who_have_a_number() -> None:
    assert not holds("BiggerThan", UNSTATED, "abc")
    assert not holds("BiggerThan", UNSTATED, None)
    with pytest.raises(BrokenConditionError):
        holds("BiggerThan", UNSTATED, "30")


@pytest.mark.parametrize("operator", ["Matches", "equal", "", None, 5, ["Equal"]])
def test_an_operator_that_is_none_of_these_is_left_to_the_caller(operator: object) -> None:
    assert compile_condition(attribute("p"), operator, "x", FEATBIT) is None


def test_a_value_that_cannot_be_written_breaks_its_condition_only() -> None:
    assert not holds("BiggerThan", 10**5000, "5")
    with pytest.raises(BrokenConditionError):
        holds("Equal", 10**5000, "5")


def test_an_attribute_with_the_name_that_values_use_for_the_key_is_not_the_key() -> None:
    condition = compile_condition(attribute("targetingKey"), "Equal", "mine", FEATBIT)
    assert condition is not None
    assert condition(UserContext("u-1", attributes={"targetingKey": "mine"}))
    assert condition(UserContext("u-1", identifiers={"targetingKey": "mine"}))
    assert not condition(UserContext("mine"))


def test_an_attribute_that_python_does_not_write_is_missing() -> None:
    assert not holds("BiggerThan", "1", 10**5000)
    assert holds("NotEqual", "1", 10**5000)
