"""Whatever stands in a Hackle document and whoever it is for: compiling raises nothing, and neither does evaluating."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from flagmw import UserContext
from flagmw.core.documents import Document
from flagmw.core.records import Exposure
from flagmw.core.snapshot import Snapshot, evaluation_of, settled
from flagmw.dialects.hackle import HackleDialect, HackleEvents
from flagmw.dialects.hackle.users import read_user
from flagmw.errors import ContextError, DocumentError
from tests.services import hackle_workspaces as hackle

Path = tuple[Any, ...]

POOL: list[Any] = [
    *[None, True, False, 0, -1, 1, 5, 10.0, 2**70, -(2**70), 1e308, float("nan"), float("inf")],
    *["", "A", "1", "\ud800", "\x00", "$id", "x" * 2000, "9" * 5000],
    *["SEGMENT", "AB_TEST", "FEATURE_FLAG", "USER_ID", "USER_PROPERTY", "NOT_MATCH", "VERSION", "NUMBER", "GT"],
    *["BUCKET", "VARIATION", "STOPPED", "READY", "DROPPED"],
    *[[], {}, [None], [[]], {"a": {}}, {"id": 1}, [{"conditions": []}]],
]
DEFAULTS: list[Any] = ["A", "Z", None, 5, True, [], {}, {1}, object(), float("nan"), "\ud800"]
CONTEXTS = [
    UserContext(),
    UserContext("user-1"),
    UserContext("\ud800", attributes={"age": "\ud800"}),
    UserContext("u", identifiers={"$userId": "\ud800", "$deviceId": "d"}, attributes={"age": 2**70, "role": [[1], {}]}),
    UserContext(identifiers={"companyId": "c"}, attributes={f"p{number}": number for number in range(200)}),
    UserContext("u", attributes={"age": 30, "beta": True, "version": "9" * 1024, "role": ["a", 1]}, country="fr"),
]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Walk over all places in a JSON value."""
    if path:
        yield path
    for name, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, name))


def mutated(workspace: Any, draw: random.Random, count: int) -> Any:
    """Replace, copy or remove what stands at some places, each kind of member as often as the others."""
    workspace = copy.deepcopy(workspace)
    by_name: dict[Any, list[Path]] = {}
    for path in places(workspace):
        by_name.setdefault(path[-1] if isinstance(path[-1], str) else "item", []).append(path)
    names = sorted(by_name)
    for _ in range(count):
        path = draw.choice(by_name[draw.choice(names)])
        try:
            holder = workspace
            for part in path[:-1]:
                holder = holder[part]
            if draw.random() < 0.2:
                del holder[path[-1]]
            else:
                holder[path[-1]] = copy.deepcopy(draw.choice([draw.choice(POOL), holder]))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation has taken the place away
    return workspace


def compile_odd(workspace: Any, previous: Snapshot | None) -> Snapshot | None:
    content = json.dumps(workspace).encode()
    made = HackleDialect().compile([Document(name="config", content=content)], (), previous)
    assert all(isinstance(error, DocumentError) for error in made.errors)
    return made.snapshot


@pytest.mark.parametrize("seed", range(60))
def test_no_document_and_no_user_makes_anything_raise(seed: int) -> None:
    draw = random.Random(seed)
    workspace = hackle.random_workspace(seed, experiments=6, flags=6, parameters=4)
    users = [*CONTEXTS, *map(read_user_or_nobody, hackle.random_users(seed, 2))]
    events = HackleEvents("key", wall_clock=lambda: 0.0, uuid4=lambda: "id")
    previous = None
    for _ in range(8):
        snapshot = compile_odd(mutated(workspace, draw, draw.choice([1, 3, 10])), previous)
        if snapshot is None:
            continue
        previous = snapshot
        for flag in snapshot.flags.values():
            for user in users:
                default = draw.choice(DEFAULTS)
                outcome = flag.evaluate(user)
                found = evaluation_of(outcome, flag.key, default, snapshot)
                assert found.provider_reason
                told = settled(outcome, default)
                if told.exposes:
                    events.body(events.exposure(Exposure(flag.key, user, told, "r", 0.0, default)))


def read_user_or_nobody(user: Any) -> UserContext:
    try:
        return read_user(user)
    except ContextError:
        return UserContext()


@pytest.mark.parametrize("seed", range(200))
def test_no_mapping_makes_reading_a_user_raise_anything_else(seed: int) -> None:
    draw = random.Random(seed)
    user = mutated(hackle.random_users(seed, 1)[0], draw, 4)
    user.setdefault("properties", {})
    context = read_user_or_nobody(user)
    assert isinstance(context, UserContext)
