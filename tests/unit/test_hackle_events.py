"""What is told to Hackle, where the vectors do not say: headers, private names, what cannot be JSON, user operations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from flagmw import UserContext
from flagmw.core.records import Exposure, Identity, Metric
from flagmw.core.snapshot import settled
from flagmw.dialects.hackle import (
    EventTypes,
    HackleConfig,
    HackleDialect,
    HackleEvents,
    PropertyOperations,
    check_sdk_key,
)
from flagmw.dialects.hackle.users import identifiers_of, properties_of, read_user
from flagmw.events import EventWire
from flagmw.transports import PollWire
from tests.services import hackle_workspaces as hackle
from tests.unit.hackle_support import compiled, document

KEY = "secret-key"
AT_S = 1_700_000_000.1239
ADULT = UserContext("u", attributes={"age": 20, "plan": "pro"}, email="e", private=frozenset({"age", "email"}))


def wire(**options: Any) -> HackleEvents:
    return HackleEvents(KEY, wall_clock=lambda: AT_S, uuid4=lambda: "id", **options)


def exposure(key: str, context: UserContext, default: Any = "A") -> Exposure:
    outcome = settled(compiled(hackle.small_workspace()).flags[key].evaluate(context), default)
    return Exposure(key, context, outcome, "r", AT_S, default)


def metric(event: Any = "purchase", value: Any = None, context: UserContext = ADULT, **properties: Any) -> Metric:
    return Metric(event=event, context=context, value=value, properties=properties, at_s=AT_S)


def told(items: Any) -> list[dict[str, Any]]:
    return [json.loads(text) for _, text in items]


# --- requests -----------------------------------------------------------------------------------------------------


def test_events_go_to_hackle_with_its_headers() -> None:
    events: EventWire = wire()
    assert events.url == "https://event.hackle.io/api/v2/events"
    assert (events.max_items, events.takes_gzip) == (500, False)
    assert events.headers() == {
        "X-HACKLE-SDK-KEY": KEY,
        "X-HACKLE-SDK-NAME": "python-sdk",
        "X-HACKLE-SDK-VERSION": "3.9.0",
        "X-HACKLE-SDK-TIME": "1700000000123",
        "Content-Type": "application/json",
    }


def test_the_config_is_asked_for_with_the_key_in_path_and_headers() -> None:
    config: PollWire = HackleConfig("a/b c", "https://h.test/", wall_clock=lambda: AT_S, sdk_name="n", sdk_version="v")
    assert config.url(None) == "https://h.test/api/v2/workspaces/a%2Fb%20c/config"
    assert config.headers() == {
        "X-HACKLE-SDK-KEY": "a/b c",
        "X-HACKLE-SDK-NAME": "n",
        "X-HACKLE-SDK-VERSION": "v",
        "X-HACKLE-SDK-TIME": "1700000000123",
    }
    assert HackleConfig("k", wall_clock=lambda: AT_S).url(None) == "https://sdk.hackle.io/api/v2/workspaces/k/config"


def test_neither_wire_shows_the_key() -> None:
    assert KEY not in repr(wire()) + repr(HackleConfig(KEY, wall_clock=lambda: AT_S))


@pytest.mark.parametrize("sdk_key", [None, 5, "", "a b", "a\n", "키", "\ud800"], ids=repr)
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(sdk_key: Any) -> None:
    refusal = check_sdk_key(sdk_key)
    assert refusal is not None
    assert refusal.startswith("sdk_key ")
    assert not isinstance(sdk_key, str) or not sdk_key or sdk_key not in refusal


def test_a_key_of_any_visible_ascii_is_taken() -> None:
    assert check_sdk_key("".join(map(chr, range(33, 127)))) is None


# --- bodies -------------------------------------------------------------------------------------------------------


def test_a_body_has_all_three_lists_even_without_items() -> None:
    assert wire().body([]) == b'{"exposureEvents": [], "trackEvents": [], "remoteConfigEvents": []}'


def test_what_only_python_takes_for_json_leaves_a_body_but_not_its_event() -> None:
    user = read_user({"id": "NaN", "properties": {"$a": float("nan"), "$b": {"c": [1, float("inf")], "d": 2}, "e": 1}})
    items = wire().metric(metric("Infinity", 1, user, x="NaN"))
    event = json.loads(wire().body(items), parse_constant=pytest.fail)["trackEvents"][0]
    assert event["userProperties"] == {"$b": {"c": [1], "d": 2}, "e": 1}
    assert (event["userId"], event["eventTypeKey"], event["properties"]) == ("NaN", "Infinity", {"x": "NaN"})


def test_texts_that_name_constants_leave_an_item_as_it_is() -> None:
    items = wire().metric(metric("NaN", 1))
    assert items[0][1] in wire().body(items)


# --- events -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ab_test/42", "feature_flag/7", "remote_config/banner"])
def test_private_names_never_leave_with_an_exposure(key: str) -> None:
    assert [event["userProperties"] for event in told(wire().exposure(exposure(key, ADULT)))] == [{"plan": "pro"}]


def test_private_identifiers_never_leave() -> None:
    user = UserContext("u", identifiers={"$deviceId": "d", "c": "x"}, private=frozenset({"$deviceId", "$id"}))
    event = told(wire().metric(metric(context=user)))[0]
    assert (event["userId"], event["identifiers"]) == (None, {"c": "x"})


def test_private_names_never_leave_with_what_a_user_did() -> None:
    event = told(wire().metric(metric(age=20, plan="pro")))[0]
    assert (event["properties"], event["userProperties"]) == ({"plan": "pro"}, {"plan": "pro"})


def test_private_names_never_leave_with_changes_of_a_user() -> None:
    operations = PropertyOperations().set("age", 20).set("plan", "pro").unset("email")
    event = told(wire().identity(Identity(context=ADULT, operations=operations, at_s=AT_S)))[0]
    assert event["properties"] == {"$set": {"plan": "pro"}, "$unset": {}}
    assert (event["eventTypeKey"], event["value"]) == ("$properties", None)


LONG = "x" * 1024
USERS = {
    "a key alone": UserContext("u"),
    "no key": UserContext(identifiers={"$deviceId": "d"}),
    "a private key": UserContext("u", private=frozenset({"$id"})),
    "a key of 512 characters": UserContext("x" * 512),
    "a key of 513 characters": UserContext("x" * 513),
    "identifiers": UserContext("u", identifiers={"$deviceId": "d", "company": "c", "": "x"}),
    "all fields": UserContext("u", name="한", email='"e"', country="\ud800"),
    "fields that are private": UserContext("u", name="n", email="e", private=frozenset({"name"})),
    "fields that are attributes, too": UserContext("u", name="n", email="e", attributes={"name": "a", "email": None}),
    "a field that is an attribute, too": UserContext("u", name="n", attributes={"name": "a"}),
    "a field that is too long": UserContext("u", name=LONG + "x", email=LONG),
    "plain attributes": UserContext("u", attributes={"t": LONG, "i": -5, "yes": True, "no": False}),
    "a text that is too long": UserContext("u", attributes={"t": LONG + "x", "$t": LONG + "x", "i": 1}),
    "numbers at the limit": UserContext("u", attributes={"i": 2**53, "j": -(2**53)}),
    "numbers beyond the limit": UserContext("u", attributes={"i": 2**53 + 1, "j": -(2**53) - 1, "k": 1}),
    "names at the limits": UserContext("u", attributes={"x" * 128: 1, "x" * 129: 2, "": 3}),
    "other values": UserContext("u", attributes={"f": 1.5, "l": ["a", 1, LONG + "x"], "d": {"a": 1}, "$d": {"a": 1}}),
    "private attributes": UserContext("u", attributes={"a": 1, "request": {}}, private=frozenset({"request"})),
    "as many attributes as fit": UserContext("u", name="n", attributes={f"a{number}": 1 for number in range(125)}),
    "more attributes than fit": UserContext("u", name="n", attributes={f"a{number}": 1 for number in range(130)}),
    "more than fit with its fields": UserContext(
        "u", name="n", email="e", attributes=dict.fromkeys(map(str, range(127)), 1)
    ),
}


@pytest.mark.parametrize("context", USERS.values(), ids=USERS)
def test_a_user_is_told_within_the_limits_and_as_the_standard_library_writes_it(context: UserContext) -> None:
    ((_, text),) = wire().metric(metric(context=context))
    identifiers = identifiers_of(context, context.private)
    shown = {
        "insertId": "id",
        "timestamp": 1700000000124,
        "userId": identifiers.get("$id"),
        "identifiers": identifiers,
        "userProperties": properties_of(context, context.private),
        "hackleProperties": {},
        "eventTypeId": 0,
        "eventTypeKey": "purchase",
        "value": None,
        "properties": {},
    }
    assert text.decode() == json.dumps(shown)


def test_all_events_of_a_call_have_one_time_and_an_id_each() -> None:
    numbers = iter(range(10))
    workspace = hackle.small_workspace()
    asks = hackle.target(hackle.condition("42", "IN", "A", "B", key_type="AB_TEST"))
    workspace["featureFlags"][0]["execution"]["targetRules"] = [{"target": asks, "action": hackle.serve(82)}]
    outcome = compiled(workspace).flags["feature_flag/7"].evaluate(ADULT)
    events = HackleEvents(KEY, wall_clock=lambda: 0.0, uuid4=lambda: next(numbers))
    found = told(events.exposure(Exposure("feature_flag/7", ADULT, outcome, "r", AT_S, default=False)))
    assert [(event["insertId"], event["timestamp"]) for event in found] == [("0", 1700000000124), ("1", 1700000000124)]


def test_declared_events_have_their_id_from_the_document_in_force() -> None:
    types = EventTypes()
    events = wire(event_types=types)
    assert told(events.metric(metric()))[0]["eventTypeId"] == 0
    dialect = HackleDialect(types)
    snapshot = dialect.compile([document(hackle.small_workspace())], (), None).snapshot
    assert told(events.metric(metric()))[0]["eventTypeId"] == 21
    types.declared = {}
    dialect.compile([document(hackle.small_workspace())], (), snapshot)
    assert told(events.metric(metric()))[0]["eventTypeId"] == 21
    assert told(events.metric(metric("signup")))[0]["eventTypeId"] == 0


class Explosive:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_a_property_that_cannot_be_json_is_left_out_of_its_event() -> None:
    around: dict[str, Any] = {}
    around["around"] = around
    odd = {"$set": {1}, "$object": Explosive(), "$around": around, "plan": "pro"}
    user = read_user({"id": "u", "properties": odd})
    event = told(wire().metric(metric("e", 1, user, **odd)))[0]
    assert (event["userProperties"], event["properties"]) == ({"plan": "pro"}, {"plan": "pro"})


@pytest.mark.parametrize("default", [{1}, Explosive()], ids=["a set", "an object"])
def test_a_default_variation_that_cannot_be_json_gives_no_event(default: Any) -> None:
    workspace = hackle.small_workspace()
    workspace["experiments"][0]["execution"]["status"] = "READY"
    outcome = settled(compiled(workspace).flags["ab_test/42"].evaluate(ADULT), default)
    assert not wire().exposure(Exposure("ab_test/42", ADULT, outcome, "r", AT_S, default))


def test_an_outcome_of_elsewhere_gives_no_event() -> None:
    outcome = compiled({}).not_found
    assert not wire().exposure(Exposure("x", ADULT, outcome, "r", AT_S))


@pytest.mark.parametrize(
    ("event", "value", "is_refused"),
    [
        ("e", None, False),
        ("e", 0, False),
        ("e", -1.5, False),
        ("e", 2**53, False),
        ("e", 2**53 + 1, True),
        ("e", True, True),
        ("e", "5", True),
        ("e", float("nan"), True),
        ("", 1, True),
        (None, 1, True),
        (5, 1, True),
    ],
    ids=repr,
)
def test_what_hackle_would_not_take_is_refused_and_not_encoded(event: Any, value: Any, is_refused: bool) -> None:
    refusal = wire().refusal(metric(event, value))
    assert (refusal is not None) == is_refused
    assert len(wire().metric(metric(event, value))) == (not is_refused)


# --- operations ---------------------------------------------------------------------------------------------------


def test_each_operation_has_its_name_on_the_wire() -> None:
    operations = PropertyOperations()
    for name in ("set", "set_once", "increment", "append", "append_once", "prepend", "prepend_once", "remove"):
        operations = getattr(operations, name)(name, 1)
    operations = operations.unset("gone").clear_all()
    assert dict(operations) == {
        "$set": {"set": 1},
        "$setOnce": {"set_once": 1},
        "$increment": {"increment": 1},
        "$append": {"append": 1},
        "$appendOnce": {"append_once": 1},
        "$prepend": {"prepend": 1},
        "$prependOnce": {"prepend_once": 1},
        "$remove": {"remove": 1},
        "$unset": {"gone": "-"},
        "$clearAll": {"clearAll": "-"},
    }
    assert len(operations) == 10


def test_an_operation_gives_a_new_object_and_leaves_the_old_one() -> None:
    first = PropertyOperations().set("a", 1)
    assert dict(first.set("b", 2)) == {"$set": {"a": 1, "b": 2}}
    assert dict(first) == {"$set": {"a": 1}}


def test_a_property_is_changed_once_and_a_refused_value_does_not_count() -> None:
    odd_name: Any = 5
    operations = PropertyOperations().set("a", None).append("a", [1, None]).set("a", 5).unset("a").set("", 1)
    assert dict(operations.remove(odd_name, 1)) == {"$set": {}, "$append": {"a": (1,)}, "$remove": {}}


def test_operations_are_bounded() -> None:
    operations = PropertyOperations()
    for number in range(200):
        operations = operations.set(f"p{number}", number)
    assert len(operations["$set"]) == 128


def test_operations_do_not_show_what_they_change() -> None:
    assert repr(PropertyOperations().set("salary", 1)) == "<PropertyOperations: $set>"


class Lookalike(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return {"a": 1}

    def __iter__(self) -> Iterator[str]:
        return iter(["$set"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("operations", [None, {}, {"$set": {"a": 1}}, Lookalike()], ids=repr)
def test_nothing_but_property_operations_is_told_of_a_user(operations: Any) -> None:
    assert not wire().identity(Identity(context=ADULT, operations=operations, at_s=AT_S))


def test_no_operation_at_all_is_told_as_such() -> None:
    item = wire().identity(Identity(context=ADULT, operations=PropertyOperations(), at_s=AT_S))
    assert told(item)[0]["properties"] == {}
