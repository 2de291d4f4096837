"""`FeatBitDialect`: FeatBit's messages to snapshots.

Source: FeatBit reference, sections 5 and 6; vectors `sync.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Outcome, Snapshot, Space
from flagmw.core.syncing import MAX_VERSION, WORDS, SyncFormat, dumped, take_documents
from flagmw.core.versioned import FLAG, SEGMENT, Item, Links, make_item
from flagmw.dialects import Compilation
from flagmw.dialects.featbit.conditions import compile_segment
from flagmw.dialects.featbit.flags import compile_flag
from flagmw.dialects.featbit.users import read_user
from flagmw.evaluation import ErrorCode


class FeatBitDialect:
    """Turns FeatBit's data-sync messages, which are its bootstrap files, too, into snapshots."""

    @property
    def provider_reasons(self) -> Mapping[ErrorCode, str]:
        """FeatBit's words for errors."""
        return WORDS

    def read_user(self, user: object) -> UserContext:
        """Give the context for a user as FeatBit's own client takes it.

        Raises:
            ContextError: it would not take the user.
        """
        return read_user(user)

    def refusal(self, space: Space, key: object, failure: Outcome | None) -> None:
        """Refuse nothing before the flag is looked for."""

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Put messages in force, one after another."""
        snapshot, errors = take_documents(FORMAT, documents, previous, keeps=bool(kept))
        return Compilation(snapshot=snapshot, errors=errors)

    def dump(self, snapshot: Snapshot) -> Iterable[bytes] | None:
        """Write the flags as one full message."""
        return dumped(snapshot)


def version_of(value: object) -> int:
    """Give the time of a change in Unix milliseconds; 0 for what is no time."""
    if not isinstance(value, str):
        return 0
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0


def _read_item(kind: str, id_member: str, value: dict[str, Any]) -> Item | None:
    item_id = value.get(id_member)
    if not isinstance(item_id, str):
        return None
    is_archived = bool(value.get("isArchived"))
    changed = value.get("updatedAt")
    changed = changed if isinstance(changed, str) else None
    stub = {id_member: item_id, "updatedAt": changed, "isArchived": is_archived}
    version = min(version_of(changed), MAX_VERSION)
    return make_item(kind + item_id, version, {**value, "isArchived": is_archived}, stub, is_archived=is_archived)


def _read_flag(value: dict[str, Any]) -> Item | None:
    return _read_item(FLAG, "key", value)


def _read_segment(value: dict[str, Any]) -> Item | None:
    return _read_item(SEGMENT, "id", value)


def _compile_item(item: Item, links: Links) -> Any:
    compile_one = compile_flag if item.tag.startswith(FLAG) else compile_segment
    return compile_one(item.value(), links)


def _key_of(flag_id: str) -> str | None:
    return flag_id


FORMAT = SyncFormat(
    is_lenient=False,
    needs_version=True,
    read_flag=_read_flag,
    read_segment=_read_segment,
    compile_item=_compile_item,
    key_of=_key_of,
)
