"""Runs the vectors of the usage agent that are programs: which of their functions ran, as the recorder saw it."""

from __future__ import annotations

import base64
import importlib.util
import json
import py_compile
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

TIMEOUT_S = 60
ARCHIVE = "bundle.zip"
PROGRAM = Path(__file__).with_name("scavenger_program.py")


def run(data: Any, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Run one program in a process of its own, in the layout it asks for."""
    if is_for_newer(data):
        return {"programs for a newer Python": 1}, []
    missing = [name for name in data.get("requires", ()) if importlib.util.find_spec(name) is None]
    if missing:
        return {"programs": 1}, [f"{data['name']} needs {', '.join(missing)}, which cannot be imported"]
    try:
        failures = differences(data, folder)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        failures = [str(error)]
    return {"programs": 1}, [f"{data['name']}: {failure}" for failure in failures]


def is_for_newer(data: Any) -> bool:
    """Tell whether a program says so, or is written with type parameters, which are new in 3.12."""
    needed = tuple(int(part) for part in data.get("needs_python", "3").split("."))
    return sys.version_info < needed or (sys.version_info < (3, 12) and _has_type_parameters(data["files"]))


def _has_type_parameters(files: dict[str, Any]) -> bool:
    texts = [content for name, content in files.items() if name.endswith(".py") and isinstance(content, str)]
    return any(
        re.search(r"^\s*(?:(?:async )?def|class|type) \w+\[.*\]|^\s*type \w+ *=", text, re.MULTILINE) for text in texts
    )


def differences(data: Any, folder: Path) -> list[str]:
    """Say in what a program under the recorder differs from what it does without."""
    stdout, found = run_program(data, folder)
    if stdout != data["stdout"] and any(one["in_child"] for one in found):
        # Nothing says whether `finish_child()` writes what the child printed, which the official run decided.
        stdout, found = run_program(data | {"flush_in_child": True}, folder / "again")
    return [*_output_differences(data, stdout), *recording_differences(data, found)]


def run_program(data: Any, folder: Path, recorder: str = "ours") -> tuple[str, list[dict[str, Any]]]:
    """Run a program; give what it printed, and what the recorder reported in each of its processes.

    Raises:
        RuntimeError: the program failed.
    """
    base, reports = folder / "code", folder / "reports"
    base.mkdir(parents=True)
    reports.mkdir()
    lay_out(data["files"], data.get("layout", "source"), base)
    is_archive = data.get("layout") == "zip"
    config = dict(data["config"])
    if is_archive:
        config["codebase"] = [ARCHIVE if name == "." else f"{ARCHIVE}/{name}" for name in config["codebase"]]
    job = {
        "config": config,
        "import_from": str(base / ARCHIVE if is_archive else base),
        "before": data.get("before") or "",
        "script": data["script"],
        "report": str(reports),
        "recorder": recorder,
        "start_by_hand": data.get("start_by_hand", False),
        "flush_in_child": data.get("flush_in_child", False),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-X", "utf8", str(PROGRAM), str(folder / "job.json")],
        cwd=base,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{data['name']} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout, [json.loads(path.read_text(encoding="utf-8")) for path in sorted(reports.iterdir())]


def lay_out(files: dict[str, Any], layout: str, base: Path) -> None:
    """Write a program's files as sources, as `.pyc` files alone, or into an archive."""
    paths = []
    for name, content in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content["base64"]) if isinstance(content, dict) else content.encode())
        paths.append(path)
    if layout == "source":
        return
    if layout == "pyc":
        for path in paths:
            if path.suffix == ".py":
                py_compile.compile(str(path), cfile=f"{path}c", doraise=True)
                path.unlink()
        return
    with zipfile.ZipFile(base / ARCHIVE, "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(base).as_posix())
            path.unlink()


def _output_differences(data: Any, stdout: str) -> list[str]:
    return [] if stdout == data["stdout"] else [f"printed {stdout!r}, should print {data['stdout']!r}"]


def recording_differences(data: Any, found: list[dict[str, Any]]) -> list[str]:
    functions = {*data["functions"], *data.get("async_functions", ())}
    executed, in_child = set(data["executed"]), set(data.get("executed_in_child", ()))
    ran = {signature for one in found if not one["in_child"] for signature in one["ran"]} & functions
    ran_in_child = {signature for one in found if one["in_child"] for signature in one["ran"]} & functions
    differences = [str(one["problem"]) for one in found if one["problem"] is not None]
    unknown = functions - {signature for one in found for signature in one["exists"]}
    # A child's may be given with or without what its parent did as well.
    for what, signatures in (
        ("not in the scan", unknown),
        ("ran and was not seen", executed - ran),
        ("was seen and did not run", ran - executed),
        ("ran in the child and was not seen", in_child - ran_in_child),
        ("was seen in the child and did not run", ran_in_child - in_child - executed),
    ):
        differences += [f"{what}: {signature}" for signature in sorted(signatures)]
    return differences
