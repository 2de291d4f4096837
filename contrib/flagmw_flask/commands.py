"""`flask flags list` and `flask flags eval`: what the app's flags give a user. Needs click, as Flask does."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ContextError
from flagmw.evaluation import Reason
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

    return group


def _start(client: Client) -> None:
    problem = start_for_showing(client)
    if problem is not None:
        raise click.ClickException(problem)
