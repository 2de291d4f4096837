"""Users as Hackle's own client takes them, and as ours does."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from flagmw import UserContext
from flagmw.dialects.hackle.users import identifiers_of, properties_of, read_user
from flagmw.errors import ContextError


class Code(IntEnum):
    ONE = 1


class Color(StrEnum):
    RED = "red"


def test_a_context_is_taken_as_it_is() -> None:
    context = UserContext()
    assert read_user(context) is context


@pytest.mark.parametrize("user", [None, "user-1", 42, True, [], object()], ids=repr)
def test_what_is_no_user_is_refused_by_its_type(user: object) -> None:
    with pytest.raises(ContextError, match="a user is a UserContext or a mapping"):
        read_user(user)


@pytest.mark.parametrize(
    "user",
    [
        {},
        {"id": None},
        {"id": ""},
        {"id": "x" * 513},
        {"id": True},
        {"id": float("nan")},
        {"id": 2**53 + 1},
        {"id": Decimal(1)},
        {"id": ["a"]},
        {"identifiers": {"": "a", "x" * 129: "a", 5: "a", "b": None}},
        {"identifiers": [("a", "b")]},
        {"properties": {"id": "a"}},
    ],
    ids=lambda user: str(user)[:60],
)
def test_a_user_without_an_identifier_is_refused_without_naming_what_is_there(user: dict[str, Any]) -> None:
    with pytest.raises(ContextError, match="no identifier that Hackle takes") as caught:
        read_user(user)
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "key", "identifiers"),
    [
        ({"id": "a"}, "a", {"$id": "a"}),
        ({"key": "a"}, "a", {"$id": "a"}),
        ({"targetingKey": "a"}, "a", {"$id": "a"}),
        ({"key": "a", "id": "b"}, "b", {"$id": "b"}),
        ({"id": 42}, "42", {"$id": "42"}),
        ({"id": 1.0}, "1.0", {"$id": "1.0"}),
        ({"id": -0.0}, "-0.0", {"$id": "-0.0"}),
        ({"id": Code.ONE}, "1", {"$id": "1"}),
        ({"id": Color.RED}, "red", {"$id": "red"}),
        ({"user_id": "u"}, None, {"$userId": "u"}),
        ({"userId": "u", "deviceId": "d", "sessionId": "s"}, None, {"$sessionId": "s", "$userId": "u", "$deviceId": "d"}),
        ({"session_id": "s", "device_id": 5}, None, {"$sessionId": "s", "$deviceId": "5"}),
        ({"identifiers": {"$id": "a", "c": 1}, "id": ""}, "a", {"$id": "a", "c": "1"}),
        ({"identifiers": {"$id": "a", "c": "x"}, "id": "b"}, "b", {"$id": "b", "c": "x"}),
        ({"identifiers": {"$deviceId": "a", "c": "x"}, "id": "b", "user_id": "u", "device_id": "d"}, "b",
         {"$deviceId": "d", "c": "x", "$id": "b", "$userId": "u"}),
    ],
    ids=str,
)  # fmt: skip
def test_identifiers_are_read_in_hackles_order(
    user: dict[str, Any], key: str | None, identifiers: dict[str, str]
) -> None:
    context = read_user(user)
    assert context.key == key
    assert list(identifiers_of(context, frozenset()).items()) == list(identifiers.items())
    for value in context.identifiers.values():
        assert type(value) is str


def test_a_contexts_key_stands_where_hackles_client_has_it() -> None:
    context = UserContext("k", identifiers={"c": "x", "$userId": "u"})
    assert list(identifiers_of(context, frozenset())) == ["c", "$id", "$userId"]
    assert list(identifiers_of(UserContext("k", identifiers={"c": "x"}), frozenset())) == ["c", "$id"]
    assert identifiers_of(UserContext("k" * 513, identifiers={"c": "x" * 513}), frozenset()) == {}


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        (None, {}),
        ([("a", 1)], {}),
        ({"a": 1, "b": "x", "c": True, "d": 0.5}, {"a": 1, "b": "x", "c": True, "d": 0.5}),
        ({"": 1, "x" * 129: 1, 5: 1, None: 1}, {}),
        ({"a": None, "$a": None}, {}),
        ({"a": "x" * 1025, "b": 2**60, "c": float("inf"), "d": {}, "e": (1,), "f": {1}}, {}),
        ({"a": [1, "x", True, None, [1], "x" * 1025, 2**60]}, {"a": [1, "x"]}),
        ({"a": []}, {"a": []}),
        ({"$a": {"b": [1, {"c": None}]}}, {"$a": {"b": [1, {"c": None}]}}),
        ({"$a": [True, 1]}, {"$a": [1]}),
        ({"$a": 2**60, "$b": "x" * 2000}, {"$a": 2**60, "$b": "x" * 2000}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_properties_are_kept_as_hackle_keeps_them(properties: Any, kept: dict[str, Any]) -> None:
    context = read_user({"id": "u", "properties": properties})
    assert json.loads(json.dumps(dict(context.attributes))) == kept
    assert json.loads(json.dumps(properties_of(context, frozenset()))) == kept


def test_nan_survives_below_a_dollar() -> None:
    assert str(read_user({"id": "u", "properties": {"$a": float("nan")}}).attributes["$a"]) == "nan"


def test_at_most_128_properties_are_kept() -> None:
    context = read_user({"id": "u", "properties": {"none": None, **{f"p{number}": number for number in range(200)}}})
    assert list(context.attributes) == [f"p{number}" for number in range(128)]


def test_all_ways_to_give_properties_come_together() -> None:
    user = {"id": "u", "attributes": {"a": 1, "b": 1}, "properties": {"b": 2, "c": 2}, "c": 3, "email": "e", "name": 5}
    context = read_user(user)
    assert dict(context.attributes) == {"a": 1, "b": 2, "c": 3, "name": 5}
    assert (context.email, context.name) == ("e", None)
    assert properties_of(context, frozenset()) == {"a": 1, "b": 2, "c": 3, "name": 5, "email": "e"}


def test_what_is_read_does_not_change_with_the_callers_objects() -> None:
    inner = {"b": [1]}
    properties = {"$a": inner, "c": [1]}
    context = read_user({"id": "u", "properties": properties})
    inner["b"].append(2)
    properties["c"].append(2)  # type: ignore[attr-defined]  # it is a list
    assert json.loads(json.dumps(dict(context.attributes))) == {"$a": {"b": [1]}, "c": [1]}


def test_what_contains_itself_below_a_dollar_is_read_all_the_same() -> None:
    around: dict[str, Any] = {}
    around["around"] = around
    assert "$a" in read_user({"id": "u", "properties": {"$a": around}}).attributes


def test_an_attribute_counts_before_a_contexts_own_field_of_that_name() -> None:
    context = UserContext("u", email="field", country="field", attributes={"email": "attribute", "country": None})
    assert properties_of(context, frozenset()) == {"email": "attribute", "country": "field"}


def test_private_names_leave_with_neither_identifiers_nor_properties() -> None:
    user = {
        "id": "u",
        "device_id": "d",
        "properties": {"a": 1, "b": 2},
        "email": "e",
        "private": ["a", "email", "$deviceId"],
    }
    context = read_user(user)
    assert context.attributes["a"] == 1
    assert properties_of(context, context.private) == {"b": 2}
    assert identifiers_of(context, context.private) == {"$id": "u"}
