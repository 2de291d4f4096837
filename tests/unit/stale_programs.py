"""Makes programs that read a flag in all kinds of ways, runs them, and tells which of their lines and marks ran."""

from __future__ import annotations

import dis
import random
import sys
from collections.abc import Callable
from itertools import islice
from types import CodeType, FrameType
from typing import Any

VALUES: tuple[Any, ...] = (True, False, "a", "b", 3)
_MAX_LINES = 4000


class Endless(BaseException):
    """Ends a program that does not end by itself."""


class Flags:
    """Answers for one flag as an accessor does."""

    def __init__(self, value: Any, rng: random.Random) -> None:
        self._value = value
        self._rng = rng

    def is_enabled(self, key: str, default: bool = False) -> bool:
        """Give a boolean flag's value, and for others the default, which may be anything."""
        return self._value if isinstance(self._value, bool) else self._rng.random() < 0.5

    def variation(self, key: str, default: Any = None) -> Any:
        """Give the value."""
        return self._value

    def string(self, key: str, default: str = "") -> str:
        """Give a text."""
        return self._value if isinstance(self._value, str) else self._rng.choice(["a", "b", ""])

    def integer(self, key: str, default: int = 0) -> int:
        """Give a number."""
        return self._value if type(self._value) is int else self._rng.choice([0, 3])

    def variation_detail(self, key: str, default: Any = None) -> Any:
        """Give the value inside an evaluation."""
        return type("Evaluation", (), {"value": self._value})()


class Swallow:
    """A context manager that swallows the exceptions of the program."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> bool:
        return kind is not None and issubclass(kind, Exception)


class Writer:
    """Writes one program. Each `m(number)` in it is a mark."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._marks = 0
        self._names = 0
        self._flag_names: list[str] = []
        self._other_names: list[str] = []

    def program(self) -> str:
        """Write a module with a function `run(flags, a, b)`."""
        body = self._block(1, depth=3, in_loop=False, size=5)
        return "\n".join(["def run(flags, a, b):", *body]) + "\n"

    def _mark(self) -> str:
        self._marks += 1
        return f"m({self._marks})"

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _one(self, *choices: Callable[[], Any]) -> Any:
        return self._rng.choice(choices)()

    # --- conditions -------------------------------------------------------------------------------------------

    def _read(self) -> str:
        return self._rng.choice(
            [
                'flags.is_enabled("k")',
                'flags.variation("k")',
                'flags.string("k", "")',
                'flags.integer("k", default=1)',
                'flags.variation_detail("k").value',
                'flags.variation("other")',
            ]
        )

    def _literal(self) -> str:
        return self._rng.choice(['"a"', '"b"', "True", "False", "3", "None", "1"])

    def _atom(self) -> str:
        read = self._read() if not self._flag_names or self._rng.random() < 0.5 else self._rng.choice(self._flag_names)
        kind = self._rng.randrange(9)
        if kind < 3:
            return read
        if kind == 3:
            return f"{read} {self._rng.choice(['==', '!='])} {self._literal()}"
        if kind == 4:
            return f"{read} {self._rng.choice(['in', 'not in'])} ({self._literal()}, {self._literal()})"
        if kind == 5:
            return f"{read} {self._rng.choice(['is', 'is not'])} {self._rng.choice(['True', 'False', 'None'])}"
        if kind == 6:
            return self._rng.choice(["a", "b", "a > b", *self._other_names])
        if kind == 7:
            return f"({self._name('w')} := {read})"
        return self._mark()

    def _condition(self, depth: int = 2) -> str:
        kind = self._rng.randrange(6) if depth else 0
        if kind == 1:
            return f"not ({self._condition(depth - 1)})"
        if kind in (2, 3):
            word = " and " if kind == 2 else " or "
            return word.join(f"({self._condition(depth - 1)})" for _ in range(self._rng.randint(2, 3)))
        if kind == 4 and self._rng.random() < 0.3:
            return f"bool({self._condition(depth - 1)})"
        return self._atom()

    def _expression(self) -> str:
        kind = self._rng.randrange(5)
        if kind == 0:
            return f"{self._mark()} if {self._condition()} else {self._mark()}"
        if kind == 1:
            return f"({self._condition()}) and {self._mark()}"
        if kind == 2:
            return f"({self._condition()}) or {self._mark()}"
        if kind == 3:
            return f"[{self._mark()} for i in range(2) if {self._condition()} if {self._mark()}]"
        return self._mark()

    # --- statements -------------------------------------------------------------------------------------------

    def _block(self, indent: int, *, depth: int, in_loop: bool, size: int = 3) -> list[str]:
        lines: list[str] = []
        for _ in range(self._rng.randint(1, size)):
            lines += self._statement(indent, depth=depth, in_loop=in_loop)
        return lines

    def _statement(self, indent: int, *, depth: int, in_loop: bool) -> list[str]:
        pad = "    " * indent
        kind = self._rng.randrange(18 if depth else 7)
        if kind == 0:
            name = self._name("x")
            line = f"{pad}{name} = {self._condition()}"
            self._flag_names.append(name)
            return [line]
        if kind == 1 and self._flag_names and self._rng.random() < 0.3:
            return [f"{pad}{self._rng.choice(self._flag_names)} = {self._mark()}"]
        if kind == 2 and self._rng.random() < 0.6:
            return [f"{pad}{self._leaving(in_loop)}"]
        if kind == 3:
            return [f"{pad}if {self._condition()}: {self._mark()}; {self._leaving(in_loop)}"]
        if kind < 7:
            return [f"{pad}{self._expression()}"]
        return self._compound(kind, indent, depth - 1, in_loop=in_loop)

    def _leaving(self, in_loop: bool) -> str:
        return self._rng.choice(
            [f"return {self._mark()}", "raise ValueError", *(["break", "continue"] if in_loop else ["return"])]
        )

    def _compound(self, kind: int, indent: int, depth: int, *, in_loop: bool) -> list[str]:
        pad = "    " * indent
        if kind == 7:
            return [f"{pad}for i in range(a):", *self._block(indent + 1, depth=depth, in_loop=True)]
        if kind == 8:
            lines = [
                f"{pad}while m.some() and ({self._condition()}):",
                *self._block(indent + 1, depth=depth, in_loop=True),
            ]
            if self._rng.random() < 0.3:
                lines += [f"{pad}else:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
            return lines
        if kind == 9:
            return self._try(indent, depth, in_loop=in_loop)
        if kind == 10:
            return [f"{pad}with swallow():", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        if kind == 11:
            return self._match(indent, depth, in_loop=in_loop)
        if kind == 12:
            name, before = self._name("f"), list(self._flag_names)
            lines = [f"{pad}def {name}():", *self._block(indent + 1, depth=depth, in_loop=False), f"{pad}{name}()"]
            self._flag_names = before
            return lines
        return self._if(indent, depth, in_loop=in_loop)

    def _if(self, indent: int, depth: int, *, in_loop: bool) -> list[str]:
        pad = "    " * indent
        lines = [f"{pad}if {self._condition()}:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        for _ in range(self._rng.choice([0, 0, 0, 1, 2])):
            lines += [f"{pad}elif {self._condition()}:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        if self._rng.random() < 0.5:
            lines += [f"{pad}# otherwise", f"{pad}else:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        return lines

    def _try(self, indent: int, depth: int, *, in_loop: bool) -> list[str]:
        pad = "    " * indent
        lines = [f"{pad}try:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        has_handler = self._rng.random() < 0.7
        if has_handler:
            kind = self._rng.choice(["ValueError", "Exception"])
            lines += [f"{pad}except {kind}:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
            if self._rng.random() < 0.4:
                lines += [f"{pad}else:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        if not has_handler or self._rng.random() < 0.4:
            lines += [f"{pad}finally:", *self._block(indent + 1, depth=depth, in_loop=in_loop)]
        return lines

    def _match(self, indent: int, depth: int, *, in_loop: bool) -> list[str]:
        pad = "    " * (indent + 1)
        lines = [f"{'    ' * indent}match {self._read()}:"]
        for _ in range(self._rng.randint(1, 3)):
            pattern = self._rng.choice(
                ['"a"', '"a" | "b"', "True", "False", "3", "str()", f'"b" as {self._name("p")}', "1"]
            )
            guard = f" if {self._condition()}" if self._rng.random() < 0.3 else ""
            lines += [f"{pad}case {pattern}{guard}:", *self._block(indent + 2, depth=depth, in_loop=in_loop)]
        if self._rng.random() < 0.5:
            lines += [f"{pad}case _:", *self._block(indent + 2, depth=depth, in_loop=in_loop)]
        return lines


class Marks:
    """Counts which marks are reached; what a mark gives is random, and sometimes an exception."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.reached: set[int] = set()

    def __call__(self, number: int) -> bool:
        self.reached.add(number)
        if self._rng.random() < 0.1:
            raise ValueError
        return self._rng.random() < 0.5

    def some(self) -> bool:
        return self._rng.random() < 0.6


def line_of(code: CodeType, place: int) -> int | None:
    """Give the line of an instruction; None for one that stands for no code of the line that the compiler gives it.

    What goes on with an exception after `finally`, and the `return None` at a function's end, have the line of the last
    statement before them, whether that runs or not.
    """
    line, _, column, _ = next(islice(code.co_positions(), place // 2, None))
    return None if column is None or dis.opname[code.co_code[place]] in ("RERAISE", "COPY") else line


def run(code: CodeType, value: Any, seed: int) -> tuple[set[int], set[int]]:
    """Run a program once.

    Returns:
        The lines, and the marks, that ran.
    """
    rng = random.Random(seed)
    marks, begun = Marks(rng), set[tuple[CodeType, int]]()
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line":
            begun.add((frame.f_code, frame.f_lasti))
            count += 1
            if count > _MAX_LINES:
                raise Endless
        return trace

    namespace: dict[str, Any] = {"m": marks, "swallow": Swallow}
    exec(code, namespace)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        namespace["run"](Flags(value, rng), rng.randint(0, 2), rng.randint(0, 2))
    except (Endless, ValueError, TypeError, UnboundLocalError, NameError):
        pass
    finally:
        sys.settrace(before)
    return {line for each in begun if (line := line_of(*each)) is not None}, marks.reached
