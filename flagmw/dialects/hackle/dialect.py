"""`HackleDialect`: from config documents to snapshots.

Flags have the unique keys "ab_test/42", "feature_flag/7" and "remote_config/name". Callers ask for them by Hackle's own
keys too: A/B tests by number in `variations`, feature flags by number in `switches`, parameters by name in `configs`.

Source: Hackle reference, sections 3 and 5.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document, as_json
from flagmw.core.snapshot import CompiledFlag, Outcome, Snapshot, Space, failed, make_snapshot
from flagmw.dialects import Compilation
from flagmw.dialects.hackle.calls import REMOTE_CONFIG
from flagmw.dialects.hackle.compiling import NOTHING, PREFIXES, CompiledWorkspace, compile_workspace
from flagmw.dialects.hackle.digests import digest_of
from flagmw.dialects.hackle.events import EventTypes
from flagmw.dialects.hackle.model import AB_TEST, FEATURE_FLAG
from flagmw.dialects.hackle.reading import Reader, check_is_config, parse
from flagmw.dialects.hackle.users import read_user
from flagmw.errors import DocumentError, Problem
from flagmw.evaluation import NO_METADATA, ErrorCode

PIECE_BYTES = 64 * 1024

PROVIDER_REASONS: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.PROVIDER_NOT_READY: "SDK_NOT_READY",
        ErrorCode.PROVIDER_FATAL: "SDK_NOT_READY",
        ErrorCode.INVALID_CONTEXT: "INVALID_INPUT",
        ErrorCode.TARGETING_KEY_MISSING: "INVALID_INPUT",
        ErrorCode.TYPE_MISMATCH: "TYPE_MISMATCH",
        ErrorCode.GENERAL: "EXCEPTION",
    }
)

_KINDS: Mapping[Space, str] = MappingProxyType(
    {"variations": AB_TEST, "switches": FEATURE_FLAG, "configs": REMOTE_CONFIG}
)


def _not_found(reason: str, message: str) -> Outcome:
    return failed(ErrorCode.FLAG_NOT_FOUND, message, provider_reason=reason)


_NOT_FOUND: Mapping[str, Outcome] = MappingProxyType(
    {
        AB_TEST: _not_found("EXPERIMENT_NOT_FOUND", "no such A/B test"),
        FEATURE_FLAG: _not_found("FEATURE_FLAG_NOT_FOUND", "no such feature flag"),
        REMOTE_CONFIG: _not_found("REMOTE_CONFIG_PARAMETER_NOT_FOUND", "no such remote config parameter"),
    }
)

_NO_NUMBER = _not_found("INVALID_INPUT", "A/B tests and feature flags have numbers as keys, int above 0")
_NO_NAME = _not_found("INVALID_INPUT", "remote config parameters have names as keys")
_ODD_NAME = _not_found("EXCEPTION", "the key cannot be looked up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the next snapshot is made from.

    Attributes:
        digest: of the document.
        text: the document, compressed.
        compiled: its definitions.
        events: what it declares, by key.
        errors: what is left out of it.
        warnings: what is not supported and dropped, as the official client does.
    """

    digest: bytes
    text: bytes
    compiled: CompiledWorkspace
    events: Mapping[str, tuple[Any, Any]]
    errors: tuple[DocumentError, ...]
    warnings: tuple[Problem, ...]


class HackleDialect:
    """Compiles Hackle config documents.

    Args:
        event_types: is told which events the document in force declares, for `HackleEvents`.
    """

    def __init__(self, event_types: EventTypes | None = None) -> None:
        self._event_types = event_types if event_types is not None else EventTypes()

    @property
    def provider_reasons(self) -> Mapping[ErrorCode, str]:
        """Give Hackle's words for errors that do not arise in one of its flags."""
        return PROVIDER_REASONS

    def read_user(self, user: object) -> UserContext:
        """Give the context for a caller's user; see `users.read_user`."""
        return read_user(user)

    def refusal(self, space: Space, key: object, failure: Outcome | None) -> Outcome | None:
        """Say what is wrong with a call as such: Hackle looks at key and user before it looks for flags.

        Args:
            space: what is asked for.
            key: as the caller wrote it.
            failure: the outcome for a user whom `read_user` refuses; None for any other.

        Returns:
            The outcome; None when nothing is wrong.
        """
        if failure is not None:
            return failure
        outcome = missing(space, key)
        return outcome if outcome is _NO_NUMBER or outcome is _NO_NAME else None

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Compile all flags; see `Dialect.compile`. There is one document, and it is always complete."""
        if not documents:
            return Compilation(snapshot=previous)
        document = documents[-1]
        before = previous.origin if previous is not None and isinstance(previous.origin, Origin) else None
        try:
            digest = document.digest()
            if before is not None and before.digest == digest:
                self._event_types.declared = before.events
                return Compilation(snapshot=previous, errors=before.errors)
            data = parse(document)
            if before is not None:
                check_is_config(document, data)
        except DocumentError as error:
            return Compilation(snapshot=None, errors=(error,))
        reader = Reader(data)
        workspace = reader.read()
        compiled = compile_workspace(workspace, before.compiled if before is not None else NOTHING)
        problems = [problem for problem in reader.problems if problem.severity == "error"]
        origin = Origin(
            digest=digest,
            text=zlib.compress(_text_of(document), 1),
            compiled=compiled,
            events=workspace.events,
            errors=(DocumentError(document.name, tuple(problems)),) if problems else (),
            warnings=tuple(problem for problem in reader.problems if problem.severity == "warning"),
        )
        self._event_types.declared = workspace.events
        return Compilation(snapshot=_assemble(origin), errors=origin.errors, warnings=origin.warnings)

    def dump(self, snapshot: Snapshot) -> Iterator[bytes] | None:
        """Write the document that a snapshot was made from."""
        return _pieces(snapshot.origin.text) if isinstance(snapshot.origin, Origin) else None


def _text_of(document: Document) -> bytes:
    if isinstance(document.content, bytes):
        return document.content
    return json.dumps(document.content, default=as_json).encode()


def _pieces(text: bytes) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    while text:
        yield decompressor.decompress(text, PIECE_BYTES)
        text = decompressor.unconsumed_tail


def _assemble(origin: Origin) -> Snapshot:
    flags: dict[str, CompiledFlag] = {}
    by_key: dict[str, dict[Any, CompiledFlag]] = {kind: {} for kind in PREFIXES}
    total = int.from_bytes(digest_of(origin.events)[:8], "big")
    for (kind, key), definition in origin.compiled.definitions.items():
        flag = definition.flag
        flags[flag.key] = flag
        by_key[kind][key] = flag
        total += int.from_bytes(flag.digest[:8], "big")
    return make_snapshot(
        flags,
        f"{total % 2**64:016x}"[:12],
        NO_METADATA,
        origin,
        variations={**flags, **by_key[AB_TEST]},
        switches={**flags, **by_key[FEATURE_FLAG]},
        configs={**flags, **by_key[REMOTE_CONFIG]},
        missing=missing,
    )


def missing(space: Space, key: object) -> Outcome:
    """Give the outcome for a key that a space does not have, even for what cannot be a key.

    Source: Hackle reference, section 5.
    """
    if isinstance(key, str):
        for kind, prefix in PREFIXES.items():
            if key.startswith(f"{prefix}/"):
                return _NOT_FOUND[kind]
    if space == "configs":
        return _missing_parameter(key)
    is_number = isinstance(key, int) and key.__class__ is not bool and key > 0
    return _NOT_FOUND[_KINDS[space]] if is_number else _NO_NUMBER


def _missing_parameter(key: object) -> Outcome:
    if key is None:
        return _NO_NAME
    try:
        hash(key)
    except Exception:  # whatever a key of the caller's does
        return _ODD_NAME
    return _NOT_FOUND[REMOTE_CONFIG]
