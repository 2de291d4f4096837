"""FeatBit's flags: reasons, users, variations, segments, and defects that break no more than they must."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.context import UserContext
from flagmw.core.evaluating import as_kind
from flagmw.core.snapshot import Outcome
from flagmw.dialects.featbit import FeatBitDialect
from flagmw.dialects.featbit.flags import typed_value
from flagmw.errors import ContextError
from flagmw.evaluation import ErrorCode, Reason
from tests.unit.streamed_support import (
    assert_survives,
    compiled,
    fb,
    fb_flag,
    fb_rule,
    fb_segment,
    fb_served,
    in_segment,
    outcome_of,
    sampled_payload,
    spoil,
)

IS_STAFF = {"property": "role", "op": "Equal", "value": "staff"}
HALVES = (("t", 0, 0.5), ("f", 0.5, 1))
STAFF = UserContext("u-1", attributes={"role": "staff"})


def answer(outcome: Outcome) -> tuple[Any, str | None, Reason]:
    return outcome.value, outcome.provider_reason, outcome.reason


# --- reasons --------------------------------------------------------------------------------------------------


def test_a_flag_that_is_off_serves_its_off_variation() -> None:
    flag = fb_flag(isEnabled=False, targetUsers=[{"keyIds": ["u-1"], "variationId": "t"}])
    assert answer(outcome_of(fb(flag), "a")) == (False, "flag off", Reason.DISABLED)


def test_a_target_comes_before_rules() -> None:
    flag = fb_flag(targetUsers=[{"keyIds": ["u-1"], "variationId": "t"}], rules=[fb_rule([], ("f", 0, 1))])
    assert answer(outcome_of(fb(flag), "a")) == (True, "target match", Reason.TARGETING_MATCH)
    assert answer(outcome_of(fb(flag), "a", UserContext("u-2"))) == (False, "rule match", Reason.TARGETING_MATCH)


def test_the_first_of_two_targets_of_a_user_counts() -> None:
    flag = fb_flag(targetUsers=[{"keyIds": ["u-1"], "variationId": name} for name in ("t", "f")])
    assert outcome_of(fb(flag), "a").value is True


def test_all_conditions_of_a_rule_must_hold_and_a_rule_without_any_holds() -> None:
    flag = fb_flag(rules=[fb_rule([IS_STAFF, {"property": "keyId", "op": "Equal", "value": "u-1"}])])
    assert outcome_of(fb(flag), "a", STAFF).value is True
    assert outcome_of(fb(flag), "a").value is False
    assert outcome_of(fb(fb_flag(rules=[fb_rule([])])), "a").value is True


def test_the_fallthrough_is_static_where_there_is_nothing_else_and_the_default_otherwise() -> None:
    assert answer(outcome_of(fb(fb_flag()), "a")) == (False, "fall through all rules", Reason.STATIC)
    with_rules = fb(fb_flag(rules=[fb_rule([IS_STAFF])]))
    assert answer(outcome_of(with_rules, "a")) == (False, "fall through all rules", Reason.DEFAULT)


def test_a_rollout_over_several_variations_is_a_split_and_an_experiment() -> None:
    outcome = outcome_of(fb(fb_flag(rules=[fb_rule([], *HALVES)])), "a")
    assert (outcome.provider_reason, outcome.reason, outcome.in_experiment) == ("rule match", Reason.SPLIT, True)
    fallthrough = outcome_of(fb(fb_flag(fallthrough={"variations": fb_served(*HALVES)})), "a")
    assert (fallthrough.reason, fallthrough.in_experiment) == (Reason.SPLIT, True)


def test_a_rollout_of_one_variation_is_no_experiment() -> None:
    for shares in ([("t", 0, 1)], [("t", 0, 0.5), ("t", 0.5, 1)], [("t", 0, 1), ("f", 1, 1)]):
        assert not outcome_of(fb(fb_flag(rules=[fb_rule([], *shares)])), "a").in_experiment


def test_a_rule_that_holds_but_has_no_range_for_the_user_leads_to_the_fallthrough() -> None:
    flag = fb_flag(rules=[fb_rule([], ("t", 0.5, 0.5)), fb_rule([])])
    assert answer(outcome_of(fb(flag), "a")) == (False, "fall through all rules", Reason.DEFAULT)


def test_a_user_in_no_range_at_all_gets_the_default() -> None:
    outcome = outcome_of(fb(fb_flag(fallthrough={"variations": []})), "a")
    assert (outcome.uses_default, outcome.provider_reason) == (True, "error in evaluation")
    assert outcome.error_code is ErrorCode.GENERAL


def test_evaluations_that_come_out_alike_share_one_outcome() -> None:
    snapshot = fb(fb_flag(rules=[fb_rule([], *HALVES)]))
    outcomes = {id(outcome_of(snapshot, "a", UserContext(f"u-{n}"))) for n in range(100)}
    assert len(outcomes) == 2


def test_a_flags_name_is_in_its_metadata() -> None:
    assert outcome_of(fb(fb_flag()), "a").metadata == {"name": "Flag a"}


# --- rollouts -------------------------------------------------------------------------------------------------


def places(dispatch: Any, context: UserContext) -> int:
    """Find where a context is placed, in percent."""
    shares = [(str(n), n / 100, (n + 1) / 100) for n in range(100)]
    flag = fb_flag(
        variationType="number",
        variations=[{"id": name, "name": name, "value": name} for name, _, _ in shares],
        rules=[fb_rule([], *shares, dispatchKey=dispatch)],
    )
    value = outcome_of(fb(flag), "a", context).value
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize("dispatch", [None, "", "keyId", "KEYID", "key"])
def test_users_are_placed_by_their_key_unless_a_rule_says_otherwise(dispatch: Any) -> None:
    context = UserContext("u-42", name="Ana")
    assert places(dispatch, context) == places(None, UserContext("u-42", name="Bo"))
    assert places(dispatch, context) != places(None, UserContext("u-43"))


def test_users_may_be_placed_by_their_name_or_an_attribute() -> None:
    context = UserContext("u-42", name="Ana", attributes={"plan": "pro", "age": 30})
    assert places("Name", context) == places(None, UserContext("Ana"))
    assert places("plan", context) == places(None, UserContext("pro"))
    assert places("age", context) == places(None, UserContext("30"))


def test_those_without_the_attribute_are_all_placed_where_the_bare_flag_key_is() -> None:
    found = {places(dispatch, UserContext(f"u-{n}")) for n, dispatch in enumerate(["plan", "  ", 5, ["x"]])}
    assert len(found) == 1


# --- users ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_context_without_a_key_is_not_specified(key: str | None) -> None:
    outcome = outcome_of(fb(fb_flag(rules=[fb_rule([])])), "a", UserContext(key))
    assert (outcome.error_code, outcome.provider_reason) == (ErrorCode.INVALID_CONTEXT, "user not specified")
    assert outcome_of(fb(fb_flag()), "a", UserContext(key)) == outcome


@pytest.mark.parametrize(
    ("property_name", "value"),
    [
        ("keyId", "u-1"),
        ("KEY", "u-1"),
        ("name", "u-1"),
        ("Name", "u-1"),
        ("email", "a@b.c"),
        ("country", "de"),
        ("device", "d-1"),
        ("age", "30"),
        ("vip", "True"),
    ],
)
def test_everything_in_a_context_can_be_read_by_its_name_and_the_key_stands_for_a_missing_name(
    property_name: str, value: str
) -> None:
    context = UserContext(
        "u-1", email="a@b.c", country="de", identifiers={"device": "d-1"}, attributes={"age": 30, "vip": True}
    )
    condition = {"property": property_name, "op": "Equal", "value": value}
    assert outcome_of(fb(fb_flag(rules=[fb_rule([condition])])), "a", context).value is True


@pytest.mark.parametrize("name", ["tags", "nothing", "absent"])
def test_lists_and_none_are_missing(name: str) -> None:
    context = UserContext("u-1", attributes={"tags": ["a"], "nothing": None})
    condition = {"property": name, "op": "NotContain", "value": "a"}
    assert outcome_of(fb(fb_flag(rules=[fb_rule([condition])])), "a", context).value is True


@pytest.mark.parametrize(
    "user",
    [None, 5, "u-1", [], {}, {"key": "u-1"}, {"name": "n"}, {"key": " ", "name": "n"}, {"key": 5, "name": "n"}]
    + [{"key": "u-1", "name": name} for name in ("", " ", 0, 9, None)],
)
def test_a_mapping_without_key_and_name_is_no_user(user: object) -> None:
    with pytest.raises(ContextError):
        FeatBitDialect().read_user(user)


def test_a_mapping_is_read_as_featbits_client_reads_it() -> None:
    user = {"keyid": "u-1", "name": "Ana", "KEY": "x", "age": 30, "vip": True, "tags": [1], "email": "a@b.c", 5: "x"}
    context = FeatBitDialect().read_user(user)
    assert (context.key, context.name, context.email) == ("u-1", "Ana", None)
    assert context.attributes == {"age": "30", "vip": "True", "email": "a@b.c"}


def test_a_context_is_taken_as_it_is() -> None:
    assert FeatBitDialect().read_user(STAFF) is STAFF


def test_a_mapping_with_an_entry_named_self_is_an_error_and_a_context_with_one_is_not() -> None:
    dialect = FeatBitDialect()
    context = dialect.read_user({"key": "u-1", "name": "n", "self": "x"})
    assert outcome_of(fb(fb_flag()), "a", context).provider_reason == "error in evaluation"
    assert outcome_of(fb(fb_flag()), "a", UserContext("u-1", attributes={"self": "x"})).error_code is None


# --- values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variation_type", "text", "value"),
    [
        ("boolean", "true", True),
        ("boolean", "1", 1),
        ("boolean", "TRUE", "TRUE"),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("json", "{", "{"),
        ("number", "1e3", 1000),
        ("number", " 5 ", 5),
        ("number", "2.5", 2.5),
        ("number", "9007199254740993", 2**53),
        ("number", "many", "many"),
        ("number", "inf", float("inf")),
        ("string", "5", "5"),
        (None, "5", "5"),
        ("odd", "5", "5"),
        ("boolean", None, None),
        ("number", [1], [1]),
        (["boolean"], "true", "true"),
    ],
)
def test_a_variations_text_is_converted_by_the_flags_type(variation_type: object, text: Any, value: object) -> None:
    found = typed_value(text, variation_type)
    assert found == value
    assert type(found) is type(value)


def test_a_json_value_is_nobodys_to_hand_out_as_it_is() -> None:
    flag = fb_flag(variationType="json", variations=[{"id": "f", "name": "f", "value": '{"a": 1}'}])
    assert not outcome_of(fb(flag), "a").direct
    assert outcome_of(fb(fb_flag()), "a").direct


@pytest.mark.parametrize(("text", "expected"), [("on", True), ("No", False), ("1", True)])
def test_a_text_that_is_a_word_for_yes_or_no_can_be_read_as_a_boolean(text: str, expected: bool) -> None:
    flag = fb_flag(variationType="string", variations=[{"id": "f", "name": "f", "value": text}])
    outcome = outcome_of(fb(flag), "a")
    assert as_kind(outcome, "boolean").value is expected
    assert as_kind(outcome, "string").value == text


def test_any_other_text_cannot_be_read_as_a_boolean() -> None:
    flag = fb_flag(variationType="string", variations=[{"id": "f", "name": "f", "value": "blue"}])
    assert as_kind(outcome_of(fb(flag), "a"), "boolean").error_code is ErrorCode.TYPE_MISMATCH


@pytest.mark.parametrize(("insights", "exposes"), [(False, False), (True, True), (None, True), (0, True), ("", True)])
def test_only_a_literal_false_keeps_evaluations_to_ourselves(insights: object, exposes: bool) -> None:
    assert outcome_of(fb(fb_flag(insightsEnabled=insights)), "a").exposes is exposes


# --- segments -------------------------------------------------------------------------------------------------


def is_in(segments: list[dict[str, Any]], *names: str, context: UserContext | None = None) -> bool:
    snapshot = fb(fb_flag(rules=[fb_rule([in_segment(*names)])]), segments=segments)
    negated = fb(fb_flag(rules=[fb_rule([in_segment(*names, is_not=True)])]), segments=segments)
    found = outcome_of(snapshot, "a", context).value
    assert outcome_of(negated, "a", context).value is not found
    assert isinstance(found, bool)
    return found


def test_a_segment_has_those_included_but_not_those_excluded() -> None:
    assert is_in([fb_segment(included=["u-1"])], "s")
    assert not is_in([fb_segment(included=["u-1"], excluded=["u-1"])], "s")
    assert not is_in([fb_segment()], "s")


def test_a_segment_has_those_for_whom_a_rule_holds() -> None:
    segment = fb_segment(rules=[{"conditions": [IS_STAFF]}])
    assert is_in([segment], "s", context=STAFF)
    assert not is_in([segment], "s")
    assert is_in([fb_segment(rules=[{"conditions": []}])], "s")


def test_one_of_several_segments_suffices() -> None:
    assert is_in([fb_segment("s"), fb_segment("t", included=["u-1"])], "s", "t", "unknown")


@pytest.mark.parametrize("segments", [[], [fb_segment(included=["u-1"], isArchived=True)]])
def test_a_segment_that_is_not_there_has_nobody(segments: list[dict[str, Any]]) -> None:
    assert not is_in(segments, "s")


def test_segments_that_refer_to_each_other_have_whom_they_would_have_without_the_circle() -> None:
    segments = [
        fb_segment("a", rules=[{"conditions": [in_segment("b")]}]),
        fb_segment("b", rules=[{"conditions": [in_segment("a")]}, {"conditions": [IS_STAFF]}]),
        fb_segment("self", rules=[{"conditions": [in_segment("self")]}]),
    ]
    assert is_in(segments, "a", context=STAFF)
    assert is_in(segments, "b", context=STAFF)
    assert not is_in(segments, "a")
    assert not is_in(segments, "self", context=STAFF)


@pytest.mark.parametrize(
    "defect", [{"included": None}, {"excluded": 5}, {"rules": None}, {"rules": [{}]}, {"rules": [None]}]
)
def test_a_segment_that_cannot_be_decided_has_nobody(defect: dict[str, Any]) -> None:
    assert not is_in([fb_segment(**defect)], "s")


def test_a_segment_that_cannot_be_decided_ends_the_search() -> None:
    segments = [fb_segment("bad", rules=None), fb_segment("good", included=["u-1"])]
    assert not is_in(segments, "bad", "good")
    assert is_in(segments, "good", "bad")


# --- defects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["name", "variationType", "variations", "targetUsers", "rules", "isEnabled"])
def test_a_flag_without_something_it_needs_is_an_error_and_others_are_well(missing: str) -> None:
    flag = fb_flag("bad")
    del flag[missing]
    snapshot = fb(flag, fb_flag("good"))
    assert outcome_of(snapshot, "bad").provider_reason == "error in evaluation"
    assert outcome_of(snapshot, "good").value is False


def test_what_a_user_does_not_need_may_be_missing() -> None:
    flag = fb_flag(rules=[fb_rule([])])
    del flag["fallthrough"], flag["disabledVariationId"], flag["envId"]
    assert outcome_of(fb(flag), "a").value is True


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {},
        {"conditions": None},
        fb_rule(variations=None),
        fb_rule(variations=[{"id": "t"}]),
        fb_rule([], ("no-such-variation", 0, 1)),
        fb_rule([{"property": "keyId", "op": "MatchRegex", "value": "("}]),
        fb_rule([{"property": "keyId", "op": "Equal"}]),
        fb_rule([None]),
    ],
)
def test_a_rule_with_a_defect_is_an_error_for_those_who_get_there(rule: Any) -> None:
    flag = fb_flag(rules=[fb_rule([IS_STAFF]), rule])
    snapshot = fb(flag)
    assert outcome_of(snapshot, "a", STAFF).value is True
    outcome = outcome_of(snapshot, "a")
    assert (outcome.error_code, outcome.provider_reason) == (ErrorCode.GENERAL, "error in evaluation")
    assert not outcome.exposes


@pytest.mark.parametrize("target", [None, {}, {"keyIds": None, "variationId": "t"}])
def test_a_target_with_a_defect_is_an_error_for_those_who_get_there(target: Any) -> None:
    snapshot = fb(fb_flag(targetUsers=[{"keyIds": ["u-1"], "variationId": "t"}, target]))
    assert outcome_of(snapshot, "a").value is True
    assert outcome_of(snapshot, "a", UserContext("u-2")).provider_reason == "error in evaluation"


@pytest.mark.parametrize("target", [{"keyIds": ["u-1"]}, {"keyIds": ["u-1"], "variationId": ["t"]}])
def test_a_target_that_serves_nothing_is_an_error_for_its_users(target: Any) -> None:
    snapshot = fb(fb_flag(targetUsers=[target]))
    assert outcome_of(snapshot, "a").provider_reason == "error in evaluation"
    assert outcome_of(snapshot, "a", UserContext("u-2")).value is False


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 8), st.booleans())
def test_no_message_makes_compiling_or_evaluating_raise(seed: int, times: int, is_patch: bool) -> None:
    chance, dialect = random.Random(seed), FeatBitDialect()
    well, users = sampled_payload("featbit", chance)
    message = spoil(well, chance, times)
    if is_patch and isinstance(message, dict) and isinstance(message.get("data"), dict):
        message["data"]["eventType"] = "patch"
    assert_survives(dialect, message, compiled(dialect, well) if is_patch else None, users)
