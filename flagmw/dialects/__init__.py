"""Dialects: one module per wire format, from documents to a `Snapshot`. Pure, and independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot
from flagmw.errors import FlagmwError


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What a dialect made of documents.

    Attributes:
        snapshot: the flags to use from now on; None when nothing could be used.
        errors: one per refused document, whose flags stay as they were.
    """

    snapshot: Snapshot | None
    errors: tuple[FlagmwError, ...] = ()


class Dialect(Protocol):
    """Turns the documents of one wire format into snapshots."""

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Compile all flags.

        Args:
            documents: what has arrived, complete; a later one wins over an earlier one.
            kept: names of documents that are in force but cannot be read now; their flags stay as `previous`
                has them, in front of those of `documents`.
            previous: the snapshot in force, to reuse what has not changed.

        Returns:
            The new snapshot, and an error for each document that is refused; its flags stay as they were.
        """
        ...
