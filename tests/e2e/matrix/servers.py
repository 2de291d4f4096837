"""The rows of the matrix: servers, each with its command line, and what it offers for the ends that need an option."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

WORKERS = 3
WSGI = "tests.e2e.matrix.served.wsgi:app"
ASGI = "tests.e2e.matrix.served.asgi:app"
STUCK_S = 2
"""After how many seconds of stopping a server gives up on requests that never end, where it can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server, configured.

    Attributes:
        command: the command line; `{port}` in it is where to listen.
        options: what some ends add to the command line, by the name of the end; an end that needs an option and is not
            here does not exist with this server.
        workers: how many of `who` answer.
        mounts: where the apps are.
        environment: what is added to the environment.
        has_master: whether the process that is started is none of those that answer.
        respawns: whether a worker that is gone is replaced.
        is_patient: whether it waits for ever for a request that never ends when it is told to stop.
        has_not: ends that it ignores.
        reloads_on: ends that would stop another server.
        speaks: `http`, or `celery` for tasks.
    """

    name: str
    command: Sequence[str]
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    workers: int = WORKERS
    mounts: Sequence[str] = ("",)
    environment: Mapping[str, str] = field(default_factory=dict)
    has_master: bool = True
    respawns: bool = True
    is_patient: bool = False
    has_not: Sequence[str] = ()
    reloads_on: Sequence[str] = ()
    speaks: str = "http"

    def line(self, port: int, end: str) -> list[str]:
        """Give the command line for a port and an end."""
        return [part.replace("{port}", str(port)) for part in (*self.command, *self.options.get(end, ()))]


def gunicorn(
    kind: str, name: str, *, app: str = WSGI, preload: bool = False, early: bool = False, timeout: bool = True
) -> Row:
    """Give a row of gunicorn."""
    python = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--graceful-timeout", str(STUCK_S)]
    options = {"recycling": ("--max-requests", "12")}
    if timeout:
        options["time-out"] = ("--timeout", "3")
    return Row(
        name=f"gunicorn {name}{', preload' if preload else ''}{', flag read in the master' if early else ''}",
        command=[
            *python, "-w", str(WORKERS), "-k", kind, "-b", "127.0.0.1:{port}", *(["--preload"] if preload else []), app
        ],
        options=options,
        environment={"MATRIX_READS_EARLY": "1"} if early else {},
    )  # fmt: skip


def uwsgi(name: str, *arguments: str, timeout: bool = True) -> Row:
    """Give a row of uWSGI."""
    program = Path(sys.executable).parent / "uwsgi"
    has_master = "--master" in arguments
    return Row(
        name=f"uWSGI {name}",
        command=[
            str(program), "--home", sys.prefix, "--http-socket", "127.0.0.1:{port}", "--processes", str(WORKERS),
            "--need-app", "--enable-threads", "--die-on-term", "--disable-logging", "--reload-mercy", str(STUCK_S),
            "--worker-reload-mercy", str(STUCK_S), *arguments,
        ],
        options={
            "recycling": ("--max-requests", "12", "--min-worker-lifetime", "1"),
            **({"time-out": ("--harakiri", "2")} if timeout and has_master else {}),  # it is the master that kills
        },
        has_master=has_master,
        respawns=has_master,
        reloads_on=["SIGQUIT"] if has_master else [],  # --die-on-term lets it change places with SIGTERM
    )  # fmt: skip


def python_server(name: str, module: str, *arguments: str, options: Mapping[str, Sequence[str]] | None = None) -> Row:
    """Give a row of a server that is started as a module."""
    return Row(name=name, command=[sys.executable, "-m", module, *arguments], options=options or {})


def alone(row: Row) -> Row:
    """Give the row of a server that has one process."""
    return replace(row, workers=1, has_master=False, respawns=False)


def _gunicorns() -> list[Row]:
    rows = []
    for preload in (False, True):
        rows += [
            gunicorn("sync", "sync", preload=preload),
            gunicorn("gthread", "gthread", preload=preload, timeout=False),
            gunicorn("gevent", "gevent", preload=preload),
            gunicorn("asgi", "asgi", app=ASGI, preload=preload),
            gunicorn("uvicorn_worker.UvicornWorker", "uvicorn worker", app=ASGI, preload=preload),
        ]
    return [*rows, gunicorn("sync", "sync", preload=True, early=True)]


def _uwsgis() -> list[Row]:
    module = ("--module", WSGI)
    mounts = ("--mount", f"/one={WSGI}", "--mount", f"/two={WSGI}", "--manage-script-name")
    return [
        uwsgi("default", "--master", *module),
        uwsgi("lazy-apps", "--master", "--lazy-apps", *module),
        replace(
            uwsgi("no master", *module, timeout=False), has_master=False, respawns=False
        ),  # it is a master that kills
        # with threads, each request starts the clock of its worker anew
        uwsgi("processes and threads", "--master", "--threads", "2", *module, timeout=False),
        *[
            replace(uwsgi(name, "--master", *lazy, *mounts), mounts=("/one", "/two"), workers=2 * WORKERS)
            for name, lazy in (("two apps, lazy-apps", ["--lazy-apps"]), ("two apps", []))
        ],
        replace(
            uwsgi("default, flag read in the master", "--master", *module), environment={"MATRIX_READS_EARLY": "1"}
        ),
    ]


def _others() -> list[Row]:
    three = ("--workers", str(WORKERS))
    uvicorn = ("--port", "{port}", "--timeout-graceful-shutdown", str(STUCK_S), "--no-access-log", ASGI)
    granian = ("--port", "{port}", *three, "--workers-kill-timeout", str(STUCK_S), "--respawn-failed-workers")
    over_weight = {"recycling": ("--workers-max-rss", "1", "--rss-sample-interval", "1")}
    hypercorn = ("-w", str(WORKERS), "-b", "127.0.0.1:{port}", "--graceful-timeout", str(STUCK_S), ASGI)
    daphne = ("-p", "{port}", "--application-close-timeout", str(STUCK_S), ASGI)
    celery = ("-A", "tests.e2e.matrix.served.tasks", "worker", "-P", "prefork", "-c", str(WORKERS), "-l", "INFO")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return [
        alone(
            python_server(
                "uvicorn, 1 process", "uvicorn", *uvicorn, options={"recycling": ("--limit-max-requests", "40")}
            )
        ),
        replace(
            python_server(
                "uvicorn, 3 workers",
                "uvicorn",
                *three,
                *uvicorn,
                options={
                    "recycling": ("--limit-max-requests", "12"),
                    "time-out": ("--timeout-worker-healthcheck", "1"),
                },
            ),
            is_patient=True,
            has_not=["SIGQUIT"],
        ),
        python_server("granian WSGI", "granian", "--interface", "wsgi", *granian, WSGI, options=over_weight),
        python_server("granian ASGI", "granian", "--interface", "asgi", *granian, ASGI, options=over_weight),
        python_server("hypercorn", "hypercorn", *hypercorn, options={"recycling": ("--max-requests", "12")}),
        alone(python_server("daphne", "daphne", *daphne)),
        alone(python_server("waitress", "waitress", "--listen=127.0.0.1:{port}", "--threads=4", WSGI)),
        replace(
            python_server(
                "Celery prefork",
                "celery",
                *celery,
                *quiet,
                options={"recycling": ("--max-tasks-per-child", "12"), "time-out": ("--time-limit", "2")},
            ),
            is_patient=True,
            respawns=False,  # it does, but a child that is killed while it waits for a task holds the lock of all others
            speaks="celery",
        ),
    ]


ROWS: Mapping[str, Row] = {row.name: row for row in (*_gunicorns(), *_uwsgis(), *_others())}
