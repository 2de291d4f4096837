"""Flags, segments, environments and users of featureflag.co, as on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.services.draws import OPERATORS, Draw, condition_of
from tests.services.tokens import featureflag_co_environment, featureflag_co_secret

Item = dict[str, Any]

FIRST_MS = 1_660_000_000_000
SECRET = featureflag_co_secret()
"""The secret that flags are built for unless told otherwise; `FeatureFlagCoServer` uses it, too."""


def flag(
    key: str,
    *,
    values: Sequence[str] = ("true", "false"),
    is_enabled: bool = True,
    serves: int = 1,
    rules: Sequence[Item] = (),
    individuals: Mapping[int, Sequence[str]] | None = None,
    ranges: Sequence[Sequence[float]] | None = None,
    prerequisites: Mapping[str, int] | None = None,
    secret: str = SECRET,
    **more: Any,
) -> Item:
    """Build a flag; its variations have the local ids 1, 2 and so on.

    Args:
        key: of the flag.
        values: of the variations.
        is_enabled: false serves the last variation to all.
        serves: the local id of what the fallthrough serves, unless there are `ranges`.
        rules: see `rule`.
        individuals: user keys by the local id of what they are served.
        ranges: a rollout of the fallthrough, one range for each variation.
        prerequisites: the local ids that other flags must serve, by their keys.
        secret: of the environment, which the id of the flag is made from.
        more: further members of the outer object, or replacements.
    """
    environment = featureflag_co_environment(secret)
    flag_id = environment.flag_id(key)
    options = [option(number, value) for number, value in enumerate(values, start=1)]
    return {
        "_id": flag_id,
        "id": flag_id,
        "environmentId": environment.environment,
        "isArchived": False,
        "exptIncludeAllRules": True,
        "ff": {
            "id": flag_id,
            "name": key.replace("-", " ").capitalize(),
            "type": 1,
            "keyName": key,
            "environmentId": environment.environment,
            "creatorUserId": "46129547-145a-40ce-967e-e38525841df0",
            "status": "Enabled" if is_enabled else "Disabled",
            "isDefaultRulePercentageRolloutsIncludedInExpt": True,
            "lastUpdatedTime": "2022-09-08T01:20:00.123Z",
            "defaultRulePercentageRollouts": (
                rollout(values, ranges) if ranges is not None else [_share(options[serves - 1], [0, 1])]
            ),
            "variationOptionWhenDisabled": options[-1],
        },
        "ffp": [
            {
                "prerequisiteFeatureFlagId": environment.flag_id(other),
                "valueOptionsVariationValue": option(local_id, "any"),
            }
            for other, local_id in (prerequisites or {}).items()
        ],
        "targetIndividuals": [
            {
                "individuals": [{"id": f"WU__{user}", "name": user, "keyId": user, "email": ""} for user in users],
                "valueOption": options[local_id - 1],
            }
            for local_id, users in (individuals or {}).items()
        ],
        "fftuwmtr": list(rules),
        "variationOptions": options,
        **more,
    }


def option(local_id: int, value: str) -> Item:
    """Build a variation."""
    return {"localId": local_id, "displayOrder": local_id, "variationValue": value}


def rollout(values: Sequence[str], ranges: Sequence[Sequence[float]], expt_rollout: float | None = 1) -> list[Item]:
    """Build a rollout over all variations."""
    return [
        _share(option(number, value), part, expt_rollout)
        for number, (value, part) in enumerate(zip(values, ranges, strict=True), start=1)
    ]


def _share(value: Item, part: Sequence[float], expt_rollout: float | None = 1) -> Item:
    return {"rolloutPercentage": list(part), "exptRollout": expt_rollout, "valueOption": value}


def rule(*conditions: tuple[str, str | None, str | None], values: Sequence[str] = ("true",), **more: Any) -> Item:
    """Build a rule that serves the first of some values, unless told otherwise.

    Args:
        conditions: property, operation and value, each; all must hold.
        values: of the variations of the flag.
        more: members such as `valueOptionsVariationRuleValues`.
    """
    return {
        "ruleId": "rule",
        "ruleName": "Rule",
        "isIncludedInExpt": None,
        "ruleJsonContent": [
            {"property": name, "operation": operation, "value": value} for name, operation, value in conditions
        ],
        "valueOptionsVariationRuleValues": [_share(option(1, values[0]), [0, 1])],
        **more,
    }


def segment(key: str, *rules: Item, included: Sequence[str] = (), excluded: Sequence[str] = (), **more: Any) -> Item:
    """Build a segment; of rules, only the conditions count."""
    return {
        "id": key,
        "isArchived": False,
        "included": list(included),
        "excluded": list(excluded),
        "rules": [{"ruleJsonContent": item["ruleJsonContent"]} for item in rules],
        **more,
    }


def boolean_flag(key: str = "checkout-v2", *, serves: bool = True) -> Item:
    """Build a flag without rules."""
    return flag(key, serves=1 if serves else 2)


def flag_with_rule(key: str = "checkout-layout") -> Item:
    """Build a flag with a rule of three conditions, and rollouts both for it and for everybody else."""
    values = ("old", "new", "compact")
    wanted = rule(
        ("Country", "IsOneOf", '["fr","de","us"]'),
        ("age", "BiggerEqualThan", "18"),
        ("Email", "EndsWith", "@example.com"),
        valueOptionsVariationRuleValues=rollout(values, [[0, 0.25], [0.25, 0.75], [0.75, 1]]),
    )
    return flag(key, values=values, rules=[wanted], ranges=[[0, 0.5], [0.5, 0.75], [0.75, 1]])


def environment(flags: Sequence[Item], segments: Sequence[Item] = ()) -> Item:
    """Put flags and segments, stamped in order, into the message of a full data-sync."""
    for index, item in enumerate([*segments, *flags]):
        item.setdefault("timestamp", FIRST_MS + 1000 * index)
    data = {"eventType": "full", "featureFlags": list(flags), "segments": list(segments), "userTags": []}
    return {"messageType": "data-sync", "data": data}


# --- at random ----------------------------------------------------------------------------------------------------

VALUES = (("true", "false"), ("on", "off"), ("a", "b", "c"), ("红", "", "{}", "1"))


def random_environment(seed: int, *, flags: int = 80, segments: int = 8, secret: str = SECRET) -> Item:
    """Draw an environment in which every operator, prerequisites and all switches of experiments occur."""
    draw = Draw(seed)
    ids = [draw.id() for _ in range(segments)]
    drawn_segments = [_random_segment(draw, ids, index) for index in range(segments)]
    keys = [draw.key(index) for index in range(flags)]
    drawn = [_random_flag(draw, keys[: index + 1], index, ids, secret) for index in range(flags)]
    return environment(drawn, drawn_segments)


def _random_segment(draw: Draw, ids: Sequence[str], index: int) -> Item:
    """Draw a segment; its rules may name the segments before it."""
    rules = draw.several(lambda: _random_rule(draw, ids[:index], draw.one(OPERATORS)), 0, 2)
    return segment(
        ids[index],
        *rules,
        included=draw.several(draw.user_key, 0, 30),
        excluded=draw.several(draw.user_key, 0, 5),
        isArchived=draw.chance(0.1),
    )


def _random_flag(draw: Draw, keys: Sequence[str], index: int, segment_ids: Sequence[str], secret: str) -> Item:
    """Draw the flag with the last key; its prerequisites are among the keys before."""
    values = draw.one(VALUES)
    operators = [OPERATORS[index % len(OPERATORS)], *draw.some(OPERATORS, 3)]  # one for sure, so that all occur
    numbers = range(1, len(values) + 1)
    drawn = flag(
        keys[-1],
        values=values,
        is_enabled=draw.chance(0.92),
        rules=[_random_rule(draw, segment_ids, operator, values) for operator in operators],
        individuals={number: draw.several(draw.user_key, 0, 4) for number in numbers if draw.chance(0.3)},
        prerequisites={other: draw.number(1, 2) for other in draw.some(keys[:-1], 2)} if draw.chance(0.2) else None,
        secret=secret,
        isArchived=draw.chance(0.05),
        exptIncludeAllRules=draw.one((True, False, None)),
    )
    drawn["ff"]["defaultRulePercentageRollouts"] = _random_rollout(draw, values)
    drawn["ff"]["isDefaultRulePercentageRolloutsIncludedInExpt"] = draw.one((True, False, None))
    return drawn


def _random_rule(draw: Draw, segment_ids: Sequence[str], operator: str, values: Sequence[str] = ("a", "b")) -> Item:
    conditions = [condition_of(draw, operator, segment_ids)]
    conditions += [condition_of(draw, draw.one(OPERATORS), segment_ids) for _ in range(draw.number(0, 1))]
    return rule(
        *conditions,
        ruleId=draw.id(),
        isIncludedInExpt=draw.one((True, False, None)),
        valueOptionsVariationRuleValues=_random_rollout(draw, values),
    )


def _random_rollout(draw: Draw, values: Sequence[str]) -> list[Item]:
    return rollout(values, draw.ranges(len(values)), draw.one((0, 0.1, 0.5, 1, None)))


def random_users(seed: int, count: int) -> list[Item]:
    """Draw users for `random_environment`."""
    draw = Draw(seed)
    return [{"key": draw.user_key(), "name": draw.one(("Ana", "Bob", "李")), **draw.attributes()} for _ in range(count)]


def requests_for(envelope: Item) -> list[Item]:
    """Give what to evaluate: every flag of an environment, archived ones included, and one that is not there."""
    keys = [item["ff"]["keyName"] for item in envelope["data"]["featureFlags"]]
    return [{"key": key, "default": None} for key in [*keys, "no-such-flag"]]


def large_environment(flags: int = 10_000, seed: int = 1, *, secret: str = SECRET) -> Item:
    """Build a big environment of ordinary flags: about 20 MB of compact JSON for 10,000 flags, all of them different."""
    draw = Draw(seed)
    ids = [draw.id() for _ in range(20)]
    segments = [segment(item, included=[f"u-{draw.number(0, 100_000)}" for _ in range(100)]) for item in ids]
    return environment([_ordinary_flag(draw, f"flag-{index:05d}", ids, secret) for index in range(flags)], segments)


def _ordinary_flag(draw: Draw, key: str, segment_ids: Sequence[str], secret: str) -> Item:
    values = ("true", "false")
    rules = [
        rule(
            ("Country", "IsOneOf", json.dumps(draw.some(("fr", "de", "us", "cn", "br"), 3) or ["jp"])),
            ("age", "BiggerThan", str(draw.number(10, 60))),
            ruleId=draw.id(),
            valueOptionsVariationRuleValues=rollout(values, [[0, 0.5], [0.5, 1]]),
        ),
        rule(("User is in segment", None, json.dumps([draw.one(segment_ids)])), ruleId=draw.id()),
    ]
    people = [f"u-{draw.number(0, 100_000)}" for _ in range(2)]
    return flag(key, rules=rules, individuals={1: people}, ranges=[[0, 0.1], [0.1, 1]], secret=secret)
