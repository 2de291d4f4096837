"""Ways in which modules come in: all are watched, and finders, loaders and modules stay what they are."""

from __future__ import annotations

import copy
import importlib
import importlib.abc
import importlib.util
import logging
import pickle
import runpy
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from flagmw.usage.import_watch import ImportWatch
from flagmw.usage.scope import Scope
from tests.unit.usage_recording_app import TOP, App, app_in, names

ONE = "def one():\n    return 1\n\n\none()\n"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with app_in(tmp_path) as app:
        yield app


class OwnLoader(importlib.abc.Loader):
    """Executes modules in a way of its own, as pytest's rewriting of assertions does; one for all modules."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        origin = str(module.__file__)
        exec(compile(Path(origin).read_text("utf-8"), origin, "exec"), module.__dict__)


class Bare:
    """A loader without attributes."""

    __slots__ = ()

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        OwnLoader().exec_module(module)


class SubclassLoader(SourceFileLoader):
    """Does something before what its base does."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["was_here"] = True
        super().exec_module(module)


class Proxy:
    """A loader around another, as import hooks of other tools put it there."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)


class Disguised:
    """A loader around another that passes for it, and has its attributes, as those of wrapt do."""

    def __init__(self, loader: Any) -> None:
        object.__setattr__(self, "_attributes_of", lambda: loader)

    def __getattribute__(self, name: str) -> Any:
        loader = object.__getattribute__(self, "_attributes_of")()
        return object.__getattribute__(self, name) if name == "exec_module" else getattr(loader, name)

    def exec_module(self, module: ModuleType) -> None:
        object.__getattribute__(self, "_attributes_of")().exec_module(module)


class Finder:
    """Finds modules of the watched package for a loader."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname.startswith(f"{TOP}.") else None
        if spec is None:
            return None
        spec.loader = self.loader(spec.loader) if isinstance(self.loader, type) else self.loader
        return spec


class AskingFinder:
    """Asks all finders for what it is asked for, as hooks that are called after an import do."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(TOP):
            return None
        self.asked.append(fullname)
        assert len(self.asked) < 20, "it is asked over and over"
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


@pytest.fixture
def finders() -> Iterator[list[Any]]:
    before = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = before


# --- loaders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", [OwnLoader(), Bare(), Proxy, Disguised], ids=["own", "bare", "proxy", "disguised"])
def test_a_module_with_an_unusual_loader_is_watched_once_it_is_taken_or_executed(
    app: App, finders: list[Any], loader: Any
) -> None:
    finders.insert(0, Finder(loader))
    with app.recorder() as recorder:
        module = app.load("m", ONE)
        recorder.take()
        module.one()
        assert names(recorder) == ["one"]


@pytest.mark.parametrize("loader", [OwnLoader(), Proxy], ids=["own", "proxy"])
def test_a_module_with_an_unusual_loader_is_watched_as_soon_as_it_is_executed(
    app: App, finders: list[Any], loader: Any
) -> None:
    finders.insert(0, Finder(loader))
    with app.recorder() as recorder:
        app.load("m", "def one():\n    return 1\n").one()
        assert names(recorder) == ["one"]


def test_many_modules_with_an_unusual_loader_are_all_watched_after_a_take(app: App, finders: list[Any]) -> None:
    finders.insert(0, Finder(OwnLoader()))
    with app.recorder() as recorder:
        modules = [app.load(f"m{number}", f"def f{number}():\n    return 1\n") for number in range(30)]
        recorder.take()
        for number, module in enumerate(modules):
            getattr(module, f"f{number}")()
        assert len(names(recorder)) == 30


def test_a_module_that_is_not_complete_at_one_take_is_looked_at_by_the_next(app: App, finders: list[Any]) -> None:
    finders.insert(0, Finder(Bare()))
    gate: Any = ModuleType("import_gate")
    gate.inside, gate.go_on = threading.Event(), threading.Event()
    sys.modules["import_gate"] = gate
    try:
        with app.recorder() as recorder, ThreadPoolExecutor(1) as pool:
            wait = "import import_gate\nimport_gate.inside.set()\nimport_gate.go_on.wait(20)\n"
            loading = pool.submit(app.load, "slow", wait + ONE)
            assert gate.inside.wait(20)
            recorder.take()
            gate.go_on.set()
            module = loading.result(20)
            recorder.take()
            module.one()
            assert names(recorder) == ["one"]
    finally:
        gate.go_on.set()
        del sys.modules["import_gate"]


def test_a_shared_loader_is_left_as_it_was(app: App, finders: list[Any]) -> None:
    loader = OwnLoader()
    finders.insert(0, Finder(loader))
    with app.recorder():
        app.load("m", ONE)
        app.load("n", ONE)
    assert vars(loader) == {}


def test_a_loader_that_adds_to_pythons_is_seen_while_it_executes(app: App, finders: list[Any]) -> None:
    class Adding(Finder):
        def find_spec(
            self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            spec = super().find_spec(fullname, path, target)
            if spec is not None and spec.origin is not None:
                spec.loader = SubclassLoader(fullname, spec.origin)
            return spec

    finders.insert(0, Adding(Proxy))
    with app.recorder() as recorder:
        assert app.load("m", ONE).was_here
        assert names(recorder) == ["one"]


def test_a_module_loaded_by_hand_is_watched_from_the_next_take_on(app: App) -> None:
    path = app.write(f"{TOP}/plugin.py", ONE)
    with app.recorder() as recorder:
        spec = importlib.util.spec_from_file_location(f"{TOP}.plugin", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        recorder.take()
        module.one()
        assert names(recorder) == ["one"]


def test_a_lazy_module_is_watched_and_not_woken(app: App) -> None:
    app.write(f"{TOP}/lazy.py", ONE)
    with app.recorder() as recorder:
        spec = importlib.util.find_spec(f"{TOP}.lazy")
        assert spec is not None
        assert spec.loader is not None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        assert names(recorder) == []
        assert module.one() == 1
        assert names(recorder) == ["one"]


def test_a_module_that_is_run_as_main_is_watched(app: App) -> None:
    app.write(f"{TOP}/tool.py", ONE)
    with app.recorder() as recorder:
        runpy.run_module(f"{TOP}.tool", run_name="__main__")
        assert names(recorder) == ["one"]


def test_imports_are_seen_again_after_somebody_put_old_finders_back(app: App, finders: list[Any]) -> None:
    old = list(finders)
    with app.recorder() as recorder:
        finders[:] = old
        recorder.take()
        app.load("m", ONE)
        assert names(recorder) == ["one"]


def test_a_finder_that_is_put_before_ours_hides_modules_until_the_next_import_at_most(
    app: App, finders: list[Any]
) -> None:
    with app.recorder() as recorder:
        finders.insert(0, Finder(OwnLoader()))
        importlib.import_module(TOP)  # which that finder does not find
        app.load("m", "def one():\n    return 1\n").one()
        assert names(recorder) == ["one"]


def test_a_take_puts_our_finder_first_again(app: App, finders: list[Any]) -> None:
    importlib.import_module(TOP)
    with app.recorder() as recorder:
        finders.insert(0, Finder(OwnLoader()))
        recorder.take()
        app.load("m", ONE).one()
        assert names(recorder) == ["one"]


def test_the_order_of_other_finders_stays(app: App, finders: list[Any]) -> None:
    before, first = list(finders), Finder(OwnLoader())
    with app.recorder() as recorder:
        finders.insert(0, first)
        recorder.take()
    assert finders == [first, *before]


# --- what stays as it is -----------------------------------------------------------------------------------------


def test_a_found_spec_is_equal_to_the_modules(app: App) -> None:
    with app.recorder():
        module = app.load("m", ONE)
        assert importlib.util.find_spec(f"{TOP}.m") == module.__spec__
        del sys.modules[f"{TOP}.m"]
        assert importlib.util.find_spec(f"{TOP}.m") == module.__spec__


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_loader_can_be_copied(app: App, copied: Any) -> None:
    with app.recorder():
        loader = copied(app.load("m", ONE).__spec__.loader)
        assert isinstance(loader.get_code(f"{TOP}.m"), CodeType)


def test_a_pickled_loader_knows_nothing_of_flagmw(app: App) -> None:
    with app.recorder():
        assert b"flagmw" not in pickle.dumps(app.load("m", ONE).__spec__)


def test_a_module_and_its_spec_have_one_loader_of_pythons(app: App) -> None:
    with app.recorder():
        module = app.load("m", ONE)
    assert type(module.__loader__) is SourceFileLoader
    assert module.__loader__ is module.__spec__.loader


def test_a_missing_module_is_missing(app: App) -> None:
    with app.recorder(), pytest.raises(ModuleNotFoundError, match=f"No module named '{TOP}.missing'"):
        app.load("missing")


def test_finders_behind_are_asked_once(app: App, finders: list[Any]) -> None:
    asked = AskingFinder()
    with app.recorder() as recorder:
        finders.insert(1, asked)
        app.load("m", ONE)
        assert names(recorder) == ["one"]
    assert asked.asked == [TOP, f"{TOP}.m"]


def test_finders_before_are_not_asked_again(app: App, finders: list[Any]) -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
            self.asked.append(fullname)

    with app.recorder():
        asked = Counting()
        finders.insert(0, asked)
        app.load("m", ONE)
    assert asked.asked == [TOP, f"{TOP}.m"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_finder_that_asks_all_others_goes_well_with_ours(app: App, finders: list[Any], place: int) -> None:
    with app.recorder() as recorder:
        finders.insert(place, AskingFinder())
        app.load("m", ONE)
        assert names(recorder) == ["one"]


def test_a_finder_that_raises_is_heard(app: App, finders: list[Any]) -> None:
    class Raising:
        def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
            if fullname.startswith(TOP):
                raise LookupError("by the finder")

    with app.recorder():
        finders.insert(1, Raising())
        with pytest.raises(LookupError, match="by the finder"):
            app.load("m", ONE)


# --- our own defects ---------------------------------------------------------------------------------------------


def broken_watch(app: App) -> ImportWatch:
    """Give a watch whose owner fails."""

    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    return ImportWatch(Scope(app.config()), fail, fail)


@pytest.mark.parametrize("with_finder", [None, Finder(OwnLoader())])
def test_a_defect_of_ours_is_logged_once_and_met_by_no_import(
    app: App, finders: list[Any], caplog: pytest.LogCaptureFixture, with_finder: Finder | None
) -> None:
    if with_finder is not None:
        finders.insert(0, with_finder)
    watch = broken_watch(app)
    watch.install()
    try:
        with caplog.at_level(logging.DEBUG):
            assert [app.load(name, ONE).one() for name in ("m", "n")] == [1, 1]
    finally:
        watch.uninstall()
    assert [record.levelname for record in caplog.records if record.name == "flagmw"] == ["ERROR"]
