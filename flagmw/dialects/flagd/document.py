"""Checks flagd documents and compiles their flags.

Source: flagd's flag definition format, sections on the document, loading and evaluating; vectors `static`,
`result_types`, `metadata`, `refs`, `load_errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flagmw.context import UserContext
from flagmw.core.coercion import to_text
from flagmw.core.documents import Document, digest_of
from flagmw.core.jsonlogic import Compiled, RuleCompiler, Scope, Trace
from flagmw.core.parsing import parse, place_problems
from flagmw.core.snapshot import (
    CompiledFlag,
    Outcome,
    Snapshot,
    Space,
    decided,
    failed,
    make_snapshot,
    undecided,
)
from flagmw.dialects import Compilation
from flagmw.dialects.flagd.fractional import FLAG_KEY, Fractional
from flagmw.dialects.flagd.rules import flagd_operators
from flagmw.dialects.flagd.validity import document_problems
from flagmw.errors import DocumentError, FlagmwError, Problem
from flagmw.evaluation import NO_METADATA, ErrorCode, MetadataValue, Reason
from flagmw.frozen import FrozenDict

Metadata = Mapping[str, MetadataValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """What one document contributes to a snapshot."""

    digest: bytes
    flags: Mapping[str, CompiledFlag]
    metadata: Metadata


class FlagdDialect:
    """Compiles flagd documents.

    Args:
        fractional: how `fractional` hashes: "v2" as flagd up to 0.16 and the JavaScript evaluators, "v3" as the
            newest Python provider.
        wall_clock: gives Unix time in seconds, for rules on `$flagd.timestamp`.
    """

    def __init__(self, *, fractional: Fractional, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._operators = flagd_operators(fractional)

    @property
    def provider_reasons(self) -> Mapping[ErrorCode, str]:
        """None: the standard reasons are flagd's own."""
        return {}

    def read_user(self, user: object) -> UserContext:
        """Give the context for a caller's user; see `UserContext.of`."""
        return UserContext.of(user)  # type: ignore[arg-type]  # checked there

    def dump(self, snapshot: Snapshot) -> None:
        """Write nothing: files are at hand."""

    def refusal(self, space: Space, key: object, failure: Outcome | None) -> None:
        """Refuse nothing before the flag is looked for."""

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Compile all flags; see `Dialect.compile`.

        A refused document keeps its flags of before. Without any usable document there is no snapshot.
        """
        before: Mapping[str, _Unit] = previous.origin if previous is not None else {}  # type: ignore[assignment]  # ours
        units = {name: before[name] for name in kept if name in before}
        errors: list[FlagmwError] = []
        for document in documents:
            try:
                units[document.name] = self._compile_document(document, before.get(document.name))
            except FlagmwError as error:  # a DocumentError, or no parser for it
                errors.append(error)
                if document.name in before:
                    units[document.name] = before[document.name]
        if not units and errors:
            return Compilation(snapshot=None, errors=tuple(errors))
        return Compilation(snapshot=_assemble(units), errors=tuple(errors))

    def _compile_document(self, document: Document, before: _Unit | None) -> _Unit:
        digest = document.digest()
        if before is not None and before.digest == digest:
            return before
        data = parse(document)
        problems = document_problems(data)
        if any(problem.severity == "error" for problem in problems):
            errors = tuple(problem for problem in problems if problem.severity == "error")
            raise DocumentError(document.name, place_problems(document, errors))
        known = before.flags if before is not None else {}
        flag_set = _present(data.get("metadata"))
        evaluators = data.get("$evaluators") or {}
        flags = {}
        for key, definition in data["flags"].items():
            metadata = {**flag_set, **_present(definition.get("metadata"))}
            flag_digest = _flag_digest(document.name, definition, metadata, evaluators)
            reusable = known.get(key)
            if reusable is not None and reusable.digest == flag_digest:
                flags[key] = reusable
            else:
                evaluate = self._compile_flag(key, definition, metadata, evaluators)
                flags[key] = CompiledFlag(key=key, evaluate=evaluate, digest=flag_digest)
        return _Unit(digest=digest, flags=flags, metadata=flag_set)

    def _compile_flag(
        self, key: str, definition: Mapping[str, Any], metadata: Mapping[str, Any], evaluators: Mapping[str, Any]
    ) -> Callable[[UserContext], Outcome]:
        shown = FrozenDict(metadata) if metadata else NO_METADATA
        if definition["state"] == "DISABLED":
            return _always(undecided(Reason.DISABLED, metadata=shown))
        default = definition.get("defaultVariant") or None
        targeting = definition.get("targeting")
        if targeting is None or targeting == {}:
            return _always(_default_outcome(definition, default, Reason.STATIC, shown))
        rule, problems = self.compile_rule(key, targeting, evaluators)
        broken = [problem for problem in problems if problem.severity == "flag"]
        if broken:
            return _always(failed(ErrorCode.PARSE_ERROR, str(broken[0]), metadata=shown))
        return _evaluator(
            rule, definition["variants"], _default_outcome(definition, default, Reason.DEFAULT, shown), shown
        )

    def compile_rule(
        self, key: str, targeting: Any, evaluators: Mapping[str, Any], trace: Trace | None = None
    ) -> tuple[Compiled, list[Problem]]:
        """Compile the rule of one flag; the problems' paths begin at the document's root."""
        clock = self._wall_clock

        def supply(_: Any) -> dict[str, Any]:
            return {"flagKey": key, "timestamp": int(clock())}

        scope = Scope(is_root=True, supplied={"$flagd": supply}, constants={FLAG_KEY: key})
        compiler = RuleCompiler(self._operators, evaluators, trace)
        path = ("flags", key, "targeting")
        rule = compiler.compile(targeting, scope, path)
        return rule, compiler.problems


def _always(outcome: Outcome) -> Callable[[UserContext], Outcome]:
    return lambda _: outcome


def _default_outcome(definition: Mapping[str, Any], default: str | None, reason: Reason, metadata: Metadata) -> Outcome:
    if default is None:
        return undecided(Reason.DEFAULT, metadata=metadata)
    return decided(definition["variants"][default], default, reason, metadata=metadata)


def _evaluator(
    rule: Compiled, variants: Mapping[str, Any], default: Outcome, metadata: Metadata
) -> Callable[[UserContext], Outcome]:
    run = rule.run
    named = {name: decided(value, name, Reason.TARGETING_MATCH, metadata=metadata) for name, value in variants.items()}
    find = named.get
    unknown = failed(ErrorCode.GENERAL, "the rule chose a variant that the flag does not have", metadata=metadata)
    no_name = failed(ErrorCode.GENERAL, "the rule gave a list or a mapping, not a variant", metadata=metadata)

    def evaluate(context: UserContext) -> Outcome:
        try:
            result = run(context.values)
        except Exception as error:  # rules do not raise; if one does all the same, the request must not
            return failed(ErrorCode.GENERAL, f"the rule raised {type(error).__name__}", metadata=metadata)
        if result.__class__ is str:
            return find(result) or unknown
        if result is None:
            return default
        if result.__class__ in (bool, int, float):
            return find(to_text(result)) or unknown
        return no_name

    return evaluate


def _assemble(units: Mapping[str, _Unit]) -> Snapshot:
    flags: dict[str, CompiledFlag] = {}
    metadata: dict[str, MetadataValue] = {}
    for unit in units.values():
        flags.update(unit.flags)
        metadata.update(unit.metadata)
    revision = digest_of("", [[name, unit.digest.hex()] for name, unit in units.items()]).hex()[:12]
    return make_snapshot(flags, revision, metadata, units)


def _present(metadata: Any) -> dict[str, Any]:
    return {name: value for name, value in (metadata or {}).items() if value is not None}


def _flag_digest(name: str, definition: Mapping[str, Any], metadata: Any, evaluators: Mapping[str, Any]) -> bytes:
    """Digest all that shapes the flag: members it does not know are left out, referenced rules are taken in."""
    referenced: dict[str, Any] = {}
    _collect_references(definition.get("targeting"), evaluators, referenced)
    shape = [
        definition["state"],
        definition["variants"],
        definition.get("defaultVariant") or None,
        definition.get("targeting") or None,
        metadata,
        referenced,
    ]
    return digest_of(name, shape)


def _collect_references(rule: Any, evaluators: Mapping[str, Any], found: dict[str, Any]) -> None:
    pending = [rule]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            name = node.get("$ref") if len(node) == 1 else None
            if isinstance(name, str) and name not in found and name in evaluators:
                found[name] = evaluators[name]
                pending.append(evaluators[name])
            pending.extend(node.values())
