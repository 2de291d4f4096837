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
from flagmw.core.documents import Document, digest_of, parse, place_problems
from flagmw.core.jsonlogic import MAX_COST, Compiled, RuleCompiler, Scope, Trace
from flagmw.core.snapshot import (
    CompiledFlag,
    Outcome,
    Snapshot,
    decided,
    failed,
    make_snapshot,
    undecided,
)
from flagmw.dialects import Compilation
from flagmw.dialects.flagd.rules import FLAG_KEY, Fractional, flagd_operators
from flagmw.errors import DocumentError, Path, Problem
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

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Compile all flags; see `Dialect.compile`.

        A refused document keeps its flags of before. Without any usable document there is no snapshot.
        """
        before: Mapping[str, _Unit] = previous.origin if previous is not None else {}  # type: ignore[assignment]  # ours
        units = {name: before[name] for name in kept if name in before}
        errors = []
        for document in documents:
            try:
                units[document.name] = self._compile_document(document, before.get(document.name))
            except DocumentError as error:
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
        return _evaluator(rule, definition["variants"], _default_outcome(definition, default, Reason.DEFAULT, shown), shown)

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
        if rule.cost > MAX_COST:
            compiler.report(path, f"the rule has more than {MAX_COST} operations once its $refs are followed")
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
    named = {
        name: decided(value, name, Reason.TARGETING_MATCH, metadata=metadata) for name, value in variants.items()
    }
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


# --- checking -----------------------------------------------------------------------------------------------

_FLAG_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata")


def document_problems(data: Any) -> list[Problem]:
    """Give what makes a parsed document invalid, without looking into rules.

    Source: flagd reference, "What makes a document invalid".
    """
    if not isinstance(data, dict):
        return [Problem(message=f"expected a mapping with 'flags', got {_kind(data)}")]
    problems: list[Problem] = []
    flags = data.get("flags")
    if "flags" not in data:
        problems.append(Problem(message="'flags' is missing; expected a mapping from flag key to flag"))
    elif not isinstance(flags, dict):
        problems.append(Problem(message=f"expected a mapping from flag key to flag, got {_kind(flags)}", path=("flags",)))
    else:
        for key, flag in flags.items():
            problems.extend(_flag_problems(key, flag))
    problems.extend(_metadata_problems(data, ()))
    evaluators = data.get("$evaluators")
    if evaluators is not None and not isinstance(evaluators, dict):
        message = f"expected a mapping from name to rule, got {_kind(evaluators)}"
        problems.append(Problem(message=message, path=("$evaluators",)))
    return problems


def _flag_problems(key: str, flag: Any) -> list[Problem]:
    path: Path = ("flags", key)
    if not key:
        return [Problem(message="a flag key must not be empty", path=path)]
    if not isinstance(flag, dict):
        return [Problem(message=f"expected a mapping with 'state' and 'variants', got {_kind(flag)}", path=path)]
    problems = []
    if flag.get("state") not in ("ENABLED", "DISABLED"):
        found = f"got {_shown(flag['state'])}" if "state" in flag else "it is missing"
        message = f'\'state\' must be "ENABLED" or "DISABLED", {found}'
        problems.append(Problem(message=message, path=(*path, "state")))
    variants = flag.get("variants")
    if not isinstance(variants, dict) or not variants:
        found = "an empty mapping" if variants == {} else _kind(variants)
        message = f"'variants' must be a mapping from name to value with at least one entry, got {found}"
        problems.append(Problem(message=message, path=(*path, "variants")))
        variants = None
    problems.extend(_default_problems(flag, variants, path))
    problems.extend(_metadata_problems(flag, path))
    if variants is not None and len({_type_name(value) for value in variants.values()}) > 1:
        message = "the variants have values of different types; typed reads will fail for some"
        problems.append(Problem(message=message, path=(*path, "variants"), severity="warning"))
    return problems


def _default_problems(flag: Mapping[str, Any], variants: Any, path: Path) -> list[Problem]:
    default = flag.get("defaultVariant")
    if default is None or default == "":
        return []
    path = (*path, "defaultVariant")
    if not isinstance(default, str):
        return [Problem(message=f"must name a variant, got {_kind(default)}", path=path)]
    if variants is not None and default not in variants:
        return [Problem(message=f"{default!r} is no variant; the variants are {', '.join(map(repr, variants))}", path=path)]
    return []


def _metadata_problems(holder: Mapping[str, Any], path: Path) -> list[Problem]:
    metadata = holder.get("metadata")
    if metadata is None:
        return []
    path = (*path, "metadata")
    if not isinstance(metadata, dict):
        return [Problem(message=f"expected a mapping, got {_kind(metadata)}", path=path)]
    return [
        Problem(message=f"a metadata value is a string, number or boolean, got {_kind(value)}", path=(*path, name))
        for name, value in metadata.items()
        if isinstance(value, (dict, list))
    ]


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _kind(value: Any) -> str:
    names = {"dict": "a mapping", "list": "a list", "str": "a string", "NoneType": "nothing", "bool": "a boolean"}
    return names.get(type(value).__name__, "a number")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."


def check(document: Document, fractional: Fractional = "v2") -> tuple[Problem, ...]:
    """Give every problem of one document, those inside rules and mere warnings included, with their places.

    Raises:
        DocumentError: the text does not parse; nothing further can be told.
    """
    data = parse(document)
    problems = document_problems(data)
    if isinstance(data, dict) and isinstance(data.get("flags"), dict):
        dialect = FlagdDialect(fractional=fractional, wall_clock=lambda: 0.0)
        evaluators = data.get("$evaluators")
        if not isinstance(evaluators, dict):
            evaluators = {}
        for key, flag in data["flags"].items():
            if isinstance(flag, dict):
                problems.extend(_rule_problems(dialect, key, flag, evaluators))
                problems.extend(_member_problems(key, flag))
    return place_problems(document, list(dict.fromkeys(problems)))


def _rule_problems(
    dialect: FlagdDialect, key: str, flag: Mapping[str, Any], evaluators: Mapping[str, Any]
) -> list[Problem]:
    targeting = flag.get("targeting")
    if targeting is None or targeting == {}:
        return []
    rule, problems = dialect.compile_rule(key, targeting, evaluators)
    variants = flag.get("variants")
    if isinstance(variants, dict):
        path: Path = ("flags", key, "targeting")
        for found_path, name in _literal_results(targeting, path):
            if name not in variants:
                message = f"{name!r} is no variant; the variants are {', '.join(map(repr, variants))}"
                problems.append(Problem(message=message, path=found_path, severity="flag"))
    return problems


def _literal_results(rule: Any, path: Path) -> list[tuple[Path, str]]:
    """Find the variant names that a rule can give and that stand in it literally."""
    if isinstance(rule, str):
        return [(path, rule)]
    if not isinstance(rule, dict) or len(rule) != 1:
        return []
    ((operator, raw),) = rule.items()
    if not isinstance(raw, list):
        return []
    inner = (*path, operator)
    found: list[tuple[Path, str]] = []
    if operator in ("if", "?:"):
        for index, part in enumerate(raw):
            if index % 2 or index == len(raw) - 1:
                found.extend(_literal_results(part, (*inner, index)))
    elif operator == "fractional":
        for index, row in enumerate(raw):
            if isinstance(row, list) and row:
                found.extend(_literal_results(row[0], (*inner, index, 0)))
    return found


def _member_problems(key: str, flag: Mapping[str, Any]) -> list[Problem]:
    """Warn of members that look like a misspelt one: unknown members are allowed, so a typo goes unnoticed."""
    from difflib import get_close_matches  # noqa: PLC0415  # only for checking

    problems = []
    for member in flag:
        if member not in _FLAG_MEMBERS and not member.startswith("$"):
            close = get_close_matches(member, _FLAG_MEMBERS, n=1, cutoff=0.75)
            if close and close[0] not in flag:
                message = f"flagd ignores {member!r}; did you mean {close[0]!r}?"
                problems.append(Problem(message=message, path=("flags", key, member), severity="warning"))
    return problems


def explain(document: Document, key: str, fractional: Fractional, context: UserContext, now: float) -> list[tuple[Path, str, Any]]:
    """Tell which branches the rule of a flag took for a context, in the order in which they were decided.

    Returns:
        For each condition of an `if`: its path in the document, which one it is, and whether it held.

    Raises:
        DocumentError: the document does not parse or is refused.
    """
    data = parse(document)
    problems = [problem for problem in document_problems(data) if problem.severity == "error"]
    if problems:
        raise DocumentError(document.name, place_problems(document, problems))
    steps: list[tuple[Path, str, Any]] = []
    flag = data["flags"].get(key)
    if flag is None or flag["state"] == "DISABLED" or not flag.get("targeting"):
        return steps
    dialect = FlagdDialect(fractional=fractional, wall_clock=lambda: now)
    evaluators = data.get("$evaluators") or {}
    rule, defects = dialect.compile_rule(key, flag["targeting"], evaluators, lambda *step: steps.append(step))
    if not any(problem.severity == "flag" for problem in defects):
        rule.run(context.values)
    return steps
