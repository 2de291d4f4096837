"""The lock that says who leads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flagmw.lifecycle.leadership import Leadership
from tests.unit.support import until

HOLDER = """
import os, sys, time
from pathlib import Path
from flagmw.lifecycle.leadership import Leadership
lock = Leadership(Path(sys.argv[1]))
print(lock.try_to_lead(), flush=True)
if len(sys.argv) > 2:
    child = os.fork()
    if not child:
        time.sleep(60)
    print(child, flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds the lock."""
    arguments = [sys.executable, "-c", HOLDER, str(path), *more]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "True\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_first_one_leads_and_another_process_does_not(tmp_path: Path) -> None:
    with holder(tmp_path / "lock"):
        lock = Leadership(tmp_path / "lock")
        assert not lock.try_to_lead()
        assert not lock.is_held


def test_a_second_one_in_the_same_process_does_not_lead(tmp_path: Path) -> None:
    first, second = Leadership(tmp_path / "lock"), Leadership(tmp_path / "lock")
    assert first.try_to_lead()
    assert not second.try_to_lead()


def test_the_attempt_of_a_second_one_in_the_same_process_leaves_the_lock_to_the_first(tmp_path: Path) -> None:
    first, second = Leadership(tmp_path / "lock"), Leadership(tmp_path / "lock")
    assert first.try_to_lead()
    second.try_to_lead()
    second.let_go()
    assert in_another_process(tmp_path / "lock") == "False"


def in_another_process(path: Path) -> str:
    script = "import sys; from pathlib import Path; from flagmw.lifecycle.leadership import Leadership\n"
    script += "print(Leadership(Path(sys.argv[1])).try_to_lead())"
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_whoever_lets_go_leaves_the_lock_to_others(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    assert lock.try_to_lead()
    lock.let_go()
    assert not lock.is_held
    assert in_another_process(tmp_path / "lock") == "True"


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    with holder(tmp_path / "lock") as other:
        other.kill()
        other.wait()
        assert lock.try_to_lead()
    lock.let_go()


def test_a_child_of_a_dead_leader_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    with holder(tmp_path / "lock", "fork") as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        try:
            leader.kill()
            leader.wait()
            assert lock.try_to_lead()
            os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)
    lock.let_go()


def test_a_child_does_not_lead_because_its_parent_does(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    assert lock.try_to_lead()
    child = os.fork()
    if not child:
        other = Leadership(tmp_path / "lock")
        os._exit(10 * lock.is_held + other.try_to_lead())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert in_another_process(tmp_path / "lock") == "False"
    lock.let_go()


def test_a_child_leads_when_its_parent_is_gone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        lock = Leadership(tmp_path / "lock")
        lock.try_to_lead()
        if not os.fork():
            other = Leadership(tmp_path / "lock")
            until(other.try_to_lead)
            os.write(writing, b"leads" if other.is_held else b"does not")
            os._exit(0)
        os._exit(0)
    os.waitpid(parent, 0)
    os.close(writing)
    with open(reading, "rb") as answer:
        assert answer.read() == b"leads"


def test_a_lock_whose_file_was_removed_is_not_in_place(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    assert lock.try_to_lead()
    assert lock.is_in_place()
    (tmp_path / "lock").unlink()
    assert not lock.is_in_place()
    (tmp_path / "lock").touch()
    assert not lock.is_in_place()
    lock.let_go()


def test_nobody_leads_where_there_is_no_folder(tmp_path: Path) -> None:
    assert not Leadership(tmp_path / "nowhere" / "lock").try_to_lead()


def test_leading_again_and_again_leaves_no_descriptor(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        assert lock.try_to_lead()
        assert lock.try_to_lead()
        lock.let_go()
        lock.let_go()
    assert len(os.listdir("/proc/self/fd")) == before


def test_attempts_in_vain_leave_no_descriptor(tmp_path: Path) -> None:
    lock = Leadership(tmp_path / "lock")
    with holder(tmp_path / "lock"):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            assert not lock.try_to_lead()
        assert len(os.listdir("/proc/self/fd")) == before
