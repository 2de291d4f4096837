"""Hackle's decisions beyond the vectors: standard reasons, callers' defaults, who is evaluated for, what goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw import UserContext
from flagmw.core.snapshot import evaluation_of
from flagmw.dialects.hackle.decisions import Told
from flagmw.dialects.hackle.values import MAX_PROPERTIES
from flagmw.evaluation import ErrorCode, Reason
from tests.services import hackle_workspaces as hackle
from tests.unit.hackle_support import ab_test, compiled, feature_flag, outcome, reason, served

USER = UserContext("user-1")
ADULTS = hackle.condition("age", "GTE", 18, value_type="NUMBER")

# --- reasons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "provider_reason", "standard"),
    [
        ("ab_test/1", "TRAFFIC_ALLOCATED", Reason.SPLIT),
        ("ab_test/2", "EXPERIMENT_DRAFT", Reason.DISABLED),
        ("ab_test/3", "EXPERIMENT_PAUSED", Reason.DISABLED),
        ("ab_test/4", "EXPERIMENT_COMPLETED", Reason.STATIC),
        ("ab_test/5", "OVERRIDDEN", Reason.TARGETING_MATCH),
        ("ab_test/6", "NOT_IN_EXPERIMENT_TARGET", Reason.DEFAULT),
        ("ab_test/7", "TRAFFIC_NOT_ALLOCATED", Reason.DEFAULT),
        ("ab_test/8", "IDENTIFIER_NOT_FOUND", Reason.DEFAULT),
        ("feature_flag/1", "DEFAULT_RULE", Reason.DEFAULT),
        ("feature_flag/2", "TARGET_RULE_MATCH", Reason.TARGETING_MATCH),
        ("feature_flag/3", "FEATURE_FLAG_INACTIVE", Reason.DISABLED),
        ("feature_flag/4", "INDIVIDUAL_TARGET_MATCH", Reason.TARGETING_MATCH),
    ],
)
def test_each_reason_of_hackle_comes_with_a_standard_one(key: str, provider_reason: str, standard: Reason) -> None:
    override = {"userId": "user-1", "variationId": 51}
    nobody = hackle.target(hackle.condition("age", "GT", 99, value_type="NUMBER"))
    anybody = {"target": hackle.target(hackle.condition("age", "IN", "x", negate=True)), "action": hackle.serve(21)}
    snapshot = compiled(
        {
            "experiments": [
                ab_test(1, 1),
                ab_test(2, 2, status="READY"),
                ab_test(3, 3, status="PAUSED"),
                ab_test(4, 4, status="STOPPED", winnerVariationId=42),
                ab_test(5, 5, user_overrides=[override]),
                ab_test(6, 6, audiences=[nobody]),
                ab_test(7, 7, {"type": "NOTHING"}),
                ab_test(8, 8, identifier_type="$deviceId"),
            ],
            "featureFlags": [
                feature_flag(1, 1),
                feature_flag(2, 2, rules=[anybody]),
                feature_flag(3, 3, status="PAUSED"),
                feature_flag(5, 4, user_overrides=[override]),
            ],
        }
    )
    found = outcome(snapshot, key, UserContext("user-1", attributes={"age": 30}))
    assert (found.provider_reason, found.reason) == (provider_reason, standard)
    assert found.exposes
    assert found.in_experiment == (provider_reason == "TRAFFIC_ALLOCATED")
    assert found.error_code is None


def test_a_flag_that_asks_no_other_gives_an_outcome_that_was_made_before() -> None:
    flag = compiled({"featureFlags": [feature_flag(1, 1)]}).flags["feature_flag/1"]
    assert flag.evaluate(USER) is flag.evaluate(UserContext("user-2"))


@pytest.mark.parametrize(
    ("default", "rule", "matches"),
    [
        ("", {"id": 1, "value": "x"}, True),
        (5, {"id": 1, "value": "x"}, False),
        (None, {"id": 1, "value": {"a": [1]}}, True),
        ({}, {"id": 1, "value": {"a": [1]}}, False),
        (0, {"id": 1, "value": True}, False),
        (False, {"id": 1, "value": True}, True),
        (1 + 2j, {"id": 1, "value": 2**70}, True),
        (None, {"id": 1, "value": None}, True),
        (1.5, {"id": 1, "value": 7}, True),
    ],
    ids=repr,
)
def test_the_callers_default_says_which_type_a_parameter_must_have(default: Any, rule: Any, matches: bool) -> None:
    workspace = hackle.small_workspace()
    workspace["remoteConfigParameters"][0].update(targetRules=[], defaultValue=rule)
    snapshot = compiled(workspace)
    found = evaluation_of(snapshot.configs["banner"].evaluate(USER), "banner", default, snapshot)
    assert found.value == (rule["value"] if matches else default)
    assert found.provider_reason == ("DEFAULT_RULE" if matches else "TYPE_MISMATCH")
    assert found.error_code is (None if matches else ErrorCode.TYPE_MISMATCH)


def test_a_parameters_value_cannot_be_changed_by_who_reads_it() -> None:
    workspace = hackle.small_workspace()
    workspace["remoteConfigParameters"][0].update(targetRules=[], defaultValue={"id": 1, "value": {"a": [1]}})
    snapshot = compiled(workspace)
    for _ in range(2):
        value = evaluation_of(snapshot.configs["banner"].evaluate(USER), "banner", None, snapshot).value
        assert value == {"a": [1]}
        value["a"].append(2)


# --- default decisions --------------------------------------------------------------------------------------------


class Loud(str):
    """A text that raises when it is hashed."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


@pytest.mark.parametrize("default", ["Z", "", None, 5, [], {}, float("nan"), Loud("A")], ids=repr)
def test_a_default_that_is_no_variation_is_given_back_as_it_is(default: Any) -> None:
    snapshot = compiled({"experiments": [ab_test(1, 1, status="READY")]})
    found = evaluation_of(snapshot.variations[1].evaluate(USER), 1, default, snapshot)
    assert found.value is default
    assert found.provider_reason == "EXPERIMENT_DRAFT"
    assert found.parameters == {}


def test_a_default_that_is_a_variation_brings_its_parameters_and_its_defects() -> None:
    test = ab_test(1, 1, status="READY")
    test["variations"][0]["parameterConfigurationId"] = 301
    test["variations"][1]["parameterConfigurationId"] = 999
    configurations = [{"id": 301, "parameters": [{"key": "max", "value": 3}]}]
    snapshot = compiled({"experiments": [test], "parameterConfigurations": configurations})
    assert outcome(snapshot, "ab_test/1", default="A").parameters == {"max": 3}
    broken = outcome(snapshot, "ab_test/1", default="B")
    assert (broken.provider_reason, broken.uses_default, broken.exposes) == ("EXCEPTION", True, False)
    assert reason(snapshot, "ab_test/1", default="C") == "EXPERIMENT_DRAFT"


def test_of_variations_with_one_key_or_id_the_first_counts() -> None:
    arms = [
        hackle.variation(1, "A"),
        hackle.variation(2, "A", configuration=301),
        hackle.variation(1, "B", configuration=301),
    ]
    tests = [hackle.experiment(1, 1, arms, hackle.serve(1)), hackle.experiment(2, 2, arms, {"type": "NOTHING"})]
    configurations = [{"id": 301, "parameters": [{"key": "max", "value": 3}]}]
    snapshot = compiled({"experiments": tests, "parameterConfigurations": configurations})
    for key in ("ab_test/1", "ab_test/2"):
        found = outcome(snapshot, key)
        assert (found.variation, found.parameters, found.detail.served.variation_id) == ("A", {}, 1)


def test_the_caller_is_told_the_variation_that_it_asked_for_by_default() -> None:
    snapshot = compiled({"experiments": [ab_test(1, 1, status="READY")]})
    assert [outcome(snapshot, "ab_test/1", default=default).variation for default in ("B", "Z", None, 5)] == [
        "B",
        "Z",
        None,
        None,
    ]


def test_a_rule_that_matches_but_whose_bucket_lacks_the_user_leaves_it_to_the_next() -> None:
    workspace = hackle.small_workspace()
    workspace["buckets"] += [hackle.bucket(1, []), hackle.bucket(2, [(hackle.SLOTS, 0)])]
    adults = hackle.target(ADULTS)
    rules = [
        {"key": key, "name": "", "target": adults, "bucketId": bucket, "value": {"id": bucket, "value": key}}
        for key, bucket in (("nobody", 1), ("everybody", 2), ("too late", 2))
    ]
    workspace["remoteConfigParameters"][0]["targetRules"] = rules
    snapshot = compiled(workspace)
    assert outcome(snapshot, "remote_config/banner", UserContext("u", attributes={"age": 20}), "").value == "everybody"
    assert outcome(snapshot, "remote_config/banner", UserContext("u", attributes={"age": 2}), "").value == "hello"


# --- who ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "context",
    [
        UserContext(),
        UserContext(""),
        UserContext("k" * 513),
        UserContext(identifiers={"$id": "", "$userId": "x" * 513}),
        UserContext(attributes={"$id": "user-1"}),
    ],
    ids=["nothing", "empty", "long", "unusable identifiers", "an attribute"],
)
@pytest.mark.parametrize("key", ["ab_test/42", "feature_flag/7", "feature_flag/71", "remote_config/banner"])
def test_a_user_without_any_identifier_is_invalid(context: UserContext, key: str) -> None:
    workspace = hackle.small_workspace()
    workspace["featureFlags"].append(feature_flag(71, 71, rules=[{"target": served(42), "action": hackle.serve(712)}]))
    found = outcome(compiled(workspace), key, context)
    assert (found.provider_reason, found.error_code) == ("INVALID_INPUT", ErrorCode.INVALID_CONTEXT)
    assert not found.exposes


@pytest.mark.parametrize(
    ("identifier_type", "context", "found"),
    [
        ("$id", UserContext("user-1"), True),
        ("$id", UserContext(identifiers={"$id": "user-1"}), True),
        ("$id", UserContext(identifiers={"$id": "user-1", "x" * 129: "y"}), True),
        ("$id", UserContext(identifiers={"$deviceId": "d"}), False),
        ("$deviceId", UserContext("user-1", identifiers={"$deviceId": "d"}), True),
        ("$deviceId", UserContext("user-1", identifiers={"$deviceId": "d" * 513}), False),
        ("$deviceId", UserContext("k" * 513, identifiers={"$deviceId": "d"}), True),
        ("company", UserContext("user-1", identifiers={"company": "c"}), True),
        ("company", UserContext("user-1", attributes={"company": "c"}), False),
        ("x" * 129, UserContext("user-1", identifiers={"x" * 129: "y"}), False),
        ("", UserContext("user-1", identifiers={"": "y"}), False),
        (None, UserContext("user-1"), False),
    ],
)
def test_identifiers_are_the_key_and_what_is_named_so(identifier_type: Any, context: UserContext, found: bool) -> None:
    snapshot = compiled({"experiments": [ab_test(1, 1, identifier_type=identifier_type)]})
    assert reason(snapshot, "ab_test/1", context) == ("TRAFFIC_ALLOCATED" if found else "IDENTIFIER_NOT_FOUND")


def rule_matches(condition: dict[str, Any], context: UserContext) -> bool:
    rules = [{"target": hackle.target(condition), "action": hackle.serve(12)}]
    snapshot = compiled({"featureFlags": [feature_flag(1, 1, hackle.serve(11), rules=rules)]})
    return outcome(snapshot, "feature_flag/1", context).value is True


@pytest.mark.parametrize("name", ["name", "email", "country"])
def test_a_contexts_own_fields_are_properties(name: str) -> None:
    condition = hackle.condition(name, "IN", "x")
    fields: dict[str, Any] = {name: "x"}
    assert rule_matches(condition, UserContext("u", **fields))
    assert rule_matches(condition, UserContext("u", attributes={name: "x"}))
    assert rule_matches(condition, UserContext("u", attributes={name: "x"}).replace(**{name: "y"}))
    assert not rule_matches(condition, UserContext("u", attributes={name: "y"}).replace(**{name: "x"}))
    assert not rule_matches(condition, UserContext("u", identifiers={name: "x"}))
    assert not rule_matches(condition, UserContext("u"))


def test_private_attributes_are_readable_by_rules() -> None:
    assert rule_matches(ADULTS, UserContext("u", attributes={"age": 20}, private=frozenset({"age"})))


@pytest.mark.parametrize(
    ("value", "is_there"),
    [
        ("x" * 1024, True),
        ("x" * 1025, False),
        (2**53, True),
        (2**53 + 1, False),
        (-1e300, False),
        (True, True),
        (None, False),
        ({"a": 1}, False),
        ([], True),
        ([None, True, {"a": 1}, 2**60], True),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("value_type", ["STRING", "NUMBER", "BOOLEAN", "VERSION"])
def test_what_hackle_does_not_take_as_a_property_counts_as_missing(value: Any, is_there: bool, value_type: str) -> None:
    condition = hackle.condition("p", "IN", "nothing else", value_type=value_type, negate=True)
    assert rule_matches(condition, UserContext("u", attributes={"p": value})) is is_there


def test_anything_is_taken_below_a_name_that_begins_with_a_dollar() -> None:
    for value in ({"a": 1}, 2**60, "x" * 2000):
        condition = hackle.condition("$p", "IN", "nothing else", negate=True)
        assert rule_matches(condition, UserContext("u", attributes={"$p": value}))


def test_properties_behind_the_128th_are_not_there() -> None:
    names = {f"p{number}": "x" for number in range(MAX_PROPERTIES + 1)}
    context = UserContext("u", attributes={"dropped": None, **names}, email="x")
    assert rule_matches(hackle.condition(f"p{MAX_PROPERTIES - 1}", "IN", "x"), context)
    assert not rule_matches(hackle.condition(f"p{MAX_PROPERTIES}", "IN", "x"), context)
    assert not rule_matches(hackle.condition("email", "IN", "x"), context)
    full = dict.fromkeys(list(names)[:MAX_PROPERTIES], "x")
    assert not rule_matches(hackle.condition("email", "IN", "x"), UserContext("u", attributes=full, email="x"))
    few = dict.fromkeys(list(names)[: MAX_PROPERTIES - 1], "x")
    assert rule_matches(hackle.condition("email", "IN", "x"), UserContext("u", attributes=few, email="x"))


def test_a_segment_override_by_bucket_gives_nothing_to_a_user_without_the_identifier() -> None:
    workspace = hackle.small_workspace()
    workspace["buckets"].append({"id": 6, "seed": 1, "slotSize": 0, "slots": []})
    for bucket, known in ((501, "OVERRIDDEN"), (6, "EXCEPTION"), (99, "EXCEPTION")):
        override = {"target": hackle.target(hackle.in_segment("staff")), "action": hackle.bucketed(bucket)}
        workspace["experiments"][0]["execution"]["segmentOverrides"] = [override]
        snapshot = compiled(workspace)
        kim = {"$userId": "kim"}
        assert reason(snapshot, "ab_test/42", UserContext("user-1", identifiers=kim)) == known
        unknown = "EXCEPTION" if bucket == 99 else "IDENTIFIER_NOT_FOUND"
        assert reason(snapshot, "ab_test/42", UserContext(identifiers=kim)) == unknown


# --- nested evaluations -------------------------------------------------------------------------------------------


def test_nested_decisions_are_told_in_the_order_in_which_they_ended() -> None:
    deeper = hackle.target(
        hackle.condition("1", "IN", "B", key_type="AB_TEST"), hackle.condition("1", "IN", "B", key_type="AB_TEST")
    )
    snapshot = compiled(
        {
            "experiments": [ab_test(1, 1), ab_test(2, 2, audiences=[deeper]), ab_test(3, 3, audiences=[served(2)])],
        }
    )
    found = outcome(snapshot, "ab_test/3")
    assert isinstance(found.detail, Told)
    assert [(nested.served.experiment.id, nested.served.reason) for nested in found.detail.nested] == [
        (1, "TRAFFIC_ALLOCATED_BY_TARGETING"),
        (2, "TRAFFIC_ALLOCATED_BY_TARGETING"),
    ]
    assert {(nested.root_type, nested.root_id) for nested in found.detail.nested} == {("EXPERIMENT", 3)}
    assert found.provider_reason == "TRAFFIC_ALLOCATED"
    assert outcome(snapshot, "ab_test/3") is found


def test_a_default_decision_tells_of_nested_ones_for_every_default() -> None:
    snapshot = compiled({"experiments": [ab_test(1, 1, status="PAUSED"), ab_test(3, 3, audiences=[served(1)])]})
    for default, variation_id in (("A", 31), ("B", 32), ("Z", None)):
        found = outcome(snapshot, "ab_test/3", default=default)
        assert found.provider_reason == "NOT_IN_EXPERIMENT_TARGET"
        assert found.detail.served.variation_id == variation_id
        assert [nested.served.reason for nested in found.detail.nested] == ["EXPERIMENT_PAUSED"]


def test_any_variation_of_a_flag_but_a_is_on() -> None:
    arms = [hackle.variation(11, "A"), hackle.variation(12, "C")]
    rules = [{"target": served(1, kind="FEATURE_FLAG"), "action": hackle.serve(22)}]
    snapshot = compiled(
        {
            "featureFlags": [
                hackle.experiment(1, 1, arms, hackle.serve(12)),
                feature_flag(2, 2, hackle.serve(21), rules=rules),
            ]
        }
    )
    assert outcome(snapshot, "feature_flag/1").value is True
    assert outcome(snapshot, "feature_flag/2").value is True


def test_more_combinations_of_decisions_than_are_kept_are_told_right() -> None:
    cuts = 300
    slots = [{"startInclusive": n, "endExclusive": n + 1, "variationId": 1000 + n} for n in range(cuts)]
    many = hackle.experiment(
        1,
        1,
        [hackle.variation(1000 + number, f"V{number}") for number in range(cuts)],
        hackle.bucketed(5),
    )
    asks = ab_test(3, 3, audiences=[hackle.target(hackle.condition("1", "IN", "A", key_type="AB_TEST", negate=True))])
    buckets = [{"id": 5, "seed": 1, "slotSize": cuts, "slots": slots}]
    snapshot = compiled({"experiments": [many, asks], "buckets": buckets})
    told = set()
    first = outcome(snapshot, "ab_test/3", UserContext("user-0"))
    for number in range(3000):
        context = UserContext(f"user-{number}")
        alone = outcome(snapshot, "ab_test/1", context)
        nested = outcome(snapshot, "ab_test/3", context).detail.nested
        assert [one.served.variation_key for one in nested] == [alone.variation]
        told.add(alone.variation)
    assert len(told) > 256
    again = outcome(snapshot, "ab_test/3", UserContext("user-0"))
    assert again is not first, "all combinations are kept"
    assert again == first


@pytest.mark.parametrize("kind", ["AB_TEST", "FEATURE_FLAG"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [("1", "B"), (" 1 ", "B"), ("+1", "B"), (1, "B"), (1.9, "B"), (True, "B"), ("99", "A"), (2**70, "A")],
)
def test_a_condition_reads_the_number_of_another_experiment_as_python_does(kind: str, name: Any, expected: str) -> None:
    rules = [{"target": served("1", kind=kind), "action": hackle.serve(32)}]
    rules[0]["target"]["conditions"][0]["key"]["name"] = name
    snapshot = compiled(
        {
            "experiments": [ab_test(1, 1)],
            "featureFlags": [feature_flag(2, 1), feature_flag(3, 3, hackle.serve(31), rules=rules)],
        }
    )
    assert outcome(snapshot, "feature_flag/3").variation == expected


@pytest.mark.parametrize("name", ["x", "1.5", "", None, [], float("inf")], ids=repr)
def test_a_condition_that_names_no_number_is_an_exception_where_it_is_reached(name: Any) -> None:
    target = served("1", kind="FEATURE_FLAG")
    target["conditions"][0]["key"]["name"] = name
    target["conditions"].insert(0, ADULTS)
    rules = [{"target": target, "action": hackle.serve(32)}]
    snapshot = compiled({"featureFlags": [feature_flag(3, 3, rules=rules)]})
    assert reason(snapshot, "feature_flag/3", UserContext("u", attributes={"age": 1})) == "DEFAULT_RULE"
    assert reason(snapshot, "feature_flag/3", UserContext("u", attributes={"age": 20})) == "EXCEPTION"


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_chain_of_experiments_beyond_pythons_depth_is_an_exception() -> None:
    chain = [feature_flag(1, 1)]
    for key in range(2, 3000):
        rules = [{"target": served(key - 1, kind="FEATURE_FLAG"), "action": hackle.serve(key * 10 + 2)}]
        chain.append(feature_flag(key, key, rules=rules))
    snapshot = compiled({"featureFlags": chain})
    assert reason(snapshot, "feature_flag/50") == "TARGET_RULE_MATCH"
    found = outcome(snapshot, "feature_flag/2999")
    assert (found.provider_reason, found.error_message) == (
        "EXCEPTION",
        "conditions on other experiments are nested too deeply",
    )


def test_an_identifier_that_is_no_unicode_is_an_exception_where_it_is_hashed() -> None:
    bucket = hackle.bucket(5, [(5000, 11), (5000, 12)])
    snapshot = compiled({"experiments": [ab_test(1, 1, hackle.bucketed(5)), ab_test(2, 2)], "buckets": [bucket]})
    odd = UserContext("\ud800")
    found = outcome(snapshot, "ab_test/1", odd)
    assert (found.provider_reason, found.error_message) == (
        "EXCEPTION",
        "an identifier of the user is no Unicode text",
    )
    assert reason(snapshot, "ab_test/2", odd) == "TRAFFIC_ALLOCATED"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"default_rule": hackle.serve(99)}, "a rule gives variation 99, which is missing"),
        ({"default_rule": hackle.bucketed(99)}, "a rule uses bucket 99, which is missing"),
        ({"default_rule": hackle.bucketed(6)}, "slotSize is 0"),
        ({"status": "STOPPED"}, "has no winner"),
        ({"containerId": 99}, "container 99 is missing"),
        ({"containerId": []}, "container a list is missing"),
        ({"containerId": 8}, "the container uses bucket 99, which is missing"),
        ({"containerId": 9}, "a group that is missing"),
        ({"audiences": [hackle.target(hackle.in_segment("gone"))]}, "the segment 'gone', which is missing"),
        ({"audiences": [served(1)]}, "form a circle"),
    ],
    ids=str,
)
def test_an_exception_says_what_is_wrong_in_the_definitions(change: dict[str, Any], message: str) -> None:
    snapshot = compiled(
        {
            "experiments": [ab_test(1, 1, **change)],
            "buckets": [hackle.bucket(5, [(hackle.SLOTS, 1)]), {"id": 6, "seed": 1, "slotSize": 0, "slots": []}],
            "containers": [{"id": 8, "bucketId": 99}, {"id": 9, "bucketId": 5, "groups": []}],
        }
    )
    found = outcome(snapshot, "ab_test/1")
    assert (found.provider_reason, found.error_code) == ("EXCEPTION", ErrorCode.GENERAL)
    assert message in (found.error_message or "")
    assert not found.exposes


def test_a_nested_experiment_without_its_configuration_is_an_exception_of_the_whole_call() -> None:
    test = ab_test(1, 1)
    test["variations"][1]["parameterConfigurationId"] = 999
    snapshot = compiled({"experiments": [test, ab_test(2, 2, audiences=[served(1)])]})
    found = outcome(snapshot, "ab_test/2")
    assert found.provider_reason == "EXCEPTION"
    assert "parameter configuration 999" in (found.error_message or "")
