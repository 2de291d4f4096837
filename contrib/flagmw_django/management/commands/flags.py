"""`manage.py flags list` and `manage.py flags eval`: what the flags are, and what one of them gives a user and why.

No exposure is recorded: nobody was served anything.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flagmw import Client, ConfigError, ContextError, Evaluation, UserContext
from flagmw.client import flag_keys, revision_of
from flagmw.core.evaluating import evaluate
from flagmw.core.snapshot import evaluation_of
from flagmw_django.conf import setup

READY_S = 10.0
"""How long flags may take to arrive."""


class Command(BaseCommand):
    """Shows the flags that the setting FLAGMW names."""

    help = "Shows the flags, and what a flag gives a user."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the two commands."""
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|eval")
        commands.add_parser("list", help="Show every flag and what it gives a user whom nobody knows.")
        evaluating = commands.add_parser("eval", help="Show what a flag gives a user, and why.")
        evaluating.add_argument("key", metavar="KEY", help="The flag.")
        evaluating.add_argument(
            "--user", default="{}", metavar="JSON", help="""For whom, for example '{"key": "7", "country": "DE"}'."""
        )

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        """Run one of the two.

        Raises:
            CommandError: wrong settings, no flags, a user that is no JSON, or a flag that gives no value.
        """
        try:
            client = setup().client
        except (ConfigError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        if not client.wait_until_ready(READY_S):
            raise CommandError(f"no flags are there: {client.status.error or 'none have arrived'}")
        if what == "list":
            self._list(client)
        else:
            self._eval(client, options["key"], options["user"])

    def _list(self, client: Client) -> None:
        found = [_evaluation(client, key, UserContext()) for key in flag_keys(client.snapshot())]
        rows = [("FLAG", "VALUE", "REASON")]
        rows += [(one.flag_key, _json(one.value), str(one.error_code or one.reason)) for one in found]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        for key, value, reason in rows:
            self.stdout.write(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {reason}")
        status = client.status
        self.stdout.write(f"{len(found)} flags, revision {status.revision or 'none'}, state {status.state}")
        if status.error:
            self.stderr.write(status.error)

    def _eval(self, client: Client, key: str, user: str) -> None:
        try:
            context = UserContext.of(json.loads(user))
        except json.JSONDecodeError as error:
            raise CommandError(f"--user is no JSON: {error}") from error
        except ContextError as error:
            raise CommandError(f"--user: {error}") from error
        found = _evaluation(client, key, context)
        if found.error_code is not None:
            raise CommandError(f"{key}: {found.error_code}: {found.error_message}")
        self.stdout.write(f"value      {_json(found.value)}")
        self.stdout.write(f"variation  {found.variation or '-'}")
        self.stdout.write(f"reason     {found.reason}")


def _evaluation(client: Client, key: str, context: UserContext) -> Evaluation:
    snapshot = client.snapshot()
    return evaluation_of(evaluate(snapshot, key, context), key, None, revision_of(snapshot))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
