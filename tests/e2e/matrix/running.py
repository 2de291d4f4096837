"""A server of the matrix while it runs: its processes, all of which are found and ended, orphans included."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
MARK = "MATRIX_RUN"
"""Marks the environment of every process of one server."""

LOOK_S = 0.01
"""Between two looks at what gives no sign."""

END_S = 10.0
"""How long killed processes may take to be gone."""

SAY_S = 0.5
LOG_CHARS = 8_000
STARTS = 3
"""How often a server is started when something else has taken its port in the meantime."""


class Running:
    """A server that was started, in a session of its own.

    Args:
        command: from a port to the command line.
        environment: what is added to ours.
        log: where its output goes.

    Attributes:
        pid: of the process that was started.
        port: where it listens, or is about to.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._mark = secrets.token_hex(8)
        self._environment = environment_of({**environment, MARK: self._mark})
        self._log = log
        self._starts = 0
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self.port = free_port()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self._command(self.port)),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        """Tell whether the process that was started is gone."""
        return self._process.poll() is not None

    def check(self) -> None:
        """See that it goes on after its start.

        Raises:
            AssertionError: it has ended.
        """
        if not self.has_ended():
            return
        if self._starts < STARTS and re.search(r"(?i)address already in use", self.log()):
            self._start()
            return
        raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.log()[-3000:]}")

    def await_end(self, timeout_s: float) -> bool:
        """Wait until the process that was started is gone; gives whether it is."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: int, pid: int | None = None) -> None:
        """Send a signal to the process that was started, or to another one."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or self.pid, number)

    def log(self) -> str:
        """Give what was written so far."""
        return self._log.read_text("utf-8", "replace")

    def pids(self) -> list[int]:
        """Give all its processes that are alive."""
        return list(marked(self._mark))

    def say_where(self) -> str:
        """Have each worker write what its threads are doing, and give the end of the log; the server may not survive."""
        for pid in self.pids():
            self.signal(signal.SIGRTMIN, pid)
        time.sleep(SAY_S)
        return self.log()[-LOG_CHARS:]

    def kill_all(self) -> None:
        """End all processes at once, and wait until they are gone; may be called twice."""
        deadline_s = time.monotonic() + END_S
        while found := self.pids():
            for pid in found:
                self.signal(signal.SIGKILL, pid)
            self._process.poll()
            assert time.monotonic() < deadline_s, f"{found} cannot be killed"
            time.sleep(LOOK_S)
        self._process.wait(END_S)


def marked(mark: str) -> Iterator[int]:
    """Find the processes that have inherited a mark in their environment; those that ended are not among them."""
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            content = Path("/proc", entry, "environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if wanted in content.split(b"\0"):
            yield int(entry)


def environment_of(added: Mapping[str, str]) -> dict[str, str]:
    """Give an environment for a process: ours without proxies and settings of flagmw or Django, and what is added."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")
        and not name.startswith(("FLAGMW_", "DJANGO_", "MATRIX_", "COV_", "PYTEST_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "C_FORCE_ROOT": "1", **added}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
