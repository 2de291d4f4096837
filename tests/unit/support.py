"""What several unit tests need: small documents, and waiting with a deadline."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.dialects.flagd import FlagdDialect
from flagmw.dialects.flagd.fractional import Fractional

NOW_S = 1_700_000_000.9


def flag(variants: Mapping[str, Any] | None = None, default: str | None = None, **members: Any) -> dict[str, Any]:
    """Make one enabled flag of a document."""
    variants = {"on": True, "off": False} if variants is None else variants
    made: dict[str, Any] = {"state": "ENABLED", "variants": dict(variants), **members}
    if default is not None:
        made["defaultVariant"] = default
    return made


def document(
    flags: Mapping[str, Any], *, name: str = "flags.json", evaluators: Mapping[str, Any] | None = None, **members: Any
) -> Document:
    """Make a JSON document as it would be read from a file."""
    content = {"flags": flags, "$evaluators": evaluators or {}, **members}
    return Document(name=name, content=json.dumps(content).encode())


def dialect(fractional: Fractional = "v2") -> FlagdDialect:
    """Make a flagd dialect at a fixed time."""
    return FlagdDialect(fractional=fractional, wall_clock=lambda: NOW_S)


def compiled(*documents: Document, fractional: Fractional = "v2", previous: Snapshot | None = None) -> Snapshot:
    """Compile documents that are all well."""
    compilation = dialect(fractional).compile(documents, (), previous)
    assert compilation.errors == ()
    assert compilation.snapshot is not None
    return compilation.snapshot


def rule_result(rule: Any, context: UserContext | None = None, fractional: Fractional = "v2") -> Any:
    """Run one rule of a flag `f` and give what it results in, before it becomes a variant."""
    compiled_rule, problems = dialect(fractional).compile_rule("f", rule, {})
    assert not [problem for problem in problems if problem.severity == "flag"], problems
    return compiled_rule.run((context or UserContext("user-1")).values)


def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> float:
    """Wait until a condition holds.

    Returns:
        How long that took, in seconds.

    Raises:
        AssertionError: it did not hold in time.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "what the test waits for did not happen in time"
        time.sleep(0.002)
    return time.monotonic() - began
