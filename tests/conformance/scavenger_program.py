"""Runs one program under a recorder, in a process of its own: `python -P scavenger_program.py <job file>`.

The job is JSON: `config` (arguments of UsageConfig), `import_from` (put on `sys.path`), `before`, `script`, `report`, a
folder for what was recorded (one file per process), `recorder`: "ours", "profile" (the truth, by `sys.setprofile`) or
"none", `start_by_hand` for a program that calls `start_recorder()`, and `flush_in_child` to have what a child printed
come out. The program's output is this process's.
"""

from __future__ import annotations

import builtins
import dis
import inspect
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

from flagmw.usage.codebase import Scanner
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import CodeBase, Seen
from flagmw.usage.recording import recorder_for
from flagmw.usage.seams import Recorder

_WAITING = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _beginning_of(code: CodeType) -> int:
    return next(one.offset for one in dis.get_instructions(code) if one.opname == "RESUME")


class ProfileRecorder:
    """Sees every call of Python code; knows sources only."""

    problem: str | None = None

    def __init__(self, code_base: CodeBase) -> None:
        self._known = {(one.path, one.first_line, one.name): one.seen for one in code_base.functions}
        self._called: dict[tuple[str, int, str], None] = {}

    def start(self) -> None:
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def take(self) -> Sequence[Seen]:
        self.stop()
        called = [(os.path.realpath(file), line, name) for file, line, name in list(self._called)]
        return [self._known[one] for one in called if one in self._known]

    def forked(self) -> None:
        self._called.clear()

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        # 3.11 tells of a generator that is closed before its code began, too.
        if event == "call" and (not code.co_flags & _WAITING or frame.f_lasti >= _beginning_of(code)):
            self._called[code.co_filename, code.co_firstlineno, code.co_name] = None


class NoRecorder(ProfileRecorder):
    """Sees nothing."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


def main(job: dict[str, Any]) -> None:
    config = UsageConfig(packages=("any",))
    for name, value in job["config"].items():  # past the checks: the official agent takes what ours refuses
        object.__setattr__(config, name, tuple(value) if isinstance(value, list) else value)
    code_base = Scanner(config).scan()
    recorder = _recorder(job.get("recorder", "ours"), config, code_base)
    parent = os.getpid()

    def report() -> None:
        ran = [code_base.find(seen) for seen in recorder.take()]
        found = {
            "problem": recorder.problem,
            "in_child": os.getpid() != parent,
            "ran": sorted({function.signature for function in ran if function is not None}),
            "exists": sorted({function.signature for function in code_base.functions}),
        }
        Path(job["report"], f"{os.getpid()}.json").write_text(json.dumps(found), encoding="utf-8")

    def finish_child() -> NoReturn:
        report()
        if job.get("flush_in_child"):
            sys.stdout.flush()
        os._exit(0)

    os.register_at_fork(after_in_child=recorder.forked)
    sys.path.insert(0, job["import_from"])
    namespace = {"__name__": "__main__", "finish_child": finish_child}
    exec(compile(job["before"], "<before>", "exec"), namespace)
    if job.get("start_by_hand"):
        builtins.start_recorder = recorder.start  # type: ignore[attr-defined]  # what such a program calls
    else:
        recorder.start()
    try:
        exec(compile(job["script"], "<script>", "exec"), namespace)
    finally:
        report()
        recorder.stop()


def _recorder(kind: str, config: UsageConfig, code_base: CodeBase) -> Recorder:
    if kind == "ours":
        return recorder_for(config)
    return {"profile": ProfileRecorder, "none": NoRecorder}[kind](code_base)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
