"""Finding the code that exists already: of functions, wherever a reference to them is kept, and of what is running.

The garbage collector knows every function, generator and coroutine. It does not know code objects: those of inner
functions are found inside the code that makes them, and those of a module that is still being executed in its frame.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType
from typing import Any, NamedTuple

from flagmw.usage.scope import Scope

_FRAME_ATTRIBUTES: dict[type, str] = {
    GeneratorType: "gi_frame",
    CoroutineType: "cr_frame",
    AsyncGeneratorType: "ag_frame",
}
_KINDS = frozenset({FunctionType, *_FRAME_ATTRIBUTES})


class LiveCode(NamedTuple):
    """What was found of the watched modules, each with the path that its module is known under.

    Attributes:
        functions: all function objects.
        on_stack: code that is being executed in any thread; not each once.
        waiting: code that goes on some time, in a generator or coroutine; not each once.
    """

    functions: list[tuple[FunctionType, str]]
    on_stack: list[tuple[CodeType, str]]
    waiting: list[tuple[CodeType, str]]

    def running(self) -> list[tuple[CodeType, str]]:
        """Give the code that goes on with what it is, whatever becomes of its function."""
        return [*self.on_stack, *self.waiting]

    def codes(self) -> Iterator[tuple[CodeType, str]]:
        """Give all the code; not each once."""
        for function, path in self.functions:
            yield function.__code__, path
        yield from self.running()


def find_live_code(scope: Scope) -> LiveCode:
    """Look for code of watched modules. Takes about 40 ms per million objects that Python keeps."""
    places = _Places(scope)
    live = LiveCode([], [], [])
    for frame in list(_frames()):
        path = places.path_of(frame.f_code, frame.f_globals)
        if path is not None:
            live.on_stack.append((frame.f_code, path))
    for one in _objects():
        if type(one) is FunctionType:
            path = places.path_of(one.__code__, one.__globals__)
            if path is not None:
                live.functions.append((one, path))
        else:
            frame = getattr(one, _FRAME_ATTRIBUTES[type(one)])
            path = places.path_of(frame.f_code, frame.f_globals) if frame is not None else None
            if path is not None:
                live.waiting.append((frame.f_code, path))
    return live


def origin_of(namespace: dict[str, Any]) -> str | None:
    """Give the file that a module says it was loaded from, by its namespace, which may hold anything."""
    spec: Any = dict.get(namespace, "__spec__")
    is_known = isinstance(spec, ModuleSpec) and spec.has_location
    origin = spec.origin if is_known else dict.get(namespace, "__file__")
    return origin if isinstance(origin, str) else None


class _Place(NamedTuple):
    """A watched module: the path it is known under, and the file it was loaded from."""

    path: str
    origin: str


class _Places:
    """The modules that functions belong to, each looked at once."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._known: dict[int, _Place | None] = {}
        self._are_same: dict[tuple[str, str], bool] = {}

    def path_of(self, code: CodeType, namespace: dict[str, Any]) -> str | None:
        """Give the path of the module that code belongs to; None when it is not watched, or not of the module's file."""
        key = id(namespace)
        if key not in self._known:
            self._known[key] = self._find(namespace)
        place = self._known[key]
        return place.path if place is not None and self._is_from(code.co_filename, place.origin) else None

    def _find(self, namespace: dict[str, Any]) -> _Place | None:
        origin, name = origin_of(namespace), dict.get(namespace, "__name__")
        if origin is None or not isinstance(name, str):
            return None
        path = self._scope.path_of(name, origin)
        return None if path is None else _Place(path, origin)

    def _is_from(self, filename: str, origin: str) -> bool:
        if filename == origin:
            return True
        key = filename, origin
        if key not in self._are_same:
            self._are_same[key] = _names_same_file(filename, origin)
        return self._are_same[key]


def _names_same_file(filename: str, origin: str) -> bool:
    """Tell whether code with this file name was loaded from a file, and not made by an `exec` in its module."""
    if origin.endswith(".pyc"):  # its code names the source that it was compiled from, wherever that was
        return _stem(filename) == _stem(origin)
    return os.path.realpath(filename) == os.path.realpath(origin)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _frames() -> Iterator[FrameType]:
    """Give what is being executed, in all threads."""
    for top in sys._current_frames().values():  # noqa: SLF001  # documented; the only way to other threads' frames
        frame: FrameType | None = top
        while frame is not None:
            yield frame
            frame = frame.f_back


def _objects() -> list[Any]:
    """Give the functions, generators and coroutines that exist, also those that `gc.freeze` has put aside."""
    with _all_tracked():
        return [one for one in gc.get_objects() if type(one) in _KINDS]


@contextlib.contextmanager
def _all_tracked() -> Iterator[None]:
    """Have the collector show what it has put aside, without its collecting any of that meanwhile."""
    if not gc.get_freeze_count():
        yield
        return
    is_enabled = gc.isenabled()
    gc.disable()
    gc.unfreeze()
    try:
        yield
    finally:
        gc.freeze()
        if is_enabled:
            gc.enable()
