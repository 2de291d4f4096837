"""One run: a server under load is ended in one way, then everything that is left of it, then one process starts anew."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.matrix.asking import Asker, OverCelery, OverHttp
from tests.e2e.matrix.exits import EXITS, Scene
from tests.e2e.matrix.load import Answer, Load
from tests.e2e.matrix.running import LOG_CHARS, ROOT, Running, environment_of
from tests.e2e.matrix.served.words import DEFAULT
from tests.e2e.matrix.servers import Row
from tests.e2e.matrix.services import SERVICES, Event, Service, account

START_S = 40.0
"""How long until every worker has answered; generous, since the machine may be busy."""

CHANGE_S = 15.0
"""A worker that does not see a change for so long is frozen."""

ENOUGH = 30
"""How many answers there are before the end comes, at least."""

ADOPT_S = 40.0

SETTLE_S = 12.0
"""Longer than any client here keeps events before it sends them (10 s)."""


@dataclass(kw_only=True)
class Result:
    """What came of one run.

    Attributes:
        answered: how many requests were answered completely.
        wrong: values that were not in force when the request was made, with who gave them.
        cold: answers of the first workers without any flags, because these did not come in the time that requests wait.
        due: how many events belong to these requests.
        lost: those of them that did not arrive.
        twice: events that the service counts more than once.
        repeats: arrivals that were one too many, those included that the service drops by their id.
        change_s: from the change of a flag until the last worker answered with it; None when it was not measured.
        frozen: workers that never did.
        end_s: how long the end took.
        adopt_s: how long the start anew took.
        late: events that arrived only with the start anew.
        problem: what went wrong otherwise.
        leaked: whether the secret is in the server's log.
        lost_by: who had answered the requests that lost events, what kind of request it was, and its user.
    """

    row: str
    end: str
    client: str = "flagmw"
    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    cold: int = 0
    due: int = 0
    lost: list[Event] = field(default_factory=list)
    twice: list[Event] = field(default_factory=list)
    repeats: int = 0
    change_s: float | None = None
    frozen: list[str] = field(default_factory=list)
    end_s: float = 0.0
    adopt_s: float = 0.0
    late: int = 0
    problem: str = ""
    leaked: bool = False
    lost_by: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, counted twice, wrong, frozen or otherwise bad."""
        return not (self.lost or self.twice or self.wrong or self.frozen or self.problem or self.leaked)


def drill(
    row: Row,
    end: str,
    *,
    service: str = "hackle",
    client: str = "flagmw",
    measure_change: bool = False,
    is_gentle: bool = False,
    folder: Path | None = None,
) -> Result:
    """Do one run.

    Args:
        row: the server.
        end: what happens to it, see `EXITS`.
        service: the flag service.
        client: what reads the flags in the app, `flagmw` or an official client.
        measure_change: whether a flag is changed before the end comes.
        is_gentle: as it must be for a client that keeps events in memory only: with default intervals, a lighter load,
            and `SETTLE_S` of rest before what is left of the server is asked to stop. Else that is killed at once.
        folder: where logs and state are kept; None takes one that is removed.
    """
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="matrix-")))
        source = stack.enter_context(SERVICES[service]())
        run = _Run(row, Result(row=row.name, end=end, client=client), source, place, is_gentle=is_gentle)
        return run.go(measure_change=measure_change)


class _Run:
    """One run, and what it needs."""

    def __init__(self, row: Row, result: Result, service: Service, folder: Path, *, is_gentle: bool) -> None:
        self.row = row
        self.service = service
        self.result = result
        self.folder = folder
        self.is_gentle = is_gentle
        self.started = folder / "started"
        self.started.mkdir()
        self.environment = {
            "FLAGMW_DSN": service.dsn(is_hasty=not is_gentle),
            "FLAGMW_STATE_DIR": str(folder / "state"),
            "MATRIX_BROKER": str(folder / "broker"),
            "MATRIX_CLIENT": result.client,
            "MATRIX_KEYS": json.dumps(service.keys),
            "MATRIX_SECRET": service.secret,
            "MATRIX_STARTED": str(self.started),
            "MATRIX_STREAMING_URL": service.server.ws_url,
            "MATRIX_URL": service.server.url,
            **row.environment,
        }
        self.changed_s: float | None = None
        self.first: set[str] = set()

    def go(self, *, measure_change: bool) -> Result:
        """Start the server, load it, end it, start anew, compare."""
        result = self.result
        running = Running(lambda port: self.row.line(port, result.end), self.environment, self.folder / "server.log")
        try:
            load = self._load(running)
            try:
                self._await_workers(running, load)
                if measure_change and result.end != "recycling":  # which has replaced them by then
                    self._measure_change(load)
                refused = [failure for failure in load.failures if failure.startswith("status")]
                assert not refused, f"{refused[0]} {len(refused)} times; the server says:\n{running.log()[-LOG_CHARS:]}"
                began_s = time.monotonic()
                result.problem = EXITS[result.end](Scene(self.row, running, load, self.started))
                result.end_s = time.monotonic() - began_s
                if self.is_gentle and not running.has_ended():
                    load.pause()
                    time.sleep(
                        SETTLE_S
                    )  # a client that says nothing of what it still has to send can only be given time
                    running.signal(signal.SIGTERM)
                    running.await_end(SETTLE_S)
            finally:
                running.kill_all()
                load.stop()
        finally:
            running.kill_all()
        self._compare(load)
        result.late = len(result.lost)
        if result.client == "flagmw":
            self._adopt()
            self._compare(load)
        result.late -= len(result.lost)
        result.leaked = result.client == "flagmw" and self.service.secret in running.log()
        return result

    def _load(self, running: Running) -> Load:
        asker: Asker = OverCelery(self.folder / "broker") if self.row.speaks == "celery" else OverHttp(running)
        pace = {"threads": 3, "pause_s": 0.12} if self.is_gentle else {}
        return Load(asker, self.service.keys, self.row.mounts, **pace)  # type: ignore[arg-type]  # a mixed mapping

    def _await_workers(self, running: Running, load: Load) -> None:
        deadline_s = time.monotonic() + START_S

        def are_there(answers: list[Answer]) -> bool:
            return len(answers) >= ENOUGH and len({answer.who for answer in answers}) >= self.row.workers

        while not load.await_answers(are_there, 0.2):
            running.check()
            if time.monotonic() > deadline_s:
                self.first = {answer.who for answer in load.answers}
                raise AssertionError(
                    f"{len(self.first)} of {self.row.workers} answer within {START_S:g} s; {load.failures[-3:]}; it says:\n"
                    f"{running.say_where()}"
                )
        self.first = {answer.who for answer in load.answers}

    def _measure_change(self, load: Load) -> None:
        """Change a flag, and see each of those that answer answer with its new value."""
        who = {answer.who for answer in load.answers}
        self.changed_s = time.monotonic()
        self.service.change()

        def seen(answers: list[Answer]) -> dict[str, float]:
            first: dict[str, float] = {}
            for answer in answers:
                if answer.value == self.service.after:
                    first.setdefault(answer.who, answer.at_s)
            return first

        load.await_answers(lambda answers: who <= seen(answers).keys(), CHANGE_S)
        times = seen(load.answers)
        self.result.frozen = sorted(who - times.keys())
        self.result.change_s = max((times[one] for one in who & times.keys()), default=self.changed_s) - self.changed_s

    def _adopt(self) -> None:
        began_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.matrix.adopter"],
            cwd=ROOT,
            env=environment_of(self.environment),
            capture_output=True,
            text=True,
            timeout=ADOPT_S,
            check=False,
        )
        self.result.adopt_s = time.monotonic() - began_s
        if done.returncode:
            self.result.problem = f"{self.result.problem} adopter: {done.stdout}{done.stderr}".strip()

    def _compare(self, load: Load) -> None:
        result = self.result
        answers = load.answers
        found = account(load.due(), list(self.service.arrivals()))
        result.answered = len(answers)
        result.due, result.lost, result.twice, result.repeats = found
        result.cold = sum(self._is_cold(answer) for answer in answers)
        result.wrong = [f"{answer.value!r} by {answer.who}" for answer in answers if not self._is_right(answer)]
        lost = {event.user for event in found.lost}
        result.lost_by = [f"{answer.who} {answer.kind} {answer.user}" for answer in answers if answer.user in lost]

    def _is_cold(self, answer: Answer) -> bool:
        return answer.value == DEFAULT and answer.who in self.first

    def _is_right(self, answer: Answer) -> bool:
        service = self.service
        may_be_new = self.changed_s is not None and answer.at_s > self.changed_s
        is_new = may_be_new and answer.value == service.after
        return answer.value == service.before or is_new or self._is_cold(answer)
