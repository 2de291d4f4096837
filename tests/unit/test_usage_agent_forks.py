"""The agent in processes that fork and end: each reports its own, once, by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flagmw.usage.store import read_usage
from tests.unit.usage_agent_support import rows

ROOT = Path(__file__).parents[2]

VIEWS = "".join(f"def f{number}():\n    return {number}\n\n" for number in range(20))

PRELUDE = """
import json, os, signal, subprocess, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about
from flagmw.lifecycle import hooks
from flagmw.usage import Agent, UsageConfig

FOLDER = os.path.dirname(os.path.abspath(__file__))
INTERVAL_S = float(os.environ.get("INTERVAL_S", "60"))
agent = Agent(UsageConfig(
    packages=("shop",), codebase=(FOLDER,), app_name="shop", store=FOLDER + "/usage.db", store_interval_s=INTERVAL_S,
    exit_timeout_s=float(os.environ.get("EXIT_S", "10")),
))

def until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)

def published():
    return agent.status.publishers[0].published_at is not None

def fork(body, leave=True):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        if leave:
            hooks.leave()
        code = 0
    finally:
        os._exit(code)

def wait(*pids):
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def threads():
    return sorted(one.name for one in threading.enumerate() if one.name.startswith("flagmw-"))
"""


class Program:
    """A program with a package `shop` of twenty functions beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop").mkdir()
        (folder / "shop" / "__init__.py").touch()
        (folder / "shop" / "views.py").write_text(VIEWS)

    def run(self, text: str, **environment: str) -> Any:
        """Run it; it must end well and say nothing but JSON, if anything."""
        script = self.folder / "program.py"
        script.write_text(PRELUDE + textwrap.dedent(text))
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def ran(self) -> dict[str, int]:
        functions = read_usage(self.folder / "usage.db").functions
        return {one.function.name: one.intervals for one in functions if one.intervals}

    def processes(self) -> int:
        return len(rows(self.folder / "usage.db", "SELECT DISTINCT process FROM publications"))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


# --- ends -----------------------------------------------------------------------------------------------------


def test_a_process_reports_when_it_ends_by_itself(program: Program) -> None:
    program.run("agent.start()\nfrom shop import views\nviews.f1()\n")
    assert program.ran() == {"f1": 1}


def test_a_process_that_ends_by_an_error_reports_as_well(program: Program) -> None:
    program.run(
        """
        pid = os.fork()
        if not pid:
            sys.stderr = open(os.devnull, "w")
            agent.start()
            from shop import views
            views.f1()
            raise ZeroDivisionError
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        """
    )
    assert program.ran() == {"f1": 1}


def test_a_process_that_cannot_write_ends_in_time(program: Program) -> None:
    (program.folder / "usage.db").mkdir()
    script = "logging.disable()\nagent.start()\nfrom shop import views\nviews.f1()\nprint(json.dumps(1))\n"
    assert program.run(f"import logging\n{script}") == 1


def test_a_process_whose_store_is_locked_leaves_within_its_time(program: Program) -> None:
    took_s = program.run(
        """
        import logging, sqlite3
        logging.disable()
        agent.start()
        from shop import views
        until(published)
        views.f1()
        other = sqlite3.connect(FOLDER + "/usage.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began_s = time.monotonic()
        hooks.leave()
        hooks.leave()
        print(json.dumps(time.monotonic() - began_s))
        """,
        EXIT_S="0.6",
    )
    assert 0.5 < took_s < 2.5


def test_a_process_whose_code_base_is_large_leaves_within_its_time_and_says_so_once(program: Program) -> None:
    for number in range(400):
        (program.folder / "shop" / f"large{number}.py").write_text(VIEWS * 20)
    took_s, told = program.run(
        """
        import logging
        told = []
        handler = logging.Handler()
        handler.emit = lambda record: told.append(record.getMessage())
        logging.getLogger("flagmw").addHandler(handler)
        agent.start()
        from shop import views
        views.f1()
        began_s = time.monotonic()
        hooks.leave()
        took_s = time.monotonic() - began_s
        hooks.leave()
        print(json.dumps([took_s, told]))
        """,
        EXIT_S="0.05",
    )
    assert took_s < 1.5
    assert told == ["this process leaves before its code base was read; what ran in it is not reported"]


# --- forks ----------------------------------------------------------------------------------------------------


def test_a_child_reports_its_own_and_nothing_of_its_parents(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        views.f1()
        wait(fork(views.f2), fork(views.f2))
        views.f3()
        """
    )
    assert (program.ran(), program.processes()) == ({"f1": 1, "f2": 2, "f3": 1}, 3)


def test_a_parent_stays_what_it_was_when_it_forks(program: Program) -> None:
    before, after, ran = program.run(
        """
        agent.start()
        from shop import views
        views.f1()
        until(published)
        before = agent.status.uuid
        wait(fork(views.f2))
        views.f3()
        after = agent.status.uuid
        agent.start()
        assert agent.shutdown()
        print(json.dumps([before, after, threads()]))
        """
    )
    assert (before == after, ran) == (True, [])
    assert (program.ran(), program.processes()) == ({"f1": 1, "f2": 1, "f3": 1}, 2)


def test_a_parent_that_is_left_by_its_threads_reports_at_its_end_after_forks(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        hooks.leave()
        wait(fork(views.f2))
        views.f3()
        """
    )
    assert program.ran() == {"f2": 1, "f3": 1}


def test_what_the_parent_ran_and_the_child_runs_again_counts_for_both(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        views.f1()
        until(published)
        wait(fork(views.f1))
        """
    )
    assert program.ran() == {"f1": 2}


def test_a_child_has_an_identity_and_threads_of_its_own(program: Program) -> None:
    parents, childs, threads = program.run(
        """
        agent.start()
        read, write = os.pipe()
        pid = fork(lambda: os.write(write, json.dumps([agent.status.uuid, threads()]).encode()))
        wait(pid)
        print(json.dumps([agent.status.uuid, *json.loads(os.read(read, 10_000))]))
        """
    )
    assert parents != childs
    assert threads == ["flagmw-usage"]


def test_the_thread_of_a_child_reports_while_it_lives(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        until(published)
        def work():
            views.f5()
            until(published)
        wait(fork(work, leave=False))
        """,
        INTERVAL_S="0.1",
    )
    assert program.ran() == {"f5": 1}


def test_children_of_children_report(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        def child():
            views.f1()
            wait(fork(lambda: (views.f2(), wait(fork(views.f3)))))
        wait(fork(child))
        """
    )
    assert (program.ran(), program.processes()) == ({"f1": 1, "f2": 1, "f3": 1}, 3)


def test_a_child_that_is_forked_in_a_thread_reports(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        pids = []
        worker = threading.Thread(target=lambda: pids.append(fork(views.f1)))
        worker.start()
        worker.join()
        wait(*pids)
        """
    )
    assert program.ran() == {"f1": 1}


def test_a_child_of_a_process_whose_agent_is_not_started_may_start_it(program: Program) -> None:
    program.run(
        """
        from shop import views
        wait(fork(lambda: (agent.start(), views.f1())), fork(lambda: (agent.start(), views.f2())))
        """
    )
    assert program.ran() == {"f1": 1, "f2": 1}


def test_a_child_may_stop_and_the_parent_goes_on(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        wait(fork(lambda: (views.f1(), agent.shutdown(), views.f2()), leave=False))
        views.f3()
        """
    )
    assert program.ran() == {"f1": 1, "f3": 1}


def test_forks_at_any_moment_leave_no_child_hanging(program: Program) -> None:
    program.run(
        """
        agent.start()
        from shop import views
        busy = threading.Event()
        def disturb():
            while not busy.is_set():
                agent._watch._present.publishings[0].publisher.run(agent._watch._present.publishings[0])
        thread = threading.Thread(target=disturb)
        thread.start()
        for number in range(60):
            wait(fork(lambda: getattr(views, f"f{number % 20}")()))
        busy.set()
        thread.join()
        """,
        INTERVAL_S="0.01",
    )
    assert program.ran() == {f"f{number}": 3 for number in range(20)}


def test_a_child_that_is_forked_to_execute_something_else_writes_nothing(program: Program) -> None:
    program.run(
        """
        agent.start()
        until(published)
        for _ in range(5):
            subprocess.run([sys.executable, "-S", "-c", ""], preexec_fn=lambda: None, check=True)
        """
    )
    assert rows(program.folder / "usage.db", "SELECT count(*) FROM processes") == [(1,)]


def test_a_fork_that_python_did_not_see_is_noticed_at_the_next_touch(program: Program) -> None:
    program.run(
        """
        import ctypes
        agent.start()
        from shop import views
        views.f1()
        until(published)
        pid = ctypes.PyDLL(None).fork()  # as a server in C does it
        if not pid:
            agent.touch()
            views.f2()
            assert agent.shutdown(10.0)
            os._exit(0)
        wait(pid)
        """
    )
    assert program.ran() == {"f1": 1, "f2": 1}


def test_a_fork_that_python_did_not_see_can_be_ended_without_a_touch(program: Program) -> None:
    program.run(
        """
        import ctypes
        agent.start()
        from shop import views
        until(published)
        present = agent._watch._present
        with present.ledger._lock, agent._watch._lock:  # as if other threads had them
            pid = ctypes.PyDLL(None).fork()
            if not pid:
                assert agent.shutdown(10.0)
                os._exit(0)
        wait(pid)
        """
    )
    assert rows(program.folder / "usage.db", "SELECT count(*) FROM processes") == [(2,)]


def test_a_child_whose_threads_are_greenlets_reports_once_it_is_touched(program: Program) -> None:
    program.run(
        """
        import gevent.monkey
        gevent.monkey.patch_all()
        import gevent
        agent.start()
        from shop import views
        until(published)
        def work():
            views.f1()
            assert not agent._watch._present.publishings[0].is_running
            agent.touch()
            until(published)
        wait(fork(work, leave=False))
        """,
        INTERVAL_S="0.1",
    )
    assert program.ran() == {"f1": 1}


def test_a_child_whose_threads_are_greenlets_reports_at_its_end_without_a_touch(program: Program) -> None:
    program.run(
        """
        import gevent.monkey
        gevent.monkey.patch_all()
        agent.start()
        from shop import views
        until(published)
        wait(fork(views.f1))
        """
    )
    assert program.ran() == {"f1": 1}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_report(program: Program, method: str) -> None:
    program.run(
        f"""
        import multiprocessing
        def work(number):
            agent.start()
            from shop import views
            getattr(views, f"f{{number}}")()
        if __name__ == "__main__":
            agent.start()
            context = multiprocessing.get_context("{method}")
            children = [context.Process(target=work, args=[number]) for number in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join(30)
                assert child.exitcode == 0
        """
    )
    assert program.ran() == {"f0": 1, "f1": 1, "f2": 1}


def test_the_workers_of_a_pool_report(program: Program) -> None:
    program.run(
        """
        import multiprocessing, operator
        from concurrent.futures import ProcessPoolExecutor
        from shop import views
        agent.start()
        with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(operator.call, [views.f1, views.f2, views.f3]))
        """
    )
    assert program.ran() == {"f1": 1, "f2": 1, "f3": 1}
