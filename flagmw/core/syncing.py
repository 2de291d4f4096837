"""From a message of featureflag.co or FeatBit to a snapshot: what the two dialects have in common.

A dialect says how it reads items and what they mean (`SyncFormat`); here they are merged into what is there, and
compiled as far as they have changed.

Source: featureflag.co reference, section 6; FeatBit reference, section 5; vectors `sync.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flagmw.core.documents import Document
from flagmw.core.snapshot import CompiledFlag, Outcome, Snapshot, Space, failed, make_snapshot
from flagmw.core.sync_messages import SyncMessage, read_message
from flagmw.core.versioned import (
    EMPTY_STORE,
    FLAG,
    CompileItem,
    Item,
    Merged,
    Store,
    advance,
    behaviour_digest,
    dump_pieces,
    patched,
    replaced,
)
from flagmw.errors import DocumentError, Problem
from flagmw.evaluation import ErrorCode

WORDS: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.PROVIDER_NOT_READY: "client not ready",
        ErrorCode.FLAG_NOT_FOUND: "flag not found",
        ErrorCode.INVALID_CONTEXT: "user not specified",
        ErrorCode.GENERAL: "error in evaluation",
    }
)
"""What both services call errors."""

_NOT_FOUND = failed(ErrorCode.FLAG_NOT_FOUND, "no such flag", provider_reason=WORDS[ErrorCode.FLAG_NOT_FOUND])

MAX_VERSION = 1 << 62
"""Versions beyond this are no times, and would keep every later change away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncFormat:
    """How a service writes items.

    Attributes:
        is_lenient: see `read_message`.
        needs_version: an item without a version is not taken as a change, nor a document of none but such items.
        read_flag: gives the item of a flag, None for what cannot be kept because it says no key.
        read_segment: the same of a segment.
        compile_item: see `advance`; a flag's part is its `CompiledFlag.evaluate`.
        key_of: gives the key by which callers ask for the flag with an id; None for what they cannot ask for.
    """

    is_lenient: bool
    needs_version: bool
    read_flag: Callable[[dict[str, Any]], Item | None]
    read_segment: Callable[[dict[str, Any]], Item | None]
    compile_item: CompileItem
    key_of: Callable[[str], str | None]


def take_documents(
    form: SyncFormat, documents: Sequence[Document], previous: Snapshot | None, *, keeps: bool
) -> tuple[Snapshot | None, tuple[DocumentError, ...]]:
    """Give the flags after messages, one after another, and an error for each message that is refused.

    Args:
        form: how the service writes items.
        documents: the messages.
        previous: the flags in force.
        keeps: whether these stay in force where no message says otherwise.
    """
    errors = []
    snapshot = previous if keeps else None
    for document in documents:
        try:
            snapshot = take_document(form, document, snapshot or previous) or snapshot
        except DocumentError as error:
            errors.append(error)
    return snapshot, tuple(errors)


def dumped(snapshot: Snapshot) -> Iterable[bytes] | None:
    """Write flags as one full message; None for flags that came otherwise."""
    return dump_pieces(snapshot.origin) if isinstance(snapshot.origin, Store) else None


def take_document(form: SyncFormat, document: Document, previous: Snapshot | None) -> Snapshot | None:
    """Give the flags after a document: a full one, or what has changed.

    Returns:
        `previous` itself where the document brings nothing new; None where it says nothing of flags.

    Raises:
        DocumentError: it cannot be used.
    """
    message = read_message(document, is_lenient=form.is_lenient)
    if message is None:
        return None
    items = _items(form, document, message)
    store = previous.origin if previous is not None and isinstance(previous.origin, Store) else None
    if message.is_full:
        merged = replaced(store or EMPTY_STORE, items)
        if form.needs_version and items and merged.version <= 0:
            raise _refused(document, "no item says when it was last changed")
        is_newer = store is None or merged.version > store.version
    else:
        if form.needs_version:
            items = [item for item in items if item.version > 0]
        merged = patched(store or EMPTY_STORE, items)
        is_newer = store is None or bool(merged.changed)
    return _advanced(form, store or EMPTY_STORE, merged, previous) if is_newer else previous


def _items(form: SyncFormat, document: Document, message: SyncMessage) -> list[Item]:
    raw = [*message.flags, *message.segments]
    readers = [form.read_flag] * len(message.flags) + [form.read_segment] * len(message.segments)
    found = [read(value) if isinstance(value, dict) else None for read, value in zip(readers, raw, strict=True)]
    items = [item for item in found if item is not None]
    if raw and not items:
        raise _refused(document, "none of the flags and segments can be used")
    # One item that does not say whether it is archived is not; a service that says it of none is another one.
    if raw and message.is_full and not any(isinstance(value, dict) and "isArchived" in value for value in raw):
        raise _refused(document, "no flag or segment has isArchived")
    return items


def _refused(document: Document, message: str) -> DocumentError:
    return DocumentError(document.name, (Problem(message=message),))


def _advanced(form: SyncFormat, store: Store, merged: Merged, previous: Snapshot | None) -> Snapshot:
    made, affected = advance(store, merged, form.compile_item)
    flags = dict(previous.flags) if previous is not None and previous.origin is store else {}
    for tag in affected:
        key = form.key_of(tag.removeprefix(FLAG)) if tag.startswith(FLAG) else None
        if key is None:
            continue
        part = made.parts.get(tag)
        if part is None:
            flags.pop(key, None)
        else:
            flags[key] = CompiledFlag(key=key, evaluate=part, digest=behaviour_digest(made, tag))
    return make_snapshot(flags, made.revision, {}, made, missing=_missing)


def _missing(space: Space, key: object) -> Outcome:
    return _NOT_FOUND
