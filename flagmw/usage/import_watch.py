"""`ImportWatch`: sees each watched module's code before it is executed.

A finder before all others asks them, and has the loader's `get_code` hand its answer over here. Finders, loaders and
modules stay what they are. When a loader has a way of its own, what it has executed is told afterwards.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

from flagmw.usage.scope import Scope

logger = logging.getLogger("flagmw")

OnCode = Callable[[CodeType, str], CodeType]
OnExecuted = Callable[[str], None]

_IMPORTLIB = "<frozen importlib._bootstrap_external>"
_F = TypeVar("_F", bound=Callable[..., Any])


def _as_importlib(function: _F) -> _F:
    """Have a function's frames taken for the import system's own, among which they are.

    Python takes those out of the traceback of an error in a module, and passes over them when it looks for the line
    that a warning is about; with a frame of ours between them it would do neither.
    """
    if isinstance(function, FunctionType):
        function.__code__ = function.__code__.replace(co_filename=_IMPORTLIB)
    return function


class ImportWatch:
    """Hands over the code of watched modules while it is on. Its defects are logged once, and never met by an import.

    Args:
        scope: which modules are watched.
        on_code: is given a module's code and its path, and gives the code to execute; in the importing thread.
        on_executed: is given the path of a module that was executed without its code having been handed over.
    """

    def __init__(self, scope: Scope, on_code: OnCode, on_executed: OnExecuted) -> None:
        self._scope = scope
        self._on_code = on_code
        self._on_executed = on_executed
        self._is_on = False
        self._has_failed = False
        self._asked: set[tuple[int, str]] = set()
        self._handed_over: dict[str, int] = {}
        self._loaders: list[weakref.ref[Any]] = []

    def install(self) -> None:
        """Be the first finder, whatever was put before this one; the order of all others stays."""
        self._is_on = True
        self._be_first()

    def _be_first(self) -> None:
        if not sys.meta_path or not isinstance(sys.meta_path[0], ImportWatch) or not _has(self):
            sys.meta_path[:] = [self, *_others(self)]

    def uninstall(self) -> None:
        """Be no finder any more, and leave the loaders as they were."""
        self._is_on = False
        sys.meta_path[:] = _others(self)
        for reference in self._loaders:
            loader = reference()
            for name in () if loader is None else ("get_code", "exec_module"):
                _take_away(vars(loader), name)
        self._loaders.clear()

    def forked(self) -> None:
        """Forget the imports of other threads, which a child does not have."""
        self._asked.clear()

    @_as_importlib
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give what the finders behind this one find."""
        asked = threading.get_ident(), fullname
        if not self._is_on or asked in self._asked:  # a finder behind may ask all finders for itself
            return None
        self._asked.add(asked)
        try:
            finders = _behind(self)
            self._be_first()
            for finder in finders:
                find_spec = getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if find_spec is None else find_spec(fullname, path, target)
                if spec is not None:
                    self._watch(spec)
                    return spec
        finally:
            self._asked.discard(asked)
        return None

    def _watch(self, spec: ModuleSpec) -> None:
        try:
            if spec.has_location and spec.origin is not None:
                path = self._scope.path_of(spec.name, spec.origin)
                if path is not None:
                    self._hook(spec.loader, spec.name, path)
        except Exception as error:  # the module is imported all the same
            self.failed(error)

    def _hook(self, loader: Any, name: str, path: str) -> None:
        """Put our own before a loader's methods, on this instance of it."""
        attributes = getattr(loader, "__dict__", None)
        # A class, an instance with slots, or a proxy, whose attributes are another's.
        if type(attributes) is not dict or loader.__class__ is not type(loader):
            return
        for through in (_CodeThrough, _ModuleThrough):
            method = through.method_name
            mine = [one for one in _all_through(attributes.get(method)) if one.watch is self]
            if mine:
                mine[0].paths[name] = path  # an archive has one loader for all its modules
            elif hasattr(loader, method) and not (through is _ModuleThrough and _asks_for_code(loader)):
                attributes[method] = through(loader, self, name, path)
        with contextlib.suppress(TypeError):  # what cannot be referred to keeps what does nothing after the end
            self._loaders.append(weakref.ref(loader))

    @property
    def is_on(self) -> bool:
        """Whether it hands anything over."""
        return self._is_on

    def hand_over(self, code: Any, path: str) -> Any:
        """Give the code to execute instead of a module's; there is none for modules that are not Python's."""
        if not self._is_on or not isinstance(code, CodeType):
            return code
        try:
            given = self._on_code(code, path)
            self._handed_over[path] = self.handed_over(path) + 1
        except Exception as error:  # the module is imported all the same
            self.failed(error)
            return code
        return given

    def handed_over(self, path: str) -> int:
        """Count how often a file's code was handed over."""
        return self._handed_over.get(path, 0)

    def executed(self, path: str) -> None:
        """Tell that a module was executed whose code was not handed over."""
        if not self._is_on:
            return
        try:
            self._on_executed(path)
        except Exception as error:  # the module is imported all the same
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Log an error of ours, if it is the first."""
        if not self._has_failed:
            self._has_failed = True
            logger.error("watching an import failed; functions may be missing from the usage", exc_info=error)


def _has(finder: object) -> bool:
    return any(one is finder for one in sys.meta_path)


def _others(finder: object) -> list[Any]:
    return [one for one in sys.meta_path if one is not finder]


def _behind(finder: object) -> list[Any]:
    """Give the finders behind one; those before it were asked already."""
    finders = list(sys.meta_path)
    place = next((number for number, one in enumerate(finders) if one is finder), -1)
    return finders[place + 1 :]


def _asks_for_code(loader: Any) -> bool:
    """Tell whether a loader executes what its `get_code` gives, as all of Python's own do."""
    return "exec_module" not in vars(loader) and type(loader).exec_module is SourceFileLoader.exec_module


class _Through:
    """A loader's method with ours around it, as an attribute of the loader.

    Attributes:
        watch: whose it is.
        method: what it is around; another watch's, if there are several.
        paths: of the modules that it is there for, by name.
    """

    __slots__ = ("_loader", "method", "paths", "watch")

    method_name = ""

    def __init__(self, loader: Any, watch: ImportWatch, module_name: str, path: str) -> None:
        self._loader = loader
        self.watch = watch
        self.method: Callable[..., Any] = getattr(loader, self.method_name)
        self.paths = {module_name: path}

    # Loaders are equal when their attributes are; those that passed through here have to stay so.
    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Have a loader copied, or written, with a method that knows nothing of us."""
        return partial, (getattr(type(self._loader), self.method_name), self._loader)


class _CodeThrough(_Through):
    """`get_code`: gives the code that is to be executed."""

    __slots__ = ()

    method_name = "get_code"

    @_as_importlib
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        code = self.method(*args, **kwargs)
        name = args[0] if args else kwargs.get("fullname")
        path = self.paths.get(name) if isinstance(name, str) else None
        return code if path is None else self.watch.hand_over(code, path)


class _ModuleThrough(_Through):
    """`exec_module` of a loader that need not ask its `get_code`."""

    __slots__ = ()

    method_name = "exec_module"

    @_as_importlib
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module = args[0] if args else kwargs.get("module")
        path = self.paths.get(getattr(module, "__name__", ""))
        before = self.watch.handed_over(path) if path is not None else 0
        result = self.method(*args, **kwargs)
        if path is not None and self.watch.handed_over(path) == before:
            self.watch.executed(path)
        return result


def _all_through(method: object) -> Iterator[_Through]:
    """Give what was put around a loader's method, ours and other watches'."""
    while isinstance(method, _Through):
        yield method
        method = method.method


def _take_away(attributes: dict[str, Any], name: str) -> None:
    """Leave of what was put around a method what is still in use; under it, what is not does nothing."""
    if isinstance(attributes.get(name), _Through):
        in_use = [one for one in _all_through(attributes[name]) if one.watch.is_on]
        if in_use:
            attributes[name] = in_use[0]
        else:
            del attributes[name]
