"""`FeatureFlagCoDialect`: featureflag.co's messages to snapshots.

Source: featureflag.co reference, sections 2, 6 and 7; vectors `sync.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Outcome, Snapshot, Space
from flagmw.core.syncing import MAX_VERSION, WORDS, SyncFormat, dumped, take_documents
from flagmw.core.versioned import FLAG, SEGMENT, Item, Links, make_item
from flagmw.dialects import Compilation
from flagmw.dialects.featureflag_co.conditions import compile_segment
from flagmw.dialects.featureflag_co.flags import compile_flag
from flagmw.dialects.featureflag_co.secrets import flag_prefix
from flagmw.dialects.featureflag_co.users import read_user
from flagmw.evaluation import ErrorCode


class FeatureFlagCoDialect:
    """Turns featureflag.co's data-sync messages, and its downloads, into snapshots.

    Args:
        env_secret: of the environment, which callers leave out of flag keys. A flag of another one cannot be asked for.
    """

    def __init__(self, env_secret: str) -> None:
        try:
            self._prefix = flag_prefix(env_secret)
        except ValueError:  # the provider has checked it
            self._prefix = None
        self._format = SyncFormat(
            is_lenient=True,
            needs_version=False,
            read_flag=_read_flag,
            read_segment=_read_segment,
            compile_item=self._compile_item,
            key_of=self._key_of,
        )

    @property
    def provider_reasons(self) -> Mapping[ErrorCode, str]:
        """The service's words for errors."""
        return WORDS

    def read_user(self, user: object) -> UserContext:
        """Give the context for a user as the service's own client takes it.

        Raises:
            ContextError: it would not take the user.
        """
        return read_user(user)

    def refusal(self, space: Space, key: object, failure: Outcome | None) -> None:
        """Refuse nothing before the flag is looked for."""

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Put messages in force, one after another."""
        snapshot, errors = take_documents(self._format, documents, previous, keeps=bool(kept))
        return Compilation(snapshot=snapshot, errors=errors)

    def dump(self, snapshot: Snapshot) -> Iterable[bytes] | None:
        """Write the flags as one full message."""
        return dumped(snapshot)

    def _compile_item(self, item: Item, links: Links) -> Any:
        if not item.tag.startswith(FLAG):
            return compile_segment(item.value(), links)
        flag_id = item.tag.removeprefix(FLAG)
        return compile_flag(item.value(), self._key_of(flag_id) or flag_id, links)

    def _key_of(self, flag_id: str) -> str | None:
        if self._prefix is None or not flag_id.startswith(self._prefix):
            return None
        key = flag_id[len(self._prefix) :]
        return key if key.strip() else None

    def __repr__(self) -> str:
        """Name it; the secret's content is nobody's business."""
        return "FeatureFlagCoDialect(...)"


def _version_of(value: object) -> int:
    """Give the time of a change in Unix milliseconds; 0 for what is no time."""
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else 0
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_VERSION:
        return 0
    return value


def _read_item(kind: str, value: dict[str, Any]) -> Item | None:
    item_id = value.get("id")
    if not isinstance(item_id, str):
        return None
    is_archived, version = bool(value.get("isArchived")), _version_of(value.get("timestamp"))
    stub = {"id": item_id, "timestamp": version, "isArchived": is_archived}
    return make_item(kind + item_id, version, {**value, "isArchived": is_archived}, stub, is_archived=is_archived)


def _read_flag(value: dict[str, Any]) -> Item | None:
    return _read_item(FLAG, value)


def _read_segment(value: dict[str, Any]) -> Item | None:
    return _read_item(SEGMENT, value)
