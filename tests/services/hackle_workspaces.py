"""Workspaces and users of Hackle: A/B tests, feature flags and remote config, as in the document that clients download."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tests.services.draws import POOLS, Draw

Item = dict[str, Any]

SLOTS = 10_000
"""The slots of every bucket here."""


def condition(
    name: str,
    operator: str,
    *values: Any,
    value_type: str = "STRING",
    key_type: str = "USER_PROPERTY",
    negate: bool = False,
) -> Item:
    """Build a condition.

    Args:
        name: of the property, or what the key type needs.
        operator: IN, CONTAINS, STARTS_WITH, ENDS_WITH, GT, GTE, LT or LTE.
        values: any of them suffices.
        value_type: STRING, NUMBER, BOOLEAN or VERSION.
        key_type: USER_PROPERTY, SEGMENT, AB_TEST and so on.
        negate: whether none of the values may match.
    """
    kind = "NOT_MATCH" if negate else "MATCH"
    return {
        "key": {"type": key_type, "name": name},
        "match": {"type": kind, "operator": operator, "valueType": value_type, "values": list(values)},
    }


def target(*conditions: Item) -> Item:
    """Build a target: all conditions must hold."""
    return {"conditions": list(conditions)}


def in_segment(*keys: str, negate: bool = False) -> Item:
    """Build a condition on segments."""
    return condition("SEGMENT", "IN", *keys, key_type="SEGMENT", negate=negate)


def serve(variation_id: int) -> Item:
    """Build an action that serves a variation."""
    return {"type": "VARIATION", "variationId": variation_id}


def bucketed(bucket_id: int) -> Item:
    """Build an action that serves by bucket."""
    return {"type": "BUCKET", "bucketId": bucket_id}


def bucket(bucket_id: int, shares: Sequence[tuple[int, int]], *, seed: int = 1270030) -> Item:
    """Build a bucket.

    Args:
        bucket_id: of the bucket.
        shares: how many of the 10,000 slots go to what, in order; slots that are left go to nobody.
        seed: of the hash.
    """
    slots, start = [], 0
    for count, variation_id in shares:
        slots.append({"startInclusive": start, "endExclusive": start + count, "variationId": variation_id})
        start += count
    return {"id": bucket_id, "seed": seed, "slotSize": SLOTS, "slots": slots}


def variation(variation_id: int, key: str, *, configuration: int | None = None, status: str = "ACTIVE") -> Item:
    """Build a variation."""
    built: Item = {"id": variation_id, "key": key, "status": status}
    if configuration is not None:
        built["parameterConfigurationId"] = configuration
    return built


def experiment(
    experiment_id: int,
    key: int,
    variations: Sequence[Item],
    default_rule: Item,
    *,
    status: str = "RUNNING",
    identifier_type: str = "$id",
    audiences: Sequence[Item] = (),
    rules: Sequence[Item] = (),
    user_overrides: Sequence[Item] = (),
    segment_overrides: Sequence[Item] = (),
    **more: Any,
) -> Item:
    """Build an A/B test or a feature flag; which of them it is, the section it stands in decides."""
    return {
        "id": experiment_id,
        "key": key,
        "identifierType": identifier_type,
        "version": 1,
        "variations": list(variations),
        "execution": {
            "status": status,
            "version": 1,
            "userOverrides": list(user_overrides),
            "segmentOverrides": list(segment_overrides),
            "targetAudiences": list(audiences),
            "targetRules": list(rules),
            "defaultRule": default_rule,
        },
        **more,
    }


def small_workspace() -> Item:
    """Build a workspace with one of each.

    A/B test 42 gives everybody with an `$id` A or B, and staff (user ids kim and lee) B; feature flag 7 is on for adults, by
    property `age`; parameter `banner` is `hello adult` for them and `hello` for others; `purchase` is a declared event.
    """
    adults = condition("age", "GTE", 18, value_type="NUMBER")
    staff = condition("$userId", "IN", "kim", "lee", key_type="USER_ID")
    return {
        "workspace": {"id": 3, "environment": {"id": 8, "key": "production"}},
        "buckets": [bucket(501, [(5000, 71), (5000, 72)]), bucket(503, [(SLOTS, 0)], seed=7)],
        "experiments": [
            experiment(
                61,
                42,
                [variation(71, "A"), variation(72, "B", configuration=301)],
                bucketed(501),
                segment_overrides=[{"target": target(in_segment("staff")), "action": serve(72)}],
            )
        ],
        "featureFlags": [
            experiment(
                62,
                7,
                [variation(81, "A"), variation(82, "B", configuration=301)],
                serve(81),
                rules=[{"target": target(adults), "action": serve(82)}],
            )
        ],
        "segments": [{"id": 4, "key": "staff", "type": "USER_ID", "targets": [target(staff)]}],
        "containers": [],
        "parameterConfigurations": [
            {"id": 301, "parameters": [{"key": "button", "value": "red"}, {"key": "max", "value": 3}]}
        ],
        "remoteConfigParameters": [
            {
                "id": 11,
                "key": "banner",
                "type": "STRING",
                "identifierType": "$id",
                "targetRules": [
                    {
                        "key": "rule-a",
                        "name": "adults",
                        "target": target(adults),
                        "bucketId": 503,
                        "value": {"id": 112, "value": "hello adult"},
                    }
                ],
                "defaultValue": {"id": 111, "value": "hello"},
            }
        ],
        "events": [{"id": 21, "key": "purchase"}],
    }


# --- at random ----------------------------------------------------------------------------------------------------

OPERATORS = ("IN", "CONTAINS", "STARTS_WITH", "ENDS_WITH", "GT", "GTE", "LT", "LTE")
VALUE_TYPES = ("STRING", "NUMBER", "BOOLEAN", "VERSION")
MATCH_VALUES: dict[str, tuple[Any, ...]] = {
    "STRING": ("fr", "us", "pro", "free", "30", "30.0", "@example.com", "北", "", "admin", 42, 1.5),
    "NUMBER": (0, 18, 30, 30.0, 57, "30", " 42 ", -1, 1e6, 29.5),
    "BOOLEAN": (True, False),
    "VERSION": ("1.0.0", "1.2", "2.9.0", "2.10.1", "1.0.0-beta.2", "3"),
}
IDENTIFIERS = ("$id", "$id", "$id", "$id", "$id", "$userId", "$deviceId", "$sessionId", "companyId")
STATUSES = (*["RUNNING"] * 8, "READY", "PAUSED", "STOPPED")
PARAMETERS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("STRING", ("red", "green", "파랑", "")),
    ("NUMBER", (0, 1, 2.5, 1_000_000)),
    ("BOOLEAN", (True, False)),
    ("JSON", ('{"a": 1}', "[]")),
)
DEFAULTS: tuple[Any, ...] = ("mine", 7, 0.5, True, None)
"""What requests for remote config give as default, in turn: they decide the type that is asked for."""


class _Builder:
    """Draws a workspace from the inside out, so that whatever is referred to is there."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.next_id = 100
        matches = list(itertools.product(OPERATORS, VALUE_TYPES))
        draw.random.shuffle(matches)
        self._matches = itertools.cycle(matches)  # in turn, so that all occur
        self.workspace: Item = {
            "workspace": {"id": 3, "environment": {"id": 8, "key": "production"}},
            "buckets": [],
            "experiments": [],
            "featureFlags": [],
            "segments": [],
            "containers": [],
            "parameterConfigurations": [],
            "remoteConfigParameters": [],
            "events": [{"id": 21, "key": "purchase"}, {"id": 22, "key": "signup"}],
        }

    def id(self) -> int:
        self.next_id += 1
        return self.next_id

    def bucket(self, ids: Sequence[int], *, gap: bool) -> int:
        """Draw a bucket over what has some ids, with slots for nobody if wanted."""
        parts = [*ids, None] if gap else list(ids)
        cuts = sorted(self.draw.number(0, SLOTS) for _ in parts[1:])
        edges = [0, *cuts, SLOTS]
        shares = [(edges[index + 1] - edges[index], part) for index, part in enumerate(parts)]
        seed = self.draw.number(0, 2**32 - 1)  # mmh3 5, below the official client, refuses the others
        made = bucket(self.id(), [(count, part) for count, part in shares if part is not None], seed=seed)
        self.workspace["buckets"].append(made)
        number: int = made["id"]
        return number

    def condition(self, *, places: Sequence[str]) -> Item:
        """Draw a condition of one of the kinds that are supported somewhere."""
        draw, kind = self.draw, self.draw.one(places)
        negate = draw.chance(0.25)
        if kind == "SEGMENT" and self.workspace["segments"]:
            keys = [item["key"] for item in self.workspace["segments"]]
            return in_segment(*draw.some(keys, 2), negate=negate)
        if kind == "AB_TEST" and self.workspace["experiments"]:
            name = str(draw.one(self.workspace["experiments"])["key"])
            return condition(name, "IN", *draw.some("ABC", 2), key_type=kind, negate=negate)
        if kind == "FEATURE_FLAG" and self.workspace["featureFlags"]:
            name = str(draw.one(self.workspace["featureFlags"])["key"])
            return condition(name, "IN", draw.chance(0.5), value_type="BOOLEAN", key_type=kind, negate=negate)
        if kind == "USER_ID":
            keys = [draw.user_key() for _ in range(20)]
            return condition(draw.one(IDENTIFIERS), "IN", *keys, key_type=kind, negate=negate)
        if kind == "HACKLE_PROPERTY":
            return condition("osName", "IN", "Android", key_type=kind, negate=negate)
        operator, value_type = next(self._matches)
        name = draw.one({"BOOLEAN": ("beta",), "VERSION": ("version",)}.get(value_type, tuple(POOLS)))
        return condition(name, operator, *draw.some(MATCH_VALUES[value_type], 3), value_type=value_type, negate=negate)

    def target(self, *places: str) -> Item:
        return target(*self.draw.several(lambda: self.condition(places=places), 1, 2))

    def rule_target(self) -> Item:
        return self.target("USER_PROPERTY", "USER_PROPERTY", "SEGMENT", "AB_TEST", "FEATURE_FLAG", "HACKLE_PROPERTY")

    def segment(self) -> None:
        targets = self.draw.several(lambda: self.target("USER_ID", "USER_PROPERTY"), 0, 2)
        number = self.id()
        kind = self.draw.one(("USER_ID", "USER_PROPERTY"))
        self.workspace["segments"].append({"id": number, "key": f"segment-{number}", "type": kind, "targets": targets})

    def configuration(self) -> int:
        number = self.id()
        drawn = [{"key": kind.lower(), "value": self.draw.one(values)} for kind, values in PARAMETERS]
        self.workspace["parameterConfigurations"].append({"id": number, "parameters": drawn[: self.draw.number(0, 4)]})
        return number

    def variations(self, letters: str) -> list[Item]:
        return [
            variation(
                self.id(),
                letter,
                configuration=self.configuration() if self.draw.chance(0.5) else None,
                status="DROPPED" if self.draw.chance(0.08) else "ACTIVE",
            )
            for letter in letters
        ]

    def overrides(self, ids: Sequence[int]) -> dict[str, list[Item]]:
        draw = self.draw
        users: list[Item] = [
            {"userId": draw.user_key(), "variationId": draw.one(ids)} for _ in range(draw.number(0, 4))
        ]
        segments = [item["key"] for item in self.workspace["segments"]]
        by_segment = [
            {"target": target(in_segment(draw.one(segments))), "action": serve(draw.one(ids))}
            for _ in range(draw.number(0, 1))
            if segments and draw.chance(0.5)
        ]
        return {"user_overrides": users, "segment_overrides": by_segment}

    def experiment(self, key: int) -> Item:
        """Draw an A/B test."""
        draw = self.draw
        variations = self.variations(draw.one(("AB", "AB", "ABC", "ABCD")))
        ids = [item["id"] for item in variations]
        status = draw.one(STATUSES)
        default_rule = bucketed(self.bucket(ids, gap=draw.chance(0.5))) if draw.chance(0.85) else serve(draw.one(ids))
        return experiment(
            self.id(),
            key,
            variations,
            default_rule,
            status=status,
            identifier_type=draw.one(IDENTIFIERS),
            audiences=draw.several(self.rule_target, 1, 2) if draw.chance(0.5) else (),
            **self.overrides(ids),
            winnerVariationId=draw.one(ids) if status == "STOPPED" else None,
        )

    def flag(self, key: int) -> Item:
        """Draw a feature flag; whatever its actions say, they give a variation."""
        draw = self.draw
        variations = self.variations("AB")
        ids = [item["id"] for item in variations]
        status = draw.one(STATUSES)

        def action() -> Item:
            return bucketed(self.bucket(ids, gap=False)) if draw.chance(0.5) else serve(draw.one(ids))

        return experiment(
            self.id(),
            key,
            variations,
            action(),
            status=status,
            identifier_type=draw.one(IDENTIFIERS),
            rules=[{"target": self.rule_target(), "action": action()} for _ in range(draw.number(0, 3))],
            **self.overrides(ids),
            winnerVariationId=draw.one(ids) if status == "STOPPED" else None,
        )

    def container(self, experiments: Sequence[Item]) -> None:
        """Make some A/B tests exclude each other."""
        groups: list[Item] = [{"id": self.id(), "experiments": [item["id"]]} for item in experiments]
        number = self.id()
        drawn = self.bucket([group["id"] for group in groups], gap=True)
        self.workspace["containers"].append({"id": number, "bucketId": drawn, "groups": groups})
        for item in experiments:
            item["containerId"] = number

    def parameter(self, number: int) -> None:
        draw = self.draw
        kind, values = PARAMETERS[number % len(PARAMETERS)]
        rules = [
            {
                "key": f"rule-{index}",
                "name": draw.one(("adults", "", "시험")),
                "target": self.rule_target(),
                "bucketId": self.bucket([0], gap=draw.chance(0.5)),
                "value": {"id": self.id(), "value": draw.one(values)},
            }
            for index in range(draw.number(0, 3))
        ]
        self.workspace["remoteConfigParameters"].append(
            {
                "id": self.id(),
                "key": f"{kind.lower()}-{number}",
                "type": kind,
                "identifierType": draw.one(IDENTIFIERS),
                "targetRules": rules,
                "defaultValue": {"id": self.id(), "value": draw.one(values)},
            }
        )


def random_workspace(seed: int, *, experiments: int = 30, flags: int = 30, parameters: int = 20) -> Item:
    """Draw a workspace with all operators and value types, statuses, overrides, segments, containers, and conditions of all
    three kinds of things on A/B tests and flags. What makes the official client raise or reject the document is left out.
    """
    builder = _Builder(Draw(seed))
    for _ in range(8):
        builder.segment()
    for number in range(max(experiments, flags)):
        if number < experiments:
            builder.workspace["experiments"].append(builder.experiment(number + 1))
        if number < flags:
            builder.workspace["featureFlags"].append(builder.flag(number + 1))
    for start in range(0, experiments - 3, 10):
        builder.container(builder.workspace["experiments"][start : start + 3])
    for number in range(parameters):
        builder.parameter(number)
    return builder.workspace


def random_users(seed: int, count: int) -> list[Item]:
    """Draw users for `random_workspace`: `id`, `user_id`, `device_id`, `identifiers` and `properties`, each maybe missing."""
    draw = Draw(seed)
    users = []
    for _ in range(count):
        user: Item = {"id": draw.user_key()} if draw.chance(0.95) else {}
        if draw.chance(0.8):
            user["user_id"] = draw.user_key()
        if draw.chance(0.8):
            user["device_id"] = draw.id()
        if draw.chance(0.8):
            user["identifiers"] = {"$sessionId": draw.id(), "companyId": f"c-{draw.number(0, 30)}"}
        user["properties"] = draw.attributes()
        if draw.chance(0.3):
            user["properties"]["role"] = draw.some(POOLS["role"], 3)
        users.append(user)
    return users


def requests_for(workspace: Item) -> list[Item]:
    """Give what to evaluate: all A/B tests, flags and parameters, and one of each that is not there."""
    tests = [{"call": "variation_detail", "key": item["key"], "default": "A"} for item in workspace["experiments"]]
    flags = [{"call": "feature_flag_detail", "key": item["key"]} for item in workspace["featureFlags"]]
    parameters = [
        {"call": "remote_config", "key": item["key"], "default": default}
        for item in workspace["remoteConfigParameters"]
        for default in (DEFAULTS[item["id"] % len(DEFAULTS)], None)
    ]
    unknown: list[Item] = [
        {"call": "variation_detail", "key": 999_999, "default": "B"},
        {"call": "feature_flag_detail", "key": 999_999},
        {"call": "remote_config", "key": "no-such-parameter", "default": "mine"},
    ]
    return [*tests, *flags, *parameters, *unknown]
