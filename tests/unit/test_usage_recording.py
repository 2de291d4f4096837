"""Recorders over their life: start, take, stop, fork, threads; what they leave behind, and what they do not keep."""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from flagmw.usage.recording import recorder_for
from tests.unit.usage_recording_app import TOP, App, app_in, names

TWO = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with app_in(tmp_path) as app:
        yield app


# --- taking ---------------------------------------------------------------------------------------------------


def test_a_call_is_given_once_however_often_it_is_made(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        for _ in range(3):
            module.one()
        assert names(recorder) == ["one"]


def test_what_was_taken_is_not_given_again_without_a_call(app: App) -> None:
    with app.recorder() as recorder:
        app.load("m", TWO).one()
        recorder.take()
        assert names(recorder) == []


@pytest.mark.parametrize("round_", [2, 3])
def test_a_function_that_runs_again_after_a_take_is_given_again(app: App, round_: int) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        for _ in range(round_ - 1):
            module.one()
            recorder.take()
        module.one()
        assert names(recorder) == ["one"]


def test_what_is_given_names_file_line_and_parameters(app: App) -> None:
    with app.recorder() as recorder:
        app.load("m", "\n@staticmethod\ndef f(a, /, b, *c, d=1, **e):\n    return b\n").f(1, 2)
        (seen,) = recorder.take()
    expected = (os.path.realpath(app.folder / TOP / "m.py"), 2, "f", "b, *c, **e")
    assert tuple(seen) == expected


def test_code_that_is_loaded_twice_is_given_as_one(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        old = module.one
        importlib.reload(module)
        assert (old(), module.one()) == (1, 1)
        assert names(recorder) == ["one"]


def test_a_hit_is_in_one_interval_or_the_next_whatever_other_threads_do(app: App) -> None:
    functions = 300
    source = "\n".join(f"def f{number}():\n    return {number}" for number in range(functions))
    with app.recorder() as recorder:
        module = app.load("m", source)
        for round_ in range(5):
            started = threading.Barrier(4)

            def call(share: int, started: threading.Barrier = started) -> None:
                started.wait()
                for number in range(share, functions, 3):
                    getattr(module, f"f{number}")()

            found: set[str] = set()
            with ThreadPoolExecutor(3) as pool:
                calls = [pool.submit(call, share) for share in range(3)]
                started.wait()
                while not all(one.done() for one in calls):
                    found.update(names(recorder))
                for one in calls:
                    one.result()
            found.update(names(recorder))
            assert len(found) == functions, f"in round {round_}"


def test_a_function_hit_by_all_threads_at_once_is_seen_in_each_interval(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(50):
                list(pool.map(lambda _: module.one(), range(8)))
                assert names(recorder) == ["one"]


# --- starting and stopping ---------------------------------------------------------------------------------------


def test_starting_twice_is_as_starting_once(app: App) -> None:
    with app.recorder() as recorder:
        finders = list(sys.meta_path)
        recorder.start()
        assert sys.meta_path == finders


def test_a_recorder_sees_again_after_it_was_stopped_and_started(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        recorder.stop()
        recorder.take()
        recorder.start()
        module.one()
        assert names(recorder) == ["one"]


def test_another_recorder_sees_code_that_a_stopped_one_watched(app: App) -> None:
    with app.recorder():
        module = app.load("m", TWO)
        module.one()
    with app.recorder() as recorder:
        module.two()
        assert names(recorder) == ["two"]


def test_what_ran_before_a_stop_can_be_taken_after_it(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        module.one()
        recorder.stop()
        module.two()
        assert names(recorder) == ["one"]


def test_what_ran_before_a_stop_is_taken_once(app: App) -> None:
    with app.recorder() as recorder:
        app.load("m", TWO).one()
        recorder.stop()
        recorder.take()
        assert names(recorder) == []


def test_what_ran_while_it_was_stopped_is_not_seen(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        recorder.stop()
        module.one()
        app.load("later", TWO).one()
        recorder.start()
        assert names(recorder) == []


def test_a_recorder_that_was_never_started_gives_nothing(app: App) -> None:
    recorder = recorder_for(app.config())
    app.load("m", TWO).one()
    recorder.stop()
    recorder.forked()
    assert recorder.take() == []


def test_stopping_takes_the_finder_away(app: App) -> None:
    before = list(sys.meta_path)
    with app.recorder():
        pass
    assert sys.meta_path == before


def test_stopping_leaves_no_attribute_on_loaders(app: App) -> None:
    with app.recorder():
        loader = app.load("m", TWO).__spec__.loader
    assert sorted(vars(loader)) == ["name", "path"]


def test_a_stopped_recorder_leaves_no_armed_probe(app: App) -> None:
    if sys.version_info >= (3, 12):
        return  # there are no probes
    from flagmw.usage.probes import rewrite

    with app.recorder():
        module = app.load("m", TWO)
    (probe,) = rewrite(module.one.__code__).probes
    assert probe.was_hit


@pytest.mark.parametrize("first_stopped", [0, 1])
def test_two_recorders_each_see_all(app: App, first_stopped: int) -> None:
    with app.recorder() as one, app.recorder() as two:
        module = app.load("m", TWO)
        module.one()
        assert (names(one), names(two)) == (["one"], ["one"])
        module.one()
        left, other = ((one, two), (two, one))[first_stopped]
        left.stop()
        module.two()
        assert names(other) == ["one", "two"]


def test_a_second_recorder_does_not_see_what_ran_before_it(app: App) -> None:
    with app.recorder() as one:
        module = app.load("m", TWO)
        module.one()
        with app.recorder() as two:
            assert names(two) == []
        assert names(one) == ["one"]


def test_nothing_is_done_when_flagmw_is_imported() -> None:
    script = (
        "import sys; finders = list(sys.meta_path); import flagmw.usage.recording as r, flagmw.usage.config as c\n"
        "r.recorder_for(c.UsageConfig(packages=('app',)))\n"
        "assert sys.meta_path == finders\n"
        "assert not hasattr(sys, 'monitoring') or not any(map(sys.monitoring.get_tool, range(6)))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- what exists already ---------------------------------------------------------------------------------------


def test_functions_that_the_collector_has_put_aside_are_found(app: App) -> None:
    module = app.load("m", TWO)
    gc.freeze()
    try:
        with app.recorder() as recorder:
            module.one()
            assert names(recorder) == ["one"]
            assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_function_that_only_a_c_object_refers_to_is_found(app: App) -> None:
    module = app.load("m", "import functools\nkept = functools.partial(lambda x: x, 1)\n")
    with app.recorder() as recorder:
        module.kept()
        assert names(recorder) == ["<lambda>"]


def test_a_module_that_another_thread_is_executing_is_found(app: App) -> None:
    app.write(
        f"{TOP}/slow.py",
        "import slow_gate\nslow_gate.inside.set()\nslow_gate.go_on.wait(20)\n"
        "def late():\n    return 1\nclass K:\n    def method(self):\n        return late()\nK().method()\n",
    )
    gate: Any = type(sys)("slow_gate")
    gate.inside, gate.go_on = threading.Event(), threading.Event()
    sys.modules["slow_gate"] = gate
    try:
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(app.load, "slow")
            assert gate.inside.wait(20)
            with app.recorder() as recorder:
                gate.go_on.set()
                loading.result(20)
                assert names(recorder) == ["late", "method"]
    finally:
        gate.go_on.set()
        del sys.modules["slow_gate"]


def test_a_function_whose_file_is_another_is_not_watched(app: App) -> None:
    module = app.load("m", "exec(compile('def made():\\n    return 1\\n', 'template.html', 'exec'))\n")
    with app.recorder() as recorder:
        module.made()
        assert names(recorder) == []


def test_functions_of_other_packages_are_not_touched(app: App) -> None:
    app.write("watched_apples/__init__.py", TWO)
    before = importlib.import_module("watched_apples")
    code = before.one.__code__
    with app.recorder() as recorder:
        del sys.modules["watched_apples"]
        after = importlib.import_module("watched_apples")
        assert (before.one(), after.one()) == (1, 1)
        assert names(recorder) == []
        assert before.one.__code__ is code


# --- forks -----------------------------------------------------------------------------------------------------


def test_a_child_gives_what_ran_in_it_and_nothing_of_its_parent(app: App) -> None:
    script = f"""
import json, os, sys
sys.path.insert(0, {str(app.folder)!r})
from flagmw.usage.config import UsageConfig
from flagmw.usage.recording import recorder_for
recorder = recorder_for(UsageConfig(codebase=({str(app.folder)!r},), packages=({TOP!r},)))
os.register_at_fork(after_in_child=recorder.forked)
recorder.start()
from {TOP} import m
m.one(); m.three()
recorder.take()
m.one(); m.two()
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    m.three(); m.two()
    os.write(write, json.dumps(sorted(seen.name for seen in recorder.take())).encode())
    os._exit(0)
os.close(write)
os.waitpid(pid, 0)
print(json.dumps([json.loads(os.read(read, 1000)), sorted(seen.name for seen in recorder.take())]))
"""
    app.write(f"{TOP}/m.py", TWO + "\n\ndef three():\n    return 3\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [["three", "two"], ["one", "two"]]


def test_a_child_watches_what_another_thread_of_its_parent_was_giving(app: App) -> None:
    """A fork may come between a take's noting what was hit and its watching it again."""
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        watched: Any = recorder._code  # type: ignore[attr-defined]  # its state at such a moment is made by hand
        if not hasattr(watched, "_taken"):
            return  # probes have no such moment
        module.one()
        watched._taken = watched._hits.copy()
        watched._hits.clear()
        recorder.forked()
        assert names(recorder) == []
        module.one()
        assert names(recorder) == ["one"]


# --- what is kept ----------------------------------------------------------------------------------------------


def test_code_of_a_module_that_was_loaded_again_is_let_go(app: App) -> None:
    if sys.version_info < (3, 12):
        return  # code with probes lives as long as the process
    with app.recorder() as recorder:
        module = app.load("m", TWO)
        code = weakref.ref(module.one.__code__)
        importlib.reload(module)
        recorder.take()
        gc.collect()
        assert code() is None


def test_no_namespace_is_kept(app: App) -> None:
    with app.recorder() as recorder:
        module = app.load("m", TWO + "\nclass Held:\n    pass\n\n\nheld = Held()\n")
        held = weakref.ref(module.held)
        module.one()
        recorder.take()
        del sys.modules[f"{TOP}.m"], sys.modules[TOP].m, module
        gc.collect()
        assert held() is None


# --- what is running at the start --------------------------------------------------------------------------------

FACTORY = """
import contextlib

def make(start):
    def inner():
        start()
        def after():
            return 1
        return after
    return inner()

def waiting():
    yield 1

WAITING = waiting()
next(WAITING)
"""


def test_what_is_running_when_it_starts_counts_as_seen(app: App) -> None:
    module = app.load("m", FACTORY)
    recorder = recorder_for(app.config())
    try:
        module.make(recorder.start)
        assert names(recorder) == ["inner", "make"]
    finally:
        recorder.stop()


def test_what_is_made_later_by_what_is_running_when_it_starts_is_watched(app: App) -> None:
    module = app.load("m", FACTORY)
    recorder = recorder_for(app.config())
    try:
        after = module.make(recorder.start)
        recorder.take()
        after()
        assert names(recorder) == ["after"]
    finally:
        recorder.stop()


def test_a_child_does_not_give_what_was_running_when_its_parent_started(app: App) -> None:
    module = app.load("m", FACTORY)
    recorder = recorder_for(app.config())
    try:
        module.make(recorder.start)
        recorder.forked()
        assert names(recorder) == []
    finally:
        recorder.stop()


def test_modules_that_hold_anything_are_passed_over(app: App) -> None:
    class Odd(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            raise ZeroDivisionError

        def __getattr__(self, name: str) -> object:
            raise ZeroDivisionError

    odd: Any = type(sys)(f"{TOP}.odd")
    odd.__spec__ = Odd()
    function = FunctionType(names.__code__, Odd(__spec__=Odd(), __name__=1))
    sys.modules.update({f"{TOP}.odd": odd, f"{TOP}.none": None, f"{TOP}.object": Odd()})  # type: ignore[dict-item]  # others do such things
    module = app.load("m", TWO)
    with app.recorder() as recorder:
        module.one()
        assert names(recorder) == ["one"]
    assert function.__name__ == "names"
