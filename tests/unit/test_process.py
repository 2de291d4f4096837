"""Clients in processes that fork and exit: real processes, each running a small program."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.unit.support import flag

PRELUDE = """
import json, logging, os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about
from flagmw import Client, UserContext
from flagmw.providers import FlagFile, Static
PATH, USER = sys.argv[1], UserContext("user-1")

def write(value):
    flag = {"state": "ENABLED", "variants": {"v": value}, "defaultVariant": "v"}
    with open(PATH + ".tmp", "w") as file:
        json.dump({"flags": {"f": flag}}, file)
    os.replace(PATH + ".tmp", PATH)

def until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

def in_child(body):
    read, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = json.dumps(body())
        except BaseException as error:
            answer = json.dumps("raised " + repr(error))
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    answer = b""
    while chunk := os.read(read, 4096):
        answer += chunk
    os.waitpid(pid, 0)
    return json.loads(answer)

def threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("flagmw"))
"""


def run(program: str, folder: Path, *, name: str = "flags.json") -> Any:
    """Run a program on a flag file and give what it prints as JSON; it must end well and say nothing else."""
    path = folder / name
    path.write_text(json.dumps({"flags": {"f": flag({"v": 0}, "v")}}))
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program), str(path)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def test_a_client_that_was_used_before_a_fork_lives_on_in_the_child(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        def child():
            inherited = client.variation("f", USER)
            before = threads()
            write(1)
            return [inherited, before, until(lambda: client.variation("f", USER) == 1), client.close(5.0), threads()]
        print(json.dumps([in_child(child), until(lambda: client.variation("f", USER) == 1), threads()]))
        """,
        tmp_path,
    )
    assert found == [[0, ["flagmw-source"], True, True, []], True, ["flagmw-source"]]


def test_a_client_that_was_only_built_before_the_fork_starts_in_each_child(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        answers = [in_child(lambda: [client.variation("f", USER), threads()]) for _ in range(3)]
        print(json.dumps([answers, threads()]))
        """,
        tmp_path,
    )
    assert found == [[[0, ["flagmw-source"]]] * 3, []]


def test_a_child_reads_the_file_anew_in_its_first_use(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        client.close(5.0)
        client.start()
        def child():
            write(7)
            return client.variation("f", USER)
        print(json.dumps(in_child(child)))
        """,
        tmp_path,
    )
    assert found == 7


@pytest.mark.parametrize("name", ["flags.json", "flags.yaml"])
def test_a_fork_while_another_thread_starts_the_client_does_no_harm(tmp_path: Path, name: str) -> None:
    """The first start imports what it needs, and a module's lock that is held at a fork is held for ever."""
    found = run(
        """
        answers = []
        for _ in range(30):
            client = Client(FlagFile(PATH))
            starter = threading.Thread(target=client.start)
            starter.start()
            answers.append(in_child(lambda: client.variation("f", USER)))
            starter.join()
            client.close(5.0)
        print(json.dumps(answers))
        """,
        tmp_path,
        name=name,
    )
    assert found == [0] * 30


def test_children_of_children_and_in_memory_updates_after_a_fork(tmp_path: Path) -> None:
    found = run(
        """
        provider = Static({"f": 1})
        client = Client(provider)
        client.start()
        def grandchild():
            provider.update({"f": 3})
            return client.variation("f", USER)
        def child():
            provider.update({"f": 2})
            return [client.variation("f", USER), in_child(grandchild), client.variation("f", USER)]
        print(json.dumps([in_child(child), client.variation("f", USER)]))
        """,
        tmp_path,
    )
    assert found == [[2, 3, 2], 1]


def test_a_process_with_a_running_client_exits_at_once_and_without_a_word(tmp_path: Path) -> None:
    found = run(
        """
        import atexit
        began = time.monotonic()
        atexit.register(lambda: print(json.dumps([threads(), time.monotonic() - began < 5.0])))
        clients = [Client(FlagFile(PATH)) for _ in range(5)]
        for client in clients:
            client.start()
        """,
        tmp_path,
    )
    # This program's exit hook was registered first, so it runs last: nothing of ours is left by then.
    assert found == [[], True]


def test_a_forked_child_of_a_running_client_exits_at_once(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        codes = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                client.variation("f", USER)
                sys.exit(0)
            codes.append(os.waitpid(pid, 0)[1])
        print(json.dumps(codes))
        """,
        tmp_path,
    )
    assert found == [0] * 20


def test_importing_flagmw_starts_nothing_and_imports_nothing_heavy(tmp_path: Path) -> None:
    found = run(
        """
        heavy = ["requests", "websocket", "django", "flask", "starlette", "fastapi", "yaml", "watchfiles", "click",
                 "rich", "asyncio", "werkzeug", "socket", "ssl"]
        print(json.dumps([[name for name in heavy if name in sys.modules], threading.active_count()]))
        """,
        tmp_path,
    )
    assert found == [[], 1]
