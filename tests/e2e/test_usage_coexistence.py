"""The recorder beside coverage, debuggers, profilers, tracers and other tools: neither disturbs the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TIMEOUT_S = 60

APP = '''
import functools


def decorated(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner


@decorated
def branches(x):
    if x > 1:
        return "many"
    elif x == 1:
        return "one"
    return "none"


def steps(n):
    """Adds.

    >>> steps(3)
    3
    """
    total = 0
    for number in range(n):
        total += number
    return total


def gen():
    for number in range(2):
        yield number
    return


class K:
    @property
    def value(self):
        return [one for one in gen()]

    async def run(self):
        return self.value


def fails():
    return steps(1) / 0


def unused():
    return 0
'''

USE = """
import asyncio
from app import work
def use():
    work.branches(1); work.branches(2); work.steps(3); asyncio.run(work.K().run())
    try:
        work.fails()
    except ZeroDivisionError:
        pass
"""

RAN = ["K.run", "K.value", "branches", "decorated", "fails", "gen", "inner", "steps"]
"""What `use` runs, with what runs at import."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("")
    (tmp_path / "app" / "work.py").write_text(APP)
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "usage.py").write_text(
        textwrap.dedent("""
            from flagmw.usage.codebase import Scanner
            from flagmw.usage.config import UsageConfig
            from flagmw.usage.recording import recorder_for
            config = UsageConfig(codebase=(".",), packages=("app",))
            recorder = recorder_for(config)
            code_base = Scanner(config).scan()
            def ran():
                found = {code_base.find(seen) for seen in recorder.take()}
                return sorted(one.signature.removeprefix("app.work.").split("(")[0] for one in found if one)
        """)
    )
    return tmp_path


def run(folder: Path, script: str, *options: str, stdin: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a script in the folder; give what it printed."""
    (folder / "main.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, *options, "main.py"],
        cwd=folder,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines(text: str) -> list[str]:
    return text.splitlines()


def has_monitoring() -> bool:
    return sys.version_info >= (3, 12)


# --- coverage ----------------------------------------------------------------------------------------------------

COVERED = """
    import coverage, json, sys
    order = {order!r}
    measured = coverage.Coverage(data_file=None, include=["app/*"], branch={branch})
    def with_usage():
        import usage
        usage.recorder.start()
    if order == "usage first":
        with_usage()
    measured.start()
    if order == "coverage first":
        with_usage()
    import use
    use.use()
    if order != "alone":
        import usage
        first = usage.ran()
        use.use()
        second = usage.ran()
    use.use()
    measured.stop()
    data = measured.get_data()
    files = sorted(data.measured_files())
    print(json.dumps([[sorted(data.lines(file)) for file in files], [sorted(data.arcs(file) or ()) for file in files]]))
    if order != "alone":
        print(json.dumps([first, second]))
"""


def cores() -> list[str]:
    return ["ctrace", "pytrace", *(["sysmon"] if has_monitoring() else [])]


@pytest.mark.parametrize("core", cores())
@pytest.mark.parametrize("order", ["usage first", "coverage first"])
@pytest.mark.parametrize("branch", [False, True])
def test_coverage_measures_what_it_measures_without_us(folder: Path, core: str, order: str, branch: bool) -> None:
    environment = {"COVERAGE_CORE": "ctrace" if core == "sysmon" and branch and sys.version_info < (3, 14) else core}
    alone = run(folder, COVERED.format(order="alone", branch=branch), environment=environment)
    together = run(folder, COVERED.format(order=order, branch=branch), environment=environment)
    assert lines(together)[0] == lines(alone)[0]


@pytest.mark.parametrize("core", cores())
@pytest.mark.parametrize("order", ["usage first", "coverage first"])
def test_we_see_what_we_see_without_coverage(folder: Path, core: str, order: str) -> None:
    printed = run(folder, COVERED.format(order=order, branch=False), environment={"COVERAGE_CORE": core})
    first, second = json.loads(lines(printed)[1])
    assert (first, second) == (RAN, [name for name in RAN if name != "decorated"])


# --- tracers, profilers, debuggers --------------------------------------------------------------------------------

TRACED = """
    import sys
    if {usage}:
        import usage
        usage.recorder.start()
    import use
    events = []
    def trace(frame, event, argument):
        if frame.f_code.co_filename.endswith("work.py"):
            frame.f_trace_opcodes = {opcodes}
            events.append((frame.f_code.co_qualname, event, frame.f_lineno))
            return trace
    sys.{setter}(trace)
    use.use()
    sys.{setter}(None)
    if {usage}:
        usage.ran()
    sys.{setter}(trace)
    use.use()
    sys.{setter}(None)
    print([event for event in events if event[1] != "opcode"])
    if {usage}:
        print(usage.ran())
"""


@pytest.mark.parametrize("setter", ["settrace", "setprofile"])
def test_tracers_are_told_what_they_are_told_without_us(folder: Path, setter: str) -> None:
    alone = run(folder, TRACED.format(setter=setter, usage=False, opcodes=False))
    assert lines(run(folder, TRACED.format(setter=setter, usage=True, opcodes=False)))[0] == lines(alone)[0]


@pytest.mark.parametrize("setter", ["settrace", "setprofile"])
@pytest.mark.parametrize("opcodes", [False, True])
def test_we_see_what_runs_under_a_tracer(folder: Path, setter: str, opcodes: bool) -> None:
    printed = run(folder, TRACED.format(setter=setter, usage=True, opcodes=opcodes))
    assert lines(printed)[1] == str([name for name in RAN if name != "decorated"])


def test_pdb_stops_and_steps_where_it_does_without_us(folder: Path) -> None:
    script = """
        import pdb, sys
        if {usage}:
            import usage
            usage.recorder.start()
        import use
        from app import work
        pdb.Pdb(nosigint=True, readrc=False).run("use.use()", globals())
    """
    commands = "b work.steps\nc\nn\ns\nw\np n\nc\nr\nc\ncl 1\nc\n"
    alone = run(folder, script.format(usage=False), stdin=commands)
    assert "--Return--" in alone
    assert run(folder, script.format(usage=True), stdin=commands) == alone


def test_the_profiler_of_the_standard_library_counts_what_it_counts_without_us(folder: Path) -> None:
    script = """
        import cProfile, pstats
        if {usage}:
            import usage
            usage.recorder.start()
        import use
        profile = cProfile.Profile()
        profile.runcall(use.use)
        counts = {{key[1:]: value[:2] for key, value in pstats.Stats(profile).stats.items() if key[0].endswith("work.py")}}
        print(sorted(counts.items()))
        if {usage}:
            print(usage.ran())
    """
    alone, together = run(folder, script.format(usage=False)), run(folder, script.format(usage=True))
    assert lines(together) == [*lines(alone), str(RAN)]


def test_doctests_run_as_without_us(folder: Path) -> None:
    script = """
        import doctest, usage
        usage.recorder.start()
        from app import work
        print(tuple(doctest.testmod(work)), usage.ran())
    """
    assert run(folder, script) == "(0, 1) ['decorated', 'steps']\n"


# --- other tools of sys.monitoring --------------------------------------------------------------------------------


def test_with_all_tool_ids_taken_the_problem_says_so_and_all_goes_on(folder: Path) -> None:
    script = """
        import sys
        for number in range(6):
            sys.monitoring.use_tool_id(number, f"tool {number}")
        import usage, use
        usage.recorder.start()
        use.use()
        print(usage.ran(), "tool 3" in usage.recorder.problem)
        usage.recorder.stop()
        print([sys.monitoring.get_tool(number) for number in range(6)])
    """
    if has_monitoring():
        assert run(folder, script) == f"[] True\n{[f'tool {number}' for number in range(6)]}\n"


def test_once_a_tool_id_is_free_a_start_takes_it(folder: Path) -> None:
    script = """
        import sys
        for number in range(6):
            sys.monitoring.use_tool_id(number, f"tool {number}")
        import usage, use
        usage.recorder.start()
        sys.monitoring.free_tool_id(4)
        usage.recorder.start()
        use.use()
        print(usage.recorder.problem, usage.ran() != [], sys.monitoring.get_tool(4))
    """
    if has_monitoring():
        assert run(folder, script) == "None True flagmw\n"


def test_ids_of_debugger_coverage_and_profiler_are_left_to_them(folder: Path) -> None:
    script = """
        import sys
        for number in (3, 4, 5):
            sys.monitoring.use_tool_id(number, "taken")
        import usage
        usage.recorder.start()
        print([sys.monitoring.get_tool(number) for number in (0, 1, 2)], usage.recorder.problem is not None)
    """
    if has_monitoring():
        assert run(folder, script) == "[None, None, None] True\n"


def test_the_tool_id_is_given_back_and_its_next_owner_gets_no_events_of_ours(folder: Path) -> None:
    script = """
        import sys, usage, use
        usage.recorder.start()
        use.use()
        usage.ran()
        usage.recorder.stop()
        monitoring, got = sys.monitoring, []
        monitoring.use_tool_id(3, "next")
        monitoring.register_callback(3, monitoring.events.PY_START, lambda *event: got.append(event))
        use.use()
        print(got)
    """
    if has_monitoring():
        assert run(folder, script) == "[]\n"


OTHER = """
    import sys, usage
    monitoring, E = sys.monitoring, sys.monitoring.events
    got = []
    def on_start(code, offset):
        if code.co_filename.endswith("work.py"):
            got.append(code.co_qualname)
        {answer}
    if {usage}:
        usage.recorder.start()
    import use
    monitoring.use_tool_id(2, "other")
    monitoring.register_callback(2, E.PY_START, on_start)
    {events}
    for _ in range(3):
        use.use()
        {again}
        usage.ran()
    print(got)
    use.use()
    print(usage.ran())
"""

LOCAL = "[monitoring.set_local_events(2, f.__code__, E.PY_START) for f in (use.work.steps, use.work.gen)]"


@pytest.mark.parametrize("events", ["monitoring.set_events(2, E.PY_START)", LOCAL], ids=["global", "local"])
@pytest.mark.parametrize("answer", ["return None", "return monitoring.DISABLE"], ids=["on", "off"])
@pytest.mark.parametrize("again", ["pass", "monitoring.restart_events()"], ids=["once", "restarted"])
def test_another_tool_gets_its_events_and_we_get_ours(folder: Path, events: str, answer: str, again: str) -> None:
    if not has_monitoring():
        return
    alone = lines(run(folder, OTHER.format(usage=False, events=events, answer=answer, again=again)))
    together = lines(run(folder, OTHER.format(usage=True, events=events, answer=answer, again=again)))
    assert together == [alone[0], str([name for name in RAN if name != "decorated"])]
