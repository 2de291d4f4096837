"""featureflag.co's flags: reasons, prerequisites, experiments, users, and defects that break no more than they must."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.context import UserContext
from flagmw.core.evaluating import as_kind
from flagmw.core.snapshot import Outcome, changed_keys
from flagmw.core.versioned import MAX_NESTING
from flagmw.dialects.featureflag_co import FeatureFlagCoDialect
from flagmw.dialects.featureflag_co import prerequisites as prerequisites_module
from flagmw.dialects.featureflag_co.prerequisites import Served
from flagmw.errors import ContextError
from flagmw.evaluation import ErrorCode, Reason
from tests.unit.streamed_support import (
    FFC_PREFIX,
    FFC_SECRET,
    assert_survives,
    compiled,
    ffc,
    ffc_flag,
    ffc_option,
    ffc_prerequisite,
    ffc_rule,
    ffc_segment,
    ffc_served,
    outcome_of,
    sampled_payload,
    spoil,
    sync,
)

DIALECT = FeatureFlagCoDialect(FFC_SECRET)
IS_STAFF = {"property": "role", "operation": "Equal", "value": "staff"}
EVERYBODY = {"property": "KeyId", "operation": "NotEqual", "value": ""}
HALVES = ((1, 0, 0.5, 1), (2, 0.5, 1, 1))
STAFF = UserContext("u-1", attributes={"role": "staff"})


def in_segment(*names: str, is_not: bool = False) -> dict[str, Any]:
    property_name = "User is not in segment" if is_not else "User is in segment"
    listed = ", ".join(f'"{name}"' for name in names)
    return {"property": property_name, "operation": None, "value": f"[{listed}]"}


def answer(outcome: Outcome) -> tuple[Any, str | None, Reason]:
    return outcome.value, outcome.provider_reason, outcome.reason


def told(outcome: Outcome) -> list[tuple[str, Any, str, bool]]:
    assert all(isinstance(served, Served) for served in outcome.detail)
    return [(served.key_name, served.local_id, served.provider_reason, served.is_told) for served in outcome.detail]


# --- reasons --------------------------------------------------------------------------------------------------


def test_a_flag_that_is_disabled_serves_its_off_variation_and_asks_no_prerequisite() -> None:
    flag = ffc_flag(ff={"status": "Disabled"}, ffp=[ffc_prerequisite("b", 1)])
    outcome = outcome_of(ffc(flag, ffc_flag("b")), "a")
    assert answer(outcome) == ("off", "flag off", Reason.DISABLED)
    assert told(outcome) == [("a", 2, "flag off", False)]


@pytest.mark.parametrize("status", ["Enabled", "disabled", "", None, 5])
def test_any_other_status_is_on(status: object) -> None:
    assert outcome_of(ffc(ffc_flag(ff={"status": status})), "a").provider_reason == "fall through all rules"


def test_a_target_comes_before_rules() -> None:
    flag = ffc_flag(
        targetIndividuals=[{"individuals": [{"keyId": "u-1"}], "valueOption": ffc_option(1)}],
        fftuwmtr=[ffc_rule([EVERYBODY], (2, 0, 1, 1))],
    )
    snapshot = ffc(flag)
    assert answer(outcome_of(snapshot, "a")) == ("on", "target match", Reason.TARGETING_MATCH)
    assert answer(outcome_of(snapshot, "a", UserContext("u-2"))) == ("off", "rule match", Reason.TARGETING_MATCH)


def test_all_clauses_of_a_rule_must_hold_and_a_rule_without_any_holds_for_nobody() -> None:
    snapshot = ffc(ffc_flag(fftuwmtr=[ffc_rule([]), ffc_rule(None), ffc_rule([EVERYBODY, IS_STAFF])]))
    assert outcome_of(snapshot, "a", STAFF).value == "on"
    assert answer(outcome_of(snapshot, "a")) == ("off", "fall through all rules", Reason.DEFAULT)


def test_the_fallthrough_is_static_where_there_is_nothing_else() -> None:
    assert answer(outcome_of(ffc(ffc_flag()), "a")) == ("off", "fall through all rules", Reason.STATIC)


def test_a_rollout_over_several_variations_is_a_split() -> None:
    snapshot = ffc(ffc_flag(fftuwmtr=[ffc_rule([EVERYBODY], *HALVES)]))
    outcomes = [outcome_of(snapshot, "a", UserContext(f"u-{n}")) for n in range(100)]
    assert {outcome.reason for outcome in outcomes} == {Reason.SPLIT}
    assert {outcome.value for outcome in outcomes} == {"on", "off"}
    assert len({id(outcome) for outcome in outcomes}) == 2


def test_a_user_is_placed_alike_in_all_flags() -> None:
    snapshot = ffc(*(ffc_flag(key, ff={"defaultRulePercentageRollouts": ffc_served(*HALVES)}) for key in "abcdef"))
    for number in range(20):
        assert len({outcome_of(snapshot, key, UserContext(f"u-{number}")).value for key in "abcdef"}) == 1


def test_a_rule_that_holds_but_has_no_range_for_the_user_leads_to_the_fallthrough() -> None:
    snapshot = ffc(ffc_flag(fftuwmtr=[ffc_rule([EVERYBODY], (1, 0.5, 0.5, 1)), ffc_rule([EVERYBODY])]))
    assert answer(outcome_of(snapshot, "a")) == ("off", "fall through all rules", Reason.DEFAULT)


@pytest.mark.parametrize("ranges", [[], None])
def test_a_user_in_no_range_at_all_gets_the_default(ranges: object) -> None:
    outcome = outcome_of(ffc(ffc_flag(ff={"defaultRulePercentageRollouts": ranges})), "a")
    assert (outcome.uses_default, outcome.provider_reason) == (True, "error in evaluation")


def test_a_key_that_is_no_ascii_is_placed_as_with_question_marks() -> None:
    shares = [(n, (n - 1) / 50, n / 50, 1) for n in range(1, 51)]
    snapshot = ffc(ffc_flag(ff={"defaultRulePercentageRollouts": ffc_served(*shares)}))
    assert outcome_of(snapshot, "a", UserContext("zoé\U0001f98a")) is outcome_of(snapshot, "a", UserContext("zo??"))


def test_a_flags_name_is_in_its_metadata() -> None:
    assert outcome_of(ffc(ffc_flag()), "a").metadata == {"name": "Flag a"}


# --- which flags there are ------------------------------------------------------------------------------------


def test_flags_are_asked_for_by_what_follows_the_environment_in_their_ids() -> None:
    flags = [ffc_flag("a"), ffc_flag("has__underscores"), ffc_flag("é"), ffc_flag("  "), ffc_flag("")]
    foreign = ffc_flag("b")
    foreign["id"] = "FF__1__2__3__b"
    assert sorted(ffc(*flags, foreign).flags) == ["a", "has__underscores", "é"]


@pytest.mark.parametrize("env_secret", ["", "not base64!", "YWJj", "zoé"])
def test_with_a_secret_that_names_no_environment_there_are_no_flags(env_secret: str) -> None:
    assert dict(compiled(FeatureFlagCoDialect(env_secret), sync([ffc_flag()])).flags) == {}


def test_events_name_a_flag_as_its_document_does() -> None:
    assert told(outcome_of(ffc(ffc_flag(ff={"keyName": "A"})), "a"))[0][0] == "A"


# --- prerequisites --------------------------------------------------------------------------------------------


def test_a_flag_is_evaluated_when_its_prerequisites_serve_what_they_must() -> None:
    flag = ffc_flag(ffp=[ffc_prerequisite("b", 2), ffc_prerequisite("c", 2)])
    outcome = outcome_of(ffc(flag, ffc_flag("b"), ffc_flag("c")), "a")
    assert answer(outcome) == ("off", "fall through all rules", Reason.STATIC)
    assert [name for name, *_ in told(outcome)] == ["b", "c", "a"]


def test_a_flag_is_off_when_a_prerequisite_serves_something_else_and_later_ones_are_not_asked() -> None:
    flag = ffc_flag(ffp=[ffc_prerequisite("b", 1), ffc_prerequisite("c", 2)], fftuwmtr=[ffc_rule([EVERYBODY])])
    outcome = outcome_of(ffc(flag, ffc_flag("b"), ffc_flag("c")), "a")
    assert answer(outcome) == ("off", "prerequisite failed", Reason.DISABLED)
    assert told(outcome) == [("b", 2, "fall through all rules", True), ("a", 2, "prerequisite failed", False)]


@pytest.mark.parametrize("others", [[], [ffc_flag("b", isArchived=True)]])
def test_a_prerequisite_that_is_not_there_fails_without_an_event_of_its_own(others: list[dict[str, Any]]) -> None:
    outcome = outcome_of(ffc(ffc_flag(ffp=[ffc_prerequisite("b", 2)]), *others), "a")
    assert told(outcome) == [("a", 2, "prerequisite failed", False)]


def test_a_prerequisite_that_is_disabled_counts_with_its_off_variation() -> None:
    disabled = ffc_flag("b", ff={"status": "Disabled"})
    assert outcome_of(ffc(ffc_flag(ffp=[ffc_prerequisite("b", 2)]), disabled), "a").provider_reason == (
        "fall through all rules"
    )


def test_a_flag_that_is_its_own_prerequisite_has_none() -> None:
    outcome = outcome_of(ffc(ffc_flag(ffp=[ffc_prerequisite("a", 1)])), "a")
    assert told(outcome) == [("a", 2, "fall through all rules", True)]


def test_prerequisites_of_prerequisites_come_first() -> None:
    flags = [
        ffc_flag("a", ffp=[ffc_prerequisite("b", 2)]),
        ffc_flag("b", ffp=[ffc_prerequisite("c", 2)]),
        ffc_flag("c"),
    ]
    for order in (flags, flags[::-1]):
        assert [name for name, *_ in told(outcome_of(ffc(*order), "a"))] == ["c", "b", "a"]


def test_the_sdks_spelling_of_a_prerequisites_variation_is_understood_too() -> None:
    wanted = ffc_prerequisite("b", 1)
    wanted["ValueOptionsVariationValue"] = wanted.pop("valueOptionsVariationValue")
    snapshot = ffc(ffc_flag(ffp=[wanted]), ffc_flag("b"))
    assert outcome_of(snapshot, "a").provider_reason == "prerequisite failed"


def test_a_prerequisite_that_cannot_be_evaluated_is_an_error() -> None:
    bad = ffc_flag("b", ff={"defaultRulePercentageRollouts": []})
    outcome = outcome_of(ffc(ffc_flag(ffp=[ffc_prerequisite("b", 2)]), bad), "a")
    assert (outcome.error_code, outcome.provider_reason) == (ErrorCode.GENERAL, "error in evaluation")


@pytest.mark.parametrize("length", [2, 3, 10])
def test_prerequisites_in_a_circle_are_an_error_for_each_of_them_and_for_whoever_needs_one(length: int) -> None:
    circle = [ffc_flag(f"f{n}", ffp=[ffc_prerequisite(f"f{(n + 1) % length}", 2)]) for n in range(length)]
    snapshot = ffc(*circle, ffc_flag("outside", ffp=[ffc_prerequisite("f0", 2)]), ffc_flag("other"))
    for key in ["outside", *(f"f{n}" for n in range(length))]:
        assert outcome_of(snapshot, key).provider_reason == "error in evaluation"
    assert outcome_of(snapshot, "other").error_code is None


def test_a_circle_that_is_not_entered_does_no_harm() -> None:
    flags = [
        ffc_flag("a", ffp=[ffc_prerequisite("missing", 2), ffc_prerequisite("b", 2)]),
        ffc_flag("b", ffp=[ffc_prerequisite("a", 2)]),
    ]
    snapshot = ffc(*flags)
    assert outcome_of(snapshot, "a").provider_reason == "prerequisite failed"
    assert outcome_of(snapshot, "b").provider_reason == "fall through all rules"


def test_a_very_long_chain_of_prerequisites_is_an_error_and_no_crash() -> None:
    chain = [ffc_flag(f"f{n:04}", ffp=[ffc_prerequisite(f"f{n + 1:04}", 2)]) for n in range(MAX_NESTING * 4)]
    snapshot = ffc(*chain, ffc_flag(f"f{len(chain):04}"))
    assert outcome_of(snapshot, "f0000").provider_reason == "error in evaluation"
    assert outcome_of(snapshot, f"f{len(chain) - 5:04}").error_code is None


def test_evaluations_with_equal_prerequisites_share_one_outcome() -> None:
    split = ffc_flag("b", ff={"defaultRulePercentageRollouts": ffc_served(*HALVES)})
    snapshot = ffc(ffc_flag(ffp=[ffc_prerequisite("b", 1)], fftuwmtr=[ffc_rule([EVERYBODY])]), split)
    outcomes = {id(outcome_of(snapshot, "a", UserContext(f"u-{n}"))) for n in range(100)}
    assert len(outcomes) == 2


def test_combinations_that_are_too_many_to_keep_are_still_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites_module, "MAX_KEPT", 1)
    split = ffc_flag("b", ff={"defaultRulePercentageRollouts": ffc_served(*HALVES)})
    snapshot = ffc(ffc_flag(ffp=[ffc_prerequisite("b", 1)], fftuwmtr=[ffc_rule([EVERYBODY])]), split)
    for number in range(50):
        context = UserContext(f"u-{number}")
        expected = "on" if outcome_of(snapshot, "b", context).value == "on" else "off"
        assert outcome_of(snapshot, "a", context).value == expected


def test_a_change_of_a_prerequisite_alters_the_flags_that_need_it() -> None:
    before = ffc(ffc_flag(ffp=[ffc_prerequisite("b", 2)]), ffc_flag("b"), ffc_flag("c"))
    changed = ffc_flag("b", ff={"defaultRulePercentageRollouts": ffc_served((1, 0, 1, 1))}, timestamp=20)
    after = compiled(DIALECT, sync([changed], kind="patch"), before)
    assert changed_keys(before, after) == {"a", "b"}
    assert outcome_of(before, "a").provider_reason == "fall through all rules"
    assert outcome_of(after, "a").provider_reason == "prerequisite failed"


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_context_without_a_key_is_not_specified(key: str | None) -> None:
    snapshot = ffc(ffc_flag("a", ffp=[ffc_prerequisite("b", 2)]), ffc_flag("b"), ffc_flag("c", fftuwmtr=[ffc_rule([])]))
    for flag in "abc":
        assert outcome_of(snapshot, flag, UserContext(key)).provider_reason == "user not specified"


# --- experiments ----------------------------------------------------------------------------------------------


def shares_told(*shares: tuple[int, float, float, Any], include_all: Any = True, is_included: Any = True) -> float:
    """Count for which share of users the experiment is told."""
    fallthrough = {
        "isDefaultRulePercentageRolloutsIncludedInExpt": is_included,
        "defaultRulePercentageRollouts": ffc_served(*shares),
    }
    snapshot = ffc(ffc_flag(ff=fallthrough, exptIncludeAllRules=include_all))
    outcomes = [outcome_of(snapshot, "a", UserContext(f"u-{n}")) for n in range(1_000)]
    assert all(outcome.in_experiment == told(outcome)[-1][-1] for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) <= 2 * len(shares)
    return sum(outcome.in_experiment for outcome in outcomes) / len(outcomes)


@pytest.mark.parametrize(
    ("include_all", "is_included", "share", "expected"),
    [
        (None, False, 0, 1.0),
        (True, None, 0, 1.0),
        (True, True, None, 1.0),
        (True, False, 1, 0.0),
        (False, True, 1, 1.0),
        (True, True, 0, 0.0),
        (True, True, -1, 0.0),
        (True, True, float("nan"), 0.0),
        (True, True, 7, 1.0),
    ],
)
def test_an_experiment_is_told_of_all_or_none_as_the_flag_says(
    include_all: object, is_included: object, share: object, expected: float
) -> None:
    assert shares_told((1, 0, 1, share), include_all=include_all, is_included=is_included) == expected


def test_an_experiment_is_told_of_a_sample_of_each_range() -> None:
    assert 0.2 < shares_told((1, 0, 1, 0.25)) < 0.3
    assert 0.4 < shares_told((1, 0, 0.5, 0.5), (2, 0.5, 1, 0)) < 0.6
    assert 0.2 < shares_told((1, 0, 0.5, 0.25), (2, 0.5, 1, 0)) < 0.3


@pytest.mark.parametrize(("include_all", "is_told"), [(None, True), (True, True), (False, False)])
def test_targets_take_part_unless_the_experiment_is_for_certain_rules(include_all: object, is_told: bool) -> None:
    target = {"individuals": [{"keyId": "u-1"}], "valueOption": ffc_option(1)}
    snapshot = ffc(ffc_flag(targetIndividuals=[target], exptIncludeAllRules=include_all))
    assert outcome_of(snapshot, "a").in_experiment is is_told


# --- values and users -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "expected"), [("YES", True), ("0", False), ("blue", False), ("", False)])
def test_every_value_can_be_read_as_a_boolean(text: str, expected: bool) -> None:
    option = {"localId": 2, "variationValue": text}
    ranges = [{"rolloutPercentage": [0, 1], "exptRollout": 1, "valueOption": option}]
    outcome = outcome_of(ffc(ffc_flag(ff={"defaultRulePercentageRollouts": ranges})), "a")
    assert as_kind(outcome, "boolean").value is expected
    assert as_kind(outcome, "string").value == text


@pytest.mark.parametrize(
    ("property_name", "value"),
    [
        ("KeyId", "u-1"),
        ("key", "u-1"),
        ("keyid", "u-1"),
        ("Name", "Ana"),
        ("name", "Ana"),
        ("Email", "a@b.c"),
        ("country", "de"),
        ("EMAIL", "other"),
        ("age", "30"),
        ("vip", "True"),
        ("device", "d-1"),
    ],
)
def test_everything_in_a_context_can_be_read_by_its_name(property_name: str, value: str) -> None:
    context = UserContext(
        "u-1",
        name="Ana",
        email="a@b.c",
        country="de",
        identifiers={"device": "d-1"},
        attributes={"age": 30, "vip": True, "EMAIL": "other"},
    )
    clause = {"property": property_name, "operation": "Equal", "value": value}
    assert outcome_of(ffc(ffc_flag(fftuwmtr=[ffc_rule([clause])])), "a", context).value == "on"


@pytest.mark.parametrize("property_name", ["KEYID", "NAME", "Key", 5, None])
def test_other_spellings_find_nothing(property_name: object) -> None:
    clause = {"property": property_name, "operation": "NotContain", "value": "u"}
    assert outcome_of(ffc(ffc_flag(fftuwmtr=[ffc_rule([clause])])), "a").value == "on"


def test_an_attribute_stands_for_a_field_that_the_user_does_not_have() -> None:
    clause = {"property": "Country", "operation": "Equal", "value": "de"}
    snapshot = ffc(ffc_flag(fftuwmtr=[ffc_rule([clause])]))
    assert outcome_of(snapshot, "a", UserContext("u-1", attributes={"Country": "de"})).value == "on"


@pytest.mark.parametrize(
    "user",
    [
        None,
        5,
        "u-1",
        [],
        {},
        {"key": ""},
        {"key": " "},
        {"key": 42},
        {"key": "u", "name": 9},
        {"key": "u", "email": " "},
    ],
)
def test_a_mapping_that_the_service_would_not_take_is_no_user(user: object) -> None:
    with pytest.raises(ContextError):
        DIALECT.read_user(user)


def test_a_mapping_is_read_as_the_services_client_reads_it() -> None:
    user = {"key": "", "keyid": "u-1", "name": "", "email": "a@b.c", "Email": "x", "age": 30, "vip": True, "n": [1]}
    context = DIALECT.read_user(user)
    assert (context.key, context.name, context.email, context.country) == ("u-1", None, "a@b.c", None)
    assert context.attributes == {"age": "30"}


def test_a_mapping_with_an_entry_named_self_is_an_error() -> None:
    context = DIALECT.read_user({"key": "u-1", "self": "x"})
    assert outcome_of(ffc(ffc_flag()), "a", context).provider_reason == "error in evaluation"


# --- segments and defects -------------------------------------------------------------------------------------


def is_in(segments: list[dict[str, Any]], *names: str, context: UserContext | None = None) -> bool:
    flags = [
        ffc_flag("in", fftuwmtr=[ffc_rule([in_segment(*names)])]),
        ffc_flag("out", fftuwmtr=[ffc_rule([in_segment(*names, is_not=True)])]),
    ]
    snapshot = ffc(*flags, segments=segments)
    found: bool = outcome_of(snapshot, "in", context).value == "on"
    assert (outcome_of(snapshot, "out", context).value == "on") is not found
    return found


def test_segments_have_users_by_key_and_by_rules_of_at_least_one_clause() -> None:
    assert is_in([ffc_segment(included=["u-1"])], "s")
    assert not is_in([ffc_segment(included=["u-1"], excluded=["u-1"])], "s")
    assert is_in([ffc_segment(rules=[{"ruleJsonContent": [IS_STAFF]}])], "s", context=STAFF)
    assert not is_in([ffc_segment(rules=[{"ruleJsonContent": []}])], "s")
    assert not is_in([ffc_segment(included=["u-1"], isArchived=True)], "s", "unknown")


def test_a_segment_may_have_no_rules_but_null_is_a_defect_which_ends_the_search() -> None:
    without_rules = ffc_segment("a")
    del without_rules["rules"]
    included = ffc_segment("b", included=["u-1"])
    assert is_in([without_rules, included], "a", "b")
    assert not is_in([ffc_segment("a", rules=None), included], "a", "b")
    assert not is_in([ffc_segment("a", rules=[{"ruleJsonContent": None}]), included], "a", "b")
    assert not is_in([ffc_segment("a", excluded=None), included], "a", "b")


def test_segments_that_refer_to_each_other_have_nobody_because_of_that() -> None:
    segments = [
        ffc_segment("a", rules=[{"ruleJsonContent": [in_segment("b")]}]),
        ffc_segment("b", rules=[{"ruleJsonContent": [in_segment("a")]}, {"ruleJsonContent": [IS_STAFF]}]),
    ]
    assert not is_in(segments, "a")
    assert is_in(segments, "a", context=STAFF)


@pytest.mark.parametrize("name", ["ffp", "fftuwmtr", "targetIndividuals"])
def test_a_list_that_is_null_is_empty_and_one_that_is_missing_or_no_list_is_a_defect(name: str) -> None:
    assert outcome_of(ffc({**ffc_flag(), name: None}), "a").value == "off"
    assert outcome_of(ffc({**ffc_flag(), name: {"a": 1}}), "a").provider_reason == "error in evaluation"
    flag = ffc_flag()
    del flag[name]
    assert outcome_of(ffc(flag), "a").provider_reason == "error in evaluation"


@pytest.mark.parametrize(
    "flag",
    [
        ffc_flag(ff={"status": "Disabled", "variationOptionWhenDisabled": None}),
        ffc_flag(ffp=[{}]),
        ffc_flag(ffp=[{"prerequisiteFeatureFlagId": FFC_PREFIX + "good"}]),
        ffc_flag(fftuwmtr=[None]),
        ffc_flag(fftuwmtr=[ffc_rule([{"property": "KeyId", "operation": "Equal"}])]),
        ffc_flag(fftuwmtr=[ffc_rule([{"property": "KeyId", "operation": "MatchRegex", "value": "("}])]),
        ffc_flag(fftuwmtr=[ffc_rule([EVERYBODY], valueOptionsVariationRuleValues=[{}])]),
        ffc_flag(fftuwmtr=[ffc_rule([EVERYBODY], valueOptionsVariationRuleValues=5)]),
        ffc_flag(fftuwmtr=[ffc_rule([EVERYBODY], (1, 0, 1, "all"), isIncludedInExpt=True)]),
        ffc_flag(targetIndividuals=[{"individuals": [{}], "valueOption": ffc_option(1)}]),
        ffc_flag(targetIndividuals=[{"individuals": [{"keyId": "u-1"}]}]),
        {**ffc_flag(), "ff": None},
    ],
)
def test_a_flag_with_a_defect_is_an_error_and_others_are_well(flag: dict[str, Any]) -> None:
    snapshot = ffc(flag, ffc_flag("good"))
    outcome = outcome_of(snapshot, "a")
    assert (outcome.error_code, outcome.provider_reason) == (ErrorCode.GENERAL, "error in evaluation")
    assert not outcome.exposes
    assert outcome_of(snapshot, "good").value == "off"


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 8), st.booleans())
def test_no_message_makes_compiling_or_evaluating_raise(seed: int, times: int, is_patch: bool) -> None:
    chance = random.Random(seed)
    well, users = sampled_payload("featureflag_co", chance)
    message = spoil(well, chance, times)
    if is_patch and isinstance(message, dict) and isinstance(message.get("data"), dict):
        message["data"]["eventType"] = "patch"
    dialect = FeatureFlagCoDialect("NzFiLWFiNGMtNCUyMDIyNjQ4NzM1NDE3OV9fOTBfXzQ3MF9fODc3OV9fZGVmYXVsdF84NWY3ZA==")
    assert_survives(dialect, message, compiled(dialect, well) if is_patch else None, users)
