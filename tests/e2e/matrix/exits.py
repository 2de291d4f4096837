"""How a server, or one of its workers, ends. Each end waits until it has happened, or says that it has not."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.matrix.load import Load
from tests.e2e.matrix.running import LOOK_S, Running
from tests.e2e.matrix.servers import Row

STOP_S = 20.0
"""How long a server may take to end that was asked to."""

REPLACE_S = 20.0
"""How long it may take until a worker that is gone has a successor."""

NEW_ANSWERS = 3
"""How many answers show that a successor works."""

AFTERLIFE_S = 1.5
"""How long orphans of a killed master are given some requests."""

LONG_S = 0.8
"""How long the requests take that are under way when a server is stopped."""


class Scene:
    """A server under load, to be ended.

    Attributes:
        started: the folder in which requests that take their time say that they have begun.
    """

    def __init__(self, row: Row, running: Running, load: Load, started: Path) -> None:
        self.row = row
        self.running = running
        self.load = load
        self.started = started

    def who(self) -> set[str]:
        """Give all that have answered so far."""
        return {answer.who for answer in self.load.answers}

    def worker(self) -> int:
        """Give the process that answered last."""
        return pid_of(self.load.answers[-1].who)

    def begin_long(self, kind: str, hold_s: float, count: int) -> None:
        """Begin requests that take their time, and wait until the app has them."""
        for user in [self.load.ask_aside(kind, hold_s) for _ in range(count)]:
            deadline_s = time.monotonic() + STOP_S
            while not (self.started / user).exists():
                if time.monotonic() > deadline_s:
                    raise AssertionError("a long request does not reach the app")
                time.sleep(LOOK_S)

    def await_end(self) -> str:
        """Wait until the server has ended; gives what went wrong."""
        return "" if self.running.await_end(STOP_S) else f"did not end within {STOP_S:g} s"

    def await_successor(self, known: set[str], count: int = 1) -> str:
        """Wait until processes answer that did not before, or the server has ended; gives what went wrong."""

        def is_there() -> bool:
            if self.running.has_ended():
                return True
            answers = [answer.who for answer in self.load.answers if answer.who not in known]
            return sum(answers.count(who) >= NEW_ANSWERS for who in set(answers)) >= count

        deadline_s = time.monotonic() + REPLACE_S
        while not is_there():
            if time.monotonic() > deadline_s:
                return f"no successor answers within {REPLACE_S:g} s"
            time.sleep(LOOK_S)
        return ""

    def await_others(self, timeout_s: float) -> None:
        """Give what is left of the server a few requests more, if it still answers."""
        if self.running.has_ended() and not self.row.has_master:
            return
        before = len(self.load.answers)
        self.load.await_answers(lambda answers: len(answers) >= before + 10, timeout_s)


def pid_of(who: str) -> int:
    """Give the process of one that has answered."""
    found = re.match(r"\d+", who)
    assert found is not None, who
    return int(found[0])


def stop(number: signal.Signals) -> Callable[[Scene], str]:
    """Make an end: the server is told to stop."""

    def strike(scene: Scene) -> str:
        known = scene.who()
        scene.running.signal(number)
        return scene.await_successor(known) if number.name in scene.row.reloads_on else scene.await_end()

    return strike


def reload(scene: Scene) -> str:
    """Tell the server to reload, or to hang up if that is all that it knows."""
    known = scene.who()
    scene.running.signal(signal.SIGHUP)
    return scene.await_successor(known)


def worker(number: int) -> Callable[[Scene], str]:
    """Make an end: a signal strikes one worker."""

    def strike(scene: Scene) -> str:
        known = scene.who()
        scene.running.signal(number, scene.worker())
        if scene.row.respawns:
            return scene.await_successor(known)
        scene.await_others(AFTERLIFE_S)
        return ""

    return strike


def kill_at_answer(scene: Scene) -> str:
    """Have one worker die in the very moment in which its answer is out."""
    known = scene.who()
    scene.load.ask_aside("deadly")
    if scene.row.respawns:
        return scene.await_successor(known)
    scene.await_others(AFTERLIFE_S)
    return ""


def kill_master(scene: Scene) -> str:
    """Kill the process that was started; its children are orphans then."""
    scene.running.signal(signal.SIGKILL)
    problem = scene.await_end()
    scene.await_others(AFTERLIFE_S)
    return problem


def recycle(scene: Scene) -> str:
    """Wait until workers were replaced after so many requests, as the options say."""
    return scene.await_successor(set(list(scene.who())[: scene.row.workers]), count=2)


def time_out(scene: Scene) -> str:
    """Have one worker get stuck, and wait until the server does something about it."""
    known = scene.who()
    if scene.row.name.startswith("uvicorn"):
        scene.running.signal(
            signal.SIGSTOP, scene.worker()
        )  # its watch is a thread, which a stuck request leaves alone
    else:
        scene.begin_long("stuck", 0.0, 1)
    return scene.await_successor(known)


def stop_in_requests(scene: Scene) -> str:
    """Tell the server to stop while requests are under way, of which one will never end."""
    scene.begin_long("plain", LONG_S, 2)
    scene.begin_long("several", LONG_S, 1)
    if scene.row.workers > 1 and not scene.row.is_patient:
        scene.begin_long("stuck", 0.0, 1)
    scene.running.signal(signal.SIGTERM)
    return scene.await_end()


EXITS: Mapping[str, Callable[[Scene], str]] = {
    "SIGTERM": stop(signal.SIGTERM),
    "SIGINT": stop(signal.SIGINT),
    "SIGQUIT": stop(signal.SIGQUIT),
    "reload": reload,
    "worker SIGTERM": worker(signal.SIGTERM),
    "worker SIGABRT": worker(signal.SIGABRT),
    "worker SIGKILL": worker(signal.SIGKILL),
    "SIGKILL at an answer": kill_at_answer,
    "master SIGKILL": kill_master,
    "recycling": recycle,
    "time-out": time_out,
    "SIGTERM in requests": stop_in_requests,
}
"""By name."""

NEED_OPTION = ("recycling", "time-out")


def exits_of(row: Row) -> list[str]:
    """Name the ends that a server has."""
    names = [name for name in EXITS if name not in NEED_OPTION or name in row.options]
    if not row.has_master:
        names.remove("master SIGKILL")
    names = [name for name in names if name not in row.has_not]
    if row.speaks != "http":  # nobody can tell when a result is out
        names.remove("SIGKILL at an answer")
    if row.workers == 1:  # the same process as the server
        names.remove("worker SIGTERM")
    return names
