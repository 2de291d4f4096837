"""Fingerprints of a code base: one text for one set of functions, by which a collector knows a build again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from flagmw.usage.config import UsageConfig

_FORM = "flagmw 1"
"""Begins what is hashed, so that another way of building it gives other fingerprints."""


def fingerprint(config: UsageConfig, signatures: Iterable[str]) -> str:
    """Give the agent's own fingerprint: SHA-256 in lower-case hexadecimal digits.

    It depends on the set of signatures, on what the configuration leaves out, and on the environment, since a collector
    that knows a fingerprint takes no functions for another environment. It does not depend on where the files lie.
    """
    filters = [*_counted(config.packages), *_counted(config.exclude_packages), *_counted(config.decorators)]
    texts = [_FORM, config.environment, *filters, str(config.exclude_init), *sorted(set(signatures))]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def official_fingerprint(config: UsageConfig, signatures: Iterable[str]) -> str:
    """Give the fingerprint of the official Scavenger agent.

    Args:
        config: of it, the folders, packages, excluded packages and exclude_init count.
        signatures: in the order of the scan, repeated ones included.

    Raises:
        OverflowError: there are more than 255, as in the official agent.

    Source: the official agent's rules; cases in the conformance tests.
    """
    ordered = list(signatures)
    settings = f"{list(config.codebase)}{list(config.packages)}{list(config.exclude_packages)}{config.exclude_init}"
    digest = hashlib.sha256(settings.encode())
    digest.update(len(ordered).to_bytes(1, "big"))
    for signature in ordered:
        digest.update(signature.encode())
    return digest.hexdigest()


def _counted(names: Iterable[str]) -> list[str]:
    """Write a list so that no other list of texts reads the same."""
    known = list(names)
    return [str(len(known)), *known]
