"""`flask flags list` and `flask flags eval`: what the app's flags give a user. Needs click, as Flask does."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from flagmw.client import Client
from flagmw.context import UserContext
from flagmw.errors import ContextError
from flagmw.evaluation import Evaluation, Reason
from flagmw.status import State

READY_TIMEOUT_S = 10.0
"""How long a flag service may take to answer; a file is there at once."""


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
        _wait_for_flags(client)
        rows = [_row(evaluation) for evaluation in client.all_variations(user).values()]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
        for key, value, why in rows:
            click.echo(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {why}")

    @group.command("eval")
    @click.argument("key")
    @_user_option
    def evaluate_flag(key: str, user: UserContext) -> None:
        """Show what one flag gives a user, and why. The exit code is 1 when it gives an error."""
        _wait_for_flags(client)
        evaluation = client.variation_detail(key, user)
        _, value, why = _row(evaluation)
        click.echo(f"value:     {value}")
        click.echo(f"variation: {evaluation.variation if evaluation.variation is not None else '(the default)'}")
        click.echo(f"reason:    {why}")
        if evaluation.reason is Reason.ERROR:
            raise SystemExit(1)

    return group


def _wait_for_flags(client: Client) -> None:
    client.start()
    is_trying = client.status.error is None and client.status.state is not State.OFF
    if not client.wait_until_ready(READY_TIMEOUT_S if is_trying else 0.0):
        raise click.ClickException(f"no flags have arrived: {client.status.error or 'the client has none'}")


def _row(evaluation: Evaluation) -> tuple[str, str, str]:
    why = str(evaluation.reason)
    if evaluation.error_code is not None:
        why = f"{why} {evaluation.error_code}: {evaluation.error_message}"
    elif evaluation.provider_reason:
        why = f"{why} ({evaluation.provider_reason})"
    return evaluation.flag_key, json.dumps(evaluation.value, ensure_ascii=False), why
