"""Runs flagd vectors through what a user calls: a client on a flag file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw import Client, State, UserContext
from flagmw.core.bucketing import murmur3_32
from flagmw.core.cbor import encode_cbor
from flagmw.evaluation import Evaluation
from flagmw.providers import FlagFile

KINDS: dict[str, Any] = {
    "boolean": "boolean",
    "string": "string",
    "integer": "integer",
    "float": "number",
    "object": "json",
}


def run(vectors: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Run one file's cases.

    Returns:
        How many cases ran, by kind, and one line for each that failed.
    """
    if "cases" in vectors:
        return _run_cases(vectors, folder)
    if "documents" in vectors:
        return _run_load_errors(vectors, folder)
    if "murmur3_32" in vectors:
        return _run_hashes(vectors)
    return {}, ["the file holds nothing that a flagd runner knows"]


def _run_cases(vectors: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    counts: dict[str, int] = {}
    failures: list[str] = []
    for kind, path in _documents(vectors, folder):
        with Client(FlagFile(path, fractional=vectors["fractional"] or "v2", watch=False)) as client:
            if client.status.state is not State.OK:
                return counts, [f"{path.name}: {client.status.error}"]
            for number, case in enumerate(vectors["cases"]):
                counts[kind] = counts.get(kind, 0) + 1
                attributes = dict(case["context"])
                context = UserContext(attributes.pop("targetingKey", None), attributes=attributes)
                found = client.variation_detail(case["key"], context, case["default"], KINDS[case["type"]])
                failures.extend(f"{path.name} case {number}: {line}" for line in _differences(case, found))
    return counts, failures


def _documents(vectors: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    as_json = folder / "flags.json"
    as_json.write_text(json.dumps(vectors["flags"]), encoding="utf-8")
    yield "cases", as_json
    if "flags_yaml" in vectors:
        as_yaml = folder / "flags.yaml"
        as_yaml.write_text(vectors["flags_yaml"], encoding="utf-8")
        yield "cases again as YAML", as_yaml


def _differences(case: Any, found: Evaluation) -> Iterator[str]:
    expect = case["expect"]
    if not same(found.value, expect["value"]):
        yield f"{case['key']}: value {found.value!r}, expected {expect['value']!r}"
    if case["type"] in {"integer", "float"} and expect["error_code"] is None and found.variation is not None:
        kind = int if case["type"] == "integer" else float
        if type(found.value) is not kind:
            yield f"{case['key']}: value of type {type(found.value).__name__}, expected {kind.__name__}"
    for name, value in (
        ("variant", found.variation),
        ("reason", found.reason),
        ("error_code", found.error_code),
    ):
        if value != expect[name]:
            yield f"{case['key']}: {name} {value!r}, expected {expect[name]!r}"
    if "metadata" in expect and not same(dict(found.metadata), expect["metadata"]):
        yield f"{case['key']}: metadata {dict(found.metadata)!r}, expected {expect['metadata']!r}"


def same(a: Any, b: Any) -> bool:
    """Compare JSON values: 1 and 1.0 are the same number, true is none."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _run_load_errors(vectors: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    failures = []
    for number, document in enumerate(vectors["documents"]):
        path = folder / f"broken_{number}.json"
        path.write_text(document["text"], encoding="utf-8")
        with Client(FlagFile(path, watch=False)) as client:
            if client.status.flags or client.status.error is None:
                failures.append(f"{document['why']}: the document was accepted")
    return {"load errors": len(vectors["documents"])}, failures


def _run_hashes(vectors: Any) -> tuple[dict[str, int], list[str]]:
    failures = [
        f"murmur3_32 of {row['text']!r}"
        for row in vectors["murmur3_32"]
        if murmur3_32(row["text"].encode()) != row["hash"]
    ]
    for row in vectors["cbor"]:
        value = row["value"]
        encoded = encode_cbor(value)
        if encoded.hex() != row["encoded"] or murmur3_32(encoded) != row["hash"]:
            failures.append(f"CBOR of {value!r}: {encoded.hex()}")
    return {"hashes": len(vectors["murmur3_32"]) + len(vectors["cbor"])}, failures
