"""The recorder: which functions of the watched packages run in this process, seen in the way this interpreter offers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Protocol

from flagmw.usage.code_names import is_function, name_of
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import Seen
from flagmw.usage.import_watch import ImportWatch
from flagmw.usage.live_code import LiveCode, find_live_code, origin_of
from flagmw.usage.monitoring import MonitoredCode
from flagmw.usage.scope import Scope
from flagmw.usage.seams import Recorder

logger = logging.getLogger("flagmw")

_MAX_LOOKS = 4
"""Each finds less than the one before; the first two find all, unless other threads are very busy."""


_LOOKS_IN_IMPORTS = 25
"""For modules with a loader of their own kind; each takes some 40 ms in a large process, and tests may be thousands."""


class WatchedCode(Protocol):
    """One way of seeing that code runs. The methods but `watch` are called by one thread at a time.

    Attributes:
        problem: why nothing can be seen; None when all is well.
    """

    problem: str | None

    def begin(self) -> None:
        """Take what it needs from the interpreter."""
        ...

    def watch(self, code: CodeType, path: str) -> CodeType:
        """Watch a module's code, or all functions in it, from now on; called in importing threads.

        Returns:
            What is to be executed instead.
        """
        ...

    def watch_live(self, live: LiveCode) -> bool:
        """Watch code that exists, unless it is watched.

        Returns:
            Whether to look for more, which other threads may have made meanwhile.
        """
        ...

    def drop_dead(self, path: str) -> None:
        """Let go of a file's code that nobody else keeps."""
        ...

    def take(self) -> list[tuple[CodeType, str]]:
        """Give what was hit since the last time, with its path, and watch it again."""
        ...

    def forget(self) -> None:
        """Watch again what was hit, in a forked child."""
        ...

    def end(self) -> None:
        """Watch nothing any more; what was hit can still be taken."""
        ...


class CodeRecorder:
    """Watches the code of imports, and the code that exists; a `Recorder`.

    Args:
        config: what to watch.
        code: the way of seeing that code runs.
    """

    def __init__(self, config: UsageConfig, code: WatchedCode) -> None:
        self._code = code
        self._scope = Scope(config)
        self._imports = ImportWatch(self._scope, self._on_code, self._on_executed)
        self._is_on = False
        self._paths: set[str] = set()
        self._loaded_again: set[str] = set()
        self._modules: dict[str, int] = {}
        self._on_stack: list[Seen] = []
        self._looks_left = _LOOKS_IN_IMPORTS

    @property
    def problem(self) -> str | None:
        """Why nothing can be seen in this interpreter; None when all is well."""
        return self._code.problem

    def start(self) -> None:
        """Watch what is imported from now on, and what was imported already; never raises."""
        if self._is_on:
            return
        try:
            self._code.begin()
            if self._code.problem is not None:
                return
            self._is_on = True
            self._imports.install()
            # Whoever started us, an app's factory for one, is running, and may never be called again.
            self._on_stack += [Seen(path, *name_of(code)) for code, path in self._look().on_stack if is_function(code)]
        except Exception:  # the application goes on without
            logger.exception("the usage agent cannot watch all functions that exist")

    def stop(self) -> None:
        """Leave everything as it was found; what was seen can still be taken once."""
        if not self._is_on:
            return
        self._is_on = False
        try:
            self._imports.uninstall()
            self._code.end()
        except Exception:  # the application goes on
            logger.exception("the usage agent could not leave everything as it was")
        self._paths.clear()
        self._modules.clear()

    def take(self) -> Sequence[Seen]:
        """Give what ran since the last time, each once, and watch it again."""
        if self._is_on:
            self._catch_up()
        taken = self._on_stack + [Seen(path, *name_of(code)) for code, path in self._code.take()]
        self._on_stack = []
        return list(dict.fromkeys(taken))

    def forked(self) -> None:
        """Forget what the parent saw, and watch it again; called in a child, before anything else runs there."""
        self._on_stack = []
        self._imports.forked()
        self._code.forget()

    # --- what there is to watch ---------------------------------------------------------------------------------

    def _on_code(self, code: CodeType, path: str) -> CodeType:
        if path in self._paths:
            self._loaded_again.add(path)
        given = self._code.watch(code, path)
        self._paths.add(path)
        return given

    def _on_executed(self, path: str) -> None:
        if self._looks_left > 0:  # after that, the next take finds it
            self._looks_left -= 1
            self._look()
            self._paths.add(path)

    def _look(self) -> LiveCode:
        """Watch the code that exists; gives what was found first."""
        complete = self._unknown_paths()
        found = live = find_live_code(self._scope)
        for _ in range(_MAX_LOOKS):
            self._paths.update(path for _, path in live.on_stack)
            if not self._code.watch_live(live):
                break
            live = find_live_code(self._scope)
        self._paths.update(complete)
        return found

    def _catch_up(self) -> None:
        """Look for modules that came in by ways that are not seen, and see to it that imports are."""
        try:
            self._imports.install()  # whoever puts an old list of finders back takes ours away
            unknown = self._unknown_paths()
            if unknown:
                self._look()
                self._paths.update(unknown)
            while self._loaded_again:
                self._code.drop_dead(self._loaded_again.pop())
        except Exception as error:  # what was hit is taken all the same
            self._imports.failed(error)

    def _unknown_paths(self) -> list[str]:
        """Give the paths of watched modules that are complete and that nobody has looked at."""
        unknown = []
        for name, module in list(sys.modules.items()):
            if self._modules.get(name) == id(module):
                continue
            namespace = _namespace_of(module)
            spec = namespace.get("__spec__")
            if isinstance(spec, ModuleSpec) and getattr(spec, "_initializing", False):
                continue
            self._modules[name] = id(module)
            origin = origin_of(namespace)
            path = self._scope.path_of(name, origin) if origin is not None else None
            if path is not None and path not in self._paths:
                unknown.append(path)
        return unknown


class NoRecorder:
    """Sees nothing, and says why; a `Recorder`.

    Attributes:
        problem: why.
    """

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def take(self) -> Sequence[Seen]:
        """Give nothing."""
        return ()

    def forked(self) -> None:
        """Do nothing."""


def recorder_for(config: UsageConfig) -> Recorder:
    """Give a recorder that fits this interpreter. Starts nothing."""
    if hasattr(sys, "monitoring"):
        return CodeRecorder(config, MonitoredCode())
    try:
        from flagmw.usage.probing import ProbedCode  # noqa: PLC0415  # needs ctypes, and is for one version only
    except ImportError as error:
        return NoRecorder(f"seeing which functions run needs ctypes in this version of Python: {error}")
    return CodeRecorder(config, ProbedCode())


def _namespace_of(module: Any) -> dict[str, Any]:
    """Give a module's namespace without waking one that waits for its first use to be loaded."""
    if not issubclass(type(module), ModuleType):
        return {}
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace
