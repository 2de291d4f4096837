"""Measures calls of functions that are watched, and of the same that are not. Runs in the official agent's Python too."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from benchmarks.timing import Pace, Run, in_turn, statement
from benchmarks.usage_parts.inside import answer

SOURCE = """
def function(a, b): return a

class Kind:
    def method(self, a): return a
kind = Kind()

def make():
    def closure(a): return a
    return closure
closure = make()

def generator(a): yield a

def loop(a):
    total = 0
    for number in range(20):
        total += number
    return total
"""
STATEMENTS = {
    "function": "m.function(1, 2)",
    "method": "m.kind.method(1)",
    "closure": "m.closure(1)",
    "generator": "next(m.generator(1))",
    "loop": "m.loop(1)",
}


def modules() -> tuple[str, str]:
    """Write the same module into two packages, of which one is to be watched."""
    for package in ("watched", "alone"):
        os.mkdir(package)
        for name, text in (("__init__", ""), ("functions", SOURCE)):
            with open(f"{package}/{name}.py", "w", encoding="utf-8") as file:
                file.write(text)
    sys.path.insert(0, os.getcwd())
    return "watched.functions", "alone.functions"


def watch_by_ours() -> Any:
    """Start our agent."""
    from flagmw.usage import Agent, UsageConfig

    agent = Agent(UsageConfig(packages=("watched",), codebase=(".",), store="usage.db"))
    agent.start()
    return agent


def watch_by_official() -> Any:
    """Start what of the official agent sees calls; there is no collector, without which the rest does not start."""
    from scavenger.internal.invocation_registry import InvocationRegistry
    from scavenger.internal.patch import Patcher

    patcher = Patcher(["watched"], [], [], exclude_init=False, invocation_registry=InvocationRegistry())
    patcher.patch()
    return patcher


def pair(statement_text: str, on: ModuleType, off: ModuleType) -> tuple[Run, Run]:
    """Give the same call in both modules."""
    return statement(statement_text, m=on), statement(statement_text, m=off)


def main() -> None:
    """Start an agent, import both modules, and measure when asked."""
    watched, alone = modules()
    agent = {"ours": watch_by_ours, "official": watch_by_official}[sys.argv[1]]()
    on, off = importlib.import_module(watched), importlib.import_module(alone)
    answer(
        lambda pace: {kind: in_turn(pair(text, on, off), Pace(**pace)) for kind, text in STATEMENTS.items()},
    )
    del agent


if __name__ == "__main__":
    main()
