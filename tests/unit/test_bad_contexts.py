"""Users that no rule can be evaluated for: the caller's default with a reason, no exception, none of their data."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flagmw import Client, ContextError, UserContext
from flagmw.evaluation import ErrorCode, Reason
from flagmw.providers import Static
from tests.unit.support import flag

QUICK_S = 2.0
SECRET = "4711-secret"

CHECKOUT = {
    "if": [
        *({"==": [{"var": "a"}, "x"]}, "on"),
        *({"in": ["x", {"var": "a"}]}, "on"),
        *({"<": [{"var": "a"}, 1]}, "on"),
        *({"cat": [{"var": "a"}, {"var": "name"}]}, {"fractional": [["on", 1], ["off", 1]]}),
    ]
}


@pytest.fixture(scope="module")
def client() -> Client:
    flags = {"f": flag(default="off", targeting=CHECKOUT), "g": flag(default="on")}
    return Client(Static({"flags": flags}))


class Raises:
    """Raises whatever is done with it."""

    def __str__(self) -> str:
        raise ValueError(SECRET)

    __repr__ = __format__ = __str__  # type: ignore[assignment]  # all the same

    def __eq__(self, other: object) -> bool:
        raise ValueError(SECRET)

    def __hash__(self) -> int:
        raise ValueError(SECRET)

    def __bool__(self) -> bool:
        raise ValueError(SECRET)


class RaisingClass:
    """Raises when it is asked for its class, as a broken proxy does."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError(SECRET)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise RuntimeError(SECRET)


class PretendsText:
    """Says that it is a str."""

    @property
    def __class__(self) -> Any:
        return str

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise RuntimeError(SECRET)


class RaisingText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise ValueError(SECRET)

    def __eq__(self, other: object) -> bool:
        raise ValueError(SECRET)

    def __hash__(self) -> int:
        raise ValueError(SECRET)

    def __len__(self) -> int:
        raise ValueError(SECRET)


class LyingText(str):
    __slots__ = ()

    def __len__(self) -> int:
        return 0


class RaisingInt(int):
    def __int__(self) -> int:
        raise ValueError(SECRET)

    __index__ = __int__

    def __lt__(self, other: object) -> bool:
        raise ValueError(SECRET)


class RaisingFloat(float):
    def __float__(self) -> float:
        raise ValueError(SECRET)

    def __eq__(self, other: object) -> bool:
        raise ValueError(SECRET)

    __hash__ = float.__hash__


class RaisingDate(datetime):
    def isoformat(self, *args: Any) -> str:
        raise ValueError(SECRET)


class RaisingItems(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError(SECRET)


class RaisingGet(dict[str, Any]):
    def get(self, *args: Any) -> Any:
        raise RuntimeError(SECRET)


class RaisingContains(dict[str, Any]):
    def __contains__(self, key: object) -> bool:
        raise RuntimeError(SECRET)


class RaisingGetItem(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(SECRET)


class RaisingMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        raise RuntimeError(SECRET)


class EndlessList(list[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class Plan(enum.Enum):
    PRO = b"pro"


def nested(depth: int) -> dict[str, Any]:
    outer: dict[str, Any] = {}
    inner = outer
    for _ in range(depth):
        inner["a"] = {}
        inner = inner["a"]
    return outer


CYCLE: dict[str, Any] = {}
CYCLE["a"] = [CYCLE]
CYCLIC_LIST: list[Any] = []
CYCLIC_LIST.append(CYCLIC_LIST)

REFUSED: dict[str, Any] = {
    "cyclic mapping": CYCLE,
    "cyclic list": {"a": CYCLIC_LIST},
    "nested deeply": nested(100_000),
    "NaN": {"a": float("nan")},
    "infinity": {"a": [1, {"b": float("-inf")}]},
    "bytes": {"a": SECRET.encode()},
    "bytearray": {"a": bytearray(SECRET.encode())},
    "bytes as name": {SECRET.encode(): 1},
    "int as name": {"a": {1: SECRET}},
    "object that raises": {"a": Raises()},
    "object whose class raises": {"a": RaisingClass()},
    "object that pretends": {"a": PretendsText()},
    "complex": {"a": 1j},
    "set": {"a": {SECRET}},
    "generator": {"a": (one for one in [SECRET])},
    "function": {"a": print},
    "date that raises": {"a": RaisingDate(2024, 1, 1, tzinfo=UTC)},
    "decimal NaN": {"a": Decimal("sNaN")},
    "decimal beyond a float": {"a": Decimal("1e999999")},
    "enum of bytes": {"a": Plan.PRO},
    "long text": {"a": "x" * 2_000_000},
    "long text that lies": {"a": LyingText("x" * 2_000_000)},
    "long list": {"a": list(range(20_000))},
    "endless list": {"a": EndlessList()},
    "many attributes": {f"a{number}": number for number in range(20_000)},
    "many values": {"a": [[1] * 200] * 200},
    "key of a wrong type": {"key": 4711},
    "key of bytes": {"key": SECRET.encode()},
    "key that is a bool": {"key": True},
    "name of a wrong type": {"name": [SECRET]},
    "identifiers of a wrong type": {"identifiers": [SECRET]},
    "identifier of a wrong type": {"identifiers": {"device": 4711}},
    "attributes of a wrong type": {"attributes": SECRET},
    "private as text": {"private": SECRET},
    "private of wrong types": {"private": [4711]},
    "private that raises": {"private": [Raises()]},
    "items() raises": RaisingItems(a=1),
    "get() raises": RaisingGet(a=1),
    "in raises": RaisingContains(a=1),
    "[] raises": RaisingGetItem(key=SECRET),
    "mapping that raises": RaisingMapping(),
    "inner items() raises": {"a": RaisingItems(a=1)},
    "inner mapping that raises": {"a": RaisingMapping()},
    "attributes that raise": {"attributes": RaisingItems(a=1)},
    "identifiers that raise": {"identifiers": RaisingItems(a="b")},
    "None": None,
    "a text": SECRET,
    "a number": 4711,
    "a list": [SECRET],
    "an object": Raises(),
    "an object that pretends": PretendsText(),
}

TAKEN: dict[str, Any] = {
    "text that raises": {"key": RaisingText("u"), "a": RaisingText("x")},
    "name that raises": {"name": RaisingText("u")},
    "identifier that raises": {"identifiers": {"device": RaisingText("u")}},
    "int that raises": {"a": RaisingInt(3)},
    "float that raises": {"a": RaisingFloat(3)},
    "a read-only mapping": MappingProxyType({"a": "x"}),
    "an int beyond a float": {"a": 10**400},
    "an int of too many digits": {"a": 10**6000},
    "half a surrogate pair": {"key": "\ud800", "a": "\udfff", "name": "\udc00"},
    "an empty key": {"key": "", "a": ""},
    "a date and more": {"a": [datetime(2024, 1, 1, tzinfo=UTC), date(2024, 1, 1), UUID(int=1), Decimal("1.5")]},
    "names of every kind": {"": 1, ".": 2, "$flagd": 3, "a.b": 4, "__class__": 5, "\ud800": 6},
    "None everywhere": dict.fromkeys(("key", "name", "email", "country", "identifiers", "attributes", "private", "a")),
}


@pytest.mark.parametrize("user", REFUSED.values(), ids=REFUSED)
def test_a_user_that_cannot_be_taken_gives_the_default_with_a_reason(client: Client, user: Any) -> None:
    detail = client.variation_detail("f", user, "default")
    assert (detail.value, detail.reason, detail.error_code) == ("default", Reason.ERROR, ErrorCode.INVALID_CONTEXT)


@pytest.mark.parametrize("user", REFUSED.values(), ids=REFUSED)
def test_what_is_said_of_it_holds_none_of_its_data(client: Client, user: Any, caplog: pytest.LogCaptureFixture) -> None:
    message = client.variation_detail("f", user).error_message
    assert message
    assert not any(data in message + caplog.text for data in ("4711", "secret"))


@pytest.mark.parametrize("user", [*REFUSED.values(), *TAKEN.values()], ids=[*REFUSED, *TAKEN])
def test_it_is_dealt_with_at_once(client: Client, user: Any) -> None:
    began = time.monotonic()
    client.variation("f", user)
    assert time.monotonic() - began < QUICK_S


@pytest.mark.parametrize("user", [*REFUSED.values(), *TAKEN.values()], ids=[*REFUSED, *TAKEN])
def test_no_way_of_asking_raises(client: Client, user: Any) -> None:
    assert client.variation("missing", user, "default") == "default"
    assert client.is_enabled("missing", user, default=True) is True
    assert client.integer("missing", user, 7) == 7
    assert set(client.all_variations(user)) == {"f", "g"}
    client.track(user, "paid")


@pytest.mark.parametrize("user", TAKEN.values(), ids=TAKEN)
def test_an_odd_user_that_can_be_taken_is_evaluated(client: Client, user: Any) -> None:
    assert client.variation_detail("f", user).error_code is None


@pytest.mark.parametrize("user", TAKEN.values(), ids=TAKEN)
def test_what_is_taken_from_a_user_is_plain_data(client: Client, user: Any) -> None:
    plain = (str, int, float, bool, type(None), tuple)
    assert {type(value) for value in UserContext.of(user).values.values()} <= set(plain)


@pytest.mark.parametrize(
    "user",
    [
        {"key": "x" * 2_000_000},
        {"name": "x" * 2_000_000},
        {"identifiers": {"device": "x" * 2_000_000}},
        {"identifiers": {str(number): "x" for number in range(20_000)}},
        {"private": [str(number) for number in range(20_000)]},
    ],
    ids=["key", "name", "identifier", "identifiers", "private"],
)
def test_a_huge_user_is_refused_whatever_is_huge_about_it(client: Client, user: Any) -> None:
    assert client.variation_detail("f", user).error_code is ErrorCode.INVALID_CONTEXT


def test_a_user_whose_class_raises_gives_the_default_with_a_reason(client: Client) -> None:
    user: Any = RaisingClass()
    assert client.variation_detail("f", user).error_code is ErrorCode.INVALID_CONTEXT


@pytest.mark.parametrize("key", [None, 1, float("nan"), b"f", [], {}, "\ud800", "x" * 1_000_000, "f\n", ("f",)])
def test_a_flag_key_of_any_kind_gives_the_default(client: Client, key: Any) -> None:
    assert client.variation_detail(key, {"key": "u"}, "default").value == "default"


@pytest.mark.parametrize("key", [Raises(), RaisingText("f")], ids=["object", "text"])
def test_a_flag_key_that_raises_gives_the_default(client: Client, key: Any) -> None:
    detail = client.variation_detail(key, {"key": "u"}, "default")
    assert (detail.value, detail.error_code, client.variation(key, UserContext("u"), 1)) == (
        "default",
        ErrorCode.GENERAL,
        1,
    )


def test_a_context_is_not_changed_by_what_happens_to_its_source() -> None:
    source: dict[str, Any] = {"key": "u", "tags": ["a"], "plan": {"name": "pro"}}
    context = UserContext.of(source)
    source["tags"].append("b")
    source["plan"]["name"] = "free"
    assert (context.values["tags"], context.values["plan"]) == (("a",), {"name": "pro"})


def test_the_depth_of_the_callers_stack_does_not_matter(client: Client) -> None:
    def call_at(depth: int) -> Any:
        return call_at(depth - 1) if depth else client.variation_detail("f", {"a": {"b": ["x"] * 9}}, "default")

    detail = call_at(sys.getrecursionlimit() - 150)
    assert detail.reason in (Reason.DEFAULT, Reason.TARGETING_MATCH, Reason.ERROR)


# --- whatever there may be ----------------------------------------------------------------------------------

ODD_VALUES: dict[str, Any] = {
    "object": Raises(),
    "text": RaisingText("t"),
    "int": RaisingInt(1),
    "float": RaisingFloat(1.5),
    "items": RaisingItems(a=1),
    "mapping": RaisingMapping(),
    "cycle": CYCLE,
    "cyclic list": CYCLIC_LIST,
    "bytes": b"x",
}


def odd(name: str) -> Any:
    """Give an odd value by its name: strategies show what they hold."""
    return ODD_VALUES[name]


ODD = st.sampled_from(list(ODD_VALUES)).map(odd)
NAMES = st.sampled_from(
    ["key", "targetingKey", "name", "email", "country", "identifiers", "attributes", "private", "a", "", "$flagd"]
)
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3) | ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(NAMES | st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=3).map(MappingProxyType)
    ),
    max_leaves=10,
)
ANY_USER = ANY_VALUE | st.dictionaries(NAMES, ANY_VALUE, max_size=5)

some = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@some
@given(ANY_USER)
def test_no_user_makes_evaluating_raise(client: Client, user: Any) -> None:
    detail = client.variation_detail("f", user, "default")
    assert detail.error_code in (None, ErrorCode.INVALID_CONTEXT)


@some
@given(ANY_VALUE)
def test_a_context_takes_an_attribute_or_says_which_it_is(value: Any) -> None:
    said = ""
    try:
        context = UserContext("u", attributes={"odd": value})
    except ContextError as error:
        said = str(error)
    except (RuntimeError, ValueError):
        said = "attribute 'odd'"  # what the value itself raised goes to whoever made the context
    else:
        said = "attribute 'odd'" if "odd" in context.values else "nothing"
    assert "attribute 'odd'" in said
