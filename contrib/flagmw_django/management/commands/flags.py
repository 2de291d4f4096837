"""`manage.py flags list` and `manage.py flags eval`: what the flags are, and what one of them gives a user and why.

No exposure is recorded: nobody was served anything.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flagmw import Client, ConfigError, ContextError, UserContext
from flagmw.showing import described, listed, reason_of, shown_evaluation, start_for_showing
from flagmw_django.conf import setup


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
        problem = start_for_showing(client)
        if problem is not None:
            raise CommandError(problem)
        if what == "list":
            self._list(client, context)
        else:
            self._eval(client, options["key"], context)

    def _list(self, client: Client, context: UserContext) -> None:
        lines = listed(client, context)
        for line in lines:
            self.stdout.write(line)
        status = client.status
        self.stdout.write(f"{len(lines)} flags, revision {status.revision}, state {status.state}")
        if status.error is not None:
            self.stderr.write(status.error)

    def _eval(self, client: Client, key: str, context: UserContext) -> None:
        found = shown_evaluation(client, key, context)
        if found.error_code is not None:
            raise CommandError(f"{key}: {reason_of(found)}")
        for line in described(found):
            self.stdout.write(line)
