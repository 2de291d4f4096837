"""The programs in `usage_programs/`, each run without a recorder, under `sys.setprofile` for the truth, and under ours.

Also a script, for interpreters without pytest: `PYTHONPATH=. python tests/unit/usage_recording_programs.py [name ...]`.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.conformance.scavenger_runtime import recording_differences, run_program

FOLDER = Path(__file__).with_name("usage_programs")
HEAD = "=== "


def load(name: str) -> dict[str, Any]:
    """Read a program: parts with a heading each, which is a file's name or one of those below."""
    parts: dict[str, str] = {}
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith(HEAD):
            heading = line.removeprefix(HEAD).strip()
            parts[heading] = ""
        else:
            parts[heading] += line
    options = dict(line.partition(" ")[::2] for line in parts.pop("options", "").splitlines())
    package = options.get("package", "app")
    return {
        "name": name,
        "before": parts.pop("before", ""),
        "script": parts.pop("script"),
        "executed": parts.pop("executed", "").splitlines(),
        "files": {f"{package}/__init__.py": ""} | parts,
        "start_by_hand": "start_by_hand" in options,
        "needs_python": tuple(int(part) for part in options.get("python", "3").split(".")),
        "needs": options.get("needs"),
        "layouts": options.get("layouts", "source").split(),
        "on_stack": {options["on_stack"]} if "on_stack" in options else set(),
        "resumed": {options["resumed"]} if "resumed" in options else set(),
        "config": {"codebase": ["."], "packages": [package]},
    }


def names() -> list[str]:
    """Give the programs that this interpreter can compile, and has the libraries for."""
    loaded = [load(path.stem) for path in sorted(FOLDER.glob("*.txt"))]
    return [
        one["name"]
        for one in loaded
        if sys.version_info >= one["needs_python"]
        and (one["needs"] is None or importlib.util.find_spec(one["needs"]) is not None)
    ]


def cases() -> list[tuple[str, str]]:
    """Give each program with each layout that it can have."""
    return [(name, layout) for name in names() for layout in load(name)["layouts"]]


def differences(name: str, layout: str, folder: Path) -> list[str]:
    """Say what our recorder missed, made up or disturbed."""
    program = load(name)
    expected, _ = run_program(program | {"layout": layout}, folder / "none", "none")
    printed, found = run_program(program | {"layout": layout}, folder / "ours", "ours")
    return [
        *([] if printed == expected else [f"printed {printed}\nand without a recorder {expected}"]),
        *recording_differences(_truth(name), found),
    ]


@functools.cache
def _truth(name: str) -> dict[str, Any]:
    program = load(name)
    with tempfile.TemporaryDirectory() as folder:
        _, truth = run_program(program, Path(folder), "profile")
    return {
        "functions": {signature for one in truth for signature in one["exists"]},
        "executed": program["executed"] or (_ran(truth, in_child=False) | program["on_stack"]) - program["resumed"],
        "executed_in_child": _ran(truth, in_child=True),
    }


def _ran(reports: Iterable[dict[str, Any]], *, in_child: bool) -> set[str]:
    return {signature for one in reports if one["in_child"] is in_child for signature in one["ran"]}


def main(chosen: list[str]) -> int:
    failures = 0
    for name, layout in cases():
        if chosen and name not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = differences(name, layout, Path(folder))
        failures += bool(found)
        print(name, layout, "\n".join(["differs:", *found]) if found else "is right")
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
