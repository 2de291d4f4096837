"""`flagmw usage`: the report, the check for CI, and the scan by itself.

Click is imported when the commands are made. What they need, SQLite included, is imported when one of them runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flagmw import __version__
from flagmw.errors import ConfigError, FlagmwError

if TYPE_CHECKING:
    import click

    from flagmw.report.gathering import Wanted
    from flagmw.report.model import Report

CHECKED = ("stale", "unknown", "unused", "settled")
"""The verdicts that `check` can limit."""

WHOLE_TREE = "all"
Segment = tuple[str, str]


class ExitCode(IntEnum):
    """What a command comes to."""

    FINE = 0
    TOO_MANY = 1
    """Of what `check` limits; for `scan`: nothing could be read."""
    WRONG_USE = 2
    """Or there is nothing to judge from: no store, no settings, no flags."""


class Output(Protocol):
    """Prints.

    Attributes:
        is_terminal: whether a person looks at it.
    """

    is_terminal: bool

    def line(self, *segments: Segment) -> None:
        """Print a line."""
        ...


MakeOutput = Callable[..., Output]


def command(make_output: MakeOutput) -> click.Group:
    """Make the group of commands.

    Args:
        make_output: gives what prints lines to standard output; with `to_stderr=True`, to standard error.

    Raises:
        ImportError: click is not installed.
    """
    import click  # noqa: PLC0415  # see the module's docstring

    group = click.Group("usage", help="Show which functions still run, and which flags may go.")
    group.add_command(_report(make_output))
    group.add_command(_check(make_output))
    group.add_command(_scan(make_output))
    return group


# --- report -----------------------------------------------------------------------------------------------------


def _report(make_output: MakeOutput) -> click.Command:
    import click  # noqa: PLC0415  # see the module's docstring

    def run(*, html: str | None, as_json: bool, depth: str, **options: Any) -> None:
        levels = _depth(depth)
        with _told(make_output), _waiting():
            report = _gathered(**options)
            if html is not None:
                _write_page(report, html)
        if as_json:
            from flagmw.report.told import told  # noqa: PLC0415  # see the module's docstring

            click.echo(json.dumps(told(report)))
        elif html is not None:
            make_output().line((f"{html} is written: open it in a browser", "fine"))
        else:
            _show(report, make_output, levels)
        sys.exit(ExitCode.FINE)

    return click.Command(
        "report",
        params=[
            *_sources(),
            click.Option(
                ["--unused-for"],
                metavar="AGE",
                help="Only functions without a call for so long, such as 30d, 12h or 2w; or never.",
            ),
            click.Option(["--package"], metavar="NAME", help="Only functions of this package, module or class."),
            click.Option(["--search"], metavar="TEXT", help="Only functions whose name or file has this text."),
            click.Option(
                ["--ages"],
                metavar="AGE,AGE",
                default="30d,7d",
                show_default=True,
                help="When a last call is old, and when it is no longer recent.",
            ),
            click.Option(
                ["--depth"],
                metavar="LEVELS",
                default="3",
                show_default=True,
                help=f"How deep the tree goes; {WHOLE_TREE} shows functions, too.",
            ),
            click.Option(["--html"], metavar="FILE", help="Write one page for a browser that needs nothing else."),
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object instead of text."),
        ],
        callback=run,
        help="Show which functions ran when, and which flags may go with which code. On a terminal a tree; elsewhere "
        "one place a line, for grep.",
    )


def _depth(text: str) -> int | None:
    import click  # noqa: PLC0415  # see the module's docstring

    if text == WHOLE_TREE:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"must be a number above 0, or {WHOLE_TREE}, got {text!r}", param_hint="'--depth'")
    return int(text)


def _show(report: Report, make_output: MakeOutput, depth: int | None) -> None:
    from flagmw.report import terminal  # noqa: PLC0415  # see the module's docstring

    output, errors = make_output(), make_output(to_stderr=True)
    for note in report.notes:
        errors.line(("note: ", "warning"), (note, ""))
    if not output.is_terminal:
        for line in terminal.plain_lines(report):
            output.line(*line)
        for line in terminal.summary_lines(report):
            errors.line(*line)
        return
    parts = (
        terminal.summary_lines(report),
        terminal.tree_lines(report, depth) if report.tree.total.functions else (),
        terminal.flag_lines(report),
    )
    guides = {} if _has_lines() else terminal.PLAIN_GUIDES
    for part in parts:
        for line in part:
            output.line(*((text.translate(guides), style) for text, style in line))
        output.line(("", ""))


def _has_lines() -> bool:
    try:
        "└├─│…".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_page(report: Report, html: str) -> None:
    from flagmw.report.page import page_of  # noqa: PLC0415  # see the module's docstring
    from flagmw.report.page_data import page_data, title_of  # noqa: PLC0415  # as above

    page = page_of(page_data(report), f"{title_of(report)}: usage report", __version__)
    try:
        Path(html).write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{html} cannot be written: {error.strerror or error}") from None


# --- check ------------------------------------------------------------------------------------------------------


def _check(make_output: MakeOutput) -> click.Command:
    import click  # noqa: PLC0415  # see the module's docstring

    def run(**options: Any) -> None:
        limits = {verdict: options.pop(f"max_{verdict}") for verdict in CHECKED}
        if all(limit is None for limit in limits.values()):
            raise click.UsageError("nothing to check: give --max-stale 0, for example")
        with _told(make_output), _waiting():
            report = _gathered(**options)
            if report.flags_problem is not None:
                raise ConfigError(report.flags_problem)
        from flagmw.report.terminal import plain_flag_lines  # noqa: PLC0415  # see the module's docstring

        output, errors = make_output(), make_output(to_stderr=True)
        for note in report.notes:
            errors.line(("note: ", "warning"), (note, ""))
        is_fine = True
        for verdict, limit in limits.items():
            if limit is None:
                continue
            flags = report.flags_of(verdict)
            told = f"{len(flags)} {verdict} flag{'' if len(flags) == 1 else 's'}, at most {limit} allowed"
            if len(flags) <= limit:
                errors.line((told, "fine"))
                continue
            is_fine = False
            for flag in flags:
                for line in plain_flag_lines(flag, report.made_at):
                    output.line(*line)
            errors.line((told, "error"))
        sys.exit(ExitCode.FINE if is_fine else ExitCode.TOO_MANY)

    words = {
        "stale": "settled, and still in code",
        "unknown": "in code, but not in the provider",
        "unused": "in the provider, but not in code",
        "settled": "one variation for everybody, not in code",
    }
    return click.Command(
        "check",
        params=[
            *(
                click.Option(
                    [f"--max-{verdict}"], type=click.IntRange(min=0), metavar="N", help=f"Flags: {words[verdict]}."
                )
                for verdict in CHECKED
            ),
            *_sources(),
        ],
        callback=run,
        help="For CI: exits with 1 when there are more stale flags, or flags of another verdict, than allowed, and "
        "lists them; with 0 when there are not, with 2 when that cannot be told.",
    )


# --- scan -------------------------------------------------------------------------------------------------------


def _scan(make_output: MakeOutput) -> click.Command:
    import click  # noqa: PLC0415  # see the module's docstring

    def run(config: str | None) -> None:
        output, errors = make_output(), make_output(to_stderr=True)
        with _told(make_output):
            from flagmw.report.gathering import configuration  # noqa: PLC0415  # see the module's docstring
            from flagmw.usage.codebase import Scanner  # noqa: PLC0415  # as above

            settings, _ = configuration(config)
            scanner = Scanner(settings)
        began = time.perf_counter()
        with _progress() as on_progress:
            code_base = scanner.scan(on_progress=on_progress)
        took_s = time.perf_counter() - began
        for problem in code_base.problems:
            output.line(
                (f"{problem.path}:{problem.line}: " if problem.line else f"{problem.path}: ", "name"),
                (problem.message, ""),
            )
        number = len(code_base.functions)
        files = len({function.path for function in code_base.functions})
        told = (
            f"{number} function{'' if number == 1 else 's'} in {files} file{'' if files == 1 else 's'}, {took_s:.2f} s"
        )
        problems = len(code_base.problems)
        if problems:
            told += f"; {problems} problem{'' if problems == 1 else 's'}"
        errors.line((told, "fine" if number and not problems else "warning"))
        if not number:
            errors.line(
                (f"nothing was found: packages {list(settings.packages)} below {list(settings.codebase)}", "error")
            )
        sys.exit(ExitCode.FINE if number else ExitCode.TOO_MANY)

    return click.Command(
        "scan",
        params=[_config_option()],
        callback=run,
        help="Read the code base as the usage agent does, and show what could not be read. Exits with 1 when nothing "
        "was found.",
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on standard error while a person looks at it."""
    console = _console()
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  # as above

    columns = (TextColumn("Reading the code base"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("scan", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _waiting() -> Iterator[None]:
    """Show on standard error that something is being done, while a person looks at it."""
    console = _console()
    if console is None:
        yield
        return
    with console.status("Reading the store and the code base"):
        yield


def _console() -> Any:
    """Give what rich draws with on standard error; None without rich, or when it is no terminal."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console  # noqa: PLC0415  # see the module's docstring
    except ImportError:
        return None
    return Console(file=sys.stderr)


# --- what the commands share --------------------------------------------------------------------------------------


def _config_option() -> click.Option:
    import click  # noqa: PLC0415  # see the module's docstring

    return click.Option(
        ["--config"],
        metavar="FILE",
        help="A scavenger.conf or pyproject.toml; default: the one in this folder.",
    )


def _sources() -> list[click.Option]:
    import click  # noqa: PLC0415  # see the module's docstring

    return [
        click.Option(["--store"], metavar="FILE", help="What the usage agent wrote; default: as configured."),
        _config_option(),
        click.Option(
            ["--flags"],
            metavar="FILE_OR_DSN",
            help="Which flags there are: a flag file, a folder of them, or a flag service; default: FLAGMW_DSN, else "
            "those that the processes had.",
        ),
        click.Option(["--app"], metavar="NAME", help="Only this application of the store."),
        click.Option(["--environment"], metavar="NAME", help="Only this environment of the store."),
        click.Option(
            ["--settled-days"],
            type=click.FloatRange(min=0, min_open=True),
            default=30,
            show_default=True,
            metavar="N",
            help="For how long a settled flag has given everybody one variation.",
        ),
    ]


def _gathered(
    *,
    app: str | None,
    unused_for: str | None = None,
    package: str | None = None,
    search: str | None = None,
    ages: str | None = None,
    **sources: Any,
) -> Report:
    from flagmw.report.ages import AgeLimits, read_age  # noqa: PLC0415  # see the module's docstring
    from flagmw.report.gathering import Wanted, gather  # noqa: PLC0415  # as above
    from flagmw.report.model import Selection  # noqa: PLC0415  # as above

    age_s = read_age(unused_for) if unused_for is not None else None
    selection = Selection(
        unused_for_s=age_s,
        never=unused_for is not None and age_s is None,
        package=package,
        text=search,
    )
    wanted: Wanted = Wanted(
        app_name=app, selection=selection, limits=_limits(ages) if ages is not None else AgeLimits(), **sources
    )
    return gather(wanted, time.time())


def _limits(text: str) -> Any:
    from flagmw.report.ages import AgeLimits, read_age  # noqa: PLC0415  # see the module's docstring

    found = [read_age(part.strip()) for part in text.split(",")]
    match found:
        case [float(old_s), float(aging_s)]:
            return AgeLimits(old_s=old_s, aging_s=aging_s)
        case _:
            raise ConfigError(f"--ages takes two ages, such as 30d,7d, got {text!r}")


@contextmanager
def _told(make_output: MakeOutput) -> Iterator[None]:
    """Say what is wrong, and leave."""
    try:
        yield
    except FlagmwError as error:
        make_output(to_stderr=True).line(("error: ", "error"), (str(error), ""))
        sys.exit(ExitCode.WRONG_USE)
    except ImportError as error:
        make_output(to_stderr=True).line(("error: ", "error"), (f"this needs {error.name}, which is not installed", ""))
        sys.exit(ExitCode.WRONG_USE)
