"""What the recorder's tests share: modules in a folder of their own, and recorders that are stopped at the end."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from flagmw.usage.config import UsageConfig
from flagmw.usage.recording import recorder_for
from flagmw.usage.seams import Recorder

TOP = "watched_app"
"""The package that recorders watch here, unless told otherwise."""


class App:
    """A folder on `sys.path`, with modules in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, source: str = "") -> Path:
        """Write a module, as a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        return path

    def load(self, name: str, source: str | None = None) -> Any:
        """Import a module of the watched package, which is written first."""
        if source is not None:
            self.write(f"{TOP}/{name}.py", source)
        return importlib.import_module(f"{TOP}.{name}")

    def config(self, *packages: str, **more: Any) -> UsageConfig:
        """Configure a recorder for the folder."""
        return UsageConfig(codebase=(str(self.folder),), packages=packages or (TOP,), **more)

    @contextlib.contextmanager
    def recorder(self, *packages: str, **more: Any) -> Iterator[Recorder]:
        """Record until the end."""
        recorder = recorder_for(self.config(*packages, **more))
        recorder.start()
        try:
            yield recorder
        finally:
            recorder.stop()


@contextlib.contextmanager
def app_in(folder: Path) -> Iterator[App]:
    """Have modules of a folder imported, and forgotten at the end."""
    before: dict[str, ModuleType] = dict(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        app = App(folder)
        app.write(f"{TOP}/__init__.py")
        yield app
    finally:
        sys.path.remove(str(folder))
        for name in sys.modules.keys() - before.keys():
            if name.split(".")[0] == TOP:
                del sys.modules[name]
        importlib.invalidate_caches()


def names(recorder: Recorder) -> list[str]:
    """Take what ran, as sorted names."""
    return sorted(seen.name for seen in recorder.take())
