"""Programs for the tests of probes, and ways to run them: plainly, rewritten, and under an independent profiler."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NamedTuple

from flagmw.usage import probes

IS_OURS = sys.version_info[:2] == (3, 11)
"""Whether this Python's code can be rewritten at all."""

MANY = ", ".join(str(number * 1000 + 0.5) for number in range(300))

PROGRAMS = {
    "nothing runs": "def f(): return 1\nresult = None",
    "plain functions": "def f(a, b=2): return a + b\ndef g(): return 1\nresult = f(1)",
    "lambdas": "a = lambda x: x\nb = lambda: 1\nresult = a(3)",
    "a class": """
class K:
    def __init__(self): self.v = 1
    @property
    def p(self): return self.v
    @classmethod
    def c(cls): return cls()
    @staticmethod
    def s(): return 5
    def unused(self): return super().__str__()
    class Inner:
        def m(self): return __class__.__name__
result = [K.c().p, K.Inner().m()]
""",
    "closures": """
def outer(n):
    def inner(m):
        nonlocal n
        n += m
        return n
    def never(): return n
    return inner
add = outer(1)
result = [add(1), add(2), outer(5)(5)]
""",
    "a cell for a parameter": "def f(a, *r, k=1, **w):\n    return [lambda: (a, r, k, w)][0]\nresult = f(1, 2, k=3, z=4)()",
    "generators": """
def begun():
    yield 1
    yield 2
def not_begun():
    yield 1
def delegating():
    got = yield from begun()
    return got
kept = not_begun()
result = list(delegating())
del kept
""",
    "sending and throwing": """
def g():
    got = None
    while True:
        try:
            got = yield got
        except ValueError as error:
            got = str(error)
k = g(); next(k)
result = [k.send(1), k.throw(ValueError("x")), k.send(2)]
k.close()
""",
    "coroutines": """
import asyncio
async def leaf(n): return n
async def never(): return 0
async def numbers():
    for n in range(3):
        yield await leaf(n)
async def main():
    unawaited = never(); unawaited.close()
    return [n async for n in numbers()]
result = asyncio.run(main())
""",
    "async with and tasks": """
import asyncio
class C:
    async def __aenter__(self): return self
    async def __aexit__(self, *a): return True
async def failing():
    async with C():
        raise ValueError
    return "went on"
async def main():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(failing()) for _ in range(3)]
    return [task.result() for task in tasks]
result = asyncio.run(main())
""",
    "try first": """
def f():
    try:
        raise ValueError("x")
    except ValueError as error:
        return str(error)
    finally:
        g()
def g():
    try:
        return 1
    except Exception:
        return 2
result = f()
""",
    "with first": """
import contextlib
@contextlib.contextmanager
def c():
    try:
        yield 1
    finally:
        pass
def f():
    with c() as got, contextlib.suppress(KeyError):
        raise KeyError(got)
    return got
result = f()
""",
    "while True first": """
def f(n=0):
    while True:
        n += 1
        if n > 5000:
            return n
def g():
    for n in iter(int, 1):
        pass
result = f()
""",
    "exception groups": """
def f(depth):
    got = None
    try:
        if depth:
            raise ExceptionGroup("g", [ValueError(depth), OSError(f(depth - 1)), KeyError(depth)])
    except* ValueError as group:
        got = len(group.exceptions)
    except* (KeyError, OSError) as group:
        try:
            raise group
        except* KeyError:
            got = [got, depth]
        except* OSError as errors:
            got = [got, str(errors.exceptions)]
    return got
result = f(20)
""",
    "300 constants": f"def f():\n    return [[{MANY}], lambda: [{MANY}]]\nresult = len(f()[0])",
    "300 names": "def f(o):\n" + "".join(f"    o.n{n} = {n}\n" for n in range(300)) + "    return o\n"
    "class O: pass\nresult = f(O()).n299",
    "300 cells": "def f():\n"
    + "".join(f"    c{n} = {n}\n" for n in range(300))
    + "    def g():\n        return "
    + " + ".join(f"c{n}" for n in range(300))
    + "\n    return g\nresult = f()()",
    "a far handler": "def f(n):\n    try:\n"
    + "".join(f"        n = n + {k}.5\n" for k in range(400))
    + "        raise KeyError\n    except KeyError:\n        return n\nresult = f(0)",
    "recursion": "def f(n): return n and f(n - 1)\nresult = f(300)",
    "comprehensions": """
def f(): return [lambda: n for n in range(3)]
result = [g() for g in f()] + [x for x in (y for y in {1, 2})]
""",
    "decorators": """
import functools
kept = []
def plain(function):
    def wrapper(*a): return function(*a)
    return wrapper
def route(function):
    kept.append(function)
    return None
@plain
@functools.lru_cache
def f(n): return n
@route
def view(): return "seen"
@functools.singledispatch
def d(a): return "base"
@d.register
def _(a: int): return "int"
result = [f(1), kept[0](), d(1)]
""",
    "a coroutine made of a generator": """
import types, asyncio
@types.coroutine
def pause():
    yield
@types.coroutine
def never():
    yield
async def main():
    await pause()
    return "done"
result = asyncio.run(main())
""",
    "dataclasses": """
from dataclasses import dataclass, field
@dataclass(slots=True)
class P:
    x: int
    y: list = field(default_factory=lambda: [1])
    def m(self): return self.x
    def __post_init__(self): self.x += 1
result = [P(1).m(), P(2).y]
""",
    "matching": """
def f(v):
    match v:
        case {"a": [x, *rest]} if rest: return x, rest
        case int() | str(): return "scalar"
        case _: return None
result = [f({"a": [1, 2]}), f(1), f(None)]
""",
    "during a class statement": """
class Meta(type):
    def __new__(cls, *a, **k): return super().__new__(cls, *a)
    def __prepare__(name, bases, **k): return {}
class Base(metaclass=Meta):
    def __init_subclass__(cls, **k): cls.made = True
    def __set_name__(self, owner, name): self.name = name
class D(Base, key=1):
    field = Base()
    def unused(self): pass
result = [D.made, D.field.name]
""",
}


class Ran(NamedTuple):
    """What came of a program.

    Attributes:
        result: its variable of that name.
        probes: all that were put in.
    """

    result: Any
    probes: tuple[probes.Probe, ...]

    @property
    def hits(self) -> set[tuple[str, int]]:
        return {named(probe.code) for probe in self.probes if probe.was_hit}


def compiled(source: str, name: str = "program") -> CodeType:
    """Compile a program, always anew."""
    return compile(source, f"<{name}>", "exec", dont_inherit=True)


def run(code: CodeType) -> dict[str, Any]:
    """Execute a module's code."""
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(code, namespace)  # the programs above
    return namespace


def run_rewritten(source: str) -> Ran:
    """Execute a program with probes in it."""
    rewritten = probes.rewrite(compiled(source))
    return Ran(run(rewritten.code)["result"], rewritten.probes)


def named(code: CodeType) -> tuple[str, int]:
    """Name code so that the rewritten one can be compared with the other."""
    return code.co_qualname, code.co_firstlineno


def seen_by_profiler(work: Callable[[], object], filename: str = "<program>") -> set[tuple[str, int]]:
    """Give the functions of a file that run, as Python's own profiling hook sees them."""
    seen = set()
    no_functions = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename == filename and code.co_name not in no_functions:
            is_class_body = not code.co_flags & inspect.CO_NEWLOCALS
            # a generator that is closed before it is advanced is called too, to throw something into it
            is_before_prologue_ends = frame.f_lasti < start_of(code)
            if not is_class_body and not is_before_prologue_ends:
                seen.add(named(code))

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


@functools.cache
def start_of(code: CodeType) -> int:
    """Give the offset at which a function begins, by the standard library's disassembler."""
    return next(instruction.offset for instruction in dis.get_instructions(code) if instruction.opname == "RESUME")


def function(source: str, name: str = "f") -> tuple[Callable[..., Any], probes.Probe]:
    """Give one function of a source, and its probe."""
    rewritten = probes.rewrite(compiled(source))
    (probe,) = [probe for probe in rewritten.probes if probe.code.co_name == name]
    return run(rewritten.code)[name], probe
