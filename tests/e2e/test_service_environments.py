"""The environments that are built for tests are as varied, as big and as repeatable as those who use them rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.services.draws import OPERATORS
from tests.services.environments import featbit, featureflag_co, hackle
from tests.services.featureflag_co_server import FeatureFlagCoServer
from tests.services.hackle_server import HackleServer
from tests.services.official import OfficialFeatBit, OfficialHackle

SEEDS = (1, 2, 3)


def compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same(seed: int) -> None:
    assert featbit.random_environment(seed) == featbit.random_environment(seed)
    assert featureflag_co.random_environment(seed) == featureflag_co.random_environment(seed)
    assert hackle.random_workspace(seed) == hackle.random_workspace(seed)
    assert hackle.random_users(seed, 50) == hackle.random_users(seed, 50)


def test_another_seed_gives_something_else() -> None:
    assert featbit.random_environment(1) != featbit.random_environment(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_operator_occurs_in_a_featbit_environment(seed: int) -> None:
    flags = featbit.random_environment(seed)["data"]["featureFlags"]
    conditions = [condition for flag in flags for rule in flag["rules"] for condition in rule["conditions"]]
    assert {condition["op"] or condition["property"] for condition in conditions} >= set(OPERATORS)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_operator_and_prerequisites_occur_in_a_featureflag_co_environment(seed: int) -> None:
    flags = featureflag_co.random_environment(seed)["data"]["featureFlags"]
    clauses = [clause for flag in flags for rule in flag["fftuwmtr"] for clause in rule["ruleJsonContent"]]
    assert {clause["operation"] or clause["property"] for clause in clauses} >= set(OPERATORS)
    assert any(flag["ffp"] for flag in flags)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_operator_value_type_and_kind_of_condition_occurs_in_a_workspace(seed: int) -> None:
    text = compact(hackle.random_workspace(seed))
    words = [f'"operator":"{word}"' for word in hackle.OPERATORS]
    words += [f'"valueType":"{word}"' for word in hackle.VALUE_TYPES]
    words += [f'"type":"{word}"' for word in ("SEGMENT", "AB_TEST", "FEATURE_FLAG", "USER_ID", "NOT_MATCH", "JSON")]
    words += [f'"status":"{word}"' for word in ("READY", "RUNNING", "PAUSED", "STOPPED", "DROPPED")]
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_most_random_flags_give_users_different_values(seed: int) -> None:
    envelope = featbit.random_environment(seed)
    with OfficialFeatBit(bootstrap=compact(envelope)) as client:
        rows = client.evaluate(featbit.random_users(seed, 100), featbit.requests_for(envelope))
    assert share_of_varied(rows) > 0.6
    reasons = {cell["reason"] for row in rows for cell in row}
    assert {"rule match", "target match", "fall through all rules", "flag off", "flag not found"} <= reasons


@pytest.mark.parametrize("seed", SEEDS)
def test_most_random_tests_flags_and_parameters_give_users_different_answers(seed: int) -> None:
    workspace = hackle.random_workspace(seed)
    with HackleServer() as server:
        server.load(workspace)
        with OfficialHackle(sdk_key=server.sdk_key, url=server.url, sends_events=False) as client:
            rows = client.evaluate(hackle.random_users(seed, 200), hackle.requests_for(workspace))
    assert share_of_varied(rows) > 0.5
    reasons = {cell["reason"] for row in rows for cell in row}
    assert {
        "TRAFFIC_ALLOCATED",
        "TRAFFIC_NOT_ALLOCATED",
        "OVERRIDDEN",
        "NOT_IN_EXPERIMENT_TARGET",
        "NOT_IN_MUTUAL_EXCLUSION_EXPERIMENT",
        "IDENTIFIER_NOT_FOUND",
        "TARGET_RULE_MATCH",
        "DEFAULT_RULE",
        "TYPE_MISMATCH",
        "INDIVIDUAL_TARGET_MATCH",
    } <= reasons


def share_of_varied(rows: list[list[dict[str, Any]]]) -> float:
    """Give the share of columns with more than one answer."""
    answers = [{compact(row[column]) for row in rows} for column in range(len(rows[0]))]
    return sum(len(different) > 1 for different in answers) / len(answers)


def test_a_featureflag_co_server_takes_a_random_environment() -> None:
    envelope = featureflag_co.random_environment(1)
    with FeatureFlagCoServer(featureflag_co.SECRET) as server:
        server.load(envelope)
        served = server.envelope()["data"]["featureFlags"]
    shown = [flag["ff"]["keyName"] for flag in envelope["data"]["featureFlags"] if not flag["isArchived"]]
    assert sorted(flag["ff"]["keyName"] for flag in served) == sorted(shown)


@pytest.mark.parametrize("service", [featbit, featureflag_co], ids=["FeatBit", "featureflag.co"])
def test_the_large_environment_has_ten_thousand_flags_in_about_20_mb(service: Any) -> None:
    envelope = service.large_environment()
    size_mb = len(compact(envelope)) / 1e6
    assert len(envelope["data"]["featureFlags"]) == 10_000
    assert 18 < size_mb < 22, size_mb


def test_the_small_workspace_is_taken_whole() -> None:
    with HackleServer() as server:
        server.load(hackle.small_workspace())
        with OfficialHackle(sdk_key=server.sdk_key, url=server.url) as client:
            [row] = client.evaluate([{"id": "u-1"}], hackle.requests_for(hackle.small_workspace())[:3])
    assert [cell["reason"] for cell in row] == ["TRAFFIC_ALLOCATED", "DEFAULT_RULE", "TYPE_MISMATCH"]
