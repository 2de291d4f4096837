"""The same runs with the official clients in the app, beside ours: what is lost, and which workers are frozen.

All clients run with their defaults. They get the same load, and the same time: a flag is changed and each worker has
`CHANGE_S` to see it; then comes the end; what is left of the server rests for `SETTLE_S`, and is asked to stop. Ours then
has its one start more, since that is how it works; an official client has nothing that a start could bring back.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.matrix.drill import CHANGE_S, SETTLE_S, Result, drill
from tests.e2e.matrix.servers import ROWS
from tests.e2e.matrix.table import line, markdown, versions

SERVERS = (
    "gunicorn sync",
    "gunicorn sync, preload",
    "gunicorn gthread",
    "uWSGI default",
    "uvicorn, 3 workers",
    "Celery prefork",
)
ENDS = ("SIGTERM", "worker SIGKILL", "recycling")
CLIENTS = (("hackle-sdk", "hackle"), ("flagmw", "hackle"), ("fb-python-sdk", "featbit"), ("flagmw", "featbit"))
"""Each client, and the service that it is used with."""


def compare(jobs: int, servers: Sequence[str] = SERVERS, ends: Sequence[str] = ENDS) -> list[tuple[str, Result]]:
    """Do all runs; gives the service with each result."""

    def one(case: tuple[str, str, str, str]) -> tuple[str, Result]:
        name, end, client, service = case
        try:
            result = drill(ROWS[name], end, service=service, client=client, measure_change=True, is_gentle=True)
        except Exception as error:  # the others go on
            result = Result(row=name, end=end, client=client, problem=f"{type(error).__name__}: {error}")
        print(f"{service:8} {client:14} {line(result)}", flush=True)
        return service, result

    cases = [(name, end, client, service) for name in servers for end in ends for client, service in CLIENTS]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, cases))


def table(results: Sequence[tuple[str, Result]]) -> str:
    """Write a row for each server and end, and a column for each client."""
    found = {(result.row, result.end, result.client, service): result for service, result in results}
    rows = [
        [name, end, *(_cell(found.get((name, end, client, service))) for client, service in CLIENTS)]
        for name, end in dict.fromkeys((result.row, result.end) for _, result in results)
    ]
    head = ["Server", "end", *(f"{client}, {service.capitalize()}" for client, service in CLIENTS)]
    return (
        f"{markdown(head, rows)}\n\n{versions(['hackle-sdk', 'fb-python-sdk'])}; a worker that did not see a change within "
        f"{CHANGE_S:g} s is frozen; {SETTLE_S:g} s of rest before the stop."
    )


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if result.problem and not result.answered:
        return "did not start"
    workers = ROWS[result.row].workers
    frozen = f", {len(result.frozen)} of {workers} frozen" if result.frozen else ""
    return f"{len(result.lost)} of {result.due} lost{frozen}"
