"""Dialects: one module per wire format, from documents to a `Snapshot`. Pure, and independent of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flagmw.context import UserContext
from flagmw.core.documents import Document
from flagmw.core.snapshot import Outcome, Snapshot, Space
from flagmw.errors import FlagmwError, Problem
from flagmw.evaluation import ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What a dialect made of documents.

    Attributes:
        snapshot: the flags to use from now on, `previous` itself when they are confirmed and unchanged; None when
            nothing could be used, which without an error means that the documents say nothing of flags.
        errors: one per refused document, whose flags stay as they were.
        warnings: what is used all the same, and hardly does what its author meant.
    """

    snapshot: Snapshot | None
    errors: tuple[FlagmwError, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Dialect(Protocol):
    """Turns the documents of one wire format into snapshots."""

    @property
    def provider_reasons(self) -> Mapping[ErrorCode, str]:
        """The service's own words for errors that do not arise in one of its flags."""
        ...

    def read_user(self, user: object) -> UserContext:
        """Give the context for a user as the service's own client takes it; a context as it is.

        Raises:
            ContextError: it is none that the service would take.
        """
        ...

    def refusal(self, space: Space, key: object, failure: Outcome | None) -> Outcome | None:
        """Say what the service's own client refuses in a call before it looks for flags.

        Args:
            space: what is asked for.
            key: as the caller wrote it.
            failure: the outcome for a user whom `read_user` refuses; None for any other.

        Returns:
            The outcome; None when it would look for the flag first, as most do.
        """
        ...

    def compile(self, documents: Sequence[Document], kept: Sequence[str], previous: Snapshot | None) -> Compilation:
        """Compile all flags.

        Args:
            documents: what has arrived. Complete, and a later one wins over an earlier one; or one message of a
                stream, which may alter `previous` in part.
            kept: names of documents that are in force but cannot be read now; their flags stay as `previous`
                has them, in front of those of `documents`.
            previous: the snapshot in force, to reuse what has not changed.

        Returns:
            The new snapshot, and an error for each document that is refused; its flags stay as they were.
        """
        ...

    def dump(self, snapshot: Snapshot) -> Iterable[bytes] | None:
        """Write a snapshot as one document that `compile` reads, in small pieces, to be kept for the next start.

        Returns:
            The pieces of the text, made as they are taken; None for a dialect whose documents are at hand anyway.
        """
        ...
