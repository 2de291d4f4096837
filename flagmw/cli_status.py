"""`flagmw status`, and what `manage.py flags status` and `flask flags status` have in common with it.

Shows what `processes` finds out. Click is imported when the command is made; what is shown needs nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flagmw.client import Client
from flagmw.lifecycle.places import state_root
from flagmw.processes import (
    MAX_STALE_S,
    Environment,
    Process,
    age,
    environment_of,
    problems_among,
    problems_in,
    problems_of,
    read_environments,
    shortened,
)
from flagmw.showing import start_for_showing
from flagmw.status import State, Status

if TYPE_CHECKING:
    import click

HEADINGS = (
    "pid", "program", "role", "state", "revision", "changed", "checked", "heartbeat", "waiting", "sent", "dropped",
)  # fmt: skip

Segment = tuple[str, str]
"""A text and the name of its style, "" for none."""


class ExitCode(IntEnum):
    """What a look at the processes comes to."""

    WELL = 0
    DEGRADED = 1
    WRONG_USE = 2
    NOBODY = 3
    """No process uses flags here, and no events were left: down, another user's, or in another folder."""


class Output(Protocol):
    """Prints."""

    def line(self, *segments: Segment) -> None:
        """Print a line."""
        ...


def command(make_output: Callable[[], Output]) -> click.Command:
    """Make the command.

    Args:
        make_output: gives what prints lines to standard output.

    Raises:
        ImportError: click is not installed.
    """
    import click  # noqa: PLC0415  # see the module's docstring

    def run(state_dir: str | None, max_stale_s: float, *, as_json: bool) -> None:
        root = state_root(Path(os.path.abspath(state_dir)) if state_dir is not None else None)
        try:
            environments = read_environments(root)
        except OSError as error:
            raise click.UsageError(f"{root} cannot be read: {error.strerror or error}") from None
        if as_json:
            click.echo(json.dumps(told(environments, max_stale_s)))
        else:
            output = make_output()
            for line in lines_of(environments, max_stale_s) or [[(nobody_in(root), "")]]:
                output.line(*line)
        sys.exit(exit_code(environments, max_stale_s))

    return click.Command(
        "status",
        params=[
            click.Option(
                ["--state-dir"],
                metavar="DIR",
                help="Where the processes meet, as their option state_dir says; default: FLAGMW_STATE_DIR, or this "
                "user's own folder among the temporary files.",
            ),
            click.Option(
                ["--max-stale", "max_stale_s"],
                type=click.FloatRange(min=0, min_open=True),
                default=MAX_STALE_S,
                show_default=True,
                metavar="SECONDS",
                help="How long ago flags may have been known to be the newest.",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object instead of text."),
        ],
        callback=run,
        help="Show the processes of this host that use a flag service, and how they are doing. Exits with 0 when all "
        "is well, with 1 when something is not, with 3 when there is no process.",
    )


def exit_code(environments: Sequence[Environment], max_stale_s: float = MAX_STALE_S) -> ExitCode:
    """Give the exit code for what was found."""
    if not any(environment.processes or environment.left_files for environment in environments):
        return ExitCode.NOBODY
    is_well = not any(problems_in(environment, max_stale_s) for environment in environments)
    return ExitCode.WELL if is_well else ExitCode.DEGRADED


def nobody_in(folder: Path) -> str:
    """Say that there is no process."""
    return f"no process uses flags here ({folder}); processes of another user, or with another state_dir, are not seen"


def of_client(client: Client, max_stale_s: float = MAX_STALE_S) -> tuple[list[str], ExitCode]:
    """Give what `flags status` of a web framework shows: the host's processes that use a client's environment.

    Where its processes do not meet, as with flag files, the client is started and tells of itself.

    Args:
        client: the app's.
        max_stale_s: see `problems_of`.

    Returns:
        The lines, and what they come to.
    """
    environment = environment_of(client.provider)
    if environment is None:
        return _alone(client)
    lines = lines_of([environment], max_stale_s) or [[(nobody_in(environment.folder), "")]]
    return ["".join(text for text, _ in line) for line in lines], exit_code([environment], max_stale_s)


def _alone(client: Client) -> tuple[list[str], ExitCode]:
    problem = start_for_showing(client)
    status = client.status
    is_well = problem is None and (status.state is State.OK or (status.state is State.OFF and status.error is None))
    shown = [
        f"state:    {status.state}",
        f"revision: {status.revision or '-'}",
        f"flags:    {status.flags}",
        f"changed:  {age(status.age_s)} ago",
    ]
    if problem is not None or status.error is not None:
        shown.append(f"error:    {problem or status.error}")
    return shown, ExitCode.WELL if is_well else ExitCode.DEGRADED


# --- text -----------------------------------------------------------------------------------------------------


def lines_of(environments: Sequence[Environment], max_stale_s: float) -> list[list[Segment]]:
    """Give the lines that show environments; none for those without processes and events."""
    lines: list[list[Segment]] = []
    for environment in environments:
        if environment.processes or environment.left_files:
            if lines:
                lines.append([("", "")])
            lines += _environment_lines(environment, max_stale_s)
    return lines


def _environment_lines(environment: Environment, max_stale_s: float) -> list[list[Segment]]:
    number = len(environment.processes)
    lines: list[list[Segment]] = [
        [(environment.name, "name"), (f": {number or 'no'} process{'' if number == 1 else 'es'}", "")]
    ]
    rows = [(_cells(process), bool(problems_of(process, max_stale_s))) for process in environment.processes]
    if rows:
        widths = [max(len(row[at]) for row in (HEADINGS, *(cells for cells, _ in rows))) for at in range(len(HEADINGS))]
        lines.append([(_columns(HEADINGS, widths), "dim")])
        lines += [[(_columns(cells, widths), "error" if is_bad else "")] for cells, is_bad in rows]
    for process in environment.processes:
        lines += [[(f"{process.pid}: ", "name"), (problem, "error")] for problem in problems_of(process, max_stale_s)]
    lines += [[(problem, "error")] for problem in problems_among(environment)]
    if environment.left_files:
        files = f"{environment.left_files} event file{'' if environment.left_files == 1 else 's'}"
        lines.append([(f"{files} of processes that are gone, {_size(environment.left_bytes)}", "warning")])
    return lines


def _cells(process: Process) -> Sequence[str]:
    status = process.status
    if status is None:
        return (str(process.pid), process.program or "?", *("?" for _ in HEADINGS[2:]))
    events = status.events
    counts = ("-", "-", "-") if events is None else (str(events.waiting), str(events.sent), str(events.dropped))
    return (
        str(process.pid),
        process.program,
        status.role,
        status.state,
        shortened(status.revision) or "-",
        age(status.age_s),
        age(status.revision_age_s),
        age(status.heartbeat_age_s),
        *counts,
    )


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _size(size: int) -> str:
    if size < 1_000:
        return f"{size} bytes"
    return f"{size / 1_000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


# --- JSON -----------------------------------------------------------------------------------------------------


def told(environments: Sequence[Environment], max_stale_s: float) -> dict[str, Any]:
    """Give what was found as a value for JSON."""
    return {
        "is_well": exit_code(environments, max_stale_s) is ExitCode.WELL,
        "environments": [
            {
                "name": environment.name,
                "folder": str(environment.folder),
                "processes": [_told_of(process, max_stale_s) for process in environment.processes],
                "left_files": environment.left_files,
                "left_bytes": environment.left_bytes,
                "problems": problems_among(environment),
            }
            for environment in environments
        ],
    }


def _told_of(process: Process, max_stale_s: float) -> dict[str, Any]:
    fields = asdict(process.status) if process.status is not None else dict.fromkeys(Status.__slots__)
    return {
        **fields,
        "pid": process.pid,
        "program": process.program,
        "began": process.began_s,
        "silent_s": process.silent_s,
        "problems": problems_of(process, max_stale_s),
    }
