"""Runs the vectors of the usage agent: what a scan finds, and fingerprints."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from flagmw.usage.archives import Archives
from flagmw.usage.codebase import Scanner, official_fingerprint, official_functions
from flagmw.usage.config import UsageConfig
from flagmw.usage.files import find_files, roots_of
from flagmw.usage.functions import CodeBase, Function, FunctionKind


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
    yield from _file_failures(config, expected)
    official = official_functions(config)
    found = Scanner(config).scan()
    places = {_place(function) for function in found.functions}
    if missing := [function.signature for function in official if _place(function) not in places]:
        yield f"the scanner does not find {missing}"
    if "error" in expected:
        # the official scanner raises; ours names the bad files, and finds what is in the others
        yield from _problem_failures(found, expected)
        return
    got = Counter(tuple(_entry(function).items()) for function in official)
    wanted = Counter(tuple(sorted(entry.items())) for entry in expected["functions"])
    if got != wanted:
        yield f"missing {wanted - got}, extra {got - wanted}"
    if _official_fingerprint(config, (function.signature for function in official)) != expected["fingerprint"]:
        yield "another fingerprint"
    yield from _own_failures(found, expected)


def _file_failures(config: UsageConfig, expected: Any) -> Iterable[str]:
    """Compare the files; a folder called as a module is one of them."""
    with Archives() as archives:
        found = [file.shown_path for file in find_files(config, roots_of(config), archives).files]
    wanted = [str(PurePath(folder, path)) for folder, path in expected["files"]]
    if Counter(found) != Counter(wanted):
        yield f"files {found}, expected {wanted}"


def _own_failures(found: CodeBase, expected: Any) -> Iterable[str]:
    """Compare what the scanner itself found; it names a place once, though several folders may lead there."""
    for member, kind in (("functions", FunctionKind.DEF), ("async_functions", FunctionKind.ASYNC)):
        own = {function.signature for function in found.functions if function.kind is kind}
        wanted = {entry["signature"] for entry in expected.get(member, ())}
        several = len({folder for folder, _ in expected["files"]}) > 1
        if own - wanted or (wanted - own and not several):
            yield f"{member} of the scanner: {sorted(own)}, expected {sorted(wanted)}"


def _problem_failures(found: CodeBase, expected: Any) -> Iterable[str]:
    """See that exactly those files are named that Python cannot load either."""
    named = {problem.path for problem in found.problems}
    for folder, path in expected["files"]:
        shown = str(PurePath(folder, path))
        if (shown in named) == _is_loadable(Path(shown)):
            yield f"{shown} is {'' if shown in named else 'not '}named as a problem"


def _is_loadable(path: Path) -> bool:
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return False
    return True


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
