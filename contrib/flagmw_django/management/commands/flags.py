"""`manage.py flags list` and `manage.py flags eval`: what the flags are, and what one of them gives a user and why.

No exposure is recorded: nobody was served anything.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flagmw import Client, ConfigError, ContextError, Evaluation, State, UserContext
from flagmw.client import flag_keys, revision_of
from flagmw.core.evaluating import evaluate
from flagmw.core.snapshot import evaluation_of
from flagmw_django.conf import setup

READY_S = 10.0
"""How long a flag service may take to answer; a file is there at once."""


class Command(BaseCommand):
    """Shows the flags that the setting FLAGMW names."""

    help = "Shows the flags, and what a flag gives a user."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the two commands."""
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|eval")
        listing = commands.add_parser("list", help="List all flags with the value that a user gets.")
        evaluating = commands.add_parser("eval", help="Show what one flag gives a user, and why.")
        evaluating.add_argument("key", metavar="KEY", help="The flag.")
        example = """such as '{"key": "ann", "country": "DE"}'"""
        for command in (listing, evaluating):
            command.add_argument("--user", default="{}", metavar="JSON", help=f"For whom, {example}; default: nobody.")

    def handle(self, *args: Any, what: str, user: str, **options: Any) -> None:
        """Run one of the two.

        Raises:
            CommandError: wrong settings, no flags, a user that is none, or a flag that gives an error.
        """
        try:
            client = setup().client
            context = UserContext.of(json.loads(user))
        except json.JSONDecodeError as error:
            raise CommandError(f"--user is no JSON: {error}") from error
        except RecursionError:
            raise CommandError("--user is nested too deeply") from None
        except ContextError as error:
            raise CommandError(f"--user: {error}") from error
        except (ConfigError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        client.start()
        is_trying = client.status.state is State.INITIALIZING and client.status.error is None
        if not client.wait_until_ready(READY_S if is_trying else 0.0):
            raise CommandError(f"no flags have arrived: {client.status.error or 'the client has none'}")
        if what == "list":
            self._list(client, context)
        else:
            self._eval(client, options["key"], context)

    def _list(self, client: Client, context: UserContext) -> None:
        found = [_evaluation(client, key, context) for key in flag_keys(client.snapshot())]
        rows = [(one.flag_key, _json(one.value), _reason(one)) for one in found]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
        for key, value, reason in rows:
            self.stdout.write(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {reason}")
        status = client.status
        self.stdout.write(f"{len(rows)} flags, revision {status.revision}, state {status.state}")
        if status.error is not None:
            self.stderr.write(status.error)

    def _eval(self, client: Client, key: str, context: UserContext) -> None:
        found = _evaluation(client, key, context)
        if found.error_code is not None:
            raise CommandError(f"{key}: {_reason(found)}")
        self.stdout.write(f"value:     {_json(found.value)}")
        self.stdout.write(f"variation: {found.variation if found.variation is not None else '(the default)'}")
        self.stdout.write(f"reason:    {_reason(found)}")


def _evaluation(client: Client, key: str, context: UserContext) -> Evaluation:
    snapshot = client.snapshot()
    return evaluation_of(evaluate(snapshot, key, context), key, None, revision_of(snapshot))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _reason(evaluation: Evaluation) -> str:
    if evaluation.error_code is not None:
        return f"{evaluation.reason} {evaluation.error_code}: {evaluation.error_message}"
    return (
        f"{evaluation.reason} ({evaluation.provider_reason})" if evaluation.provider_reason else str(evaluation.reason)
    )
