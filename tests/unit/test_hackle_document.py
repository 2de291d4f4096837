"""Hackle config documents: what is refused, left out or dropped, what counts as a change, and under which keys flags are."""

from __future__ import annotations

import copy
import json
from bisect import bisect_left
from typing import Any

import pytest

from flagmw import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot, changed_keys
from flagmw.dialects import Compilation
from flagmw.dialects.hackle import EventTypes, HackleDialect
from flagmw.dialects.hackle.dialect import Origin
from flagmw.evaluation import ErrorCode
from tests.services import hackle_workspaces as hackle
from tests.unit.hackle_support import ab_test, compilation, compiled, document, feature_flag, outcome, reason, served

KIM = UserContext("user-1", identifiers={"$userId": "kim"})


def warnings_of(snapshot: Snapshot) -> list[str]:
    assert isinstance(snapshot.origin, Origin)
    return [str(problem) for problem in snapshot.origin.warnings]


def altered(workspace: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {**copy.deepcopy(workspace), **sections}


# --- refused documents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff{}", b'{"experiments": {}}', b'{"buckets": null}', b"[" * 100_000],
    ids=["empty", "list", "null", "cut", "not UTF-8", "section an object", "section null", "deep"],
)
def test_what_is_no_config_document_is_refused_as_a_whole(content: bytes) -> None:
    made = HackleDialect().compile([Document(name="config", content=content)], (), None)
    assert made.snapshot is None
    assert [str(error).startswith("config") for error in made.errors] == [True]


def test_a_document_without_sections_has_no_flags() -> None:
    assert compiled({}).flags == {}


@pytest.mark.parametrize("content", [{}, {"error": "on command"}, {"messageType": "pong", "data": {}}], ids=repr)
def test_a_document_without_sections_takes_no_flags_away(content: dict[str, Any]) -> None:
    made = HackleDialect().compile([document(content)], (), compiled(hackle.small_workspace()))
    assert made.snapshot is None
    assert ["without any of its sections" in str(error) for error in made.errors] == [True]


def test_a_config_whose_flags_were_all_deleted_takes_them_away() -> None:
    made = HackleDialect().compile([document({"workspace": {"id": 3}})], (), compiled(hackle.small_workspace()))
    assert made.snapshot is not None
    assert made.snapshot.flags == {}


def test_a_parsed_document_counts_like_its_text() -> None:
    content = hackle.small_workspace()
    snapshot = HackleDialect().compile([Document(name="bootstrap", content=content)], (), None).snapshot
    assert snapshot is not None
    assert snapshot.revision == compiled(content).revision
    assert reason(snapshot, "ab_test/42", KIM) == "OVERRIDDEN"


def test_nothing_new_leaves_the_flags_as_they_are() -> None:
    before = compiled(hackle.small_workspace())
    assert HackleDialect().compile([], ["config"], before).snapshot is before


# --- definitions that cannot be used ------------------------------------------------------------------------------


def broken(path: tuple[Any, ...], value: Any = ...) -> dict[str, Any]:
    """Give the small workspace with something missing, or replaced."""
    workspace = json.loads(json.dumps(hackle.small_workspace()))
    place: Any = workspace
    for part in path[:-1]:
        place = place[part]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return workspace  # type: ignore[no-any-return]  # an object in any case


MALFORMED: list[tuple[tuple[Any, ...], Any, str]] = [
    (("experiments", 0, "version"), ..., "ab_test/42"),
    (("experiments", 0, "id"), None, "ab_test/42"),
    (("experiments", 0, "key"), "42", "ab_test/42"),
    (("experiments", 0, "key"), True, "ab_test/42"),
    (("experiments", 0, "identifierType"), [], "ab_test/42"),
    (("experiments", 0, "execution"), ..., "ab_test/42"),
    (("experiments", 0, "execution", "userOverrides"), None, "ab_test/42"),
    (("experiments", 0, "execution", "targetAudiences"), None, "ab_test/42"),
    (("experiments", 0, "execution", "defaultRule"), {}, "ab_test/42"),
    (("experiments", 0, "variations", 0, "status"), ..., "ab_test/42"),
    (("experiments", 0, "variations", 0, "key"), 5, "ab_test/42"),
    (("featureFlags", 0, "execution", "targetRules", 0, "target"), [], "feature_flag/7"),
    (("featureFlags", 0, "execution", "targetRules", 0, "target", "conditions", 0, "match"), ..., "feature_flag/7"),
    (
        ("featureFlags", 0, "execution", "targetRules", 0, "target", "conditions", 0, "match", "values"),
        None,
        "feature_flag/7",
    ),
    (("remoteConfigParameters", 0, "defaultValue", "value"), ..., "remote_config/banner"),
    (("remoteConfigParameters", 0, "key"), 5, "remote_config/banner"),
    (("remoteConfigParameters", 0, "targetRules", 0, "bucketId"), ..., "remote_config/banner"),
]


@pytest.mark.parametrize(("path", "value", "left_out"), MALFORMED, ids=lambda value: str(value)[:90])
def test_a_malformed_flag_is_left_out_and_named_and_the_rest_is_used(
    path: tuple[Any, ...], value: Any, left_out: str
) -> None:
    made = compilation(broken(path, value))
    assert made.snapshot is not None
    assert made.snapshot.flags.keys() == {"ab_test/42", "feature_flag/7", "remote_config/banner"} - {left_out}
    assert [str(error).startswith(f"config: {path[0]}.0") for error in made.errors] == [True]


@pytest.mark.parametrize(
    ("path", "value", "cause"),
    [
        (("buckets", 0, "slots"), None, "bucket 501"),
        (("buckets", 0, "slotSize"), ..., "bucket 501"),
        (("buckets", 0, "seed"), 1.5, "bucket 501"),
        (("buckets", 0, "slots", 0, "endExclusive"), float("nan"), "bucket 501"),
        (("segments", 0, "targets"), ..., "segment 'staff'"),
        (("segments", 0, "key"), 5, "segment 'staff'"),
        (("parameterConfigurations", 0, "parameters"), None, "parameter configuration 301"),
    ],
    ids=str,
)
def test_a_malformed_part_is_named_and_makes_exceptions_where_it_is_needed(
    path: tuple[Any, ...], value: Any, cause: str
) -> None:
    made = compilation(broken(path, value))
    assert made.snapshot is not None
    assert len(made.errors) == 1
    found = [outcome(made.snapshot, key, KIM) for key in ("ab_test/42", "feature_flag/7", "remote_config/banner")]
    context = UserContext("user-1")
    found += [outcome(made.snapshot, "ab_test/42", context)]
    failed = [one for one in found if one.provider_reason == "EXCEPTION"]
    assert failed
    assert all(cause in (one.error_message or "") for one in failed)


def test_a_malformed_event_is_left_out() -> None:
    types = EventTypes()
    content = {"events": [{"id": 1}, {"id": 2, "key": "purchase"}, {"id": 3, "key": 777}, None]}
    made = HackleDialect(types).compile([document(content)], (), None)
    assert len(made.errors[0].problems) == 2  # type: ignore[attr-defined]  # a DocumentError
    assert types.declared == {"purchase": (2, "purchase"), "777": (3, 777)}


def test_an_error_says_how_many_more_there_are_and_is_repeated_with_the_same_document() -> None:
    workspace: dict[str, Any] = {"experiments": [{}, {}, {}]}
    first = compilation(workspace)
    again = compilation(workspace, first.snapshot)
    assert again.snapshot is first.snapshot
    assert again.errors == first.errors
    assert str(first.errors[0]).endswith("(and 2 more)")


def test_values_that_are_nested_too_deeply_are_left_out() -> None:
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    workspace = hackle.small_workspace()
    workspace["remoteConfigParameters"][0]["defaultValue"]["value"] = deep
    assert "remote_config/banner" not in compilation(workspace).snapshot.flags  # type: ignore[union-attr]  # it has one


def test_whatever_can_be_parsed_can_be_compiled_however_deeply_it_is_nested() -> None:
    def compile_nested(depth: int) -> Compilation:
        inner = "[" * depth + "]" * depth
        text = json.dumps(hackle.small_workspace()).replace("[18]", inner, 1)
        return HackleDialect().compile([Document(name="config", content=text.encode())], (), None)

    deepest = bisect_left(range(100_000), x=True, key=lambda depth: compile_nested(depth).snapshot is None) - 1
    assert deepest > 100
    assert compile_nested(deepest).errors == ()


def test_an_experiment_of_unknown_status_is_left_out_without_an_error_and_replaces_none() -> None:
    workspace = {"experiments": [ab_test(1, 5), {"execution": {"status": "ARCHIVED"}, "key": 5}]}
    assert reason(compiled(workspace), "ab_test/5") == "TRAFFIC_ALLOCATED"


def test_of_two_with_one_key_the_later_counts() -> None:
    workspace = {"experiments": [ab_test(1, 5), ab_test(2, 5, status="PAUSED")]}
    assert reason(compiled(workspace), "ab_test/5") == "EXPERIMENT_PAUSED"


# --- conditions that are dropped ----------------------------------------------------------------------------------


def test_dropped_conditions_widen_a_target_with_a_warning_and_no_error() -> None:
    by_id = hackle.condition("$id", "IN", "nobody", key_type="USER_ID")
    adults = hackle.condition("age", "GTE", 18, value_type="NUMBER")
    workspace = {
        "experiments": [ab_test(1, 5, audiences=[hackle.target(by_id)])],
        "featureFlags": [
            feature_flag(
                2, 7, hackle.serve(21), rules=[{"target": hackle.target(by_id, adults), "action": {"type": "BUCKET"}}]
            ),
            feature_flag(3, 8, rules=[{"target": hackle.target(by_id), "action": hackle.serve(31)}]),
        ],
    }
    snapshot = compiled(workspace)
    assert reason(snapshot, "ab_test/5") == "TRAFFIC_ALLOCATED"
    assert reason(snapshot, "feature_flag/7", UserContext("u", attributes={"age": 20})) == "EXCEPTION"
    assert reason(snapshot, "feature_flag/8") == "DEFAULT_RULE"
    assert [warning.split(":")[0] for warning in warnings_of(snapshot)] == [
        "experiments.0",
        "experiments.0",
        "featureFlags.0",
        "featureFlags.1",
        "featureFlags.1",
    ]


# --- changes ------------------------------------------------------------------------------------------------------


def rich_workspace() -> dict[str, Any]:
    """Build a workspace in which definitions refer to others in all ways."""
    asks_42 = {"target": served(42), "action": hackle.serve(712)}
    workspace = hackle.small_workspace()
    workspace["buckets"].append(hackle.bucket(505, [(5000, 901), (5000, 902)], seed=3))
    groups = [{"id": 901, "experiments": [80]}, {"id": 902, "experiments": [81]}]
    workspace["containers"] = [{"id": 900, "bucketId": 505, "groups": groups}]
    workspace["experiments"] += [ab_test(80, 50, containerId=900), ab_test(83, 53)]
    workspace["featureFlags"] += [
        feature_flag(71, 71, rules=[asks_42]),
        feature_flag(72, 72, rules=[{"target": served(71, kind="FEATURE_FLAG"), "action": hackle.serve(722)}]),
    ]
    workspace["remoteConfigParameters"].append(
        {
            "id": 12,
            "key": "nested",
            "type": "STRING",
            "identifierType": "$id",
            "targetRules": [
                {
                    "key": "r",
                    "name": "",
                    "target": served(72, kind="FEATURE_FLAG"),
                    "bucketId": 503,
                    "value": {"id": 1, "value": 1},
                }
            ],
            "defaultValue": {"id": 2, "value": 2},
        }
    )
    return workspace


AB_42 = {"ab_test/42", "feature_flag/71", "feature_flag/72", "remote_config/nested"}
"""A/B test 42 and all that ask for it, themselves or through others."""

CHANGES: dict[str, tuple[Any, set[str]]] = {
    "a name that nobody reads": (lambda w: w["experiments"][0].update(name="renamed"), set()),
    "the order of the members": (lambda w: w["experiments"][0].update(id=w["experiments"][0].pop("id")), set()),
    "the environment": (lambda w: w.update(workspace={}), set()),
    "a version": (lambda w: w["experiments"][0].update(version=2), AB_42),
    "a version as another type": (lambda w: w["experiments"][0].update(version=1.0), AB_42),
    "an override": (
        lambda w: w["experiments"][0]["execution"]["userOverrides"].append({"userId": "x", "variationId": 71}),
        AB_42,
    ),
    "a segment": (lambda w: w["segments"][0]["targets"].clear(), AB_42),
    "a segment's id": (lambda w: w["segments"][0].update(id=99), set()),
    "a bucket": (lambda w: w["buckets"][0].update(seed=1), AB_42),
    "a rule's bucket": (lambda w: w["buckets"][1].update(seed=1), {"remote_config/banner", "remote_config/nested"}),
    "a container's bucket": (lambda w: w["buckets"][2].update(seed=1), {"ab_test/50"}),
    "a group of its own": (lambda w: w["containers"][0]["groups"][0]["experiments"].clear(), {"ab_test/50"}),
    "a group of others": (lambda w: w["containers"][0]["groups"][1]["experiments"].append(82), set()),
    "parameters": (
        lambda w: w["parameterConfigurations"][0]["parameters"][0].update(value="blue"),
        {*AB_42, "feature_flag/7"},
    ),
    "a flag in the middle": (
        lambda w: w["featureFlags"][1].update(version=2),
        {"feature_flag/71", "feature_flag/72", "remote_config/nested"},
    ),
    "a test that goes": (lambda w: w["experiments"].pop(0), AB_42),
    "a test that comes": (lambda w: w["experiments"].append(ab_test(99, 99)), {"ab_test/99"}),
    "a segment that goes": (lambda w: w["segments"].clear(), AB_42),
    "a value": (
        lambda w: w["remoteConfigParameters"][0]["defaultValue"].update(value="bye"),
        {"remote_config/banner"},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_exactly_the_flags_whose_behaviour_may_differ_count_as_changed(change: str) -> None:
    workspace = rich_workspace()
    before = compiled(workspace)
    alter, expected = CHANGES[change]
    alter(workspace)
    after = compiled(workspace, before)
    assert changed_keys(before, after) == expected
    assert (after.revision != before.revision) == bool(expected)
    for key, flag in after.flags.items():
        assert (flag is before.flags.get(key)) == (key not in expected)


def test_definitions_that_refer_to_each_other_in_a_circle_change_together() -> None:
    def rules(key: int, own: int) -> list[Any]:
        return [{"target": served(key, kind="FEATURE_FLAG"), "action": hackle.serve(own * 10 + 1)}]

    workspace = {
        "featureFlags": [
            feature_flag(1, 1, rules=rules(2, 1)),
            feature_flag(2, 2, rules=rules(3, 2)),
            feature_flag(3, 3, rules=rules(1, 3)),
            feature_flag(4, 4, rules=rules(1, 4)),
            feature_flag(5, 5, rules=rules(5, 5)),
            feature_flag(6, 6),
        ]
    }
    before = compiled(workspace)
    workspace["featureFlags"][2]["version"] = 2
    after = compiled(workspace, before)
    assert changed_keys(before, after) == {f"feature_flag/{key}" for key in (1, 2, 3, 4)}
    assert reason(after, "feature_flag/1") == "EXCEPTION"
    assert reason(after, "feature_flag/5") == "EXCEPTION"
    assert reason(after, "feature_flag/6") == "DEFAULT_RULE"


def test_what_one_of_a_circle_refers_to_counts_for_all_of_it() -> None:
    def asks(kind: str, key: int, own: int) -> Any:
        return {"target": served(key, kind=kind), "action": hackle.serve(own * 10 + 1)}

    workspace = {
        "experiments": [ab_test(9, 9)],
        "featureFlags": [
            feature_flag(1, 1, rules=[asks("FEATURE_FLAG", 2, 1), asks("AB_TEST", 9, 1)]),
            feature_flag(2, 2, rules=[asks("FEATURE_FLAG", 3, 2)]),
            feature_flag(3, 3, rules=[asks("FEATURE_FLAG", 1, 3)]),
        ],
    }
    before = compiled(workspace)
    workspace["experiments"][0]["version"] = 2
    assert changed_keys(before, compiled(workspace, before)) == before.flags.keys()


def test_a_flag_that_is_taken_over_asks_todays_experiments() -> None:
    workspace: dict[str, Any] = {
        "experiments": [ab_test(1, 1)],
        "featureFlags": [feature_flag(2, 2, rules=[{"target": served(1), "action": hackle.serve(21)}])],
    }
    before = compiled(workspace)
    same = compiled({**workspace, "events": [{"id": 1, "key": "e"}]}, before)
    assert same.flags["feature_flag/2"] is before.flags["feature_flag/2"]
    workspace["experiments"] = [ab_test(1, 1, status="PAUSED")]
    assert reason(before, "feature_flag/2") == "TARGET_RULE_MATCH"
    assert reason(compiled(workspace, same), "feature_flag/2") == "DEFAULT_RULE"


def test_a_changed_event_alone_is_a_new_revision_and_no_changed_flag() -> None:
    before = compiled(hackle.small_workspace())
    after = compiled(altered(hackle.small_workspace(), events=[{"id": 22, "key": "purchase"}]), before)
    assert after.revision != before.revision
    assert changed_keys(before, after) == set()


def test_the_order_of_definitions_does_not_count_for_the_revision() -> None:
    workspace = rich_workspace()
    before = compiled(workspace)
    workspace["featureFlags"].reverse()
    assert compiled(workspace).revision == before.revision


def test_a_dumped_snapshot_compiles_to_the_same_flags() -> None:
    workspace = altered(rich_workspace(), padding="한글" * 100_000)
    snapshot = compiled(workspace)
    pieces = list(HackleDialect().dump(snapshot) or ())
    assert max(map(len, pieces)) <= 64 * 1024
    assert json.loads(b"".join(pieces)) == workspace


# --- keys ---------------------------------------------------------------------------------------------------------


def test_flags_are_found_by_unique_keys_everywhere_and_by_hackles_keys_in_their_space() -> None:
    snapshot = compiled(hackle.small_workspace())
    unique = {"ab_test/42", "feature_flag/7", "remote_config/banner"}
    assert snapshot.flags.keys() == unique
    assert snapshot.variations.keys() == {*unique, 42}
    assert snapshot.switches.keys() == {*unique, 7}
    assert snapshot.configs.keys() == {*unique, "banner"}


def test_a_parameter_that_is_named_like_a_unique_key_wins_as_a_config() -> None:
    workspace = hackle.small_workspace()
    workspace["remoteConfigParameters"][0]["key"] = "ab_test/42"
    snapshot = compiled(workspace)
    assert snapshot.configs["ab_test/42"].key == "remote_config/ab_test/42"
    assert snapshot.variations["ab_test/42"].key == "ab_test/42"


class Unhashable:
    def __hash__(self) -> int:
        raise RuntimeError("no hash")


@pytest.mark.parametrize(
    ("space", "key", "expected"),
    [
        ("variations", 5, "EXPERIMENT_NOT_FOUND"),
        ("variations", 2**70, "EXPERIMENT_NOT_FOUND"),
        ("variations", 0, "INVALID_INPUT"),
        ("variations", -5, "INVALID_INPUT"),
        ("variations", True, "INVALID_INPUT"),
        ("variations", 5.0, "INVALID_INPUT"),
        ("variations", None, "INVALID_INPUT"),
        ("variations", "5", "INVALID_INPUT"),
        ("variations", [], "INVALID_INPUT"),
        ("variations", "ab_test/5", "EXPERIMENT_NOT_FOUND"),
        ("variations", "feature_flag/5", "FEATURE_FLAG_NOT_FOUND"),
        ("switches", 5, "FEATURE_FLAG_NOT_FOUND"),
        ("switches", "5", "INVALID_INPUT"),
        ("configs", "name", "REMOTE_CONFIG_PARAMETER_NOT_FOUND"),
        ("configs", 5, "REMOTE_CONFIG_PARAMETER_NOT_FOUND"),
        ("configs", None, "INVALID_INPUT"),
        ("configs", {}, "EXCEPTION"),
        ("configs", Unhashable(), "EXCEPTION"),
    ],
    ids=repr,
)
def test_a_key_that_is_not_there_says_why_in_hackles_words(space: Any, key: Any, expected: str) -> None:
    snapshot = compiled({})
    assert snapshot.missing is not None
    missing = snapshot.missing(space, key)
    assert (missing.provider_reason, missing.error_code) == (expected, ErrorCode.FLAG_NOT_FOUND)


def test_a_call_is_refused_for_its_key_or_its_user_before_there_are_flags() -> None:
    dialect = HackleDialect()
    failure = outcome(compiled(hackle.small_workspace()), "ab_test/42", UserContext())
    assert dialect.refusal("variations", 5, None) is None
    assert dialect.refusal("configs", "name", None) is None
    assert dialect.refusal("variations", "5", None).provider_reason == "INVALID_INPUT"  # type: ignore[union-attr]  # one
    assert dialect.refusal("configs", None, None).provider_reason == "INVALID_INPUT"  # type: ignore[union-attr]  # one
    assert dialect.refusal("variations", 5, failure) is failure
