"""Seeing which code runs with `sys.monitoring`, on Python 3.12 and later.

Only the code objects that are watched have an event, which switches itself off at its first call until it is set
again; so it costs nothing afterwards, and other tools and other code are not touched.
"""

from __future__ import annotations

import contextlib
import sys
import types
import weakref
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any

from flagmw.usage.code_names import is_function, tree_of
from flagmw.usage.live_code import LiveCode

TOOL_NAME = "flagmw"
TOOL_IDS = (3, 4, 5)
"""Those that belong to nobody, then the optimizers'. The debugger's, coverage's and the profiler's are left to them."""

_COPYING = types.coroutine.__code__
"""The one function of the standard library that gives functions another code, without events."""


class MonitoredCode:
    """Watches code objects. Must be made on Python 3.12 or later; making one takes nothing.

    The interpreter's lock makes it right under threads: between noting a call and switching the event off, which the
    interpreter does with the callback's answer, no other thread runs. Hits are removed one by one from a dict that
    stays, never swapped for another dict, which a thread in the callback would still write to. What the interpreter runs
    inside the callback, a finalizer or a signal's handler that is due just then, is not seen that time.

    Attributes:
        problem: why nothing can be seen.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._monitoring: Any = getattr(sys, "monitoring")  # noqa: B009  # not there for mypy, which checks for 3.11
        self._start: int = self._monitoring.events.PY_START
        self._return: int = self._monitoring.events.PY_RETURN
        self._tool: int | None = None
        self._paths: dict[int, str] = {}
        self._codes: dict[str, list[CodeType]] = {}
        self._files: dict[str, str] = {}
        self._hits: dict[int, CodeType] = {}
        self._taken: dict[int, CodeType] = {}
        self._left: list[tuple[CodeType, str]] = []

    def begin(self) -> None:
        """Take a tool id; `problem` says when there is none."""
        if self._tool is not None:
            return
        self._tool = self._take_id()
        if self._tool is None:
            tools = ", ".join(str(self._monitoring.get_tool(one)) for one in TOOL_IDS)
            self.problem = f"all tool ids of sys.monitoring that flagmw may use are taken (by {tools}); end one of them"
            return
        self.problem = None
        self._monitoring.register_callback(self._tool, self._start, self._callback())
        self._monitoring.register_callback(self._tool, self._return, self._on_copied)
        self._monitoring.set_local_events(self._tool, _COPYING, self._return)

    def _take_id(self) -> int | None:
        for one in TOOL_IDS:
            if self._monitoring.get_tool(one) is None:
                try:
                    self._monitoring.use_tool_id(one, TOOL_NAME)
                except ValueError:  # another thread was quicker
                    continue
                return one
        return None

    def _callback(self) -> Any:
        hits, disable, key_of = self._hits, self._monitoring.DISABLE, id

        def on_start(code: CodeType, offset: int) -> object:
            # By identity, since code objects compare by value. A thread may be switched at the call, not after it.
            key = key_of(code)
            hits[key] = code
            return disable

        return on_start

    def _on_copied(self, code: CodeType, offset: int, function: object) -> None:
        """Watch the code that a function was given in the place of its own; whoever gave it must not meet an error."""
        with contextlib.suppress(Exception):
            path = self._files.get(function.__code__.co_filename) if isinstance(function, FunctionType) else None
            if isinstance(function, FunctionType) and path is not None:
                self.watch(function.__code__, path)

    def watch(self, code: CodeType, path: str) -> CodeType:
        """Watch the functions of a code object from now on.

        Returns:
            What is to be executed instead: the same, here.
        """
        if self._tool is None:
            return code
        self._files[code.co_filename] = path
        codes = self._codes.setdefault(path, [])
        for one in tree_of(code):
            if is_function(one) and id(one) not in self._paths:
                codes.append(one)  # what is kept alive keeps its id
                self._paths[id(one)] = path
                self._arm(one)
        return code

    def watch_live(self, live: LiveCode) -> bool:
        """Watch code that exists already.

        Returns:
            Whether to look for more: no, as it is the code that is watched, and not what refers to it.
        """
        for code, path in live.codes():
            if id(code) not in self._paths:
                self.watch(code, path)
        return False

    def take(self) -> list[tuple[CodeType, str]]:
        """Give what was hit since the last time, with its path, and watch it again."""
        taken = self._taken = self._hits.copy()
        for key in taken:
            self._hits.pop(key, None)
        # From here a call counts for the next time; one between the last line and this function's arming is in `taken`.
        self._arm_again(taken.values())
        self._taken = {}
        left, self._left = self._left, []
        known = ((code, self._paths.get(key)) for key, code in taken.items())
        return [*left, *((code, path) for code, path in known if path is not None)]

    def forget(self) -> None:
        """Watch again what was hit, in a forked child: also what another thread was about to give in the parent."""
        inherited = {**self._taken, **self._hits}
        self._hits.clear()
        self._taken = {}
        self._left = []
        self._arm_again(inherited.values())

    def end(self) -> None:
        """Watch nothing any more, and give the tool id back."""
        if self._tool is None:
            return
        # Events of code objects outlive the tool: the next that took the id would get them.
        for codes in self._codes.values():
            for code in codes:
                self._monitoring.set_local_events(self._tool, code, 0)
        self._monitoring.set_local_events(self._tool, _COPYING, 0)
        for event in (self._start, self._return):
            self._monitoring.register_callback(self._tool, event, None)
        self._monitoring.free_tool_id(self._tool)
        self._tool = None
        self._left = self.take()
        self._paths.clear()
        self._codes.clear()
        self._files.clear()

    def drop_dead(self, path: str) -> None:
        """Let go of a file's code that nobody else keeps, which is the old one of a module that was loaded again."""
        codes = self._codes.get(path)
        if not codes:
            return
        watched = [(id(code), weakref.ref(code)) for code in codes]
        codes.clear()
        codes += [code for _, reference in watched if (code := reference()) is not None]
        for key, reference in watched:
            if reference() is None:
                self._paths.pop(key, None)

    def _arm(self, code: CodeType) -> None:
        self._monitoring.set_local_events(self._tool, code, self._start)

    def _arm_again(self, codes: Iterable[CodeType]) -> None:
        if self._tool is None:
            return
        set_local_events, tool, start = self._monitoring.set_local_events, self._tool, self._start
        for code in codes:
            set_local_events(tool, code, 0)
            set_local_events(tool, code, start)
