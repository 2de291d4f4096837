"""`flask flags list`, `flask flags eval` and `flask flags status`. Needs click, as Flask does."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from flagmw.cli_status import of_client
from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ContextError
from flagmw.evaluation import Reason
from flagmw.processes import MAX_STALE_S
from flagmw.showing import described, listed, shown_evaluation, start_for_showing


def _read_user(context: click.Context, parameter: click.Parameter, text: str) -> UserContext:
    """Read the JSON of `--user`; what is wrong with it ends the command with exit code 2."""
    try:
        return UserContext.of(json.loads(text))
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise click.BadParameter("the JSON is nested too deeply") from None
    except ContextError as error:
        raise click.BadParameter(str(error)) from None


_user_option = click.option(
    "--user",
    metavar="JSON",
    default="{}",
    callback=_read_user,
    help="""Who it is evaluated for, such as '{"key": "ann", "country": "DE"}'; nobody by default.""",
)


def flag_commands(client: Client) -> AppGroup:
    """Make the command group for an app."""
    group = AppGroup("flags", help="Show feature flags.")

    @group.command("list")
    @_user_option
    def list_flags(user: UserContext) -> None:
        """List all flags with the value that a user gets."""
        _start(client)
        for line in listed(client, user):
            click.echo(line)

    @group.command("eval")
    @click.argument("key")
    @_user_option
    def evaluate_flag(key: str, user: UserContext) -> None:
        """Show what one flag gives a user, and why. The exit code is 1 when it gives an error."""
        _start(client)
        evaluation = shown_evaluation(client, key, user)
        for line in described(evaluation):
            click.echo(line)
        if evaluation.reason is Reason.ERROR:
            raise SystemExit(1)

    @group.command("status")
    @click.option(
        "--max-stale",
        "max_stale_s",
        type=click.FloatRange(min=0, min_open=True),
        default=MAX_STALE_S,
        show_default=True,
        metavar="SECONDS",
        help="How long ago flags may have been known to be the newest.",
    )
    def show_status(max_stale_s: float) -> None:
        """Show the processes of this host that use the app's flags, and how they are doing.

        The exit code is 0 when all is well, 1 when something is not, 3 when there is no process.
        """
        lines, code = of_client(client, max_stale_s)
        for line in lines:
            click.echo(line)
        raise SystemExit(code)

    return group


def _start(client: Client) -> None:
    problem = start_for_showing(client)
    if problem is not None:
        raise click.ClickException(problem)
