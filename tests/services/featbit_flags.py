"""Flags, segments, environments and users of FeatBit, as on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.services.draws import OPERATORS, Draw, condition_of
from tests.services.featbit_server import iso_of

Item = dict[str, Any]

FIRST_MS = 1_700_000_000_000
"""When the first item of a generated environment was changed; each further one a second later."""


def flag(
    key: str,
    *,
    values: Sequence[str] = ("true", "false"),
    kind: str = "boolean",
    is_enabled: bool = True,
    serves: int = 0,
    rules: Sequence[Item] = (),
    target_users: Mapping[int, Sequence[str]] | None = None,
    ranges: Sequence[Sequence[float]] | None = None,
    **more: Any,
) -> Item:
    """Build a flag; its variations have the ids `v0`, `v1` and so on.

    Args:
        key: of the flag.
        values: of the variations, as text.
        kind: boolean, string, number or json.
        is_enabled: false serves the last variation to all.
        serves: which variation the fallthrough serves, unless there are `ranges`.
        rules: see `rule`.
        target_users: user keys by the variation that they are served.
        ranges: a rollout of the fallthrough, one range for each variation.
        more: further members, or replacements.
    """
    last = len(values) - 1
    return {
        "id": f"id-of-{key}",
        "envId": "8dc61769-5af3-4d9f-8cb3-d7342e24c3eb",
        "name": key.replace("-", " ").capitalize(),
        "description": "",
        "key": key,
        "variationType": kind,
        "variations": [
            {"id": f"v{index}", "name": f"Number {index}", "value": value} for index, value in enumerate(values)
        ],
        "targetUsers": [
            {"keyIds": list(keys), "variationId": f"v{index}"} for index, keys in (target_users or {}).items()
        ],
        "rules": list(rules),
        "isEnabled": is_enabled,
        "disabledVariationId": f"v{last}",
        "fallthrough": {
            "dispatchKey": "keyId",
            "includedInExpt": True,
            "variations": rollout(ranges) if ranges is not None else rollout([[0, 1]], first=serves),
        },
        "exptIncludeAllTargets": True,
        "tags": [],
        "isArchived": False,
        **more,
    }


def rollout(ranges: Sequence[Sequence[float]], *, first: int = 0) -> list[Item]:
    """Build a rollout over the variations from one on."""
    return [
        {"id": f"v{index}", "rollout": list(part), "exptRollout": 1} for index, part in enumerate(ranges, start=first)
    ]


def rule(*conditions: tuple[str, str | None, str | None], **more: Any) -> Item:
    """Build a rule that serves the first variation, unless told otherwise.

    Args:
        conditions: property, operator and value, each; all must hold.
        more: members such as `dispatchKey` and `variations`.
    """
    return {
        "id": "rule",
        "name": "Rule",
        "dispatchKey": None,
        "includedInExpt": False,
        "conditions": [
            {"id": f"c{index}", "property": name, "op": operator, "value": value}
            for index, (name, operator, value) in enumerate(conditions)
        ],
        "variations": rollout([[0, 1]]),
        **more,
    }


def segment(key: str, *rules: Item, included: Sequence[str] = (), excluded: Sequence[str] = (), **more: Any) -> Item:
    """Build a segment whose id is its key; of rules, only the conditions count."""
    return {
        "id": key,
        "envId": "8dc61769-5af3-4d9f-8cb3-d7342e24c3eb",
        "name": key,
        "description": "",
        "included": list(included),
        "excluded": list(excluded),
        "rules": list(rules),
        "isArchived": False,
        **more,
    }


def boolean_flag(key: str = "checkout-v2", *, serves: bool = True) -> Item:
    """Build a flag without rules."""
    return flag(key, serves=0 if serves else 1)


def flag_with_rule(key: str = "checkout-layout") -> Item:
    """Build a flag with a rule of three conditions, and rollouts both for it and for everybody else."""
    wanted = rule(
        ("country", "IsOneOf", '["fr","de","us"]'),
        ("age", "BiggerEqualThan", "18"),
        ("email", "EndsWith", "@example.com"),
        variations=rollout([[0, 0.25], [0.25, 0.75], [0.75, 1]]),
    )
    return flag(
        key, values=("old", "new", "compact"), kind="string", rules=[wanted], ranges=[[0, 0.5], [0.5, 0.75], [0.75, 1]]
    )


def environment(flags: Sequence[Item], segments: Sequence[Item] = ()) -> Item:
    """Put flags and segments, stamped in order, into the message of a full data-sync, which is a bootstrap document, too."""
    items = [*segments, *flags]
    for index, item in enumerate(items):
        item.setdefault("updatedAt", iso_of(FIRST_MS + 1000 * index))
    return {
        "messageType": "data-sync",
        "data": {"eventType": "full", "featureFlags": list(flags), "segments": list(segments)},
    }


# --- at random ----------------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[tuple[str, ...], ...]] = {
    "boolean": (("true", "false"), ("false", "true")),
    "string": (("on", "off"), ("a", "b", "c"), ("红", "", "{}", "true")),
    "number": (("1", "2"), ("0.5", "-3", "1e3"), ("17", "many", "2.0")),
    "json": (('{"a":1}', '{"a":[1,2,{"b":null}]}'), ("[]", "3", '"text"', "null"), ('{"a":1.5}', "{not JSON")),
}


def random_environment(seed: int, *, flags: int = 80, segments: int = 8) -> Item:
    """Draw an environment in which every operator, kind of rollout, segment and value type occurs.

    What makes the official client raise into its caller is left out: ranges that leave users out, and missing variations.
    """
    draw = Draw(seed)
    ids = [draw.id() for _ in range(segments)]
    drawn_segments = [_random_segment(draw, ids, index) for index in range(segments)]
    keys = [draw.key(index) for index in range(flags)]
    return environment([_random_flag(draw, key, index, ids) for index, key in enumerate(keys)], drawn_segments)


def _random_segment(draw: Draw, ids: Sequence[str], index: int) -> Item:
    """Draw a segment; its rules may name the segments before it."""
    rules = draw.several(lambda: _random_rule(draw, ids[:index], draw.one(OPERATORS)), 0, 2)
    return segment(
        ids[index],
        *[{"id": item["id"], "name": item["name"], "conditions": item["conditions"]} for item in rules],
        included=draw.several(draw.user_key, 0, 30),
        excluded=draw.several(draw.user_key, 0, 5),
        isArchived=draw.chance(0.1),
    )


def _random_flag(draw: Draw, key: str, index: int, segment_ids: Sequence[str]) -> Item:
    kind = ("boolean", "string", "number", "json")[index % 4]
    values = draw.one(VALUES[kind])
    operators = [OPERATORS[index % len(OPERATORS)], *draw.some(OPERATORS, 3)]  # one for sure, so that all occur
    rules = [_random_rule(draw, segment_ids, operator, len(values)) for operator in operators]
    targets = {number: draw.several(draw.user_key, 0, 4) for number in range(len(values)) if draw.chance(0.3)}
    drawn = flag(
        key,
        values=values,
        kind=kind,
        is_enabled=draw.chance(0.92),
        rules=rules,
        target_users=targets,
        ranges=draw.ranges(len(values)),
        isArchived=draw.chance(0.05),
    )
    drawn["fallthrough"]["dispatchKey"] = _random_dispatch_key(draw)
    if draw.chance(0.3):
        drawn["insightsEnabled"] = draw.chance(0.5)
    return drawn


def _random_rule(draw: Draw, segment_ids: Sequence[str], operator: str, variations: int = 2) -> Item:
    conditions = [condition_of(draw, operator, segment_ids)]
    conditions += [condition_of(draw, draw.one(OPERATORS), segment_ids) for _ in range(draw.number(0, 1))]
    if draw.chance(0.03):
        conditions = []  # holds for everybody
    return rule(
        *conditions,
        id=draw.id(),
        dispatchKey=_random_dispatch_key(draw),
        includedInExpt=draw.chance(0.5),
        variations=rollout(draw.ranges(variations)),
    )


def _random_dispatch_key(draw: Draw) -> str | None:
    return draw.one((None, "", "keyId", "KEYID", "key", "country", "plan", "age", "beta", "unknown", "  "))


def random_users(seed: int, count: int) -> list[Item]:
    """Draw users for `random_environment`."""
    draw = Draw(seed)
    return [{"key": draw.user_key(), "name": draw.one(("Ana", "Bob", "李")), **draw.attributes()} for _ in range(count)]


def requests_for(envelope: Item) -> list[Item]:
    """Give what to evaluate: every flag of an environment, archived ones included, and one that is not there."""
    keys = [item["key"] for item in envelope["data"]["featureFlags"]]
    return [{"key": key, "default": None} for key in [*keys, "no-such-flag"]]


def large_environment(flags: int = 10_000, seed: int = 1) -> Item:
    """Build a big environment of ordinary flags: about 20 MB of compact JSON for 10,000 flags, all of them different."""
    draw = Draw(seed)
    ids = [draw.id() for _ in range(20)]
    segments = [segment(item, included=[f"u-{draw.number(0, 100_000)}" for _ in range(100)]) for item in ids]
    return environment([_ordinary_flag(draw, f"flag-{index:05d}", ids) for index in range(flags)], segments)


def _ordinary_flag(draw: Draw, key: str, segment_ids: Sequence[str]) -> Item:
    rules = [
        rule(
            ("country", "IsOneOf", json.dumps(draw.some(("fr", "de", "us", "cn", "br"), 3) or ["jp"])),
            ("age", "BiggerThan", str(draw.number(10, 60))),
            id=draw.id(),
            variations=rollout([[0, 0.5], [0.5, 1]]),
        ),
        rule(("User is in segment", None, json.dumps([draw.one(segment_ids)])), id=draw.id()),
    ]
    people = [f"u-{draw.number(0, 100_000)}" for _ in range(50)]
    return flag(
        key, rules=rules, target_users={0: people}, ranges=[[0, 0.1], [0.1, 1]], description=" ".join([draw.id()] * 6)
    )
