"""What the tests of the Hackle dialect need: small documents, compiled."""

from __future__ import annotations

import json
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Outcome, Snapshot, settled
from flagmw.dialects import Compilation
from flagmw.dialects.hackle import HackleDialect
from tests.services import hackle_workspaces as hackle

Item = dict[str, Any]


def document(workspace: Any) -> Document:
    """Make a document as it is downloaded."""
    return Document(name="config", content=json.dumps(workspace).encode())


def compilation(workspace: Any, previous: Snapshot | None = None) -> Compilation:
    """Compile a document, whatever comes of it."""
    return HackleDialect().compile([document(workspace)], (), previous)


def compiled(workspace: Any, previous: Snapshot | None = None) -> Snapshot:
    """Compile a document that is all well."""
    made = compilation(workspace, previous)
    assert made.errors == ()
    assert made.snapshot is not None
    return made.snapshot


def ab_test(experiment_id: int, key: int, default_rule: Item | None = None, **more: Any) -> Item:
    """Build an A/B test with the variations A and B, whose ids are ten times the test's plus 1 and 2; it serves B."""
    arms = [hackle.variation(experiment_id * 10 + 1, "A"), hackle.variation(experiment_id * 10 + 2, "B")]
    return hackle.experiment(experiment_id, key, arms, default_rule or hackle.serve(experiment_id * 10 + 2), **more)


feature_flag = ab_test
"""A feature flag has the same shape; it is on."""


def served(key: int | str, *conditions: Item, kind: str = "AB_TEST", **match: Any) -> Item:
    """Build a target: another A/B test serves A or B, or another feature flag is on."""
    if kind == "FEATURE_FLAG":
        match = {"value_type": "BOOLEAN", **match}
    values: tuple[Any, ...] = (True,) if kind == "FEATURE_FLAG" else ("A", "B")
    return hackle.target(hackle.condition(str(key), "IN", *values, key_type=kind, **match), *conditions)


def outcome(snapshot: Snapshot, key: str, context: UserContext | None = None, default: Any = "A") -> Outcome:
    """Evaluate a flag by its unique key, for a caller with this default."""
    return settled(snapshot.flags[key].evaluate(context or UserContext("user-1")), default)


def reason(snapshot: Snapshot, key: str, context: UserContext | None = None, default: Any = "A") -> str | None:
    """Give Hackle's reason of an evaluation."""
    return outcome(snapshot, key, context, default).provider_reason
