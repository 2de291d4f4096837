"""Texts read as other types, and users as the services' own clients read them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from flagmw.context import UserContext
from flagmw.core.mapped_users import taken_texts
from flagmw.core.sync_events import customized, member_names, shown_text
from flagmw.core.text_values import boolean_word, json_value, kinds_of


@pytest.mark.parametrize("text", ["y", "YES", "t", "True", "on", "1"])
def test_words_for_yes_are_true_in_any_case(text: str) -> None:
    assert boolean_word(text) is True


@pytest.mark.parametrize("text", ["n", "No", "f", "FALSE", "off", "0"])
def test_words_for_no_are_false_in_any_case(text: str) -> None:
    assert boolean_word(text) is False


@pytest.mark.parametrize("text", ["", " on", "2", "ja", "none"])
def test_other_texts_are_no_words(text: str) -> None:
    assert boolean_word(text) is None


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("on", {"string": "on", "boolean": True}),
        ("blue", {"string": "blue", "boolean": False}),
        ("0", {"string": "0", "boolean": False, "number": 0.0, "integer": 0}),
        ("1e3", {"string": "1e3", "boolean": False, "number": 1000.0, "integer": 1000}),
        ("2.5", {"string": "2.5", "boolean": False, "number": 2.5}),
        ("9007199254740993", {"string": "9007199254740993", "boolean": False, "number": 2.0**53, "integer": 2**53 + 1}),
        ("nan", {"string": "nan", "boolean": False}),
        ("inf", {"string": "inf", "boolean": False}),
        ('{"a": [1]}', {"string": '{"a": [1]}', "boolean": False, "json": {"a": [1]}}),
        ("[1", {"string": "[1", "boolean": False, "json": None}),
    ],
)
def test_a_text_is_read_as_every_kind_that_it_can_be(text: str, kinds: dict[str, Any]) -> None:
    assert kinds_of(text) == kinds


@pytest.mark.parametrize("depth", [101, 5_000, 200_000])
def test_json_that_is_nested_too_deeply_to_be_copied_is_none(depth: int) -> None:
    with pytest.raises(ValueError):
        json_value("[" * depth + "]" * depth)


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("the caller's code")


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the text"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (Text("x"), "x"),
        (30, "30"),
        (30.0, "30.0"),
        (float("nan"), "nan"),
        (Decimal("1.50"), "1.50"),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
        ((1,), None),
        (b"30", None),
        (object(), None),
        (Raising(), None),
        pytest.param(10**5000, None, id="a number of too many digits"),
    ],
)
def test_an_entry_is_taken_when_it_is_text_or_the_text_of_a_number(value: object, text: str | None) -> None:
    taken = taken_texts({"p": value}, frozenset(), takes_booleans=False)
    assert taken == ({} if text is None else {"p": text})
    assert all(type(item) is str for item in taken.values())


def test_booleans_are_taken_by_one_of_the_services() -> None:
    assert taken_texts({"p": True}, frozenset(), takes_booleans=True) == {"p": "True"}
    assert taken_texts({"p": True}, frozenset(), takes_booleans=False) == {}


def test_names_that_are_taken_in_any_case_or_are_no_texts_are_left_out() -> None:
    user = {"KEY": "a", "key": "b", 5: "c", None: "d", Text("p"): "e"}
    taken = taken_texts(user, frozenset({"key"}), takes_booleans=True)
    assert taken == {"p": "e"}
    assert [type(name) for name in taken] == [str]


def test_what_is_shown_of_a_user_leaves_out_what_is_private_and_what_is_no_text() -> None:
    context = UserContext(
        "u-1",
        email="a@b.c",
        country="de",
        identifiers={"device": "d-1"},
        attributes={"age": 30, "tags": ["x"], "request": "r", "targetingKey": "mine"},
        private=frozenset({"email", "request"}),
    )
    shown = json.loads(f"{{{customized(context, member_names(frozenset({'device'})))}}}")["customizedProperties"]
    assert {member["name"]: member["value"] for member in shown} == {
        "age": "30",
        "country": "de",
        "targetingKey": "mine",
    }


def test_a_field_that_is_private_or_missing_is_shown_as_an_empty_text() -> None:
    context = UserContext("u-1", name="Ana", email="a@b.c", attributes={"age": 3}, private=frozenset({"email"}))
    assert [shown_text(context, name) for name in ("name", "email", "country", "age")] == ["Ana", "", "", "3"]
