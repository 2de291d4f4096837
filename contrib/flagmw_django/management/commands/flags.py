"""`manage.py flags`: `list` and `eval` show what flags give a user and why, `status` how the app's processes are doing.

No exposure is recorded: nobody was served anything.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flagmw import Client, ConfigError, ContextError, UserContext
from flagmw.cli_status import ExitCode, of_client
from flagmw.processes import MAX_STALE_S
from flagmw.showing import described, listed, reason_of, shown_evaluation, start_for_showing
from flagmw_django.conf import setup


class Command(BaseCommand):
    """Shows the flags that the setting FLAGMW names."""

    help = "Shows the flags, what a flag gives a user, and the processes of this host that use them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the commands."""
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|eval|status")
        listing = commands.add_parser("list", help="List all flags with the value that a user gets.")
        evaluating = commands.add_parser("eval", help="Show what one flag gives a user, and why.")
        evaluating.add_argument("key", metavar="KEY", help="The flag.")
        example = """such as '{"key": "ann", "country": "DE"}'"""
        for command in (listing, evaluating):
            command.add_argument("--user", default="{}", metavar="JSON", help=f"For whom, {example}; default: nobody.")
        looking = commands.add_parser(
            "status",
            help="Show the processes of this host that use the flags, and how they are doing. Exits with 0 when all is "
            "well, with 1 when something is not, with 3 when there is no process.",
        )
        looking.add_argument(
            "--max-stale",
            type=_seconds,
            default=MAX_STALE_S,
            metavar="SECONDS",
            help=f"How long ago flags may have been known to be the newest; default: {MAX_STALE_S:g}.",
        )

    def handle(self, *args: Any, what: str, user: str = "{}", **options: Any) -> None:
        """Run one of them.

        Raises:
            CommandError: wrong settings, no flags, a user that is none, or a flag that gives an error.
            SystemExit: the processes are not all well.
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
        if what == "status":
            self._status(client, options["max_stale"])
            return
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

    def _status(self, client: Client, max_stale_s: float) -> None:
        lines, code = of_client(client, max_stale_s)
        for line in lines:
            self.stdout.write(line)
        if code is not ExitCode.WELL:
            raise SystemExit(code)


def _seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return value
