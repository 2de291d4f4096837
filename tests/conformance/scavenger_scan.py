"""Runs the vectors of the usage agent: what a scan finds, and fingerprints."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flagmw.usage.codebase import Scanner, official_fingerprint, official_functions
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import Function, FunctionKind


def run(data: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Run one vector file.

    Returns:
        How many cases of each kind ran, and what differed.
    """
    if "files" not in data:
        failures = [failure for case in data["cases"] for failure in _fingerprint_failures(case)]
        return {"fingerprint": len(data["cases"])}, failures
    needed = tuple(int(number) for number in data.get("needs_python", "3").split("."))
    if sys.version_info < needed:
        return {f"scan that needs Python {data['needs_python']}": len(data["cases"])}, []
    write_files(data["files"], folder)
    with contextlib.chdir(folder):
        failures = [f"{case['name']}: {failure}" for case in data["cases"] for failure in _scan_failures(case)]
    return {"scan": len(data["cases"])}, failures


def write_files(files: Mapping[str, Any], folder: Path) -> None:
    """Write a sample package."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content["base64"]) if isinstance(content, dict) else content.encode())


def config_of(members: Mapping[str, Any]) -> UsageConfig:
    """Make a configuration of the members that a case has, also where ours would refuse what the official one takes."""
    config = UsageConfig(packages=("any",), exclude_init=members.get("exclude_init", False))
    for name in ("codebase", "packages", "exclude_packages", "decorators"):
        object.__setattr__(config, name, tuple(members.get(name, ())))
    return config


def _fingerprint_failures(case: Any) -> Iterable[str]:
    got = _official_fingerprint(config_of(case["config"]), case["signatures"])
    if got != case["fingerprint"]:
        yield f"{case['name']}: {got}, expected {case['fingerprint']}"


def _official_fingerprint(config: UsageConfig, signatures: Iterable[str]) -> object:
    try:
        return official_fingerprint(config, signatures)
    except OverflowError:
        return {"error": "OverflowError"}


def _scan_failures(case: Any) -> Iterable[str]:
    config, expected = config_of(case["config"]), case["expect"]
    official = official_functions(config)
    found = Scanner(config).scan()
    if "error" in expected:
        yield from _bad_file_failures(config, expected)
        return
    got = Counter(tuple(_entry(function).items()) for function in official)
    wanted = Counter(tuple(sorted(entry.items())) for entry in expected["functions"])
    if got != wanted:
        yield f"missing {wanted - got}, extra {got - wanted}"
    if _official_fingerprint(config, (function.signature for function in official)) != expected["fingerprint"]:
        yield "another fingerprint"
    ours = {_place(function): function.signature for function in found.functions}
    for kind, functions in (("functions", FunctionKind.DEF), ("async_functions", FunctionKind.ASYNC)):
        signatures = {function.signature for function in found.functions if function.kind is functions}
        if signatures != {entry["signature"] for entry in expected.get(kind, ())}:
            yield f"{kind} of the scanner: {sorted(signatures)}"
    if not {_place(function) for function in official} <= ours.keys():
        yield "the scanner does not find every place"


def _bad_file_failures(config: UsageConfig, expected: Any) -> Iterable[str]:
    """The official scanner raises; ours names the bad file, and finds the rest."""
    found = Scanner(config).scan()
    if not found.problems:
        yield f"no problem was reported where the official scanner raises {expected['error']}"


def _entry(function: Function) -> dict[str, str]:
    return {
        "declaring_type": function.declaring_type,
        "method_name": function.name,
        "modifiers": "public",
        "package_name": function.package_name,
        "parameter_types": function.parameter_types,
        "signature": function.signature,
        "signature_hash": function.signature_hash,
        "visibility": "public",
    }


def _place(function: Function) -> tuple[str, int, str]:
    return function.path, function.first_line, function.name
