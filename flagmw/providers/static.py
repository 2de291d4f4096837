"""`Static`: flags that the program holds in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flagmw.core.documents import Document
from flagmw.dialects import Dialect
from flagmw.dialects.flagd import FlagdDialect
from flagmw.dialects.flagd.fractional import Fractional
from flagmw.errors import ConfigError
from flagmw.events import Sink
from flagmw.providers.files import check_fractional
from flagmw.transports import Source
from flagmw.transports.memory import MemoryChannel, MemorySource

_DOCUMENT_MEMBERS = {"flags", "$evaluators", "metadata", "$schema"}


class Static:
    """Flags that the program holds in memory: for tests, and for running without any file.

    Args:
        flags: a flagd document (a mapping with `flags`), or plain values by flag key.
        fractional: how percentage rollouts hash, see `FlagFile`.
        sink: takes exposures and metrics, for example a `flagmw.events.memory.MemorySink`.

    Raises:
        ConfigError: not a mapping, or values that are no JSON.
    """

    def __init__(
        self, flags: Mapping[str, Any] | None = None, *, fractional: Fractional = "v2", sink: Sink | None = None
    ) -> None:
        """Take the flags; a document with defects is reported when it is used, as a file's would be."""
        check_fractional(fractional)
        self._fractional: Fractional = fractional
        self._sink = sink
        self._channel = MemoryChannel(_static_document(flags if flags is not None else {}))

    def update(self, flags: Mapping[str, Any]) -> None:
        """Replace all flags; all clients of this process evaluate the new ones when this returns.

        Raises:
            ConfigError: as the constructor.
        """
        self._channel.put(_static_document(flags))

    def dialect(self) -> Dialect:
        """Make the dialect of the document."""
        return FlagdDialect(fractional=self._fractional, wall_clock=time.time)

    def source(self) -> Source:
        """Make a source of what is held."""
        return MemorySource(self._channel)

    def sink(self) -> Sink | None:
        """Give the sink that was passed."""
        return self._sink

    def place(self) -> None:
        """Nothing is shared."""

    def cache(self) -> None:
        """There is nothing to keep."""

    def __repr__(self) -> str:
        """Name the provider; its flags may be many."""
        return "Static(...)"


def _static_document(flags: Mapping[str, Any]) -> Document:
    if not isinstance(flags, Mapping):
        raise ConfigError(f"Static takes a mapping of flags, got {type(flags).__name__}")
    is_document = isinstance(flags.get("flags"), Mapping) and flags.keys() <= _DOCUMENT_MEMBERS
    if is_document:
        return Document(name="Static", content=flags)
    return Document(name="Static", content={"flags": {key: _fixed_flag(value) for key, value in flags.items()}})


def _fixed_flag(value: Any) -> dict[str, Any]:
    """Make a flag that gives everybody one value."""
    if isinstance(value, bool):
        return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on" if value else "off"}
    return {"state": "ENABLED", "variants": {"value": value}, "defaultVariant": "value"}
