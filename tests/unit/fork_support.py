"""Small programs in processes of their own, for what forks and exits do."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.unit.support import flag

PRELUDE = """
import json, logging, os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about
from flagmw import Client, UserContext
from flagmw.lifecycle import hooks
from flagmw.lifecycle.threads import Background
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

def leave_a_note():
    # its thread writes down that it was told to stop
    def note(stopping):
        stopping.wait()
        with open(PATH + ".note", "a") as file:
            file.write("stopped\\n")
    Background("flagmw-note", note).start()

def notes():
    try:
        with open(PATH + ".note") as file:
            return len(file.read().split())
    except FileNotFoundError:
        return 0

def threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("flagmw"))
"""


def run(program: str, folder: Path, *, name: str = "flags.json") -> Any:
    """Run a program on a flag file and give what it prints as JSON; it must end well and say nothing else."""
    path = folder / name
    path.write_text(json.dumps({"flags": {"f": flag({"v": 0}, "v")}}))
    script = folder / "program.py"  # not by -c: children that are spawned import it
    script.write_text(PRELUDE + textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, str(script), str(path)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)
