"""Makes many functions, has them watched, and says how long each step took."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from benchmarks.usage_parts.inside import answer

IN_A_MODULE = 100
KINDS = (
    "def plain{n}(a=1):\n    return [a, {n}]\nCALLS.append(plain{n})\n",
    "class K{n}:\n    def method(self, a=1):\n        return self, a, {n}\nCALLS.append(K{n}().method)\n",
    "@kept\ndef view{n}(a=1):\n    return {n} if a else None\n",
    "CALLS.append(lambda a=1: a or {n})\n",
)
"""One function each; what decorates them is one more in each module."""

HEAD = "CALLS = []\ndef kept(function):\n    CALLS.append(function)\n"


def written(package: str, number: int) -> list[str]:
    """Write modules with so many functions in all, and give their names."""
    os.mkdir(package)
    names = ["__init__"] + [f"m{module}" for module in range(number // IN_A_MODULE)]
    for name in names:
        functions = (KINDS[n % len(KINDS)].format(n=n) for n in range(IN_A_MODULE - 1))
        with open(f"{package}/{name}.py", "w", encoding="utf-8") as file:
            file.write("" if name == "__init__" else HEAD + "".join(functions))
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return [f"{package}.{name}" for name in names[1:]]


def imported(names: list[str]) -> list[ModuleType]:
    return [importlib.import_module(name) for name in names]


def recorder() -> Any:
    from flagmw.usage import UsageConfig
    from flagmw.usage.recording import recorder_for

    return recorder_for(UsageConfig(packages=("watched",), codebase=(".",)))


def seconds(work: Callable[[], object]) -> float:
    """Time something, while the garbage collector rests."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    work()
    took_s = time.perf_counter() - began
    gc.enable()
    return took_s


def private_kib() -> int:
    """Give the memory that is this process's own."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


def attach(number: int) -> dict[str, float]:
    """Attach to functions that exist."""
    modules = imported(written("watched", number))
    watching = recorder()
    took_s = seconds(watching.start)
    call_all(modules)
    assert len(watching.take()) == number - number // IN_A_MODULE
    return {"attach": took_s}


def call_all(modules: list[ModuleType]) -> None:
    for module in modules:
        for function in module.CALLS:
            function()


def watch(number: int) -> dict[str, float]:
    """Import functions, watched and not, run them, and watch them again."""
    import compileall

    first, alone, names = written("first", number // 5), written("alone", number), written("watched", number)
    for folder in ("first", "alone", "watched"):
        compileall.compile_dir(folder, quiet=2)
    watching = recorder()
    watching.start()
    imported(first)  # what the first imports of a process cost is nobody's
    before = private_kib()
    alone_s = seconds(lambda: imported(alone))
    between = private_kib()
    modules: list[ModuleType] = []
    watched_s = seconds(lambda: modules.extend(imported(names)))
    after = private_kib()
    watching.take()
    first_s = seconds(lambda: call_all(modules))
    later_s = min(seconds(lambda: call_all(modules)) for _ in range(3))
    taken: list[Any] = []
    take_s = seconds(lambda: taken.extend(watching.take()))
    assert len(taken) == number - number // IN_A_MODULE, len(taken)
    return {
        "import": watched_s - alone_s,
        "hit": first_s - later_s,
        "take": take_s,
        "idle": seconds(watching.take),
        "kib": after - between - (between - before),
    }


def main() -> None:
    """Answer what is asked."""

    def answered(question: dict[str, int]) -> dict[str, float]:
        ((what, number),) = question.items()
        return {"attach": attach, "watch": watch}[what](number)

    answer(answered)


if __name__ == "__main__":
    main()
