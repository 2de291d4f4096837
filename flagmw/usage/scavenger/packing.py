"""What is sent of a code base and of what ran: within the collector's limits, in messages that it takes. Pure.

Source: the limits of the collector's columns, and what makes its snapshots fail, as the protocol's notes have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, Function
from flagmw.usage.seams import ProcessIdentity

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""A collector takes 10 MB unless its operator says otherwise."""

LEAST_MILLIS = 1_490_000_000_000
"""A collector refuses times before, which is what hosts without a clock have."""

MAX_SIGNATURE_BYTES = 65_535
MAX_PARENT_CHARS = 1_000
MAX_DECLARING_TYPE_CHARS = 256
HASH_BYTES = 40
"""Of one entry, at most, with what surrounds it."""

_LIMITS: Mapping[str, int] = {"app_name": 255, "app_version": 80, "environment": 255, "hostname": 255}
_ENTRY_BYTES = 96
"""Of one entry besides its names, at most."""


def millis(at_s: float) -> int:
    """Give a time as the collector counts it."""
    return max(int(at_s * 1000), LEAST_MILLIS)


def is_known_to_snapshots(function: Function) -> bool:
    """Tell whether the collector can show a function; one that it cannot makes every snapshot fail as a whole."""
    signature = function.signature
    before, parenthesis, after = signature.partition("(")
    if not (before and parenthesis and after) or before.endswith(".") or len(before) > MAX_PARENT_CHARS:
        return False
    if signature.isascii():
        return len(signature) <= MAX_SIGNATURE_BYTES
    try:
        return len(signature.encode("utf-8")) <= MAX_SIGNATURE_BYTES
    except UnicodeEncodeError:  # the name of a file that is no text
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The functions that are sent of a code base.

    Attributes:
        functions: each hash once, sorted by it, so that equal code bases are equal.
        left_out: how many the collector cannot take.
        cut: of how many the declaring type is cut.
    """

    functions: tuple[Function, ...]
    left_out: int
    cut: int


def pack(code_base: CodeBase) -> Packed:
    """Choose what is sent of a code base."""
    chosen: dict[str, Function] = {}
    left_out = cut = 0
    for function in code_base.functions:
        if not is_known_to_snapshots(function):
            left_out += 1
            continue
        cut += len(function.declaring_type) > MAX_DECLARING_TYPE_CHARS
        chosen.setdefault(function.signature_hash, function)
    return Packed(functions=tuple(chosen[key] for key in sorted(chosen)), left_out=left_out, cut=cut)


def entry_of(function: Function, *, is_lean: bool) -> dict[str, str]:
    """Give an entry's members.

    Args:
        function: what it is of.
        is_lean: leave out what the collector does not store.
    """
    members = {
        "declaring_type": function.declaring_type[:MAX_DECLARING_TYPE_CHARS],
        "visibility": "public",
        "signature": function.signature,
        "method_name": function.name,
        "modifiers": "public",
        "signature_hash": function.signature_hash,
    }
    if not is_lean:
        members |= {"package_name": function.package_name, "parameter_types": function.parameter_types}
    return members


def entry_bytes(function: Function, *, is_lean: bool) -> int:
    """Tell how many bytes an entry has at most."""
    texts = [function.declaring_type, function.signature, function.name]
    if not is_lean:
        texts += [function.package_name, function.parameter_types]
    return _ENTRY_BYTES + sum(len(text) if text.isascii() else len(text.encode("utf-8")) for text in texts)


class Parts:
    """Entries that are sent in as many messages as it takes, and where that has come to.

    Args:
        sizes: of each entry, in bytes.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._done = 0
        self._is_begun = False

    @property
    def is_over(self) -> bool:
        """Whether all was sent; no entries at all are one empty message."""
        return self._is_begun and self._done == len(self._sizes)

    def next(self, max_bytes: int) -> tuple[int, int]:
        """Give which entries go next, from and up to, in a message of so many bytes; one at least if there are any."""
        first = last = self._done
        total = 0
        while last < len(self._sizes) and (last == first or total + self._sizes[last] <= max_bytes):
            total += self._sizes[last]
            last += 1
        return first, last

    def is_whole(self, first: int, last: int) -> bool:
        """Tell whether these are all entries."""
        return (first, last) == (0, len(self._sizes))

    def sent(self, last: int) -> None:
        """Take note that all up to one were sent."""
        self._is_begun = True
        self._done = last


def part_fingerprint(fingerprint: str, first: int, last: int) -> str:
    """Give the fingerprint of a part: the collector leaves out what has one that it knows."""
    return hashlib.sha256(f"{fingerprint}:{first}:{last}".encode()).hexdigest()


class Sender:
    """What says who sends a message.

    Attributes:
        cut: the names of what is longer than the collector's columns, and is cut.
    """

    def __init__(self, config: UsageConfig, process: ProcessIdentity) -> None:
        found = {
            "app_name": config.app_name,
            "app_version": config.app_version,
            "environment": config.environment,
            "hostname": process.hostname or "unknown",
        }
        found = {name: _written(text) for name, text in found.items()}
        self.cut = tuple(name for name, text in found.items() if len(text) > _LIMITS[name])
        self._texts = {name: text[: _LIMITS[name]] for name, text in found.items()}
        self._api_key = config.api_key or ""
        self._process = process

    def poll(self) -> dict[str, str]:
        """Give the members of a poll."""
        return {"api_key": self._api_key, "jvm_uuid": self._process.uuid}

    def common(self, fingerprint: str, published_at: float) -> dict[str, Any]:
        """Give the members that all publications have."""
        return {
            **self._texts,
            "api_key": self._api_key,
            "code_base_fingerprint": fingerprint[:200],
            "jvm_started_at_millis": millis(self._process.started_at),
            "jvm_uuid": self._process.uuid,
            "published_at_millis": millis(published_at),
        }


def _written(text: str) -> str:
    """Replace what cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
