"""Runs one program under a recorder, in a process of its own: `python -P scavenger_program.py <job file>`.

The job is JSON: `config` (arguments of UsageConfig), `import_from` (put on `sys.path`), `before`, `script`, and `report`,
a folder for what was recorded: one file per process. The program's output is this process's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from flagmw.usage.codebase import Scanner
from flagmw.usage.config import UsageConfig
from flagmw.usage.recording import recorder_for


def main(job: dict[str, Any]) -> None:
    config = UsageConfig(**{name: _frozen(value) for name, value in job["config"].items()})
    recorder = recorder_for(config)
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
        os._exit(0)

    code_base = Scanner(config).scan()
    os.register_at_fork(after_in_child=recorder.forked)
    sys.path.insert(0, job["import_from"])
    namespace = {"__name__": "__main__", "finish_child": finish_child}
    exec(compile(job["before"], "<before>", "exec"), namespace)
    recorder.start()
    try:
        exec(compile(job["script"], "<script>", "exec"), namespace)
    finally:
        report()
        recorder.stop()


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
