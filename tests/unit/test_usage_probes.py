"""Probes in the code of CPython 3.11: they see every function that runs, no other, and change nothing else."""

from __future__ import annotations

import ctypes
import dis
import functools
import gc
import inspect
import marshal
import os
import pickle
import signal
import sys
import threading
import types
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any

import greenlet  # type: ignore[import-untyped]  # has no types
import pytest

from flagmw.usage import probes
from tests.unit.probes_support import IS_OURS, PROGRAMS, compiled, function, run, run_rewritten, seen_by_profiler

__test__ = IS_OURS  # other versions have sys.monitoring

SIMPLE = "def f(n):\n    return n\n"
RUNS_BEFORE_ADAPTED = 10_000


# --- what was seen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_probes_see_the_functions_that_a_profiler_sees(program: str) -> None:
    rewritten = probes.rewrite(compiled(PROGRAMS[program]))
    profiled = seen_by_profiler(lambda: run(rewritten.code))
    hits = {(probe.code.co_qualname, probe.code.co_firstlineno) for probe in rewritten.probes if probe.was_hit}
    assert hits == profiled


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_rewritten_program_has_the_result_that_it_had(program: str) -> None:
    assert run_rewritten(PROGRAMS[program]).result == run(compiled(PROGRAMS[program]))["result"]


def test_no_probe_is_hit_before_its_function_is_called() -> None:
    _, probe = function(SIMPLE)
    assert not probe.was_hit


def test_an_armed_probe_is_hit_again_and_again() -> None:
    f, probe = function(SIMPLE)
    found = []
    for _ in range(5):
        probe.arm()
        found.append(probe.was_hit)
        f(1)
        found.append(probe.was_hit)
    assert found == [False, True] * 5


def test_a_disarmed_probe_stays_as_it_is() -> None:
    f, probe = function(SIMPLE)
    probe.disarm()
    before = probe.flagmw_switch
    f(1)
    assert probe.flagmw_switch == before


def test_a_generator_counts_when_it_is_first_advanced() -> None:
    f, probe = function("def f(n):\n    yield n\n")
    made = f(1)
    found = [probe.was_hit]
    next(made)
    assert [*found, probe.was_hit] == [False, True]


def test_a_generator_that_goes_on_after_arming_does_not_count() -> None:
    f, probe = function("def f(n):\n    yield n\n    yield n\n")
    made = f(1)
    next(made)
    probe.arm()
    next(made)
    assert not probe.was_hit


@pytest.mark.parametrize("is_armed_often", [False, True])
def test_code_that_the_interpreter_has_adapted_is_right_in_both_states(*, is_armed_often: bool) -> None:
    f, probe = function("def f(n, k=[1, 2, 3]):\n    a = n\n    return a + k[1] + len(k)\n")
    hits = 0
    for number in range(RUNS_BEFORE_ADAPTED):
        if is_armed_often or number % 1000 == 0:
            probe.arm()
        assert f(number) == number + 5
        hits += probe.was_hit
    assert hits == RUNS_BEFORE_ADAPTED


def test_functions_called_first_by_several_threads_at_once_are_all_seen() -> None:
    number = 200
    source = "".join(f"def f{n}(): return {n}\n" for n in range(number)) + "result = None"
    rewritten = probes.rewrite(compiled(source))
    namespace = run(rewritten.code)
    before, answers = threading.Barrier(8), []

    def call_all() -> None:
        before.wait(10)
        answers.append([namespace[f"f{n}"]() for n in range(number)])

    threads = [threading.Thread(target=call_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [list(range(number))] * 8
    assert all(probe.was_hit for probe in rewritten.probes)


def test_a_forked_child_has_its_own_switches() -> None:
    f, probe = function(SIMPLE)
    f(1)
    child = os.fork()
    if not child:
        probe.arm()
        is_armed = not probe.was_hit
        f(2)
        os._exit(0 if is_armed and probe.was_hit else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert probe.was_hit


def test_what_a_child_calls_is_not_seen_by_its_parent() -> None:
    f, probe = function(SIMPLE)
    child = os.fork()
    if not child:
        f(1)
        os._exit(0)
    os.waitpid(child, 0)
    assert not probe.was_hit


def test_functions_that_switch_greenlets_are_seen() -> None:
    source = (
        "def f(switch):\n    got = switch(1)\n    return g(switch, got)\ndef g(switch, got):\n    return switch(got)\n"
    )
    rewritten = probes.rewrite(compiled(source))
    f = run(rewritten.code)["f"]
    new: Any = greenlet.greenlet
    main = greenlet.getcurrent()
    workers = [new(f) for _ in range(50)]
    for _ in range(20):
        switched = [worker.switch(main.switch) for worker in workers]
        assert switched == [1] * 50
        switched = [worker.switch(number) for number, worker in enumerate(workers)]
        assert switched == list(range(50))
        for worker in workers:
            worker.switch(None)
        assert all(probe.was_hit for probe in rewritten.probes)
        for probe in rewritten.probes:
            probe.arm()
        workers = [new(f) for _ in range(50)]


# --- which code has probes ----------------------------------------------------------------------------------


def test_modules_classes_and_comprehensions_have_no_probe_and_what_they_define_has() -> None:
    rewritten = probes.rewrite(
        compiled("class K:\n    m = [lambda: [n for n in a] for a in ()]\n    def f(self): ...\n")
    )
    assert [probe.code.co_name for probe in rewritten.probes] == ["<lambda>", "f"]


def test_code_without_functions_stays_the_same_object() -> None:
    code = compiled("a = [n for n in range(3)]\n")
    assert probes.rewrite(code).code is code


def test_rewriting_twice_gives_the_same_code_and_the_same_probes() -> None:
    once = probes.rewrite(compiled(PROGRAMS["closures"]))
    twice = probes.rewrite(once.code)
    assert twice.code is once.code
    assert [id(probe) for probe in twice.probes] == [id(probe) for probe in once.probes]


@pytest.mark.parametrize("opcodes", [["LOAD_CONST", "RETURN_VALUE"], ["NOP", "RESUME", "LOAD_CONST", "RETURN_VALUE"]])
def test_code_that_no_compiler_wrote_stays_as_it_is(opcodes: list[str]) -> None:
    odd = (lambda: None).__code__.replace(co_code=b"".join(bytes((dis.opmap[name], 0)) for name in opcodes))
    assert probes.rewrite(odd) == probes.Rewritten(code=odd, probes=())


def test_code_with_a_broken_table_of_handlers_stays_as_it_is() -> None:
    odd = (lambda: None).__code__.replace(co_exceptiontable=b"\x80\x01\x02")
    assert probes.rewrite(odd) == probes.Rewritten(code=odd, probes=())


def test_the_code_of_a_live_function_can_be_changed() -> None:
    def adding(number: int) -> Any:
        return lambda more: number + more

    add = adding(1)
    add(1)
    rewritten = probes.rewrite(add.__code__)
    add.__code__ = rewritten.code
    assert (add(2), rewritten.probes[0].was_hit) == (3, True)


def test_a_copy_of_code_is_not_seen() -> None:
    f, probe = function(SIMPLE)
    copy = FunctionType(f.__code__.replace(co_name="copy"), {})
    assert (copy(1), probe.was_hit) == (1, False)


def test_a_copy_of_a_generator_function_counts_for_the_original() -> None:
    f, probe = function("def f(n):\n    yield n\n")
    found = []
    for _ in range(3):
        copy: Any = types.coroutine(f)
        found.append((probe.was_hit, list(copy(1)), probe.was_hit))
        probe.arm()
    assert found == [(False, [1], True)] * 3


def test_a_copy_still_counts_when_nobody_else_has_the_original() -> None:
    f, probe = function("def f(n):\n    yield n\n")
    copy = FunctionType(f.__code__.replace(co_name="copy"), {})
    address = ctypes.addressof(probe)
    del f, probe
    gc.collect()
    list(copy(1))
    (found,) = probes.rewrite(copy.__code__).probes
    assert (found.was_hit, ctypes.addressof(found)) == (True, address)


# --- what the application can see of it ---------------------------------------------------------------------


def test_the_probe_is_no_event_to_tracers_and_profilers() -> None:
    def events(code: CodeType) -> list[tuple[str, str, int]]:
        found = []

        def note(frame: FrameType, event: str, _argument: object) -> Any:
            if frame.f_code.co_filename == "<program>":
                found.append((event, frame.f_code.co_name, frame.f_lineno))
            return note

        for install in (sys.settrace, sys.setprofile):
            install(note)
            try:
                run(code)
            finally:
                install(None)
        return found

    for source in PROGRAMS.values():
        assert events(probes.rewrite(compiled(source)).code) == events(compiled(source))


def test_a_debugger_can_jump_as_before() -> None:
    source = """
def f(n):
    n += 1
    n += 10
    for _ in range(2):
        n += 100
    return n
"""

    def jumping(f: Callable[[int], int], start: int, target: int) -> object:
        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            if frame.f_code.co_name == "f" and event == "line" and frame.f_lineno == start and not jumped:
                jumped.append(target)
                frame.f_lineno = target  # type: ignore[misc]  # may be written while tracing
            return trace

        jumped: list[int] = []
        sys.settrace(trace)
        try:
            return f(1)
        except ValueError as error:
            return str(error)
        finally:
            sys.settrace(None)

    plain, rewritten = run(compiled(source))["f"], function(source)[0]
    places = [(start, target) for start in range(2, 8) for target in range(2, 8)]
    assert [jumping(rewritten, *place) for place in places] == [jumping(plain, *place) for place in places]


def test_a_function_can_be_entered_first_where_recursion_ends() -> None:
    source = """
def leaf():
    return 1
def f(n):
    return leaf() if n == 0 else f(n - 1)
def deepest(before):
    for n in range(1000):
        before()
        try:
            f(n)
        except RecursionError:
            return n
"""
    rewritten = probes.rewrite(compiled(source))
    plain, ours = run(compiled(source))["deepest"], run(rewritten.code)["deepest"]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        assert ours(rewritten.probes[0].arm) == plain(int)
    finally:
        sys.setrecursionlimit(limit)


def test_code_objects_can_be_hashed_and_keep_their_hash() -> None:
    f, _ = function(SIMPLE)
    before = hash(f.__code__)
    f(1)
    assert (hash(f.__code__), {f.__code__: 1}[f.__code__]) == (before, 1)


def test_two_functions_of_the_same_text_stay_two() -> None:
    assert function(SIMPLE)[0].__code__ != function(SIMPLE)[0].__code__


def test_signature_documentation_and_source_stay() -> None:
    f, _ = function('def f(a, /, b=1, *c, d, **e):\n    """What it does."""\n    return a\n')
    assert (str(inspect.signature(f)), f.__doc__, f.__code__.co_varnames) == (
        "(a, /, b=1, *c, d, **e)",
        "What it does.",
        ("a", "b", "d", "c", "e"),
    )


def test_the_names_that_a_function_uses_stay() -> None:
    f, _ = function("def f(n):\n    return print, other, n\n")
    used = inspect.getclosurevars(f)
    assert (used.builtins, used.globals, used.nonlocals, used.unbound) == ({"print": print}, {}, {}, {"other"})


def test_a_function_without_documentation_gets_none() -> None:
    assert run_rewritten("f = lambda: x\nresult = f.__doc__").result is None


def pickled_by_value(code: CodeType) -> CodeType:
    """Copy code as cloudpickle does: by its parts."""
    parts = {name: getattr(code, name) for name in ("co_code", "co_names", "co_linetable", "co_exceptiontable")}
    constants = pickle.loads(pickle.dumps(code.co_consts))
    return code.replace(co_consts=constants, **parts)


@pytest.mark.parametrize("source", [SIMPLE, "def f(n):\n    yield from n\n"])
def test_a_copy_that_was_pickled_by_value_runs_and_is_not_seen(source: str) -> None:
    f, probe = function(source)
    copy = FunctionType(pickled_by_value(f.__code__), {})
    assert ([list(copy([n])) for n in range(100)], probe.was_hit) == ([[n] for n in range(100)], False)


def test_a_copy_that_was_pickled_by_value_can_be_hashed_and_pickled_again() -> None:
    f, _ = function("def f(n):\n    yield n\n")
    copy = FunctionType(pickled_by_value(f.__code__), {})
    list(copy(1))
    again = FunctionType(pickled_by_value(copy.__code__), {})
    assert (list(again(2)), isinstance(hash(again.__code__), int)) == ([2], True)


def test_what_a_pickle_holds_for_a_probe_needs_no_flagmw() -> None:
    _, probe = function(SIMPLE)
    stand_in = pickle.loads(pickle.dumps(probe))
    assert (type(stand_in), b"flagmw" in pickle.dumps(probe)) == (functools.partial, False)


@pytest.mark.parametrize("was_called", [False, True])
def test_a_marshalled_copy_runs_and_is_not_seen(*, was_called: bool) -> None:
    f, probe = function(SIMPLE)
    if was_called:
        f(1)
        probe.arm()
    copy = FunctionType(marshal.loads(marshal.dumps(f.__code__)), {})
    assert ([copy(n) for n in range(100)], probe.was_hit) == (list(range(100)), False)


@pytest.mark.parametrize("source", [SIMPLE, "def f(n):\n    yield n\n"])
def test_bytecode_looks_the_same_before_and_after_a_call(source: str) -> None:
    f, _ = function(source)
    before = f.__code__.co_code
    for _ in range(100):
        list(f([]))
    assert f.__code__.co_code == before


def test_bytecode_shows_the_assignment_as_out_of_reach() -> None:
    f, _ = function(SIMPLE)
    resume, switch, *_, load, _ = dis.get_instructions(f)
    assert (resume.opname, switch.opname, switch.argval) == ("RESUME", "JUMP_FORWARD", load.offset)


def test_a_signal_at_the_first_call_finds_every_frame_at_a_line() -> None:
    number = 2000
    source = "".join(f"def f{n}():\n    for _ in range(20): pass\n" for n in range(number)) + "result = None"
    rewritten = probes.rewrite(compiled(source))
    namespace = run(rewritten.code)
    lines: list[object] = []

    def note(_number: int, frame: FrameType | None) -> None:
        while frame is not None:
            lines.append(frame.f_lineno)
            frame = frame.f_back

    before = signal.signal(signal.SIGALRM, note)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        while len(lines) < 1000:
            for n in range(number):
                namespace[f"f{n}"]()
            for probe in rewritten.probes:
                probe.arm()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert None not in lines


def test_a_probe_tells_whose_it_is() -> None:
    assert repr(function(SIMPLE)[1]) == "<probe of f>"
