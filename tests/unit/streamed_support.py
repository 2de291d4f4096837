"""Small flags and messages of FeatBit and featureflag.co, and payloads with defects."""

from __future__ import annotations

import copy
import functools
import json
import random
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Outcome, Snapshot
from flagmw.dialects import Dialect
from flagmw.dialects.featbit import FeatBitDialect
from flagmw.dialects.featureflag_co import FeatureFlagCoDialect

FFC_SECRET = b64encode(b"7d1c-4b5e-%20220311093000__36__46__98__default_9f27c").decode()
FFC_PREFIX = "FF__36__46__98__"


def document(message: object) -> Document:
    """Make a document of one message; a str is its text."""
    text = message if isinstance(message, str) else json.dumps(message)
    return Document(name="a message", content=text.encode("utf-8", "surrogatepass"))


def sync(flags: Sequence[Any] = (), segments: Sequence[Any] = (), *, kind: str = "full") -> dict[str, Any]:
    """Make a data-sync message."""
    data = {"eventType": kind, "featureFlags": list(flags), "segments": list(segments)}
    return {"messageType": "data-sync", "data": data}


def compiled(dialect: Dialect, message: object, previous: Snapshot | None = None) -> Snapshot:
    """Compile one message that is well."""
    compilation = dialect.compile([document(message)], (), previous)
    assert compilation.errors == ()
    assert compilation.snapshot is not None
    return compilation.snapshot


def outcome_of(snapshot: Snapshot, key: str, context: UserContext | None = None) -> Outcome:
    """Evaluate one flag of a snapshot."""
    return snapshot.flags[key].evaluate(context or UserContext("u-1"))


# --- FeatBit --------------------------------------------------------------------------------------------------


def fb_served(*shares: tuple[str, float, float]) -> list[dict[str, Any]]:
    """Make the variations of a rule or fallthrough."""
    return [{"id": name, "rollout": [low, high], "exptRollout": 1} for name, low, high in shares]


def fb_rule(conditions: Sequence[Any] = (), *shares: tuple[str, float, float], **members: Any) -> dict[str, Any]:
    """Make a rule; it serves `t` to everybody if nothing is said."""
    made = {"id": "r", "name": "r", "dispatchKey": None, "includedInExpt": False, "conditions": list(conditions)}
    return {**made, "variations": fb_served(*(shares or [("t", 0, 1)])), **members}


def fb_flag(key: str = "a", **members: Any) -> dict[str, Any]:
    """Make a boolean flag that is on and serves `f` to everybody."""
    made: dict[str, Any] = {
        "id": f"id-{key}",
        "envId": "e",
        "name": f"Flag {key}",
        "key": key,
        "variationType": "boolean",
        "variations": [{"id": "t", "name": "T", "value": "true"}, {"id": "f", "name": "F", "value": "false"}],
        "targetUsers": [],
        "rules": [],
        "isEnabled": True,
        "disabledVariationId": "f",
        "fallthrough": {"dispatchKey": None, "includedInExpt": True, "variations": fb_served(("f", 0, 1))},
        "exptIncludeAllTargets": True,
        "tags": [],
        "isArchived": False,
        "updatedAt": "2024-01-01T00:00:00Z",
    }
    return {**made, **members}


def fb_segment(name: str = "s", **members: Any) -> dict[str, Any]:
    """Make a segment that has nobody."""
    made: dict[str, Any] = {"id": name, "envId": "e", "name": name, "included": [], "excluded": [], "rules": []}
    return {**made, "isArchived": False, "updatedAt": "2024-01-01T00:00:00Z", **members}


def in_segment(*names: str, is_not: bool = False) -> dict[str, Any]:
    """Make FeatBit's condition that the user is in one of some segments."""
    property_name = "User is not in segment" if is_not else "User is in segment"
    return {"property": property_name, "op": None, "value": json.dumps(names)}


def fb(*flags: Mapping[str, Any], segments: Sequence[Any] = ()) -> Snapshot:
    """Compile FeatBit flags."""
    return compiled(FeatBitDialect(), sync(flags, segments))


# --- featureflag.co -------------------------------------------------------------------------------------------


def ffc_option(number: int) -> dict[str, Any]:
    """Make a variation: 1 is "on", 2 is "off"."""
    return {"localId": number, "displayOrder": number, "variationValue": {1: "on", 2: "off"}.get(number, str(number))}


def ffc_served(*shares: tuple[int, float, float, Any]) -> list[dict[str, Any]]:
    """Make the options of a rule or fallthrough; the last number is `exptRollout`."""
    return [
        {"rolloutPercentage": [low, high], "exptRollout": share, "valueOption": ffc_option(number)}
        for number, low, high, share in shares
    ]


def ffc_rule(clauses: Any, *shares: tuple[int, float, float, Any], **members: Any) -> dict[str, Any]:
    """Make a rule; it serves variation 1 to everybody if nothing is said."""
    made = {"ruleId": "r", "ruleName": "", "isIncludedInExpt": None, "ruleJsonContent": clauses}
    return {**made, "valueOptionsVariationRuleValues": ffc_served(*(shares or [(1, 0, 1, 1)])), **members}


def ffc_flag(key: str = "a", *, ff: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """Make a flag that is on and serves variation 2 to everybody."""
    flag_id = FFC_PREFIX + key
    flag: dict[str, Any] = {
        "id": flag_id,
        "name": f"Flag {key}",
        "keyName": key,
        "status": "Enabled",
        "isDefaultRulePercentageRolloutsIncludedInExpt": True,
        "defaultRulePercentageRollouts": ffc_served((2, 0, 1, 1)),
        "variationOptionWhenDisabled": ffc_option(2),
        **(ff or {}),
    }
    made: dict[str, Any] = {
        "_id": flag_id,
        "id": flag_id,
        "isArchived": False,
        "timestamp": 10,
        "exptIncludeAllRules": True,
        "ff": flag,
        "ffp": [],
        "targetIndividuals": [],
        "fftuwmtr": [],
        "variationOptions": [ffc_option(1), ffc_option(2)],
    }
    return {**made, **members}


def ffc_prerequisite(key: str, number: int) -> dict[str, Any]:
    """Make the requirement that a flag serves a variation."""
    return {"prerequisiteFeatureFlagId": FFC_PREFIX + key, "valueOptionsVariationValue": ffc_option(number)}


def ffc_segment(name: str = "s", **members: Any) -> dict[str, Any]:
    """Make a segment that has nobody."""
    made: dict[str, Any] = {"id": name, "included": [], "excluded": [], "rules": [], "isArchived": False}
    return {**made, "timestamp": 10, **members}


def ffc(*flags: Mapping[str, Any], segments: Sequence[Any] = ()) -> Snapshot:
    """Compile featureflag.co flags."""
    return compiled(FeatureFlagCoDialect(FFC_SECRET), sync(flags, segments))


# --- payloads with defects ------------------------------------------------------------------------------------

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\ud800",
    "[[[[",
    "[" * 2_000,
    '["a", 5, ["b"], null]',
    "(a+)+$(",
    [],
    {},
    [None],
    {"a": {"b": []}},
    [0, 1],
    [1e308, -1e308],
    ["0", "1"],
    "keyId",
    "targetingKey",
    "User is in segment",
    "MatchRegex",
    "Than",
)


def sampled_payload(service: str, chance: random.Random) -> tuple[Any, list[UserContext]]:
    """Give a message with a few flags of an environment of the conformance vectors, and some of its users."""
    vectors = _environment(service)
    data = vectors["payload"]["data"]
    users = [case["user"] for case in vectors["cases"] if isinstance(case["user"], dict)]
    contexts = [
        UserContext(str(user.get("key")), attributes={name: value for name, value in user.items() if name != "key"})
        for user in chance.sample(users, 3)
    ]
    return sync(chance.sample(data["featureFlags"], 5), data["segments"]), [*contexts, UserContext(), ODD_USER]


@functools.cache
def _environment(service: str) -> Any:
    path = Path(__file__).parents[1] / "conformance" / "vectors" / service / "env_00.json"
    return json.loads(path.read_text(encoding="utf-8"))


ODD_USER = UserContext("\ud800", attributes={"n": 1.5, "t": [1], "self": "", "country": True, "age": 10**400})


def spoil(value: Any, chance: random.Random, times: int) -> Any:
    """Give a copy of a JSON value in which some parts are altered, left out or there twice."""
    spoilt = json.loads(json.dumps(value))
    for _ in range(times):
        holder, place = chance.choice(list(_places(spoilt)))
        action = chance.randrange(4)
        if action == 0:
            del holder[place]
        elif action == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[place]))
        else:
            holder[place] = copy.deepcopy(chance.choice(ODD_VALUES))
    return spoilt


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [value]
    yield [value], 0  # so that there is always one
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, (dict, list)):
            for place in list(holder) if isinstance(holder, dict) else range(len(holder)):
                yield holder, place
                waiting.append(holder[place])


def assert_survives(dialect: Dialect, message: object, previous: Snapshot | None, users: Sequence[UserContext]) -> None:
    """Compile a message with defects, evaluate all that is there, and write it and read it again."""
    compilation = dialect.compile([document(message)], (), previous)
    snapshot = compilation.snapshot
    if snapshot is None:
        return
    for flag in snapshot.flags.values():
        for user in users:
            assert isinstance(flag.evaluate(user), Outcome)
    pieces = dialect.dump(snapshot)
    assert pieces is not None
    read_again = dialect.compile([Document(name="kept", content=b"".join(pieces))], (), None)
    if read_again.snapshot is not None:
        assert read_again.snapshot.revision == snapshot.revision
